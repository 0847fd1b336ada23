"""Which batch is at hand, while loaders run over an epoch."""

from __future__ import annotations

from torch import Tensor

from .plan import Indices, Plan


class Pass:
    """One run of a loader over an epoch, from its first batch to its end or a `break`.

    Arguments:
        plan: what the run serves.
        num_samples: how many of the plan's samples it serves: all, or all but a tail that the
            loader drops.

    Attributes:
        batch: the samples of its batch at hand, until `update` has taken it.
        mean_weight: their mean weight.
        is_open: whether more batches may come.
        is_trained: whether `update` has taken one of its batches.
    """

    __slots__ = ("batch", "is_open", "is_trained", "mean_weight", "num_samples", "plan")

    def __init__(self, plan: Plan, num_samples: int) -> None:
        self.plan = plan
        self.num_samples = num_samples
        self.batch: Indices | None = None
        self.mean_weight: float | Tensor = 1.0
        self.is_open = True
        self.is_trained = False


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

    def hand_over(self, current: Pass, batch: Indices) -> None:
        """Let `batch` be at hand: the next one that `current` yields."""
        current.batch, current.mean_weight = batch, current.plan.mean_weight(batch)
        if not self._passes or self._passes[-1] is not current:
            others = [each for each in self._passes if each.is_open and each is not current]
            self._passes = [*others, current]

    def close(self, current: Pass) -> None:
        """End a pass. If it is the only one, its last batch stays at hand."""
        current.is_open = False
        others = [each for each in self._passes if each is not current]
        self._passes = others or self._passes

    def at_hand(self) -> Pass | None:
        """Return the pass whose batch an update is about, if any has handed one over."""
        if not self._passes:
            return None
        latest, trained = self._passes[-1], self.trained
        in_a_step = trained is not None and trained.is_open and trained.batch is not None
        if in_a_step and not latest.is_trained:
            return trained  # what came later was a look, with an iterator that was kept
        return latest

    def take(self, current: Pass) -> None:
        """Let the batch of `current` be updated: it is at hand no more."""
        current.batch = None
        current.is_trained = True
        self.trained = current

    def forget_batch(self) -> None:
        """Let the batch at hand be updated by way of its indices."""
        current = self.at_hand()
        if current is not None:
            current.batch = None
        self.trained = None
