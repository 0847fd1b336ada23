"""Learning-rate schedules that follow pruned epochs."""

from __future__ import annotations

from typing import Any

from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ..pruned_dataset import PrunedDataset
from ..utils.validation import check_integer, check_keys


class PrunedScheduler:
    """Makes a schedule that was built for full epochs reach its end when the run does.

    A pruned epoch has fewer steps than a full one, so a scheduler that counts steps falls behind.
    `step()` of this object steps the scheduler as often as needed to catch up with the run: after a
    share p of an epoch, p · `steps_per_full_epoch` steps of that epoch are made, rounded down.
    Each call makes at least one step, and no epoch makes more than `steps_per_full_epoch`. So if
    nothing is pruned, it equals the scheduler itself, and a schedule never runs past its end.

    Build the scheduler as for full training, and call `step()` of this object instead: after the
    optimizer's step, once per step or once per epoch, as for the scheduler itself. All other
    attributes of the scheduler (`get_last_lr()`, …) are available here, too.

    Arguments:
        scheduler: any scheduler of torch, built for `num_epochs · steps_per_full_epoch` steps; if
            Accelerate has prepared it, the scheduler before that.
        loader: the training loader, or the pruned dataset itself.
        steps_per_full_epoch: the number of scheduler steps in an epoch of full training: the
            number of optimizer steps, or 1 for a schedule that counts epochs.

    Raises:
        TypeError: `scheduler` has no `step`, or follows a metric instead of a schedule; no pruned
            dataset is in `loader`; `steps_per_full_epoch` is no integer.
        ValueError: `steps_per_full_epoch` is below 1.

    Example:
        >>> import torch
        >>> from dynaprune import BLS, DataLoader, PrunedScheduler, RandomPrune
        >>> train = RandomPrune(torch.randn(80, 3), num_epochs=5, saving=0.5)
        >>> loader = DataLoader(train, batch_size=8)
        >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=0.1)
        >>> cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5 * 10)
        >>> scheduler = PrunedScheduler(cosine, loader, steps_per_full_epoch=10)
        >>> for epoch in range(5):
        ...     for batch in loader:
        ...         loss = train.update(batch.square().mean())
        ...         optimizer.step()
        ...         scheduler.step()
        >>> train.summary().visits_made // 8, cosine.last_epoch, cosine.get_last_lr()
        (25, 50, [0.0])
    """

    def __init__(self, scheduler: Any, loader: Any, steps_per_full_epoch: int) -> None:
        if not callable(getattr(scheduler, "step", None)):
            raise TypeError(
                "scheduler must be a learning-rate scheduler, with step(), but a "
                f"{type(scheduler).__name__} was given"
            )
        if isinstance(scheduler, ReduceLROnPlateau):
            raise TypeError(
                "ReduceLROnPlateau follows a metric and not a schedule: call its step(metric) "
                "yourself, without PrunedScheduler"
            )
        if type(scheduler).__name__ == "AcceleratedScheduler":  # steps once per process
            scheduler = scheduler.scheduler
        self.scheduler = scheduler
        self.steps_per_full_epoch = check_integer(
            "steps_per_full_epoch", steps_per_full_epoch, minimum=1
        )
        self.steps = 0
        self._train = find_pruned(loader)

    def step(self) -> None:
        """Step the scheduler until it has caught up with the run."""
        target = self.steps_after_next()
        while self.steps < target:
            self.scheduler.step()
            self.steps += 1

    def steps_after_next(self) -> int:
        """Return how many steps the schedule will have made after the next call of `step()`."""
        number, done, total = self._train.epochs.position.behind_and_total()
        full = self.steps_per_full_epoch
        reached = number * full + done * full // total
        return max(self.steps, reached, min(self.steps + 1, (number + 1) * full))

    def follows(self, train: PrunedDataset) -> bool:
        """Return whether the schedule follows the epochs of this pruned dataset."""
        return self._train is train

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state, its number of steps, and the steps per full epoch."""
        return {
            "scheduler": self.scheduler.state_dict(),
            "steps": self.steps,
            "steps_per_full_epoch": self.steps_per_full_epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        If a full epoch now has another number of steps, because the run continues with more ranks
        or another batch size, the schedule still ends with the run: a scheduler whose state holds
        the length of its schedule continues with the old number of steps per epoch; for a
        `LambdaLR`, whose function is not in its state, the position is converted to the new number.

        Arguments:
            state: what `state_dict` returned.

        Raises:
            RuntimeError: the state is incomplete.
        """
        check_keys(state, ("scheduler", "steps", "steps_per_full_epoch"), "the scheduler's state")
        steps, full = int(state["steps"]), int(state["steps_per_full_epoch"])
        self.scheduler.load_state_dict(state["scheduler"])
        if full == self.steps_per_full_epoch or not isinstance(self.scheduler, LambdaLR):
            self.steps, self.steps_per_full_epoch = steps, full
            return
        self.steps = steps * self.steps_per_full_epoch // full
        self.scheduler.last_epoch = self.steps - 1
        self.scheduler.step()

    def __getattr__(self, name: str) -> Any:
        if name == "scheduler":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.scheduler, name)


def find_pruned(loader: Any) -> PrunedDataset:
    """Return the pruned dataset that a loader serves, through any wrappers of loaders and samplers.

    Raises:
        TypeError: there is none.
    """
    unseen, seen = [loader], set()
    while unseen:
        part = unseen.pop()
        if isinstance(part, PrunedDataset):
            return part
        seen.add(id(part))
        inner = (
            getattr(part, name, None)
            for name in ("dataset", "sampler", "batch_sampler", "base_dataloader", "source")
        )
        unseen += [each for each in inner if each is not None and id(each) not in seen]
    raise TypeError(
        "loader must serve a pruned dataset: dynaprune.DataLoader(train, ...), any loader with "
        f"sampler=train.sampler, or train itself, but a {type(loader).__name__} was given"
    )
