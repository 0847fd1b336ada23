"""Reading: what is known of a run so far."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..data.keys import Key, fingerprint
from ..planning.selection import Selection
from ..training.summary import Summary
from ..utils.validation import check_integer
from ._base import Base


class Reading(Base):
    """Says what a run has come to; nothing here changes what it does."""

    @property
    def scores(self) -> Tensor:
        """The scores with all that was reported so far: float32, shape (N,), a copy.

        Reading them in the middle of an epoch does not change what the run does. With several
        ranks they are those at the epoch's start until it has ended: one rank alone may read them.
        """
        with self.epochs.lock:
            return self.epochs.latest_score().values().clone()

    @property
    def reliability(self) -> float:
        """How far the scores can be trusted: about their rank correlation with the samples' losses.

        0 says that they are as good as drawn at random, 1 that they order the samples as their
        losses do. It is estimated without an extra pass: the mean score of each batch is compared
        with the loss that the batch then has. NaN before the second epoch. `audit` measures it.
        """
        with self.epochs.lock:
            return self.epochs.latest_score().reliability

    @property
    def mean_loss(self) -> float:
        """The mean loss of the last epoch, before weights: over its sample visits, finite ones.

        It is what to log of an epoch, and comparable between epochs, methods and full training,
        which what `update` returns is not. In an epoch it is that of the one before, so reading it
        does not wait for a device; after the loop, that of the epoch that the loop has trained.
        With several ranks it is that of all. NaN before the first epoch has ended.
        """
        with self.epochs.lock:
            return self.epochs.mean_loss()

    def numbers_of(self, keys: Iterable[Key]) -> Tensor:
        """Return where in `scores` and `weights` the samples of a stream are: int64, shape (M,).

        Numbers change in an epoch in which keys come that are new.

        Arguments:
            keys: what `key` of the stream returns; −1 is returned for those that are not known.

        Raises:
            RuntimeError: the dataset is no stream.
        """
        with self.epochs.lock:
            known = self.epochs.latest_score().keys
        if known is None:
            raise RuntimeError(
                f"numbers_of() is for streams, but this {type(self).__name__} prunes a "
                f"{type(self.dataset).__name__}, whose samples are numbered by their index"
            )
        wanted = np.array([fingerprint(key) for key in keys], dtype=np.int64)
        return torch.from_numpy(known.numbers_of(wanted))

    @property
    def weights(self) -> Tensor:
        """The weights in the epoch that is being served or about to be: float32, shape (N,)."""
        with self.epochs.lock:
            weights = self.epochs.coming_plan(self._planner).weights
        if weights is None:
            return torch.ones(self.epochs.known_samples(), dtype=torch.float32, device="cpu")
        return torch.from_numpy(weights.every().copy())

    def next_selection(self, epoch: int | None = None) -> Selection:
        """Return what the method would select by the scores as they are known; nothing changes.

        Arguments:
            epoch: for which epoch, from 0; by default for the one after that in progress, or for
                the coming one if none is.

        Raises:
            ValueError: `epoch` is below 0.
            RuntimeError: the dataset's length has changed, or the method's selection is none.
        """
        with self.epochs.lock:
            if epoch is None:
                epoch = self.epochs.number + (1 if self.epochs.progress.visits > 0 else 0)
            check_integer("epoch", epoch, minimum=0)
            return self._planner.select(self.epochs.latest_score(), epoch)

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being served or about to be, from 0."""
        with self.epochs.lock:
            return self.epochs.number + (1 if self.epochs.position.is_over() else 0)

    @property
    def progress(self) -> float:
        """The run's position in epochs: 2.5 is in the middle of the third.

        It counts what was served, trained on or skipped, however often a batch sampler repeats a
        sample.
        """
        with self.epochs.lock:
            number, done, total = self.epochs.position.behind_and_total()
        return number + done / total

    def summary(self) -> Summary:
        """Return what the run has cost and saved so far."""
        with self.epochs.lock:
            return self.epochs.summary()
