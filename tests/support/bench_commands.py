"""Commands of `dynaprune`, and a task of a user's for them."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from dynaprune.cli.app import app

TASK_FILE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task


class Mine(Task):
    name, kind, dataset, model = "mine", "regression", "made", "linear"
    metric, margin, higher_is_better = "squared error", 0.01, False
    recipe = Recipe(epochs=6, batch_size=8, learning_rate=0.05)

    def load(self, root):
        inputs = torch.linspace(-1, 1, 64)[:, None]
        self.train = TensorDataset(inputs, inputs / 2)

    def make_model(self):
        return nn.Linear(1, 1)

    def loss(self, outputs, batch):
        return nn.functional.mse_loss(outputs, batch[1])

    def evaluate(self, model):
        inputs, targets = self.train.tensors
        return float(self.loss(model(inputs), (inputs, targets)))
"""


def run_command(command: str, *paths: Path) -> Result:
    """Run a command of `dynaprune` with paths, which may hold blanks, in place of its braces."""
    places = map(str, paths)
    words = [next(places) if word == "{}" else word for word in command.split()]
    return CliRunner().invoke(app, words)
