"""When samples were measured, for methods that read more than scores."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..losses.measurements import Measurements
from ..utils.validation import check_count, check_keys, check_tensor

NAMES = ("visits", "last_steps", "last_epochs")

NEVER = -1
"""The last step, and epoch, of a sample that was never measured."""


class History:
    """How often each sample was measured, and the step and epoch of its last measurement.

    Arguments:
        num_samples: N.

    Attributes:
        num_epochs: the number of recorded epochs.
    """

    def __init__(self, num_samples: int) -> None:
        self._num_samples = num_samples
        self._kept: dict[str, NDArray[np.int32]] = {}
        self._num_steps = 0
        self.num_epochs = 0

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def __bool__(self) -> bool:
        return bool(self._kept)

    def track(self, names: Collection[str]) -> None:
        """Record what these names say from now on; 4 bytes per sample each."""
        for name in names:
            if name not in self._kept:
                self._kept[name] = np.full(self._num_samples, _start(name), np.int32)
                if name == "visits":
                    self.num_epochs = 0

    def read(self, name: str) -> Tensor:
        """Return what is recorded under a name: int32, shape (N,). Do not write to it.

        Before a sample's first measurement, `visits` are 0 and the others are `NEVER`.
        """
        return torch.from_numpy(self._kept[name])

    def record_visits(self, batches: Measurements, epoch: int) -> None:
        """Record the measurements of an epoch."""
        self.num_epochs += 1
        if len(batches) == 0:
            return
        indices = batches.indices.numpy()
        if "visits" in self._kept:
            visits = self._kept["visits"]
            visits += np.bincount(indices, minlength=visits.size).astype(np.int32)
        if "last_steps" in self._kept:
            steps = np.repeat(batches.steps.numpy(), batches.sizes.numpy())
            self._kept["last_steps"][indices] = steps + self._num_steps
        if "last_epochs" in self._kept:
            self._kept["last_epochs"][indices] = epoch
        self._num_steps += int(batches.steps[-1]) + 1

    def grow(self, places: NDArray[np.int64], num_samples: int) -> None:
        """Make room for more samples; existing ones move to `places`, shape (N,)."""
        self._num_samples = num_samples
        for name, values in self._kept.items():
            grown = np.full(num_samples, _start(name), np.int32)
            grown[places] = values
            self._kept[name] = grown

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores the history."""
        kept = {name: torch.tensor(values, device="cpu") for name, values in self._kept.items()}
        return {"num_steps": self._num_steps, "num_epochs": self.num_epochs, **kept}

    def load_state_dict(self, state: Any, num_samples: int, needed: Collection[str]) -> None:
        """Restore what `state_dict` returned, for `num_samples` samples.

        What the state holds is recorded from now on; what is recorded but missing from the state
        starts from scratch.

        Arguments:
            state: the state.
            num_samples: N.
            needed: the names that a method requires.

        Raises:
            RuntimeError: the state is incomplete or damaged, or of another number of samples.
        """
        check_keys(state, ("num_steps", "num_epochs", *needed), "the state's history")
        num_steps = check_count("history's num_steps", state["num_steps"])
        num_epochs = check_count("history's num_epochs", state["num_epochs"])
        kept = {name: _kept(state, name, num_samples) for name in NAMES if name in state}
        if "last_steps" in kept and (kept["last_steps"] >= num_steps).any():
            raise RuntimeError(
                f"the state is damaged: its history has {num_steps:,} steps, but some of its "
                "last_steps are later"
            )
        wanted, self._kept, self._num_samples = list(self._kept), kept, num_samples
        self._num_steps = num_steps
        self.track(wanted)
        self.num_epochs = num_epochs if "visits" in kept else 0


def _kept(state: Any, name: str, num_samples: int) -> NDArray[np.int32]:
    """Return a copy of what a state holds under a name."""
    values = check_tensor(f"history's {name}", state[name], (num_samples,), torch.int32)
    kept: NDArray[np.int32] = values.numpy().copy()
    if (kept < _start(name)).any():
        raise RuntimeError(
            f"the state is damaged: its history's {name} must be at least {_start(name)}, but "
            f"{kept.min()} was found"
        )
    return kept


def _start(name: str) -> int:
    return 0 if name == "visits" else NEVER
