"""What is kept of a run beside the scores, for methods and recordings that read it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..losses.measurements import Measurements
from ..utils.validation import check_keys
from .loss_progress import ProgressEstimate
from .loss_trends import LossTrends
from .mean_excess import MeanExcess
from .visits import NAMES as VISITS
from .visits import History

EACH_SAMPLE = ("visits", "last_epochs", "mean_excess")
"""What a table of all samples has beside their scores."""

READABLE = ("errors", *VISITS, "progress", "mean_excess", "trends")
"""The names of what can be read; `errors` belong to the scores themselves."""


class Extras:
    """Keeps what was asked for by name, and nothing else.

    Arguments:
        num_samples: N.
        num_epochs: of the run; 0 if it is not known.
    """

    def __init__(self, num_samples: int, num_epochs: int) -> None:
        self._num_samples, self._num_epochs = num_samples, num_epochs
        self._required: tuple[str, ...] = ()  # by a method, so that a state must have them
        self._history = History(num_samples)
        self._progress = ProgressEstimate()
        self._mean_excess: MeanExcess | None = None
        self._trends: LossTrends | None = None

    def __contains__(self, name: str) -> bool:
        if name == "mean_excess":
            return self._mean_excess is not None
        if name == "trends":
            return self._trends is not None
        if name in VISITS:
            return name in self._history
        return name == "errors" or name in self._required

    def require(self, names: Collection[str]) -> None:
        """Keep what a method reads; names that it no longer reads are no longer required."""
        self._required = tuple(name for name in READABLE if name in names)
        self.follow(self._required)

    def follow(self, names: Collection[str]) -> None:
        """Keep visits, mean excess and trends, if they are among these names, from now on."""
        self._history.track([name for name in VISITS if name in names])
        if self._mean_excess is None and not {"mean_excess", "trends"}.isdisjoint(names):
            self._mean_excess = MeanExcess(self._num_samples)
        if self._trends is None and "trends" in names:
            self._trends = LossTrends(self._num_epochs)

    def read(self, name: str) -> Any:
        """Return what is kept under a name. Do not write to it."""
        if name == "progress":
            return self._progress.value
        if name == "mean_excess":
            assert self._mean_excess is not None  # the name was required or followed
            return torch.from_numpy(self._mean_excess.values)
        if name == "trends":
            assert self._trends is not None
            return self._trends.unlearned
        return self._history.read(name)

    @property
    def num_epochs(self) -> int:
        """In how many epochs visits were counted."""
        return self._history.num_epochs

    def record_visits(self, batches: Measurements, epoch: int) -> None:
        """Record which samples an epoch has measured."""
        if self._history:
            self._history.record_visits(batches, epoch)

    def record_losses(self, batches: Measurements, *, is_whole: bool) -> None:
        """Record the losses of an epoch, which are all finite.

        Arguments:
            batches: its measurements, at least one.
            is_whole: whether its plan served all samples, so that no kind of sample is missing.
        """
        if "progress" in self._required:
            self._progress.add(batches.sizes.numpy(), batches.losses.numpy())
        if self._mean_excess is None:
            return
        if is_whole and self._trends is not None:
            # before this epoch's losses are in it: groups must not be chosen by what they measure
            self._trends.add(batches, self._mean_excess.values)
        self._mean_excess.fold(batches)

    def grow(self, places: NDArray[np.int64], num_samples: int) -> None:
        """Make room for more samples; existing ones move to `places`, shape (N,)."""
        self._num_samples = num_samples
        for part in (self._history, self._mean_excess, self._trends):
            if part is not None:
                part.grow(places, num_samples)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores all this."""
        state: dict[str, Any] = {"progress": self._progress.state()}
        if self._history:
            state["history"] = self._history.state_dict()
        if self._mean_excess is not None:
            state["mean_excess"] = self._mean_excess.state_dict()
        if self._trends is not None:
            state["trends"] = self._trends.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any], num_samples: int) -> None:
        """Restore what `state_dict` returned, for N = `num_samples`.

        What the state holds is kept from now on; what is followed but missing from the state starts
        from scratch.

        Raises:
            RuntimeError: the state is incomplete or damaged, or of another number of samples.
        """
        visits = [name for name in VISITS if name in self._required]
        needed = ["history"] if visits else []
        if "trends" in self._required:  # groups are formed by mean excess
            needed += ["mean_excess", "trends"]
        elif "mean_excess" in self._required:
            needed.append("mean_excess")
        check_keys(state, ("progress", *needed), "the state's score")
        loaded = Extras(num_samples, self._num_epochs)
        loaded.follow([name for name in READABLE if name in self])
        loaded._required = self._required
        loaded._progress.restore(state["progress"])
        if "history" in state:
            loaded._history.load_state_dict(state["history"], num_samples, visits)
        if "mean_excess" in state:
            loaded._mean_excess = MeanExcess(num_samples)
            loaded._mean_excess.load_state_dict(state["mean_excess"], num_samples)
        if "trends" in state:
            loaded._trends = LossTrends(self._num_epochs)
            loaded._trends.load_state_dict(state["trends"], num_samples)
        vars(self).update(vars(loaded))
