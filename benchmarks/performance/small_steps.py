"""What `train.batches` costs where steps are small: a fit of points that lie in memory.

    python benchmarks/performance/small_steps.py

A coordinate network of 64 units a layer is trained by Adam on batches of 4,096 points, on one
thread. Compared are whole epochs, with everything that belongs to them: the plan, the batches, the
updates and the fold. The bare loop draws its batches by `torch.randperm` and has no line of
dynaprune; both make the same number of steps. Blocks of epochs take turns, because the machine's
speed drifts, and the fastest of each counts. Times are processor time, which is that of the loop
alone where other processes run beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from dynaprune import BLS, NoPrune, PrunedDataset, RandomPrune
from dynaprune.methods import LossProportional

WIDTH = 64


class Fit:
    """A network and points to fit, with a training step.

    Arguments:
        num_points: N.
    """

    def __init__(self, num_points: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.points = torch.rand(num_points, 2, generator=generator)
        self.targets = torch.rand(num_points, 3, generator=generator)
        self.model = nn.Sequential(
            nn.Linear(2, WIDTH),
            nn.Tanh(),
            nn.Linear(WIDTH, WIDTH),
            nn.Tanh(),
            nn.Linear(WIDTH, WIDTH),
            nn.Tanh(),
            nn.Linear(WIDTH, 3),
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def losses_of(self, indices: Tensor) -> Tensor:
        """Return the squared errors of points, shape (B,)."""
        return (self.model(self.points[indices]) - self.targets[indices]).square().mean(1)

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@dataclass(frozen=True)
class Case:
    """A way to train, and the share of the points that its epochs visit.

    Attributes:
        about: for the table.
        make: takes a data set and the number of epochs.
        visited: the share.
        is_vector: whether `update` gets the losses of single points.
    """

    about: str
    make: Callable[[range, int], PrunedDataset]
    visited: float
    is_vector: bool


CASES = (
    Case(
        "NoPrune, one loss a batch",
        lambda data, epochs: BLS(NoPrune(data, epochs)).proxy(),
        1,
        False,
    ),
    Case(
        "RandomPrune, one loss a batch", lambda data, epochs: RandomPrune(data, epochs), 0.5, False
    ),
    Case(
        "LossProportional, losses of points",
        lambda data, epochs: LossProportional(data, epochs),
        0.5,
        True,
    ),
)


def measure(
    case: Case, num_points: int, batch: int, steps: int, repeats: int
) -> tuple[float, float]:
    """Return the seconds of a step in our loop and in the bare one: the fastest blocks of each."""
    per_epoch = -(-round(num_points * case.visited) // batch)
    epochs = max(1, steps // per_epoch)
    ours, bare = Fit(num_points), Fit(num_points)
    train = case.make(range(num_points), 1_000_000)

    def our_epochs() -> None:
        for _ in range(epochs):
            for indices in train.batches(batch):
                losses = ours.losses_of(indices)
                ours.step(train.update(losses if case.is_vector else losses.mean()))

    def bare_epochs() -> None:
        for _ in range(epochs):
            order = torch.randperm(num_points)[: round(num_points * case.visited)]
            for indices in order.split(batch):
                bare.step(bare.losses_of(indices).mean())

    our_epochs(), bare_epochs()
    times = [(_seconds_of(our_epochs), _seconds_of(bare_epochs)) for _ in range(repeats)]
    count = epochs * per_epoch
    return min(first for first, _ in times) / count, min(second for _, second in times) / count


def _seconds_of(call: Callable[[], None]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=16, help="of a block that is timed")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title=f"networks of width {WIDTH}, one thread, torch {torch.__version__}")
    for name in ("method", "points", "batch", "a step, dynaprune", "bare", "ratio"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for num_points, batch in ((1 << 14, 1024), (1 << 16, 4096), (1 << 20, 4096)):
        for case in CASES:
            ours, bare = measure(case, num_points, batch, options.steps, options.repeats)
            numbers = f"{ours * 1e3:.3f} ms", f"{bare * 1e3:.3f} ms", f"{ours / bare:.3f}"
            table.add_row(case.about, f"{num_points:,}", f"{batch:,}", *numbers)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
