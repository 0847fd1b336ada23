"""Samplers that begin a new epoch whenever they are asked for an iterator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler

END = object()


class OneEpoch(Sampler[Any]):
    """A sampler whose every `iter()` is one epoch, of one that is its own iterator.

    The samplers of the published InfoBatch and its kin return themselves from `__iter__`, after
    they have begun an epoch. torch's `BatchSampler` asks an iterator for an iterator again, for
    each batch (`islice`), so they would begin an epoch with each batch, and never come to an end.

    Arguments:
        sampler: it; its attributes are read and written here, too.
    """

    def __init__(self, sampler: Any) -> None:
        vars(self)["sampler"] = sampler

    def __iter__(self) -> Iterator[Any]:
        served = iter(self.sampler)
        while (each := next(served, END)) is not END:
            yield each

    def __len__(self) -> int:
        return len(self.sampler)

    def __getitem__(self, index: Any) -> Any:
        return self.sampler[index]

    def __getattr__(self, name: str) -> Any:
        if name == "sampler":  # while this is being copied
            raise AttributeError(name)
        return getattr(self.sampler, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.sampler, name, value)


def as_one_epoch(sampler: Any) -> Any:
    """Return a sampler that is no iterator: itself, or one around it."""
    return OneEpoch(sampler) if isinstance(sampler, Iterator) else sampler
