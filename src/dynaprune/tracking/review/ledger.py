"""What a run knows of each sample, to find wrong labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...utils.validation import check_integer
from ..dataframe import label_quality


@dataclass(frozen=True)
class Ledger:
    """What a run knows of each of its N samples.

    Attributes:
        mean_excess: float32, shape (N,): the loss of a sample above that of others, averaged over
            all its visits, in standard deviations; 0 for samples that were never visited.
        scores: float32, shape (N,).
        visits: int32, shape (N,).
        last_epochs: int32, shape (N,): the epoch of a sample's last visit, −1 without visits.
        epochs: in how many epochs visits were counted.
        keys: int64, shape (N,): the fingerprints of the samples' keys; `None` unless it is a
            stream.
        method: the name of the method.
        dataset: the name of the dataset's class.

    Raises:
        RuntimeError: a mean excess is not finite.

    Example:
        >>> import numpy as np
        >>> from dynaprune.tracking.review import Ledger
        >>> excess, visits = np.array([0.1, 2.5, -0.4], np.float32), np.full(3, 9, np.int32)
        >>> Ledger(excess, excess, visits, visits - 1, epochs=9).suspects(2).tolist()
        [1, 0]
    """

    mean_excess: NDArray[np.float32]
    scores: NDArray[np.float32]
    visits: NDArray[np.int32]
    last_epochs: NDArray[np.int32]
    epochs: int
    keys: NDArray[np.int64] | None = None
    method: str = ""
    dataset: str = ""

    def __post_init__(self) -> None:
        if not np.isfinite(self.mean_excess).all():
            raise RuntimeError(
                "the mean excess of a sample must be finite, but it is not: what was read is "
                "damaged"
            )

    def __len__(self) -> int:
        return self.mean_excess.size

    @property
    def label_quality(self) -> NDArray[np.float32]:
        """The quality of each label, in [0, 1], low if it is probably wrong: shape (N,)."""
        return label_quality(self.mean_excess)

    @property
    def first_epoch(self) -> int:
        """The first epoch whose visits were counted: 0 if samples were tracked from the start."""
        return max(0, int(self.last_epochs.max(initial=-1)) + 1 - self.epochs)

    @property
    def skipped(self) -> NDArray[np.int32]:
        """In how many counted epochs each sample was not served: shape (N,)."""
        return np.maximum(0, self.epochs - self.visits).astype(np.int32)

    def suspects(self, count: int | None = None) -> NDArray[np.int64]:
        """Return the samples whose labels are most probably wrong, int64, shape (count,).

        The most suspicious comes first. Of equal samples, that of the lowest index comes first.

        Arguments:
            count: how many, at least 0; by default, and at most, all.

        Raises:
            TypeError: `count` is no integer.
            ValueError: `count` is below 0.
            RuntimeError: all samples are equal, so none stands out.
        """
        if count is not None:
            check_integer("count", count, minimum=0)
        if len(self) == 0 or (self.mean_excess == self.mean_excess[0]).all():
            raise RuntimeError(
                "no sample stands out, because all have the same mean excess: train for some "
                "epochs first"
            )
        return np.argsort(-self.mean_excess, kind="stable")[:count].astype(np.int64)
