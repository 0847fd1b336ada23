"""Memory-efficient operations on sample numbers, and random choices of them.

They use NumPy rather than torch: if all cores are busy, for example with loader workers, torch's
threads wait for each other, which can take fifty times as long.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .rng import numpy_generator

Scalar = TypeVar("Scalar", bound=np.generic)

CHUNK = 1 << 20
"""Samples that are processed at a time, so that temporary arrays stay small."""

BUCKETS = 256
"""Buckets that many samples are distributed to, so that each fits the cache when it is shuffled."""


def index_type(num_samples: int) -> torch.dtype:
    """Return the smallest integer type for `num_samples` indices: mostly half the size of int64."""
    return torch.int32 if num_samples <= torch.iinfo(torch.int32).max else torch.int64


def all_indices(num_samples: int) -> Tensor:
    """Return all sample numbers, ascending: shape (N,), of `index_type(N)`."""
    dtype = np.int32 if index_type(num_samples) == torch.int32 else np.int64
    return torch.from_numpy(np.arange(num_samples, dtype=dtype))


def take(values: NDArray[Scalar], indices: Tensor) -> NDArray[Scalar]:
    """Return values at indices, shape (K,): in chunks, because NumPy converts indices to int64."""
    places = indices.numpy()
    if places.size <= CHUNK:
        return values.take(places)
    result = np.empty(places.size, dtype=values.dtype)
    for start in range(0, places.size, CHUNK):
        values.take(places[start : start + CHUNK], out=result[start : start + CHUNK], mode="clip")
    return result


def count_distinct(numbers: NDArray[np.integer[Any]]) -> int:
    """Return the number of distinct sample numbers among these; they are not negative."""
    seen = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=np.bool_)
    seen[numbers] = True
    return int(np.count_nonzero(seen))


def shuffled(numbers: Tensor, generator: torch.Generator) -> Tensor:
    """Return numbers, shape (K,), in random order; every order is equally likely.

    Many numbers are distributed to random buckets, and each bucket is shuffled: this accesses
    memory sequentially, while one permutation of all would access it at random.

    Source: Rao (1961) and Sandelius (1962); Bacher et al., MergeShuffle, arXiv:1508.03167.
    """
    if numbers.numel() <= 2 * CHUNK:
        return _permuted(numbers, generator)
    drawn_buckets = torch.empty(numbers.numel(), dtype=torch.uint8, device="cpu")
    buckets = drawn_buckets.random_(0, BUCKETS, generator=generator).numpy()
    source, result = numbers.numpy(), torch.empty_like(numbers)
    target, ends = result.numpy(), np.cumsum(_count(buckets))
    filled = ends - np.diff(ends, prepend=0)
    for start in range(0, source.size, CHUNK):
        dealt = buckets[start : start + CHUNK]
        chunk = source[start : start + CHUNK][np.argsort(dealt, kind="stable")]
        counts = np.bincount(dealt, minlength=BUCKETS)
        first = 0
        for bucket, count in enumerate(counts.tolist()):
            place = filled[bucket]
            target[place : place + count] = chunk[first : first + count]
            first += count
        filled += counts
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        result[start:end] = _permuted(result[start:end], generator)
    return result


def _count(buckets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often each bucket was drawn: shape (BUCKETS,)."""
    counts = np.zeros(BUCKETS, dtype=np.int64)
    for start in range(0, buckets.size, CHUNK):  # bincount takes eight bytes per number
        counts += np.bincount(buckets[start : start + CHUNK], minlength=BUCKETS)
    return counts


def _permuted(numbers: Tensor, generator: torch.Generator) -> Tensor:
    count, dtype = numbers.numel(), index_type(numbers.numel())
    order = torch.randperm(count, generator=generator, dtype=dtype, device="cpu")
    return torch.from_numpy(take(numbers.numpy(), order))


def nonzero(mask: NDArray[np.bool_]) -> Tensor:
    """Return the positions where `mask` is true, ascending: of `index_type(N)`."""
    found = torch.empty(int(np.count_nonzero(mask)), dtype=index_type(mask.size), device="cpu")
    numbers, filled = found.numpy(), 0
    for start in range(0, mask.size, CHUNK):
        chunk = np.flatnonzero(mask[start : start + CHUNK])
        np.add(chunk, start, out=numbers[filled : filled + chunk.size], casting="same_kind")
        filled += chunk.size
    return found


def random_mask(count: int, total: int, generator: torch.Generator) -> NDArray[np.bool_]:
    """Return a random mask of shape (`total`,) with exactly `count` true elements.

    Each chunk gets a binomial number of them. If that makes too many or too few in total, elements
    at random positions are cleared or set. Every subset of that size is equally likely, because all
    positions are treated alike.
    """
    if 2 * count > total:  # it is faster to draw the smaller set
        return ~random_mask(total - count, total, generator)
    source = numpy_generator(generator)
    mask = np.zeros(total, dtype=np.bool_)
    done = 0
    for start in range(0, total, CHUNK):
        size = min(CHUNK, total - start)
        share = count if size == total else int(source.binomial(size, count / total))
        mask[start : start + size][source.choice(size, share, replace=False, shuffle=False)] = True
        done += share
    while done != count:
        is_drawn = done > count  # true if there are too many
        places = source.integers(total, size=2 * abs(done - count) + 16)
        places = places[mask[places] == is_drawn]
        first_times = np.sort(np.unique(places, return_index=True)[1])
        places = places[first_times][: abs(done - count)]
        mask[places] = not is_drawn
        done += -places.size if is_drawn else places.size
    return mask
