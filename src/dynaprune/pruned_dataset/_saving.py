"""Saving: the state of a run, in the middle of an epoch or between two."""

from __future__ import annotations

import copy
from typing import Any

from ..training.arguments import differences, settings_of, warn_of
from ..training.checksum import sealed
from ..training.state import STATE_VERSION, RunState, check_origin
from ._serving import Serving


class Saving(Serving):
    """Saves and restores a run."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state, in the middle of an epoch or between two: tensors and plain values.

        Save it with `save_checkpoint`, or `torch.save`; `torch.load(..., weights_only=True)` reads
        it. The batch at hand is still due until `update` was called for it: save after the
        optimizer's step, and before a `break`, because an epoch that was left is over.

        A checksum of all that it holds is part of it, so load it as it was returned.

        With several ranks, call it on all of them in the middle of an epoch: it is a collective,
        and returns the same on each, so one may save it. Once the loader has ended an epoch, any
        rank may call it alone. Of a `Sharded` dataset each rank has a state of its own.
        """
        with self.epochs.lock:
            state = RunState.capture(self.epochs).to_dict()
            settings = settings_of(self, self.epochs.score)
            return sealed({**self._origin(), "settings": settings, **state})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: with the samples that were still due in that epoch.

        With several ranks, load the same state on all; there may be more or fewer of them now. Of a
        `Sharded` dataset each rank loads its own, all at the same time.

        Other arguments than those of the run that saved it, such as another `num_epochs`, may be
        meant: they are warned of, by the logger `dynaprune`, and the run goes on with them.

        Raises:
            RuntimeError: the state is incomplete, damaged or of another version's format; it
                belongs to another dataset, length, method, score or seed, or to an epoch that other
                arguments planned. The object is left as it was.
        """
        check_origin(state, self._origin())
        epochs = self.epochs
        differing = differences(state["settings"], settings_of(self, epochs.score))
        loaded = RunState.from_dict(state, copy.deepcopy(epochs.score), epochs.source)
        loaded.apply(epochs, self._planner, type(self).__name__)
        warn_of(differing)
        with epochs.lock:
            self._agree_on_lengths()

    def _origin(self) -> dict[str, Any]:
        """Return what says which run a state belongs to."""
        return {"version": STATE_VERSION, **self.epochs.identity, **self.epochs.source.part}
