"""InfoBatch."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..scores.loss_progress import LossProgress
from ..utils.sampling import all_indices, nonzero, random_mask, take
from ..utils.validation import check_either, check_integer, check_share
from ._budget import Budget, Saving, budget_of, count_share, first_annealed_epoch, inputs_with
from ._ranking import lowest, some_of

DELTA = 0.875
"""The share of a run after which nothing is skipped any more, as in the paper."""

MAX_WEIGHT = 10
"""With `saving`, at least one in this many candidates is kept, so that no weight exceeds it. The
published code bounds its weights in the same way."""

WANTED_WEIGHT = 2
"""With `saving`, weights stay at or below this as long as there are enough candidates. In runs of
12 epochs on CIFAR-10 with 40% saved, weights of up to 10 cost 4 points of accuracy against this."""

HARDEST = 0.2
"""With `saving` and equal weights, this share of the samples is not among the candidates as long as
nine in ten of the others suffice. From half of the visits on, `WANTED_WEIGHT` would make candidates
of all samples, and the choice random. With neither rule, the choice was so strict at 40% saved that
a vision transformer lost 7 ± 4 margins."""

Weighting = Literal["unbiased", "equal"]


class InfoBatch(PrunedDataset):
    """Skips a random share of the samples below the mean score and upweights the rest of these.

    Of the samples with a score below the mean of all scores, a uniform (1 − r) share is kept, each
    with weight |below| / kept; all others are kept with weight 1. So the weights sum to N, and
    with per-sample losses the expected gradient is that of full training. The last epochs, from
    ⌊δ·E⌋ on, train on everything, which removes the remaining bias.

    Source: InfoBatch, arXiv:2303.04947, equations 2 to 6.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples below the mean that an epoch skips, in [0, 1);
            0.5 if neither it nor `saving` is given. At least one sample of them is kept.
        delta: δ, the share of the run after which nothing is skipped any more, in [0, 1]; by
            default 0.875, and 1 with `saving`.
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip,
            including full epochs. A run of E complete epochs meets it exactly: all epochs skip the
            same number of samples, including the first one, where the choice is random, and the
            last ones unless `delta` is given. (Full epochs at a low learning rate take visits from
            those at a high one: at 40% saved, this cost 2 points of accuracy on CIFAR-10,
            docs/quality.md.) The first epoch of a stream skips nothing, because its samples are not
            known yet; the others skip more to make up for it. If too few samples are below the
            mean, the threshold is raised until at most half of those below it are skipped, as with
            the default `prune_ratio`, because weights above 2 are harmful. So from half of the
            visits on, the skipped samples are drawn from all, whatever their scores: use equal
            weights there, with which it is not raised into the highest fifth. If there are still
            too few samples below it, up to nine in ten of them are skipped. "auto" skips as much as
            the losses of batches allow (see `RandomPrune`), chosen in the same way.
        weighting: "unbiased", as above, or "equal": all kept samples have the weight N / kept.
            "equal" gives steps of the same size, but each sample counts as often as it is served,
            so that an epoch trains more on the samples above the mean. It needs scores that
            distinguish single samples, from per-sample losses or slices.
        batch_size: to compose batches by weight, the batch size of the loader times the number of
            ranks. One loss per batch does not distinguish weighted samples from others, so it is
            multiplied by their mean weight, and the easy samples, which have the larger weights,
            get too little of the gradient. With `batch_size` the samples in each batch are sorted
            by weight, so that all slices of `chunked` but one have a single weight.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range; both `prune_ratio` and `saving` are given;
            `saving` cannot be reached in this number of epochs; `weighting` is another word, or
            "equal" together with `batch_size`.

    Example:
        >>> from dynaprune import BLS, InfoBatch
        >>> train = BLS(InfoBatch(range(1000), num_epochs=100, saving=0.3)).proxy()
        >>> len(train.sampler)
        700
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        delta: float | None = None,
        saving: Saving | None = None,
        weighting: Weighting = "unbiased",
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        check_either("prune_ratio", prune_ratio, "saving", saving)
        self.prune_ratio = check_share("prune_ratio", 0.5 if prune_ratio is None else prune_ratio)
        if delta is None:
            delta = DELTA if saving is None else 1.0
        self.delta = check_share("delta", delta, "[0, 1]")
        if weighting not in ("unbiased", "equal"):
            raise ValueError(
                f'weighting must be "unbiased" or "equal", but {weighting!r} was given'
            )
        self.weighting = weighting
        if batch_size is not None:
            if weighting == "equal":
                raise ValueError(
                    f"batch_size={batch_size} composes batches by weight, but with "
                    'weighting="equal" all samples have the same weight: leave one of the two out'
                )
            batch_size = check_integer("batch_size", batch_size, minimum=1)
            if self.is_stream:
                raise ValueError(
                    f"batch_size={batch_size} was given, but a stream serves its samples in its "
                    "own order, so batches cannot be composed: leave batch_size out"
                )
        self.batch_size = batch_size
        self.saving: Saving | None = None
        if saving is not None:
            total = self.epochs.source.announced_samples
            self.saving = self._spread(saving).check(
                total,
                most=total * (MAX_WEIGHT - 1) // MAX_WEIGHT,
                full=" and ".join(
                    ["the first of a stream"] * self.epochs.source.first_selecting_epoch
                    + [f"the last ones by delta={self.delta}"] * (self.delta < 1)
                ),
                more="more epochs or a larger delta",
            )
            self.extra_inputs = inputs_with(self.extra_inputs, self.saving)

    def select(
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        progress: LossProgress | None = None,
    ) -> Selection:
        """Keep all samples at or above the mean, and a uniform share of those below it."""
        total = scores.numel()
        values: NDArray[np.float32] = scores.numpy()
        if epoch >= first_annealed_epoch(self.delta, self.num_epochs):
            return Selection(all_indices(total))
        below: NDArray[np.bool_] = np.less(values, np.float64(_mean_of(values)))
        if self.saving is None:
            kept = max(1, count_share(1 - self.prune_ratio, int(np.count_nonzero(below))))
        else:
            skipped = self._spread(self.saving).skipped(epoch, total, progress)
            if skipped > 0 and scores.min() == scores.max():
                return Selection(nonzero(random_mask(max(1, total - skipped), total, generator)))
            # if a stream is not as long as announced, not all of these can be skipped
            skipped = min(skipped, total * (MAX_WEIGHT - 1) // MAX_WEIGHT)
            wanted = self._num_wanted(skipped, total)
            if int(np.count_nonzero(below)) < wanted:
                below = lowest(values, wanted, generator)
            kept = int(np.count_nonzero(below)) - skipped
        candidates = int(np.count_nonzero(below))
        if kept >= candidates:
            return Selection(all_indices(total))
        indices = nonzero(~below | some_of(below, kept, generator))
        if self.weighting == "equal":
            weights = np.full(indices.shape, total / indices.numel(), dtype=np.float32)
        else:
            levels = np.float32(candidates / kept), np.float32(1)
            weights = np.where(take(below, indices), *levels)
        return Selection(indices, torch.from_numpy(weights), self.batch_size)

    def check_batch_size(self, batch_size: int | None, world_size: int | None = None) -> None:
        """Check that a loader's batches are the ones that are composed by weight.

        Arguments:
            batch_size: samples per batch, on one rank; `None` if unknown.
            world_size: the number of shares; by default that of `torch.distributed`.

        Raises:
            RuntimeError: they are of another size.
        """
        if self.batch_size is None:
            return
        ranks = self.epochs.ranks.size if world_size is None else world_size
        if batch_size is None or batch_size * ranks != self.batch_size:
            served = "batches of unknown size" if batch_size is None else f"batches of {batch_size}"
            raise RuntimeError(
                f"{type(self).__name__}(..., batch_size={self.batch_size}) composes batches of "
                f"{self.batch_size} samples by weight, over all ranks, but the loader serves "
                f"{served} on each of {ranks}: batch_size of the method must be that of the loader "
                "times the number of ranks"
            )

    def _num_wanted(self, skipped: int, total: int) -> int:
        """Return how many candidates there should be at least if `skipped` of them are skipped."""
        wanted = _candidates_for(skipped, total, WANTED_WEIGHT)
        if self.weighting == "equal":
            others = total - count_share(HARDEST, total)
            wanted = max(min(wanted, others), _candidates_for(skipped, total, MAX_WEIGHT))
        return wanted

    def _spread(self, saving: Saving) -> Budget:
        end = first_annealed_epoch(self.delta, self.num_epochs)
        return budget_of(self, saving, end)


def _candidates_for(skipped: int, total: int, weight: int) -> int:
    """Return how many candidates there have to be so that at least one in `weight` is kept."""
    return min(total, -(-skipped * weight // (weight - 1)))


def _mean_of(values: NDArray[np.float32]) -> float:
    """Return the mean of values, shape (N,), safe to compare them with.

    A float64 mean can still round above the highest of many equal values, which would put all of
    them below it; so it is clipped to the range of the values.
    """
    return min(float(values.mean(dtype=np.float64)), float(values.max()))
