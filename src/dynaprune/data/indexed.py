"""Datasets that tell which sample is which."""

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
    """Return the samples `indices` as torch's loader fetches them: all at once where that works."""
    if getattr(dataset, "__getitems__", None):
        return dataset.__getitems__(indices)
    return [dataset[index] for index in indices]


def as_indices(indices: Any, where: str) -> Tensor:
    """Return sample numbers as a copy: int64, shape (B,), B ≥ 1, on their device.

    Raises:
        RuntimeError: they are not integers, or of another shape; `where` says who was given them.
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
    """Return sample numbers as a copy, an array of shape (B,), B ≥ 1, if they are usual ones.

    They are if they are integers with a sign, on the host and in range. Of all others this returns
    `None`: `as_indices` and `check_range` say what is wrong, if anything is. These take three times
    as long.
    """
    if type(indices) is Tensor and indices.is_cpu and not indices.requires_grad:
        indices = indices.numpy()
    if type(indices) is not np.ndarray or indices.dtype.kind != "i" or indices.ndim != 1:
        return None
    batch = indices.astype(np.int64)
    # without a sign, a number below 0 is a very high one
    is_in_range = batch.size > 0 and batch.view(np.uint64).max() < num_samples
    return batch if is_in_range else None


def check_range(indices: Tensor, num_samples: int) -> None:
    """Check that sample numbers, on the host, are those of a dataset of `num_samples`.

    Raises:
        RuntimeError: one is below 0 or too high.
    """
    lowest, highest = (int(bound) for bound in torch.aminmax(indices))
    if lowest < 0 or highest >= num_samples:
        raise RuntimeError(
            f"the indices of a batch must be sample numbers from 0 to {num_samples - 1:,}, but "
            f"{lowest if lowest < 0 else highest} was given"
        )


class _MadeWhole(ABCMeta):
    """Says of an object when it has been constructed, subclasses' part included."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        made = super().__call__(*arguments, **keywords)
        vars(made)["_is_made"] = True
        return made


class Wrapping(metaclass=_MadeWhole):
    """Stands around a dataset: an attribute that is set on it and is the dataset's is set there.

    Loops set attributes of `loader.dataset` (`mosaic = False` for the last epochs). Set on what is
    around the dataset they would have no effect, and nobody would notice.
    """

    wraps: ClassVar[str] = "dataset"
    """The attribute that holds the dataset."""

    def __setattr__(self, name: str, value: Any) -> None:
        is_private, is_ours = name.startswith("_"), _package(type(self).__module__) == OURS
        is_own = name in vars(self) or hasattr(type(self), name) or (is_private and not is_ours)
        if is_own or "_is_made" not in vars(self):
            super().__setattr__(name, value)
        elif _reaches(inner := getattr(self, self.wraps), name):
            setattr(inner, name, value)
        elif is_private or not is_ours:  # a class of the user's own keeps what it likes
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

    Made by `PrunedDataset.with_indices()`. Any collate function that knows tuples turns a batch
    of these into `(batch, indices)`.

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
        """Fetch many at once, in the way that the dataset itself is fetched.

        Raises:
            RuntimeError: the dataset's own `__getitems__` returns something else than samples.
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
    """Stands in place of a dataset: what it does not have itself is read from and written to that.

    What a subclass has itself, it writes to `vars(self)`.

    Arguments:
        samples: the dataset.
    """

    def __init__(self, samples: Any) -> None:
        vars(self).update(_samples=samples)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_samples" not in vars(self):  # asked for by pickle
            raise AttributeError(name)
        return getattr(self._samples, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._samples, name, value)
