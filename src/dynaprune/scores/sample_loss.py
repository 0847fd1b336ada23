"""The score of the published per-sample methods."""

from __future__ import annotations

from typing import ClassVar

from ..losses.measurements import Measurements
from .base import Score


class SampleLoss(Score):
    """A sample's own last loss, s_i ← l_i: the score that InfoBatch and SeTa were published with.

    `update` expects a loss vector of shape (batch,), as criteria with `reduction="none"` return it.
    It also accepts the means of two or more slices (see `chunked`): each sample gets that of its
    slice. Before a sample's first visit its score is the mean loss of the run's first batch.

    Source: InfoBatch, arXiv:2303.04947, section 2.

    Arguments:
        base: the pruned dataset to score; see `Score`.

    Example:
        >>> from dynaprune import NoPrune, SampleLoss
        >>> train = SampleLoss(NoPrune(range(1000), num_epochs=10)).proxy()
    """

    needs_loss_vector: ClassVar[bool] = True
    observes_in_parts: ClassVar[bool] = True

    def observe(self, batches: Measurements) -> None:
        """Fold measurements into the scores, all at once; no sample is in two of them."""
        self._start(batches)
        self._write(batches.indices, batches.per_sample().numpy())
