"""One pass over a stream, in the process that reads it: which samples it serves, in which order."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.keys import fingerprint
from ..data.stream import PrunedIterableDataset
from .last_batches import batch_sizes, split


@dataclass(frozen=True)
class PassPlan:
    """The plan of a pass, as the training process sends it to the workers.

    Attributes:
        epoch: its number.
        seed: of the shuffle.
        keys: int64, shape (N,), ascending: the fingerprints of the known keys.
        weights: float32, shape (N,): their weights; 0 to skip a sample.
        served: int64, shape (S,), ascending: fingerprints of the samples that were trained on in
            this epoch before a checkpoint.
        rank: the rank that is served.
        world_size: the number of ranks.
        batch_size: samples per batch.
        drop_last: whether to leave out a last batch that is smaller.
        avoids_lone: see `last_batches.avoids_lone_sample`.
    """

    epoch: int
    seed: int
    keys: NDArray[np.int64]
    weights: NDArray[np.float32]
    served: NDArray[np.int64]
    rank: int
    world_size: int
    batch_size: int
    drop_last: bool
    avoids_lone: bool


class KeptSample(NamedTuple):
    """A kept sample as the stream stores it, with its key's fingerprint and its weight."""

    fingerprint: int
    weight: float
    stored: Any


class ServedSample(NamedTuple):
    """A sample that is served.

    Attributes:
        fingerprint: the fingerprint of its key.
        weight: its weight.
        before: a checksum of all samples that the pass kept up to the one served before it on the
            same rank; see `StreamCheck`.
        after: the same with all samples up to this one.
        first: the fingerprint of the pass's first sample.
        sample: the training sample.
    """

    fingerprint: int
    weight: float
    before: int
    after: int
    first: int
    sample: Any


def serve(
    dataset: PrunedIterableDataset, plan: PassPlan, worker: int, num_workers: int
) -> Iterator[list[ServedSample]]:
    """Yield the batches that one reading process serves in a pass.

    Samples are distributed to ranks in turn, as for a map-style dataset, and the batches of a rank
    to its workers in turn, as torch's loader requests them. So the training data of a rank depends
    neither on its number of workers nor on interruptions of the run.

    Arguments:
        dataset: the stream.
        plan: the plan of the pass.
        worker: the number of this process.
        num_workers: the number of processes that read for this rank.
    """
    kept = shuffled(kept_samples(dataset, plan), dataset.shuffle, plan.seed)
    if dataset.splits_itself:  # this process alone serves all that it reads
        due, worker, num_workers = all_samples(kept, plan), 0, 1
    else:
        due = samples_of_rank(kept, plan)
    for number, batch in enumerate(in_batches(due, plan)):
        if number % num_workers == worker:
            yield [each._replace(sample=dataset.decoded(each.sample)) for each in batch]


def in_batches(due: Iterator[ServedSample], plan: PassPlan) -> Iterator[list[ServedSample]]:
    """Group samples into batches."""
    size, waiting = plan.batch_size, list[ServedSample]()
    enough = size + 2 if plan.avoids_lone else size  # so that the next batch has two samples
    for each in due:
        waiting.append(each)
        if len(waiting) == enough:
            yield waiting[:size]
            waiting = waiting[size:]
    sizes = batch_sizes(len(waiting), size, drop_last=plan.drop_last, avoids_lone=plan.avoids_lone)
    yield from split(waiting, sizes.tolist())


def kept_samples(dataset: PrunedIterableDataset, plan: PassPlan) -> Iterator[KeptSample]:
    """Yield the samples that the epoch keeps, in the stream's order: selected and new ones.

    Arguments:
        dataset: the stream.
        plan: the plan of the pass.
    """
    keys, weights, key = plan.keys.data, plan.weights.data, dataset.key
    for stored in dataset.stored(plan.epoch):
        number = fingerprint(key(stored))
        place = bisect_left(keys, number)
        is_known = place < len(keys) and keys[place] == number
        weight: float = weights[place] if is_known else 1.0
        if weight > 0:
            yield KeptSample(number, weight, stored)


def shuffled(kept: Iterator[KeptSample], size: int, seed: int) -> Iterator[KeptSample]:
    """Yield samples in the random order of a shuffle buffer of `size` samples, by the seed."""
    if size == 0:
        yield from kept
        return
    draw = random.Random(seed)
    waiting: list[KeptSample] = []
    for each in kept:
        if len(waiting) < size:
            waiting.append(each)
            continue
        place = draw.randrange(size)
        waiting[place], each = each, waiting[place]
        yield each
    draw.shuffle(waiting)
    yield from waiting


def all_samples(kept: Iterator[KeptSample], plan: PassPlan) -> Iterator[ServedSample]:
    """Yield all samples of a stream that gives this process its own part, not decoded."""
    served = plan.served.data
    for number, weight, stored in kept:
        if not _contains(served, number):
            yield ServedSample(number, weight, 0, 0, 0, stored)


def samples_of_rank(kept: Iterator[KeptSample], plan: PassPlan) -> Iterator[ServedSample]:
    """Yield the samples of a rank, not decoded.

    If samples do not divide evenly among ranks, the first ones of the pass are repeated at its end.

    Arguments:
        kept: the kept samples, in order, the same in all processes.
        plan: the plan of the pass, which names the rank and its samples before a checkpoint.
    """
    rank, world_size, served = plan.rank, plan.world_size, plan.served.data
    first: list[KeptSample] = []
    before = checksum = position = 0

    for each in kept:
        if len(first) < world_size:
            first.append(each)
        number, weight, stored = each
        if served and _contains(served, number):
            continue
        checksum = hash((checksum, number))
        if position % world_size == rank:
            yield ServedSample(number, weight, before, checksum, first[0].fingerprint, stored)
            before = checksum
        position += 1
    for repeated in count():
        turn = position % world_size
        if turn == 0:
            return
        if turn == rank:
            number, weight, stored = first[repeated % len(first)]
            yield ServedSample(number, weight, before, checksum, first[0].fingerprint, stored)
        position += 1


def _contains(ascending: memoryview, number: int) -> bool:
    place = bisect_left(ascending, number)
    return place < len(ascending) and bool(ascending[place] == number)
