"""OrderDP."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..planning.selection import Selection
from ..utils.sampling import nonzero, random_mask, take
from ..utils.validation import check_share
from ._budget import count_share
from ._exact_share import ExactShare
from ._ranking import highest


class OrderDP(ExactShare):
    """Draws a random pool of samples and keeps those with the highest scores in it.

    The pool is a uniform share of all samples. Its q = (1 − r)·N highest scores are kept, with
    weight 1. So the probability of a sample depends only on its rank, and the expected gradient is
    that of a loss in which samples weigh more the higher they rank. The smaller the pool, the
    closer it is to `RandomPrune`; with pool = 1 − r they are the same.

    Over E epochs it serves (1 − r)·N·E samples, up to rounding by one, so a run saves the share r
    of its sample visits, if at least one sample is kept in each epoch.

    Source: Jin et al., "OrderDP: A Theoretically Guaranteed Lossless Dynamic Data Pruning
    Framework", ICLR 2026, arXiv:2606.08574.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of all samples that an epoch skips, in [0, 1); 0.5 if neither it
            nor `saving` is given. At least one sample is kept.
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip; a run
            of E complete epochs meets it exactly. The first epoch of a stream skips nothing,
            because its samples are not known yet; the others skip more to make up for it.
        pool: the share of all samples that is drawn first, in (1 − r, 1]; by default halfway
            between these two. With `saving`, r is the resulting share that an epoch skips.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, both `prune_ratio` and `saving` are given,
            or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import BLS, OrderDP
        >>> train = BLS(OrderDP(range(1000), num_epochs=10, prune_ratio=0.4, pool=0.8)).proxy()
        >>> len(train.sampler)
        600
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        pool: float | None = None,
        saving: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, prune_ratio, saving, seed)
        self.pool = check_share(
            "pool", 1 - self.prune_ratio / 2 if pool is None else pool, "(0, 1]"
        )
        if self.pool < 1 and self.pool <= 1 - self.prune_ratio:
            raise ValueError(
                f"pool must be in (1 - prune_ratio, 1], but pool={pool!r} and "
                f"prune_ratio={self.prune_ratio:.4g} were given: the samples that are kept are "
                "chosen from the pool"
            )

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep the highest scores of a uniform pool, with weight 1."""
        total = scores.numel()
        kept = self._num_kept(total, epoch)
        pool = nonzero(random_mask(max(kept, count_share(self.pool, total)), total, generator))
        chosen = highest(take(scores.numpy(), pool), kept, generator)
        return Selection(torch.from_numpy(take(pool.numpy(), nonzero(chosen))))
