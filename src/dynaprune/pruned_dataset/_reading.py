"""Reading: what is known of a run so far."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..data.keys import Key, fingerprint
from ..planning.selection import Selection
from ..training.summary import Summary
from ..utils.rng import epoch_generator
from ..utils.validation import check_integer
from ._base import Base


class Reading(Base):
    """Says what a run has come to; nothing here changes what it does."""

    @property
    def scores(self) -> Tensor:
        """The scores, with all losses recorded so far: float32, shape (N,), a copy.

        Reading them in the middle of an epoch changes nothing. With several ranks they are the
        scores at the start of the epoch until it has ended, so that one rank alone may read them.
        """
        with self.epochs.lock:
            return self.epochs.latest_score().values().clone()

    def suspects(self, count: int | None = None) -> Tensor:
        """Return the samples whose labels are most probably wrong: int64, shape (count,).

        The most suspicious comes first. Samples are ranked by their mean excess: how much higher
        their losses were than those of others, on average over the run. Late in a run the losses
        of wrong labels can be as low as all others, if the model memorizes them; the mean over the
        run does not forget. Ties come in random order. For a stream these are numbers as
        `numbers_of` returns them. Reading them in the middle of an epoch changes nothing.

        Losses of single samples, or of slices of a few (`chunked`), find most wrong labels; the
        mean loss of a large batch finds few: see docs/wrong-labels.md.

        Arguments:
            count: how many, from 0 to N; by default all.

        Raises:
            TypeError: `count` is no integer.
            ValueError: `count` is below 0 or above N.
            RuntimeError: the run does not track its samples, or has no losses yet.

        Example:
            >>> from dynaprune import BLS, DataLoader, InfoBatch
            >>> import torch
            >>> is_wrong = torch.arange(100) % 20 == 0
            >>> train = BLS(InfoBatch(is_wrong.float(), num_epochs=8)).proxy()
            >>> train.track_samples()
            >>> loader = DataLoader(train, batch_size=1)
            >>> for epoch in range(2):
            ...     for loss in loader:
            ...         loss = train.update(loss.mean())
            >>> sorted(train.suspects(5).tolist())
            [0, 20, 40, 60, 80]
        """
        with self.epochs.lock:
            score = self.epochs.latest_score()
        if not score.follows("mean_excess"):
            raise RuntimeError(
                "suspects() was called, but this run does not track its samples: call "
                f"{type(self).__name__}.track_samples() before the first epoch, or record()"
            )
        values, total = score.extras(["mean_excess"])["mean_excess"].numpy(), score.num_samples
        if total == 0 or (values == values[0]).all():
            raise RuntimeError(
                "suspects() was called, but no sample stands out, because all have the same mean "
                "excess: train for some epochs first"
            )
        count = total if count is None else check_integer("count", count, minimum=0)
        if count > total:
            raise ValueError(f"count must be at most {total}, the samples, but {count!r} was given")
        generator = epoch_generator(self.seed, self.epoch, stream=2)
        order = torch.randperm(total, generator=generator, device="cpu").numpy()
        return torch.from_numpy(order[np.argsort(-values[order], kind="stable")[:count]])

    @property
    def reliability(self) -> float:
        """An estimate of the rank correlation of the scores with the losses of single samples.

        With 0, the scores order the samples no better than chance; with 1, they order them as their
        losses do. It is estimated without an extra pass, by comparing the mean score of each batch
        with the loss of that batch. NaN before the second epoch. `audit` measures it.
        """
        with self.epochs.lock:
            return self.epochs.latest_score().reliability

    @property
    def mean_loss(self) -> float:
        """The mean loss of the last epoch over its sample visits, before weights.

        Log this: unlike what `update` returns, it compares between epochs, methods and full
        training. In the middle of an epoch it is the mean of the epoch before, so reading it does
        not wait for a device. After the loop it is that of the epoch just trained. With several
        ranks it covers all of them. Losses that are not finite are left out. NaN before the first
        epoch has ended.
        """
        with self.epochs.lock:
            return self.epochs.mean_loss()

    def numbers_of(self, keys: Iterable[Key]) -> Tensor:
        """Return the positions of a stream's samples in `scores` and `weights`: int64, shape (M,).

        Positions change in an epoch that brings new keys.

        Arguments:
            keys: M keys, as the stream's `key` returns them. Unknown keys get −1.

        Raises:
            RuntimeError: the dataset is not a stream.
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
        """The weights in the epoch that is served or comes next: float32, shape (N,)."""
        with self.epochs.lock:
            weights = self.epochs.coming_plan(self._planner).weights
            known = self.epochs.known_samples()
        if weights is None:
            return torch.ones(known, dtype=torch.float32, device="cpu")
        return torch.from_numpy(weights.every().copy())

    def next_selection(self, epoch: int | None = None) -> Selection:
        """Return what the method would select by the latest scores, without changing anything.

        Arguments:
            epoch: the number of the epoch, from 0; by default the one after the epoch in progress,
                or the coming one if none is in progress.

        Raises:
            ValueError: `epoch` is below 0.
            RuntimeError: the dataset's length has changed, or the method's selection is not valid.
        """
        with self.epochs.lock:
            if epoch is None:
                epoch = self.epochs.number + (1 if self.epochs.progress.visits > 0 else 0)
            check_integer("epoch", epoch, minimum=0)
            return self._planner.select(self.epochs.latest_score(), epoch)

    @property
    def epoch(self) -> int:
        """The number of the epoch that is served or comes next, from 0."""
        with self.epochs.lock:
            return self.epochs.number + (1 if self.epochs.position.is_over() else 0)

    @property
    def progress(self) -> float:
        """The run's position in epochs: 2.5 is in the middle of the third.

        It counts served samples, whether they were trained on or skipped.
        """
        with self.epochs.lock:
            number, done, total = self.epochs.position.behind_and_total()
        return number + done / total

    def summary(self) -> Summary:
        """Return what the run has cost and saved so far."""
        with self.epochs.lock:
            return self.epochs.summary()
