"""Checkpointing: the state of a run, in the middle of an epoch or between two."""

from __future__ import annotations

import copy
from typing import Any

from ..training.arguments import differences, settings_of, warn_of
from ..training.checksum import sealed
from ..training.state import STATE_VERSION, RunState, check_origin
from ._serving import Serving


class Checkpointing(Serving):
    """Saves and restores a run."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state, in the middle of an epoch or between two: tensors and plain values.

        Save it with `save_checkpoint` or `torch.save`; `torch.load(..., weights_only=True)` reads
        it. The current batch stays due until `update` was called for it. So save after the
        optimizer's step, and before a `break`, because an epoch that was left is over.

        The state contains a checksum of its content, so load it unchanged.

        In the middle of an epoch, call it on all ranks: it is a collective, and returns the same on
        each, so one rank may save it. Once the loader has ended an epoch, any rank may call it
        alone. With a `Sharded` dataset each rank has a state of its own.
        """
        with self.epochs.lock:
            state = RunState.capture(self.epochs).to_dict()
            settings = settings_of(self, self.epochs.score)
            return sealed({**self._origin(), "settings": settings, **state})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue a saved run, with the samples that were still due in its epoch.

        Load the same state on all ranks; their number may have changed. With a `Sharded` dataset
        each rank loads its own state, all at the same time.

        If arguments differ from those of the saved run, such as `num_epochs`, the logger
        `dynaprune` warns, and the run continues with the new ones.

        Raises:
            RuntimeError: the state is incomplete, damaged or of another format; it belongs to
                another dataset, length, method, score or seed, or to an epoch that these arguments
                plan differently. The object is left as it was.
        """
        check_origin(state, self._origin())
        epochs = self.epochs
        differing = differences(state["settings"], settings_of(self, epochs.score))
        loaded = RunState.from_dict(state, copy.deepcopy(epochs.score), epochs.source)
        plan = loaded.planned(epochs.source, self._planner, type(self).__name__)
        with epochs.lock:
            loaded.apply(epochs, plan)
            warn_of(differing)
            self._agree_on_lengths()

    def _origin(self) -> dict[str, Any]:
        """Return what says which run a state belongs to."""
        return {"version": STATE_VERSION, **self.epochs.identity, **self.epochs.source.part}
