"""Samplers that begin a new epoch whenever `iter()` is called on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler

END = object()


class OneEpoch(Sampler[Any]):
    """Wraps a sampler that is its own iterator, so that each `iter()` is exactly one epoch.

    The samplers of the published InfoBatch and its derivatives begin an epoch in `__iter__` and
    return themselves. torch's `BatchSampler` calls `iter()` on the iterator again for each batch
    (`islice`), so they would begin an epoch with each batch, and never end.

    Arguments:
        sampler: the sampler; its attributes can be read and written through this object.
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
    """Return a sampler that is not its own iterator: itself, or a wrapper of it."""
    return OneEpoch(sampler) if isinstance(sampler, Iterator) else sampler
