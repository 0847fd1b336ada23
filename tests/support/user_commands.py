"""A user's folder, and the commands of `dynaprune` that run in it."""

from __future__ import annotations

import re
from pathlib import Path

from packages import run_python

TRAINING = """
import torch
from torch.utils.data import TensorDataset

from dynaprune import BLS, DataLoader, InfoBatch, save_checkpoint

dataset = TensorDataset(torch.arange(60.0)[:, None] / 60, torch.arange(60) % 3)


def loss_fn(model, batch):
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])


def make():
    return BLS(InfoBatch(dataset, num_epochs=4, saving=0.3)).proxy(), torch.nn.Linear(1, 3), loss_fn


def make_dataset():
    return dataset


def trained():
    train, model, loss_fn = make()
    train.record("run", overwrite=True)
    for _ in range(3):
        for batch in DataLoader(train, batch_size=8):
            train.update(loss_fn(model, batch))
    return train, model


if __name__ == "__main__":
    train, model = trained()
    save_checkpoint("checkpoint.pt", train=train, model=model)
"""

COMMANDS = """
import shlex
import sys

from dynaprune.cli.main import main

for command in {commands!r}:
    sys.argv = ["dynaprune", *shlex.split(command)]
    try:
        main()
        code = None
    except SystemExit as ended:
        code = ended.code
    print("ended", command, "with", code, flush=True)
"""


def check(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_commands(python: Path, commands: list[str], cwd: Path) -> dict[str, str]:
    """Run commands, one after the other, and return what each has printed, and its exit code."""
    code = COMMANDS.format(commands=commands)
    done = run_python(python, "-c", f"import sys; sys.stderr = sys.stdout\n{code}", cwd=cwd)
    parts = re.split(r"ended (.*) with (.*)\n", check(done))
    return {
        command: f"{' '.join(printed.split())} {code}"
        for printed, command, code in zip(parts[::3], parts[1::3], parts[2::3], strict=False)
    }
