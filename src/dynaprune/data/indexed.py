"""Datasets whose samples are identified by their index."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset


def fetch(dataset: Any, indices: Sequence[int]) -> Any:
    """Return the samples `indices` as torch's loader does: by `__getitems__` if there is one."""
    if getattr(dataset, "__getitems__", None):
        return dataset.__getitems__(indices)
    return [dataset[index] for index in indices]


def as_indices(indices: Any, where: str) -> Tensor:
    """Return sample numbers as a copy: int64, shape (B,), B ≥ 1, on their device.

    Raises:
        RuntimeError: they are not integers, or of another shape; `where` names the function that
            they were given to.
    """
    given: Tensor = indices
    if not isinstance(indices, Tensor):
        try:
            given = torch.as_tensor(indices, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            raise RuntimeError(
                f"{where} expects the batch's samples as integers of shape (B,), but {indices!r} "
                f"was given: {error}"
            ) from error
    is_integer = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if given.dim() != 1 or given.numel() == 0 or not is_integer:
        raise RuntimeError(
            f"{where} expects the batch's samples as integers of shape (B,), but {given.dtype} of "
            f"shape {tuple(given.shape)} was given"
        )
    return given.detach().to(torch.int64, copy=True)


def usual_indices(indices: Any, num_samples: int) -> NDArray[np.int64] | None:
    """Return sample numbers as a copy, an array of shape (B,), B ≥ 1, in the usual case.

    The usual case are signed integers on the host, in range. For all others this returns `None`,
    and `as_indices` and `check_range` find out what is wrong, if anything; they take three times as
    long.
    """
    if type(indices) is Tensor and indices.is_cpu and not indices.requires_grad:
        indices = indices.numpy()
    if type(indices) is not np.ndarray or indices.dtype.kind != "i" or indices.ndim != 1:
        return None
    batch = indices.astype(np.int64)
    # viewed as unsigned, a negative number is a very large one
    is_in_range = batch.size > 0 and batch.view(np.uint64).max() < num_samples
    return batch if is_in_range else None


def check_range(indices: Tensor, num_samples: int) -> None:
    """Check that sample numbers, on the host, are in range for a dataset of `num_samples`.

    Raises:
        RuntimeError: a number is below 0 or too high.
    """
    lowest, highest = (int(bound) for bound in torch.aminmax(indices))
    if lowest < 0 or highest >= num_samples:
        raise RuntimeError(
            f"the indices of a batch must be sample numbers from 0 to {num_samples - 1:,}, but "
            f"{lowest if lowest < 0 else highest} was given"
        )


class _MadeWhole(ABCMeta):
    """Marks an object as constructed after the constructors of all its subclasses have run."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        made = super().__call__(*arguments, **keywords)
        vars(made)["_is_made"] = True
        return made


class Wrapping(metaclass=_MadeWhole):
    """A wrapper of a dataset that forwards writes of the dataset's attributes to it.

    Loops set attributes of `loader.dataset` (`mosaic = False` for the last epochs). Set on the
    wrapper only, they would silently have no effect.
    """

    wraps: ClassVar[str] = "dataset"
    """The name of the attribute that holds the dataset."""

    def __setattr__(self, name: str, value: Any) -> None:
        is_private, is_ours = name.startswith("_"), _package(type(self).__module__) == OURS
        is_own = name in vars(self) or hasattr(type(self), name) or (is_private and not is_ours)
        if is_own or "_is_made" not in vars(self):
            super().__setattr__(name, value)
        elif _reaches(inner := getattr(self, self.wraps), name):
            setattr(inner, name, value)
        elif is_private or not is_ours:  # a user's subclass may hold attributes of its own
            super().__setattr__(name, value)
        else:
            raise AttributeError(
                f"{name!r} was set on a {type(self).__name__}, but neither it nor its "
                f"{type(inner).__name__} has such an attribute, so nothing would read it: set it "
                f"on .{self.wraps}, or in the constructor of your own subclass"
            )


def _package(module: str) -> str:
    return module.partition(".")[0]


OURS = _package(__name__)


def _reaches(dataset: Any, name: str) -> bool:
    if isinstance(dataset, Wrapping) and _reaches(getattr(dataset, dataset.wraps), name):
        return True
    return hasattr(dataset, name)


class IndexedDataset(Wrapping, Dataset[Any]):
    """A dataset whose samples carry their index: `(sample, index)`.

    Created by `PrunedDataset.with_indices()`. Any collate function that handles tuples turns a
    batch of these into `(batch, indices)`.

    Arguments:
        dataset: the dataset.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return self.dataset[index], index

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """Fetch several samples at once, the way the dataset itself is fetched.

        Raises:
            RuntimeError: the dataset's own `__getitems__` does not return a list of samples.
        """
        samples = fetch(self.dataset, indices)
        if not isinstance(samples, list) or len(samples) != len(indices):
            raise RuntimeError(
                f"with_indices() expects a list of {len(indices)} samples from __getitems__ of the "
                f"given {type(self.dataset).__name__}, but it returned a "
                f"{type(samples).__name__}: use the DataLoader of dynaprune, which carries indices "
                "next to whatever the dataset returns"
            )
        return list(zip(samples, indices, strict=True))


class Forwarding:
    """A stand-in for a dataset: attributes that it lacks are read from and written to the dataset.

    A subclass writes its own attributes to `vars(self)`.

    Arguments:
        samples: the dataset.
    """

    def __init__(self, samples: Any) -> None:
        vars(self).update(_samples=samples)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_samples" not in vars(self):  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self._samples, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._samples, name, value)
