"""OrderDP."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.sampling import nonzero, random_mask, take
from ..utils.validation import check_share
from ._budget import Saving, count_share
from ._exact_share import ExactShare
from ._ranking import highest


class OrderDP(ExactShare):
    """Draws a random pool of samples and keeps those with the highest scores in it.

    The pool is a uniform share of all samples. If an epoch skips the share r of all samples, the
    (1 − r)·N highest scores in the pool are kept, with weight 1. So the probability of a sample
    depends only on its rank, and the expected gradient is that of a loss in which samples weigh
    more the higher they rank. The smaller the pool, the closer it is to `RandomPrune`; with
    pool = 1 − r they are the same.

    Source: Jin et al., "OrderDP: A Theoretically Guaranteed Lossless Dynamic Data Pruning
    Framework", ICLR 2026, arXiv:2606.08574.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        saving: the share of all sample visits of the run to skip, in [0, 1); a run of E complete
            epochs meets it exactly, if at least one sample is kept in each epoch. The first epoch
            of a stream skips nothing, because its samples are not known yet; the others skip more
            to make up for it.
            "auto" skips as much as the losses of batches allow (see `RandomPrune`).
        pool: the share of all samples that is drawn first, in (1 − r, 1]; by default halfway
            between these two. r is `saving`, or more for a stream, whose first epoch skips nothing,
            or what an epoch skips by "auto", at most a half.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, or `saving` cannot be reached in this number
            of epochs.

    Example:
        >>> from dynaprune import BLS
        >>> from dynaprune.methods import OrderDP
        >>> train = BLS(OrderDP(range(1000), num_epochs=10, saving=0.4, pool=0.8)).proxy()
        >>> len(train.sampler)
        600
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        saving: Saving = 0.5,
        pool: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, saving=saving, seed=seed)
        skipped = self._skipped_share
        self.pool: float | None = None  # halfway, in each epoch anew
        if pool is None and saving == "auto":
            return
        self.pool = check_share("pool", 1 - skipped / 2 if pool is None else pool, "(0, 1]")
        if self.pool < 1 and self.pool <= 1 - skipped:
            raise ValueError(
                f"pool must be in (1 - r, 1], where r = {skipped:.4g} is the share of the samples "
                f"that an epoch skips by saving={saving!r}, but pool={pool!r} was given: kept "
                "samples are chosen from the pool"
            )

    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        total = scores.size
        drawn = (total + kept) // 2 if self.pool is None else count_share(self.pool, total)
        chosen = random_mask(max(kept, drawn), total, generator)
        pool = nonzero(chosen)
        chosen[pool.numpy()] = highest(take(scores, pool), kept, generator)
        return chosen
