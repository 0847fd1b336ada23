"""How many samples each rank serves where ranks have datasets of their own: all equally many."""

from __future__ import annotations

from ..planning.plan import Plan
from .distributed import Ranks


class ShareLengths:
    """The fewest and the most samples that are due on a rank, as ranks have exchanged them.

    They exchange them at a point that every rank reaches. An epoch that begins without that, after
    one that was left early, is as long as the last one whose lengths were exchanged, or as the
    first epoch. The same holds for a look at a batch.

    Arguments:
        ranks: the processes that train together.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._agreed: dict[int, tuple[Plan, int, int]] = {}  # by epoch
        self._last: tuple[int, int] | None = None

    def agree(self, plan: Plan) -> tuple[int, int]:
        """Return the fewest and the most samples of a plan on a rank: once a plan, a collective.

        In the first epoch all ranks have equally many.
        """
        known = self._agreed.get(plan.epoch)
        if known is not None and known[0] is plan:
            return known[1:]
        due = plan.due.numel()
        is_first = plan.epoch == 0 or self._ranks.world_size == 1
        least, most = (due, due) if is_first else self._ranks.range_of(due)
        self._agreed[plan.epoch] = plan, least, most
        self._last = (least, most) if self._ranks.world_size > 1 else None
        return least, most

    def of(self, plan: Plan) -> tuple[int, int]:
        """Return the fewest and the most samples of a plan, as far as known: no collective."""
        known = self._agreed.get(plan.epoch)
        if plan.epoch == 0 or (known is not None and known[0] is plan):
            return self.agree(plan)
        due = plan.due.numel()
        return self._last or (due, due)

    def forget(self, number: int) -> None:
        """Forget the lengths of epochs before `number`."""
        self._agreed = {epoch: each for epoch, each in self._agreed.items() if epoch >= number}
