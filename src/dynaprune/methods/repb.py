"""RePB."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..scores.loss_progress import LossProgress
from ..utils.sampling import nonzero, take
from ..utils.validation import check_either, check_integer, check_number, check_share
from ._budget import Budget, Saving, budget_of, count_share, inputs_with
from ._ranking import lowest, some_of


class RePB(PrunedDataset):
    """Compares only scores measured at about the same time, and reweights rarely served samples.

    A loss that was measured late in an epoch is lower than an early one because the model has
    improved, not because the sample is easier. So each score is compared with the mean score of the
    samples that were last measured within the same `window` consecutive steps. Samples below it are
    candidates; in each epoch a new uniform share r of all candidates is skipped.

    In epoch e, counted from 0, a sample that was measured v times has the weight (e + 1)/(v + 1),
    at most `max_weight`, times a common factor that makes the weights of an epoch sum to N. A
    sample that is served with probability p has v ≈ p·e, and so a weight near 1/p: over the run,
    its gradient counts as often as if all samples were served in all epochs. The factor does not
    change the proportions of the samples; it keeps the size of a step, which is about N/K times
    that of unweighted samples if K are served.

    With `prune_ratio`, a run saves r times the share of the candidates, about r/2 if scores are
    symmetric about their mean; in the first epoch, and wherever the scores of a window are equal,
    nothing is skipped. If a stream yields new samples in later epochs, they are weighted as if they
    had been skipped before.

    Source: Zhou et al., "Inconsistency Biases in Dynamic Data Pruning" (RePB: resolving pruning
    biases), ICLR 2026. The weights follow its description; the defaults of `window` and
    `max_weight`, and `saving`, are ours.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs that the run will train.
        prune_ratio: r, the share of the candidates that an epoch skips, in [0, 1); 0.5 if neither
            it nor `saving` is given.
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip, in
            [0, 1); a run of E complete epochs meets it exactly, if at least one sample is kept in
            each epoch. All epochs skip the same number of samples, including the first one, where
            the choice is random. The first epoch of a stream skips nothing, because its samples are
            not known yet; the others skip more to make up for it. If there are less than twice as
            many candidates, the samples that are least above the mean of their window are added.
            "auto" skips as much as the losses of batches allow (see `RandomPrune`).
        window: how many consecutive steps are compared, at least 1. They should have a hundred
            samples or more, but be few enough that the model hardly changes.
        max_weight: the upper limit of weights before the common factor, at least 1.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, both `prune_ratio` and `saving` are given,
            or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import DataLoader
        >>> from dynaprune.methods import RePB
        >>> import torch
        >>> train = RePB(torch.arange(100.0), num_epochs=10, prune_ratio=0.4, window=5)
        >>> for loss in DataLoader(train, batch_size=20):
        ...     loss = train.update(loss)
        >>> len(train.sampler)  # fifty are below the mean of the only window
        80
    """

    extra_inputs: tuple[str, ...] = ("visits", "last_steps")

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        saving: Saving | None = None,
        window: int = 16,
        max_weight: float = 10.0,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        check_either("prune_ratio", prune_ratio, "saving", saving)
        self.prune_ratio = check_share("prune_ratio", 0.5 if prune_ratio is None else prune_ratio)
        self.saving: Saving | None = None
        if saving is not None:
            total = self.epochs.source.announced_samples
            self.saving = self._spread(saving).check(
                total, total - 1, "the first of a stream", "more epochs"
            )
            self.extra_inputs = inputs_with(self.extra_inputs, self.saving)
        self.window = check_integer("window", window, minimum=1)
        self.max_weight = check_number("max_weight", max_weight, minimum=1)

    def select(  # type: ignore[override]  # it takes more than scores
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        visits: Tensor,
        last_steps: Tensor,
        progress: LossProgress | None = None,
    ) -> Selection:
        """Skip a uniform share of the samples below the mean of their window, weight the others."""
        steps = last_steps.numpy()
        skipped = self._skipped(scores.numpy(), steps, epoch, generator, progress)
        indices = nonzero(~skipped)
        seen = take(visits.numpy(), indices)
        weights = np.minimum(np.float32(epoch + 1) / (seen + np.float32(1)), self.max_weight)
        weights *= scores.numel() / weights.sum(dtype=np.float64)
        if weights.min() == weights.max() == 1:
            return Selection(indices)
        return Selection(indices, torch.from_numpy(weights.astype(np.float32)))

    def _skipped(
        self,
        values: NDArray[np.float32],
        last_steps: NDArray[np.int32],
        epoch: int,
        generator: torch.Generator,
        progress: LossProgress | None,
    ) -> NDArray[np.bool_]:
        """Return a mask of the samples that an epoch skips: shape (N,)."""
        total, means = values.size, means_of_windows(values, last_steps, self.window)
        candidates: NDArray[np.bool_] = np.less(values, means)
        if self.saving is None:
            skipped = count_share(self.prune_ratio, int(np.count_nonzero(candidates)))
        else:
            skipped = min(total - 1, self._spread(self.saving).skipped(epoch, total, progress))
            wanted = min(total, 2 * skipped)
            if int(np.count_nonzero(candidates)) < wanted:
                candidates = lowest(values - means, wanted, generator)
        return some_of(candidates, skipped, generator)

    def _spread(self, saving: Saving) -> Budget:
        return budget_of(self, saving)


def means_of_windows(
    values: NDArray[np.float32], last_steps: NDArray[np.int32], window: int
) -> NDArray[np.float32]:
    """Return the mean of the values in the window of each value: shape (N,).

    Arguments:
        values: shape (N,).
        last_steps: the step in which each was measured last, −1 for never: shape (N,). Samples
            that were never measured form a window of their own.
        window: the number of steps in a window.
    """
    groups = last_steps // np.int32(window) + np.int32(1)
    counts = np.bincount(groups)
    means = np.bincount(groups, values) / np.maximum(counts, 1)
    # float32 means of equal values equal that value, so none is below by rounding
    found: NDArray[np.float32] = means.astype(np.float32).take(groups)
    return found
