"""Serving: what samplers, loaders and scores ask of a pruned dataset."""

from __future__ import annotations

from ..planning.share import Share, ShareRequest
from ..scores import Score
from ..training.loader_pass import LoaderPass
from ._base import Base


class Serving(Base):
    """Begins and ends epochs, and says how long they are."""

    extra_inputs: tuple[str, ...] = ()

    def adopt_score(self, score: Score) -> None:
        """Score the samples by `score` from the first epoch on; `Score.proxy` calls this.

        Raises:
            RuntimeError: there were updates already, or the score has another length.
        """
        if hasattr(self.epochs, "now") and self.epochs.summary().epochs > 0:
            raise RuntimeError(
                f"this {type(self).__name__} has been trained on: choose its score before the "
                "first epoch"
            )
        source = self.epochs.source
        score.keys = source.new_keys()
        if score.num_samples != source.num_samples:
            raise RuntimeError(
                f"the score is of {score.num_samples:,} samples, but the dataset has "
                f"{source.num_samples:,}"
            )
        score.track(self.extra_inputs)
        self.epochs.adopt(score)

    def begin_epoch(self, request: ShareRequest | None = None) -> Share:
        """Return what to serve now; the sampler calls this at each `iter()`.

        Arguments:
            request: which part of the epoch; by default this rank's.

        Raises:
            RuntimeError: the dataset's length has changed, or the method's selection is not valid.
        """
        epochs = self.epochs
        with epochs.lock:
            plan = epochs.begin(self._planner)
            resumed = epochs.resumed_visits(plan)
            return epochs.serve(epochs.source.share(plan, request or ShareRequest(), resumed))

    def coming_share(self, request: ShareRequest | None = None) -> Share:
        """Return what `begin_epoch` serves next, or serves now; nothing begins.

        Arguments:
            request: which part of the epoch; by default this rank's.
        """
        epochs = self.epochs
        with epochs.lock:
            plan = epochs.coming_plan(self._planner)
            return epochs.source.share(plan, request or ShareRequest(), epochs.resumed_visits(plan))

    def check_batch_size(self, batch_size: int | None, world_size: int | None = None) -> None:
        """Check that the method can work with a loader's batches; our loader asks at `iter()`.

        Arguments:
            batch_size: samples per batch, on one rank; `None` if unknown.
            world_size: the number of shares; by default that of `torch.distributed`.

        Raises:
            RuntimeError: it cannot.
        """

    def epoch_length(self, request: ShareRequest | None = None) -> int:
        """Return the number of samples in a share of the epoch being served or about to be.

        Arguments:
            request: which part of the epoch; by default this rank's.

        Raises:
            TypeError: nothing is known yet about the length of a stream.
        """
        epochs = self.epochs
        with epochs.lock:
            plan = epochs.coming_plan(self._planner)
            return epochs.source.share_length(
                plan, request or ShareRequest(), epochs.now.num_samples, epochs.resumed_visits(plan)
            )

    def full_length(self, request: ShareRequest | None = None) -> int:
        """Return the number of samples in a share of an epoch that skips nothing.

        Arguments:
            request: which part of the epoch; by default this rank's.

        Raises:
            TypeError: nothing is known yet about the length of a stream.
        """
        epochs = self.epochs
        return epochs.source.full_length(epochs.now.num_samples, request or ShareRequest())

    def finish(self, current: LoaderPass) -> None:
        """End the epoch that `current` has trained to its end, where all ranks arrive.

        A loop that fetches ahead has its last batches still to update, and ends it with them.

        Arguments:
            current: a pass of our loader.
        """
        with self.epochs.lock:
            if self.epochs.finish(current):
                self._agree_on_lengths()

    def end_epoch(self) -> None:
        """End the epoch; without any `update` in it, this does nothing.

        Our `DataLoader` ends epochs by itself, and so does the first update of the next epoch with
        any loader. Call this if another loader serves the batches and you need `len(loader)` or
        `state_dict()` between two epochs. With several ranks, call it on all of them.
        """
        with self.epochs.lock:
            if self.epochs.end(self._planner):
                self._agree_on_lengths()

    def _agree_on_lengths(self) -> None:
        """Where each rank has samples of its own, agree on how many all serve in the next epoch."""
        self.epochs.source.agree_on_lengths(lambda: self.epochs.coming_plan(self._planner))
