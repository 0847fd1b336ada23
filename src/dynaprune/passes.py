"""Which batch is at hand, while loaders run over an epoch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .plan import Indices, Plan


class Pass:
    """One run of a loader over an epoch, from its first batch to its end or a `break`.

    Arguments:
        plan: what the run serves.
        num_samples: how many of the plan's samples it serves: all, or all but a tail that the
            loader drops.

    Attributes:
        batch: the samples of its batch at hand, until `update` has taken it; of a stream, the
            fingerprints of their keys.
        weights: of a stream, float32, shape (B,): their weights; else the plan knows them.
        mean_weight: their mean weight.
        num_handed_over: how many batches it has yielded.
        is_open: whether more batches may come.
        is_trained: whether `update` has taken one of its batches.
    """

    __slots__ = (
        "batch",
        "is_open",
        "is_trained",
        "mean_weight",
        "num_handed_over",
        "num_samples",
        "plan",
        "weights",
    )

    def __init__(self, plan: Plan, num_samples: int) -> None:
        self.plan = plan
        self.num_samples = num_samples
        self.batch: Indices | None = None
        self.num_handed_over = 0
        self.weights: NDArray[np.float32] | None = None
        self.mean_weight: float | Tensor = 1.0
        self.is_open = True
        self.is_trained = False

    def sample_weights(self, batch: Indices) -> float | Tensor:
        """Return the weights of the samples at hand: float32, shape (B,), or 1.0 if all are 1."""
        if self.weights is None:
            return self.plan.sample_weights(batch)
        return torch.from_numpy(self.weights)


class Passes:
    """The passes that are under way, and the one whose batch is at hand.

    A loop may look at batches of its own loader in the middle of an epoch, as `next(iter(loader))`
    does, or evaluate on it. Each such run is a pass of its own; when it has ended, the batch at
    hand is again the one of the pass around it.

    Attributes:
        trained: the pass that the last update came from; `None` if it came from another
            library's loader.
    """

    def __init__(self) -> None:
        self._passes: list[Pass] = []  # those under way, the last one to hand over a batch last
        self.trained: Pass | None = None

    def hand_over(
        self,
        current: Pass,
        batch: Indices,
        mean_weight: float | Tensor,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Let `batch` be at hand: the next one that `current` yields.

        Arguments:
            current: the pass.
            batch: its samples; of a stream, the fingerprints of their keys.
            mean_weight: their mean weight.
            weights: of a stream, their weights.
        """
        current.batch, current.mean_weight, current.weights = batch, mean_weight, weights
        current.num_handed_over += 1
        if self._latest is not current:
            others = [each for each in self._passes if each.is_open and each is not current]
            self._passes = [*others, current]

    def close(self, current: Pass) -> None:
        """End a pass. If it is the only one, its last batch stays at hand."""
        current.is_open = False
        others = [each for each in self._passes if each is not current]
        self._passes = others or self._passes

    def at_hand(self, done: str = "update() was called") -> tuple[Pass, Indices]:
        """Return the pass whose batch an update is about, and the samples of that batch.

        Arguments:
            done: what the user did, for messages.

        Raises:
            RuntimeError: there is none; the message says why, and how to mend that.
        """
        latest, trained = self._latest, self.trained
        if latest is not None and not latest.is_trained and _is_in_a_step(trained):
            latest = trained  # what came later was a look, with an iterator that was kept
        if latest is None:
            raise RuntimeError(
                f"{done} before a batch was served by dynaprune.DataLoader. Iterate "
                "over DataLoader(train, sampler=train.sampler, ...) of dynaprune: the DataLoader "
                "of torch does not tell which samples are in a batch. With another loader, give "
                "it train.with_indices() and call update(loss, indices=indices). Under Accelerate, "
                "use prepare of dynaprune.integrations.accelerate"
            )
        if latest.batch is not None:
            return latest, latest.batch
        if latest.is_open:
            raise RuntimeError(
                "update() was called twice for one batch. Add up the losses of a batch first and "
                "call it once with their sum"
            )
        raise RuntimeError(
            "update() was called after the last batch, or twice for it. Call it once for each "
            "batch, before the next one is fetched. If the loop fetches batches ahead, give the "
            "loader train.with_indices() and call update(loss, indices=indices)"
        )

    def take(self, current: Pass) -> None:
        """Let the batch of `current` be updated: it is at hand no more."""
        current.batch = None
        current.is_trained = True
        self.trained = current

    def forget_batch(self) -> None:
        """Let the batch at hand be updated by way of its indices."""
        if self._latest is not None:
            self._latest.batch = None
        self.trained = None

    def retire(self, over: Plan) -> None:
        """Let passes over a plan whose epoch is over hold no more of it than messages need."""
        for each in [*self._passes, *([] if self.trained is None else [self.trained])]:
            if each.plan is over:
                each.plan = over.retired()

    @property
    def _latest(self) -> Pass | None:
        return self._passes[-1] if self._passes else None


def _is_in_a_step(current: Pass | None) -> bool:
    return current is not None and current.is_open and current.batch is not None
