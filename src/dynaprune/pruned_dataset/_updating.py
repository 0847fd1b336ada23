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
        multiplied by its samples' weights, then averaged; so are the mean losses of slices, each
        of which counts as many times as it has samples. The loss is not read: there is no wait for
        a device, no transfer, and the given tensor is left as it is.

        Call it once a batch, with the loss of that batch alone: after several losses were summed
        up, before the sum is divided for gradient accumulation and before `scaler.scale`. What is
        returned is weighted: log `loss` as it was before, or `mean_loss` after the epoch.

        The batch is the last one that the loader has yielded. Where the loop fetches ahead, say
        which one it is, by `batch` or `indices`; without, an error says that it cannot be told.

        Arguments:
            loss: the mean loss of the batch, of shape () or (1,); a loss vector of shape (B,); or
                the mean losses of C slices of it, of shape (C,), as `chunked` returns them: all of
                ⌈B/C⌉ samples, but the last, which may have fewer.
            indices: the batch's samples, integers of shape (B,), if a loader other than ours has
                served them (see `with_indices`). They may lie on any device.
            batch: what our loader has yielded, or a tensor of it, not a copy.
            mean_loss: what else `loss` could be, where it is a single number that is no mean:
                normalised by the tokens of several accumulated batches, say. Then this is scored,
                and `loss` only rescaled.

        Returns:
            The loss to call `backward` on: shape (), in the type of `loss`.

        Raises:
            RuntimeError: no batch waits for an update, or it cannot be told which one this is
                about; the loss is no tensor or of another shape; `indices` are of another shape, or
                no samples of this dataset; the batch belongs to an epoch that is over.
        """
        if torch.compiler.is_dynamo_compiling():
            outside = not_compiled(self._update)
            return outside(loss, indices, batch, mean_loss)
        return self._update(loss, indices, batch, mean_loss)

    def _update(self, loss: Tensor, indices: Any, batch: Any, mean_loss: Tensor | None) -> Tensor:
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
        """Say that the loop goes on to the next batch without an update of this one.

        A plain loop need not say so: a batch that it skips by `continue` is gone when the next one
        is updated. Where a progress bar or a prefetcher lies between the loop and the loader, that
        looks the same as fetching ahead; then `update` raises an error that asks for this call.

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

        It is that of the batch until the next one is asked for, also after its update. For loops in
        which `update` comes too late, such as replays of a CUDA graph that holds the backward pass,
        and for those that evaluate the loss of a batch several times, as LBFGS does: they update
        with the first evaluation, and multiply the others by this.

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
