"""Updating: the loss of a batch is recorded, and returned reweighted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..losses.measurements import Indices
from ..losses.reweighting import check_loss, check_scaled, scale, scale_slices
from ..planning.plan import Plan
from ..planning.weights import SampleWeights
from ..training.batch import Batch
from ..training.loader_pass import LoaderPass
from ..utils.compiling import not_compiled
from ._serving import Serving


class Updating(Serving):
    """Scores the samples of the current batch by its loss."""

    def update(
        self,
        loss: Tensor,
        indices: Any = None,
        *,
        batch: Any = None,
        mean_loss: Tensor | None = None,
    ) -> Tensor:
        """Score the samples of the current batch by its loss, and return it ready for `backward`.

        A mean loss is multiplied by the mean weight of the batch's samples. A loss vector is
        multiplied by its samples' weights, then averaged. So are the mean losses of slices, where
        each counts as often as it has samples. `update` does not read the loss, so it does not
        wait for a device and copies nothing, and it does not change the given tensor.

        Call it once per batch, with the loss of that batch alone. If the loss is a sum of several
        terms, call it after they were added. Call it before the loss is divided for gradient
        accumulation and before `scaler.scale`. The returned loss is weighted: log the given `loss`,
        or `mean_loss` after the epoch.

        The batch is the last one that the loader has yielded. A loop that fetches ahead has to name
        it, by `batch` or `indices`; otherwise an error says that the batch is unknown.

        Arguments:
            loss: the mean loss of the batch, of shape () or (1,); a loss vector of shape (B,); or
                the mean losses of C slices of it, of shape (C,), as `chunked` returns them; each
                slice has ⌈B/C⌉ samples, and the last may have fewer.
            indices: the batch's samples, integers of shape (B,), if a loader other than ours has
                served them (see `with_indices`). They may lie on any device.
            batch: the batch that our loader has yielded, or a tensor in it, not a copy.
            mean_loss: the mean loss of the batch, if `loss` is a single number of another scale,
                such as a sum divided by the tokens of several accumulated batches. Then this is
                scored, and `loss` is only rescaled.

        Returns:
            The loss to call `backward` on: shape (), in the type of `loss`.

        Raises:
            RuntimeError: no batch waits for an update, or it is unknown which of several this is
                about; the loss is no tensor or has another shape; `indices` have another shape, or
                are not samples of this dataset; the batch belongs to an epoch that is over.
        """
        if torch.compiler.is_dynamo_compiling():
            return not_compiled(self.update)(loss, indices, batch=batch, mean_loss=mean_loss)
        epochs = self.epochs
        with epochs.lock:
            current: LoaderPass | None = None
            if indices is not None:
                self._require_indices("update(loss, indices=...) was called", "leave indices out")
                current, found = self._find(epochs.source.check_indices(indices))
            elif batch is not None:
                current, found = epochs.passes.find_by_content(batch)
            else:
                current, found = epochs.passes.to_update()
            measured, size = loss if mean_loss is None else mean_loss, len(found.indices)
            check_loss(measured, size, epochs.now.score, found.rows)
            if mean_loss is not None:
                check_scaled(loss)
            plan = epochs.plan_of(found.indices) if current is None else current.plan
            if loss.numel() > 1:
                source = plan if current is None else current
                scaled = scale_slices(loss, _sample_weights(source, found), size)
            elif current is None:
                scaled = scale(loss, plan.mean_weight(found.indices))
            else:
                scaled = scale(loss, found.mean_weight)
            if current is not None and not (indices is None and batch is None):
                current.note_named(found, by_indices=indices is not None)
            epochs.report(plan, found, measured, current)
            if current is not None and current.is_complete and not current.waiting:
                self.finish(current)
            return scaled

    def skip_batch(self) -> None:
        """Skip the update of the current batch.

        A plain loop need not call this: a batch that it skips by `continue` is freed before the
        next one is updated. Behind a progress bar or a prefetcher, a skipped batch looks the same
        as one that was fetched ahead; then `update` raises an error that asks for this call.

        Raises:
            RuntimeError: no batch waits for its update.
        """
        with self.epochs.lock:
            skipped = self.epochs.passes.skip_waiting()
            if skipped.is_complete:  # the loop has fetched ahead
                self.finish(skipped)

    @property
    def batch_weight(self) -> float:
        """The mean weight of the current batch, which `update` multiplies a mean loss by.

        It stays the same until the next batch is requested, also after the update. It is for loops
        that cannot use what `update` returns: replays of a CUDA graph that includes the backward
        pass, and optimizers that evaluate the loss of a batch several times, such as LBFGS. These
        update with the first evaluation, and multiply the others by this weight.

        Raises:
            RuntimeError: there is no current batch.
        """
        with self.epochs.lock:
            return float(self.epochs.passes.current_weight("batch_weight was read"))

    def _find(self, indices: Indices) -> tuple[LoaderPass | None, Batch]:
        """Return the batch that has these samples, and its pass if our loader has served it."""
        found = self.epochs.passes.find_by_indices(indices)
        return found or (None, Batch(indices, 1.0, None, (), 0))


def _sample_weights(source: Plan | LoaderPass, batch: Batch) -> SampleWeights:
    if isinstance(source, LoaderPass):
        return source.sample_weights(batch)
    return source.sample_weights(batch.indices)
