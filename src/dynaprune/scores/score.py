"""What every score has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..batches import Batches
from ..validation import check_keys
from . import convention


class Score(ABC):
    """How the samples of a training set are scored from the losses of its batches.

    A subclass is one `observe`. Its state is tensors of shape (N,).

    Arguments:
        base: what is scored: an object of a dynaprune method, or one of another library that
            follows the InfoBatch convention (attributes `scores`, `weights`, `cur_batch_index`
            and a method `update`).

    Raises:
        TypeError: `base` has no length.
    """

    needs_loss_vector: ClassVar[bool] = False
    """Whether a mean loss says nothing to this score, so that `update` wants a loss a sample."""

    def __init__(self, base: Any) -> None:
        if not hasattr(base, "__len__"):
            raise TypeError(
                f"{type(self).__name__} scores the samples of a pruned dataset, such as "
                f"{type(self).__name__}(InfoBatch(train_set, num_epochs=90)).proxy(), but a "
                f"{type(base).__name__} was given"
            )
        self._base: Any = base
        self._values = torch.zeros(len(base), dtype=torch.float32, device="cpu")
        self._started = False

    @abstractmethod
    def observe(self, batches: Batches) -> None:
        """Fold measurements into the scores, all at once; no sample is in two of them."""

    def values(self) -> Tensor:
        """Return the scores, float32, shape (N,): the higher, the more worth training on.

        They are all equal until the first batch was observed.
        """
        return self._values

    def proxy(self) -> Any:
        """Make `base` use this score in place of its own, and return `base`, the same object.

        Raises:
            TypeError: `base` is neither one of ours nor follows the InfoBatch convention.
            RuntimeError: `base` has been trained on already, or the score is in use.
        """
        base = self._base
        if base is None:
            raise RuntimeError(
                f"this {type(self).__name__} is in use already: make a new one for another object"
            )
        if hasattr(base, "adopt_score"):
            base.adopt_score(self)
        else:
            convention.adopt(base, self)
        self._base = None  # kept no longer: a cycle would outlive `del train`
        return base

    def __getattr__(self, name: str) -> Any:
        message = f"{type(self).__name__} has no attribute {name!r}"
        if not name.startswith("_") and hasattr(self.__dict__.get("_base"), name):
            message += (
                f": it is a score. Use what {type(self).__name__}(...).proxy() returns, the "
                "dataset that is scored by it"
            )
        raise AttributeError(message)

    def restore(self, values: Tensor) -> None:
        """Go on from these scores, shape (N,), of any type and device."""
        self._values = values.detach().to("cpu", torch.float32, copy=True)
        self._started = True

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores the scores."""
        return {
            "name": type(self).__name__,
            "values": self._values.clone(),
            "started": self._started,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            RuntimeError: the state is another score's or of another number of samples.
        """
        name = type(self).__name__
        check_keys(state, ("name", "values", "started"), "the state's score")
        if state["name"] != name:
            raise RuntimeError(f"the state holds scores of {state['name']}, but this is {name}")
        if state["values"].shape != self._values.shape:
            raise RuntimeError(
                f"the state holds scores of {state['values'].numel():,} samples, but this "
                f"{name} has {self._values.numel():,}"
            )
        self.restore(state["values"])
        self._started = bool(state["started"])

    def _start(self, batches: Batches) -> None:
        """Before the run's first batch is observed, set every score to that batch's mean loss."""
        if not self._started:
            self._values.fill_(batches.first_loss())
            self._started = True
