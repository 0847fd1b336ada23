"""SeTa."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..scores.loss_progress import LossProgress
from ..utils.sampling import nonzero, random_mask, shuffled, take
from ..utils.validation import check_either, check_integer, check_share
from ._budget import Budget, Saving, budget_of, count_share, first_annealed_epoch, inputs_with
from ._kmeans import kmeans_cuts
from ._ranking import some_of


class SeTa(PrunedDataset):
    """Serves a sliding window of groups of samples, from easy to hard, epoch by epoch.

    A uniform (1 − r) share of all samples is kept and split by k-means of the scores into groups,
    ordered from easy to hard. Epoch e serves a window of w = round(groups · `window_scale`) ≥ 1
    neighbouring groups (halves are rounded to even) that starts at group e mod (groups − w + 1);
    epoch 0 serves all groups. The last epochs, from ⌊δ·E⌋ on, serve a uniform (1 − r) share. All
    weights are 1.

    If all scores are equal, the groups are random and of equal size. If there are fewer distinct
    scores than `num_groups`, each distinct score is a group.

    Source: SeTa, "Scale Efficient Training for Large Datasets", arXiv:2503.13385, section 3.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips at random, in [0, 1). At
            least one sample is kept.
        num_groups: the number of groups, at least 1.
        window_scale: the share of the groups that an epoch serves, in (0, 1].
        delta: δ, the share of the run after which the window is no longer used, in [0, 1].
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip, in
            [0, 1); a run of E complete epochs meets it exactly. All epochs skip the same number of
            samples; only the first epoch of a stream skips nothing, because its samples are not
            known yet. Groups are then made of all samples. If a window has fewer samples than the
            epoch must serve, it is extended by its neighbours, the harder one first; if it has
            more, a uniform share of it is served. "auto" skips as much as the losses of batches
            allow (see `RandomPrune`), chosen in the same way.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, both `prune_ratio` and `saving` are given,
            or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import BLS, SeTa
        >>> train = BLS(SeTa(range(1000), num_epochs=100, prune_ratio=0.1)).proxy()
        >>> len(train.sampler)  # epoch 0: all groups
        900
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        num_groups: int = 5,
        window_scale: float = 0.8,
        delta: float = 0.875,
        saving: Saving | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        check_either("prune_ratio", prune_ratio, "saving", saving)
        self.prune_ratio = check_share("prune_ratio", 0.1 if prune_ratio is None else prune_ratio)
        self.saving: Saving | None = None
        if saving is not None:
            total = self.epochs.source.announced_samples
            self.saving = self._spread(saving).check(
                total, total - 1, "the first of a stream", "more epochs"
            )
            self.extra_inputs = inputs_with(self.extra_inputs, self.saving)
        self.num_groups = check_integer("num_groups", num_groups, minimum=1)
        self.window_scale = check_share("window_scale", window_scale, "(0, 1]")
        self.delta = check_share("delta", delta, "[0, 1]")

    def select(
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        progress: LossProgress | None = None,
    ) -> Selection:
        """Keep a uniform share of all samples, and a window of groups of these."""
        total = scores.numel()
        is_whole = epoch == 0 or epoch >= first_annealed_epoch(self.delta, self.num_epochs)
        if self.saving is not None:
            kept = max(1, total - self._spread(self.saving).skipped(epoch, total, progress))
            if is_whole or scores.min() == scores.max():
                return Selection(nonzero(random_mask(kept, total, generator)))
            return self._exactly(kept, scores.numpy(), epoch, generator)
        kept = max(1, count_share(1 - self.prune_ratio, total))
        indices = nonzero(random_mask(kept, total, generator))
        if is_whole:
            return Selection(indices)
        values = take(scores.numpy(), indices)
        if values.min() == values.max():
            num_groups = min(self.num_groups, kept)
            first, last = window(epoch, num_groups, self.window_scale)
            indices = shuffled(indices, generator)
            return Selection(indices[kept * first // num_groups : kept * last // num_groups])
        cuts = kmeans_cuts(values, self.num_groups)
        first, last = window(epoch, cuts.size + 1, self.window_scale)
        inside = _between(values, cuts, first, last)
        del values  # frees memory for the next step
        return Selection(torch.from_numpy(take(indices.numpy(), nonzero(inside))))

    def _spread(self, saving: Saving) -> Budget:
        return budget_of(self, saving)

    def _exactly(
        self, kept: int, values: NDArray[np.float32], epoch: int, generator: torch.Generator
    ) -> Selection:
        """Keep `kept` samples of the window, which is extended if it has fewer."""
        cuts = kmeans_cuts(values, self.num_groups)
        first, last = window(epoch, cuts.size + 1, self.window_scale)
        inside = _between(values, cuts, first, last)
        while int(np.count_nonzero(inside)) < kept:
            is_harder_next = last <= cuts.size
            first, last = (first, last + 1) if is_harder_next else (first - 1, last)
            inside = _between(values, cuts, first, last)
        return Selection(nonzero(some_of(inside, kept, generator)))


def _between(
    values: NDArray[np.float32], cuts: NDArray[np.float32], first: int, last: int
) -> NDArray[np.bool_]:
    """Return which values are in the groups from `first` up to, but not including, `last`: (M,)."""
    # group g holds the scores from cuts[g - 1] to below cuts[g]
    bounds = [-math.inf, *cuts.tolist(), math.inf]
    inside: NDArray[np.bool_] = (values >= bounds[first]) & (values < bounds[last])
    return inside


def window(epoch: int, num_groups: int, window_scale: float) -> tuple[int, int]:
    """Return the first group of an epoch's window, and one past its last group."""
    width = max(1, round(window_scale * num_groups))
    first = epoch % (num_groups - width + 1)
    return first, first + width
