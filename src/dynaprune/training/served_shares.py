"""The shares that samplers serve, and the plan that has served a batch of given samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..losses.measurements import Indices
from ..planning.plan import Plan
from ..planning.share import Share

T = TypeVar("T")


class ServedShares:
    """The shares that samplers serve: of the epoch in progress and of the next one.

    Loaders with persistent workers fetch the first batches of the next epoch while the loop trains
    the last ones of this epoch. So a batch does not always belong to the share that was begun last.
    """

    def __init__(self) -> None:
        self._shares: list[Share] = []  # the newest last
        self._num_begun = 0
        self._is_ours = False  # whether our loader has begun the last one

    @property
    def last(self) -> Share | None:
        """The share that a sampler has begun last, if any."""
        return self._shares[-1] if self._shares else None

    def add(self, share: Share, number: int) -> None:
        """Remember a share that a sampler begins to serve.

        Arguments:
            share: the share.
            number: the number of the epoch in progress.
        """
        live = [each for each in self._shares if _may_be_served(each, number)]
        self._shares, self._is_ours = [*live, share], False
        self._num_begun += 1

    def begun_during(self, call: Callable[[], T]) -> tuple[T, Share | None]:
        """Call a function of our loader; return its result and the share that it has begun, if any.

        Arguments:
            call: the function, which may ask a sampler for an epoch.
        """
        num_begun = self._num_begun
        result = call()
        if self._num_begun == num_begun:
            return result, None
        self._is_ours = True
        return result, self._shares[-1]

    def of(self, plan: Plan | None) -> Share | None:
        """Return the share of a plan that a sampler serves, if any."""
        return next((each for each in self._shares if each.plan is plan), None)

    def fully_drawn_plan(self) -> Plan | None:
        """Return the last plan if another library's loader has drawn all of its samples."""
        last = self.last
        is_drawn = last is not None and not self._is_ours and last.drawn.left() == 0
        return last.plan if is_drawn and last is not None else None

    def retire(self, number: int) -> None:
        """Free the shares of epochs before `number`, except for what messages need."""
        self._shares = [
            each.retired() if each.plan.epoch < number else each for each in self._shares[-2:]
        ]

    def plan_of(
        self, indices: Indices, plan: Plan | None, number: int, visits: Callable[[], int]
    ) -> Plan:
        """Return the plan by which another library's loader has served a batch.

        Arguments:
            indices: the batch's samples.
            plan: the plan of the epoch in progress.
            number: the number of that epoch.
            visits: returns how many of its samples were trained on.

        Raises:
            RuntimeError: no sampler was asked for an epoch, or two epochs have the batch's samples.
        """
        if not self._shares:
            raise RuntimeError(
                "update(loss, indices=...) was called, but no loader has asked train.sampler for "
                "an epoch, so nothing is pruned: give the loader sampler=train.sampler"
            )
        if len(self._shares) == 1:  # as in nearly every step
            return self._shares[0].plan
        live = [each for each in self._shares if _may_be_served(each, number)] or self._shares[-1:]
        shares = list({id(each.plan): each for each in live}.values())
        if len(shares) > 1 and shares[0].plan is plan and visits() >= len(shares[0]):
            shares = shares[1:]  # all of it was trained on
        if len(shares) == 1:
            return shares[0].plan
        wanted = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices)
        for share in shares:
            start = visits() if share.plan is plan else 0
            if np.array_equal(share.order[start : start + wanted.size].numpy(), wanted):
                return share.plan
        for fits in (_has_slice, _has_all):
            found = [share for share in shares if fits(share.order.numpy(), wanted)]
            if len(found) == 1:
                return found[0].plan
        raise RuntimeError(
            "update(loss, indices=...) was called while the loader fetches the next epoch already, "
            "and both have these samples, so it cannot be told which epoch they belong to. Call "
            "train.end_epoch() after an epoch that is left early, or use a batch sampler that "
            "keeps the order of train.sampler"
        )


def _may_be_served(share: Share, number: int) -> bool:
    """Whether a sampler may still serve batches of a share."""
    return share.plan.epoch >= number and not share.drawn.is_given_up()


def _has_slice(order: NDArray[np.integer[Any]], wanted: NDArray[np.int64]) -> bool:
    """Whether `order` contains `wanted` as a slice."""
    starts = np.flatnonzero(order == wanted[0])
    return any(np.array_equal(order[each : each + wanted.size], wanted) for each in starts)


def _has_all(order: NDArray[np.integer[Any]], wanted: NDArray[np.int64]) -> bool:
    return bool(np.isin(wanted, order).all())
