"""What several tests use."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dynaprune import BLS, DataLoader, PrunedDataset, SampleLoss
from dynaprune.scores.loss_progress import LossProgress
from dynaprune.scores.loss_trends import Unlearned


class Numbers(Dataset[Tensor]):
    """Sample i is the number i, so a batch tells by itself which samples it holds."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(index)


def set_current(train: PrunedDataset, indices: Iterable[int], loss: Any) -> Tensor:
    """Update with a batch of our own choosing, as the loop of another library would."""
    return train.update(loss, indices=torch.tensor(list(indices)))


def train_epoch(
    loader: DataLoader, loss_of: Callable[[Tensor], Tensor], *, stop_after: int | None = None
) -> list[list[int]]:
    """Train an epoch over `Numbers` and return the samples of each batch."""
    served = []
    for batch in loader:
        loader.dataset.update(loss_of(batch))
        served.append(batch.tolist())
        if len(served) == stop_after:
            break
    return served


def with_scores(train: PrunedDataset, scores: Tensor) -> PrunedDataset:
    """Train one epoch that leaves every sample with the given score."""
    SampleLoss(train).proxy()
    train.begin_epoch()
    train.update(scores, indices=torch.arange(len(train)))
    train.end_epoch()
    return train


def beside(
    names: Iterable[str], scores: Tensor, epoch: int, knows_errors: bool = False
) -> dict[str, Any]:
    """Return what a method may read beside the scores, as it is after some epochs of a run."""
    random = np.random.default_rng(epoch)
    visits = random.integers(0, epoch + 1, size=scores.numel()).astype(np.int32)
    steps = random.integers(0, 10 * epoch + 1, size=scores.numel()).astype(np.int32)
    errors = torch.from_numpy(random.exponential(size=scores.numel()).astype(np.float32))
    every = {
        "errors": errors if knows_errors else None,
        "visits": torch.from_numpy(visits),
        "last_steps": torch.from_numpy(np.where(visits > 0, steps, np.int32(-1))),
        "mean_excess": scores - scores.mean(),
        "trends": Unlearned(share=0.3, error=0.02) if epoch > 2 else None,
        "progress": LossProgress(variation=1.0, fall=0.05) if epoch > 0 else None,
    }
    return {name: every[name] for name in names}


def mean_loss(batch: Tensor) -> Tensor:
    """A mean loss that differs from sample to sample, and is a function of them only."""
    return (batch.double() * 0.37).sin().add(1.5).mean().float()


def sample_losses(batch: Tensor) -> Tensor:
    return (batch.double() * 0.37).sin().add(1.5).float()


def bls(method: type[PrunedDataset], length: int = 100, **arguments: Any) -> PrunedDataset:
    """Return a method on `Numbers`, scored by BLS."""
    arguments.setdefault("num_epochs", 10)
    train: PrunedDataset = BLS(method(Numbers(length), **arguments)).proxy()
    return train


def train_in_pieces(
    make: Callable[[], PrunedDataset],
    train_on: Callable[..., tuple[list[Any], dict[str, Any]]],
    folder: Path,
    *,
    epochs: int = 5,
    **arguments: Any,
) -> tuple[list[Any], PrunedDataset, dict[str, Any]]:
    """Train a run that is stopped every few batches, and goes on with what a file has kept of it.

    Arguments:
        make: makes the pruned dataset.
        train_on: trains it from where it is, for `stop_after` batches, and returns what it has
            served, and the state.
        folder: for the file.
        epochs: of the run.
        arguments: of the loader.
    """
    served: list[Any] = []
    state, draw = None, random.Random(0)
    while True:
        train = make()
        if state is not None:
            torch.save(state, folder / "state.pt")
            train.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
        steps = draw.randint(1, 9) * (5 if arguments.get("batch_size", 1) is None else 1)
        more, state = train_on(train, stop_after=steps, **arguments)
        served += more
        if state["epoch"] == epochs:
            return served, train, state


def check_same_counts(one: PrunedDataset, other: PrunedDataset) -> None:
    """Check that two runs have made and avoided equally many visits."""
    names = ("epochs", "visits_made", "visits_avoided")
    first, second = one.summary(), other.summary()
    assert [getattr(first, name) for name in names] == [getattr(second, name) for name in names]
    assert first.seconds > 0
