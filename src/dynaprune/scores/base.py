"""The base class of all scores."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.keys import KeyTable
from ..losses.measurements import Measurements
from ..utils.validation import check_finite, check_keys, check_tensor, shown
from . import third_party as convention
from .extras import READABLE, Extras
from .reliability import MEASUREMENTS, SAMPLES, Reliability


class Score(ABC):
    """Scores the samples of a training set from the losses of its batches.

    A subclass implements `observe`. Its state is tensors of shape (N,).

    Arguments:
        base: the object to score: one of a dynaprune method, or one of another library that follows
            the InfoBatch convention (attributes `scores` and `cur_batch_index`, a method `update`,
            and optionally `weights`, which are 1 by default).

    Raises:
        TypeError: `base` has no length.
    """

    observes_in_parts: ClassVar[bool] = False
    """Whether an epoch may be observed in several consecutive parts, which takes less memory: true
    if each measurement changes only the scores of its own samples."""

    compares_batches: ClassVar[bool] = False
    """Whether a batch is only meaningful relative to the batches around it, so that all are read
    together."""

    needs_loss_vector: ClassVar[bool] = False
    """Whether this score cannot use the mean loss of a batch, so that `update` expects per-sample
    losses, or at least the mean losses of several slices."""

    def __init__(self, base: Any) -> None:
        if not hasattr(base, "__len__") or isinstance(base, type):
            is_class = isinstance(base, type)
            given = f"the class {base.__name__}" if is_class else f"a {type(base).__name__}"
            raise TypeError(
                f"{type(self).__name__} scores the samples of a pruned dataset, such as "
                f"{type(self).__name__}(InfoBatch(train_set, num_epochs=90)).proxy(), but {given} "
                "was given"
            )
        self._base: Any = base
        # the samples of a stream are not known yet
        count = 0 if getattr(base, "is_stream", False) else len(base)
        self._values = torch.zeros(count, dtype=torch.float32, device="cpu")
        self._first_loss = 0.0  # the score of a sample before its first batch
        self._started = False
        self.keys: KeyTable | None = None  # for a stream: the keys that the scores belong to
        self._reliability = Reliability()
        num_epochs = getattr(base, "num_epochs", 0)
        self._extras = Extras(count, num_epochs if isinstance(num_epochs, int) else 0)
        self._samples_a_loss = 0.0  # 0 before the first epoch

    @property
    def num_samples(self) -> int:
        """N, the number of samples that have a score."""
        return self._values.numel()

    @property
    def samples_a_loss(self) -> float:
        """The mean number of samples per measurement in the last epoch: 1 for loss vectors.

        NaN before the first epoch.
        """
        return self._samples_a_loss or math.nan

    def read(self, batches: Measurements) -> Measurements:
        """Prepare all measurements of an epoch for `observe`, which gets them whole or in parts.

        A score that compares batches with each other does so here.
        """
        return batches

    @abstractmethod
    def observe(self, batches: Measurements) -> None:
        """Fold measurements into the scores, all at once; no sample is in two of them."""

    def fold(self, batches: Measurements) -> None:
        """Fold the measurements of an epoch into the scores; all losses are finite."""
        if len(batches) > 0:
            self._samples_a_loss = batches.indices.numel() / len(batches)
            batches = self.read(batches)
        for part in batches.disjoint(in_parts=self.observes_in_parts):
            self.observe(part)
            self._started = True
        self.end_epoch()

    def values(self) -> Tensor:
        """Return the scores, float32, shape (N,): the higher, the more worth training on.

        They are all equal until the first batch was observed. Do not write to them: they may share
        memory with the score.
        """
        return self._values

    def errors(self) -> Tensor | None:
        """Return the standard errors of the scores, float32, shape (N,); `None` without estimates.

        They are in the unit of the scores. Do not write to them.
        """
        return None

    def track(self, names: Collection[str]) -> None:
        """Declare what a method will read in addition to scores: see `PrunedDataset.extra_inputs`.

        Raises:
            ValueError: one of the names is unknown.
            RuntimeError: one of them must be recorded from the first epoch on, but was not.
        """
        unknown = [name for name in names if name not in READABLE]
        if unknown or isinstance(names, str):
            raise ValueError(
                f"extra_inputs must be a tuple of names among {', '.join(READABLE)}, but "
                f"{names!r} was given"
            )
        missing = [name for name in names if name not in self._extras]
        if missing and self._started:
            raise RuntimeError(
                f"the method reads {', '.join(missing)}, which must be recorded from the first "
                "epoch on, but it did not say so before: make extra_inputs an attribute of its "
                "class, or set it before the first epoch"
            )
        self._extras.require(names)

    def follow(self, names: Collection[str]) -> None:
        """Keep what these `extra_inputs` tell of each sample from now on, for who asks."""
        self._extras.follow(names)

    def follows(self, name: str) -> bool:
        """Return whether one of the `extra_inputs` is kept."""
        return name in self._extras

    def visits(self) -> tuple[NDArray[np.int32], int] | None:
        """Return how often each sample was measured, shape (N,), and in how many epochs.

        `None` if that is not counted. Do not write to it.
        """
        if "visits" not in self._extras:
            return None
        return self._extras.read("visits").numpy(), self._extras.num_epochs

    def record_visits(self, batches: Measurements, epoch: int) -> None:
        """Record which samples an epoch has measured, if a method or a recording reads it."""
        self._extras.record_visits(batches, epoch)

    @property
    def reliability(self) -> float:
        """How far the scores can be trusted: about their rank correlation with per-sample losses.

        It is estimated from the batches alone, see `Reliability`; NaN before the second epoch.
        """
        return self._reliability.value

    def update_reliability(self, batches: Measurements, *, is_whole: bool = True) -> None:
        """Compare the losses of an epoch with the scores, before they are observed.

        Arguments:
            batches: the measurements of the epoch.
            is_whole: whether its plan served all samples, so that no kind of sample is missing.
        """
        if len(batches) == 0:
            return
        self._extras.record_losses(batches, is_whole=is_whole)
        if self._started:
            last = batches.last(MEASUREMENTS, SAMPLES)
            scores = self._values_of(last.indices)
            self._reliability.compare(scores, last.sizes.numpy(), last.losses.numpy())

    def extras(self, names: Collection[str]) -> dict[str, Any]:
        """Return the `extra_inputs` of a method by name: see `PrunedDataset`."""
        return {
            name: self.errors() if name == "errors" else self._extras.read(name) for name in names
        }

    def proxy(self) -> Any:
        """Make `base` use this score instead of its own, and return `base`, the same object.

        Raises:
            TypeError: `base` is neither one of ours nor follows the InfoBatch convention, or its
                class does not allow replacing the score.
            RuntimeError: `base` has been trained on already, or is scored by another library, or
                the score is in use.
        """
        base = self._base
        if base is None:
            raise RuntimeError(
                f"this {type(self).__name__} is in use already: make a new one for another object"
            )
        convention.check_update(base, type(self).__name__)
        if hasattr(base, "adopt_score"):
            base.adopt_score(self)
        else:
            convention.adopt(base, self)
        self._base = None  # a reference cycle would keep the data alive after `del train`
        return base

    def __getattr__(self, name: str) -> Any:
        message = f"{type(self).__name__} has no attribute {name!r}"
        if not name.startswith("_") and hasattr(self.__dict__.get("_base"), name):
            message += (
                f": it is a score. Use the dataset that {type(self).__name__}(...).proxy() returns"
            )
        raise AttributeError(message)

    def restore(self, values: Tensor) -> None:
        """Continue from these scores, shape (N,), of any type and device."""
        self._values = values.detach().to("cpu", torch.float32, copy=True)
        self._started = True

    def register_keys(self, batches: Measurements) -> Measurements:
        """Add scores for the samples of a stream that have none yet.

        Arguments:
            batches: measurements that identify samples by the fingerprints of their keys.

        Returns:
            The same measurements, with sample numbers.
        """
        known = KeyTable() if self.keys is None else self.keys
        fingerprints = batches.indices.numpy()
        numbers = known.numbers_of(fingerprints)
        is_new = numbers < 0
        if is_new.any():
            self.keys = known.with_keys(fingerprints[is_new])
            places = torch.from_numpy(self.keys.numbers_of(known.fingerprints))
            self._grow(places, len(self.keys))
            numbers = self.keys.numbers_of(fingerprints)
        return replace(batches, indices=torch.from_numpy(numbers))

    def _grow(self, places: Tensor, num_samples: int) -> None:
        """Make room for more samples; existing ones move to `places`, int64, shape (N,).

        A score with further tensors of shape (N,) overrides this to move them, too.
        """
        grown = np.full(num_samples, self._first_loss, dtype=np.float32)
        grown[places.numpy()] = self._values.numpy()
        self._values = torch.from_numpy(grown)
        self._extras.grow(places.numpy(), num_samples)

    def __deepcopy__(self, memo: dict[int, Any]) -> Score:
        """Return a copy. It is made in each epoch; copying NumPy arrays is faster than tensors."""
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        memo[id(self._values)] = torch.from_numpy(self._values.numpy().copy())
        vars(copied).update(
            {name: copy.deepcopy(value, memo) for name, value in vars(self).items()}
        )
        return copied

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores the scores."""
        more: dict[str, Any] = {}
        if self.keys is not None:
            more["keys"] = torch.tensor(self.keys.fingerprints, device="cpu")
        return (
            more
            | self._extras.state_dict()
            | {
                "name": type(self).__name__,
                "values": self._values.clone(),
                "first_loss": self._first_loss,
                "started": self._started,
                "reliability": self._reliability.state(),
                "samples_a_loss": self._samples_a_loss,
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            RuntimeError: the state is incomplete or damaged, or belongs to another score or to
                another number of samples.
        """
        name = type(self).__name__
        names = ["name", "values", "first_loss", "started", "reliability", "samples_a_loss"]
        names += [] if self.keys is None else ["keys"]
        check_keys(state, names, "the state's score")
        found = state["name"] if isinstance(state["name"], str) else shown(state["name"])
        if found != name:
            raise RuntimeError(f"the state holds scores of {found}, but this is {name}")
        keys = None if self.keys is None else _keys_of(state["keys"])
        values = check_tensor("values", state["values"], (None,), torch.float32)
        count = self.num_samples if keys is None else len(keys)
        if values.numel() != count:
            raise RuntimeError(
                f"the state holds scores of {values.numel():,} samples, but this {name} has "
                f"{count:,}"
            )
        first_loss = check_finite("first_loss", state["first_loss"])
        samples_a_loss = check_finite("samples_a_loss", state["samples_a_loss"], minimum=0)
        if not isinstance(state["started"], bool):
            raise RuntimeError(
                "the state is damaged: its started must be True or False, but "
                f"{shown(state['started'])} was found"
            )
        reliability = Reliability()
        reliability.restore(state["reliability"])
        self._extras.load_state_dict(state, count)
        self.keys, self._reliability = keys, reliability
        self._values = values.clone()
        self._first_loss, self._started = first_loss, state["started"]
        self._samples_a_loss = samples_a_loss

    def _start(self, batches: Measurements) -> None:
        """Before the first batch of the run, set all scores to that batch's mean loss."""
        if not self._started:
            self._set_all(batches.first_loss())
            self._started = True

    def _set_all(self, value: float) -> None:
        """Set every score to `value`, including those of samples that are not known yet."""
        self._first_loss = value
        self._values.fill_(value)

    def end_epoch(self) -> None:  # noqa: B027 (most scores need not override it)
        """End the epoch. A score that changes between epochs overrides this."""

    def _values_of(self, indices: Tensor) -> NDArray[np.float32]:
        """Return the scores of some samples: float32, a copy of the shape of `indices`."""
        values: NDArray[np.float32] = self._values.numpy().take(indices.numpy())
        return values

    def _write(self, indices: Tensor, values: NDArray[np.float32]) -> None:
        """Set the scores of some samples to `values`, float32, of the shape of `indices`."""
        self._values.numpy()[indices.numpy()] = values


def _keys_of(fingerprints: Any) -> KeyTable:
    """Return the keys of a state's samples."""
    found: NDArray[np.int64] = check_tensor("keys", fingerprints, (None,), torch.int64).numpy()
    if (found[1:] <= found[:-1]).any():
        raise RuntimeError("the state is damaged: its keys do not ascend, or some occur twice")
    return KeyTable(found.copy())
