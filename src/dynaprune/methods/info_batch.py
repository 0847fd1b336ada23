"""InfoBatch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..drawing import drawn, everything, taken, where
from ..plan import Selection
from ..pruned import PrunedDataset
from ..validation import check_share, count_share
from .annealing import first_annealed_epoch

MAX_WEIGHT = 10
"""With `saving`, at least one in this many candidates is kept, so that no weight exceeds it. The
published code bounds its weights in the same way."""


class InfoBatch(PrunedDataset):
    """Skips a random share of the samples below the mean score and gives the rest more weight.

    Of the samples with a score below the mean of all scores, a uniform (1 − r) share is kept, each
    with weight |below| / kept; all others are kept with weight 1. So the weights sum to N, and
    with per-sample losses the expected gradient is that of full training. The last epochs, from
    ⌊δ·E⌋ on, train on everything, which removes what bias remains.

    Source: InfoBatch, arXiv:2303.04947, equations 2 to 6.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples below the mean that an epoch skips, in [0, 1);
            0.5 if neither it nor `saving` is given. At least one sample of them is kept.
        delta: δ, the share of the run after which nothing is skipped any more, in [0, 1].
        saving: in place of `prune_ratio`, the share of all sample visits of the run that is to be
            avoided, full epochs counted. It is met exactly, to the sample, by a run of E whole
            epochs: every selecting epoch skips the same number of samples. Where there are too
            few samples below the mean for that, the threshold is raised until at most nine in
            ten of those below it are skipped.
        seed: fixes the samples of each epoch and their order.

    Raises:
        ValueError: an argument lies outside its range, both `prune_ratio` and `saving` are given,
            or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import BLS, InfoBatch
        >>> train = BLS(InfoBatch(range(1000), num_epochs=100, saving=0.3)).proxy()
        >>> len(train.sampler)  # scores are equal in the first epoch: nothing is skipped
        1000
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        prune_ratio: float | None = None,
        delta: float = 0.875,
        *,
        saving: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        if prune_ratio is not None and saving is not None:
            raise ValueError(
                f"give prune_ratio or saving, not both: prune_ratio={prune_ratio!r} and "
                f"saving={saving!r} were given"
            )
        self.prune_ratio = check_share("prune_ratio", 0.5 if prune_ratio is None else prune_ratio)
        self.delta = check_share("delta", delta, "[0, 1]")
        self.saving = None if saving is None else self._check_saving(saving)

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep all samples at or above the mean, and a uniform share of those below it."""
        total = scores.numel()
        if epoch >= self._last_selecting_epoch + 1:
            return Selection(everything(total))
        below = below_mean(scores)
        if self.saving is None:
            kept = max(1, count_share(1 - self.prune_ratio, int(np.count_nonzero(below))))
        else:
            done = self._skipped_before(epoch, total)
            skipped = self._skipped_before(epoch + 1, total) - done
            # of a stream that has another length than was said, not all can be skipped
            skipped = min(skipped, total * (MAX_WEIGHT - 1) // MAX_WEIGHT)
            if int(np.count_nonzero(below)) < _candidates_for(skipped):
                below = lowest(scores, _candidates_for(skipped), generator)
            kept = int(np.count_nonzero(below)) - skipped
        candidates = int(np.count_nonzero(below))
        if kept >= candidates:
            return Selection(everything(total))
        is_kept = ~below
        # by number: a mask without a pattern is slow to write through
        is_kept[where(below).numpy()] = drawn(kept, candidates, generator)
        indices = where(is_kept)
        levels = np.float32(candidates / kept), np.float32(1)
        weights = np.where(taken(below, indices), *levels)
        return Selection(indices, torch.from_numpy(weights))

    @property
    def _last_selecting_epoch(self) -> int:
        return first_annealed_epoch(self.delta, self.num_epochs) - 1

    def _skipped_before(self, epoch: int, total: int) -> int:
        """Return how many samples epochs 1 to `epoch` − 1 skip, of `total` each, for `saving`."""
        if self.saving is None or self._last_selecting_epoch < 1:
            return 0
        visits = count_share(self.saving, total * self.num_epochs)
        done = min(max(epoch - 1, 0), self._last_selecting_epoch)
        return visits * done // self._last_selecting_epoch

    def _check_saving(self, saving: float) -> float:
        share = check_share("saving", saving)
        selecting = max(self._last_selecting_epoch, 0)
        total = self._length_as_said()
        most = total * (MAX_WEIGHT - 1) // MAX_WEIGHT
        reachable = selecting * most / (total * self.num_epochs)
        if count_share(share, total * self.num_epochs) > selecting * most:
            raise ValueError(
                f"saving={saving!r} cannot be reached: {self.num_epochs - selecting} of "
                f"{self.num_epochs} epochs train on everything (the first, and the last ones by "
                f"delta={self.delta}), and the others can skip at most {most:,} of {total:,} "
                f"samples. At most {reachable:.3f} can be saved; more with more epochs or a "
                "larger delta"
            )
        return share


def below_mean(scores: Tensor) -> NDArray[np.bool_]:
    """Return which scores are below their mean: shape (N,).

    The mean is taken in float64 and can still round above the highest of many equal scores, which
    would put all of them below it; so it is kept within the scores' range.
    """
    values: NDArray[np.float32] = scores.numpy()
    mean = np.mean(values, dtype=np.float64)
    return np.less(values, min(mean, np.float64(values.max())))


def lowest(scores: Tensor, count: int, generator: torch.Generator) -> NDArray[np.bool_]:
    """Return which scores are the `count` lowest, ties drawn at random: shape (N,)."""
    values: NDArray[np.float32] = scores.numpy()
    highest = np.partition(values, count - 1)[count - 1]
    chosen: NDArray[np.bool_] = np.less(values, highest)
    ties = np.flatnonzero(values == highest)
    drawn = torch.randperm(ties.size, generator=generator, device="cpu")[
        : count - np.count_nonzero(chosen)
    ]
    chosen[ties[drawn.numpy()]] = True
    return chosen


def _candidates_for(skipped: int) -> int:
    """Return how many candidates there must be for `skipped` of them to be skipped."""
    return -(-skipped * MAX_WEIGHT // (MAX_WEIGHT - 1))
