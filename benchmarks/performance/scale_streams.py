"""The cost of streams, for scale.py."""

from __future__ import annotations

import ctypes
import gc
import time
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring import memory, peak_of

from dynaprune import BLS, InfoBatch, PrunedDataset, PrunedIterableDataset
from dynaprune.data.keys import fingerprint
from dynaprune.loading.stream_worker import PassPlan, serve
from dynaprune.training.batch import Batch

BATCHES = 50_000
"""The maximal number of batches per epoch; overhead.py measures the cost of a step."""


class Keys:
    """A stream that is cheap to read: the keys of its samples, as strings."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Any:
        return (f"shard/{number:09}.jpg" for number in range(self.samples))


def itself(stored: str) -> str:
    return stored


def measure_stream(samples: int) -> dict[str, float]:
    """Return the costs of a pass, less those of reading, with a set and with dynaprune's table."""
    stream = PrunedIterableDataset(Keys(samples), key=itself)
    read = min(samples, 1_000_000)
    part = PrunedIterableDataset(Keys(read), key=itself)
    started = time.perf_counter()
    for _ in part.stored(0):
        pass
    reading = (time.perf_counter() - started) / read

    base = memory("VmRSS")
    train: PrunedDataset = BLS(InfoBatch(stream, 100)).proxy()
    hashes = torch.from_numpy(
        np.fromiter((fingerprint(key) for key in stream.stored(0)), np.int64, samples)
    )
    folds, plans = [], []
    batch = max(128, -(-samples // BATCHES))
    for epoch in range(3):
        planned, _ = peak_of(train.begin_epoch)
        plan = train.epochs.plan
        assert plan is not None
        known = plan.keys.fingerprints if plan.keys is not None else np.empty(0)
        kept = hashes if epoch == 0 else torch.from_numpy(known[plan.order.numpy()])
        kept = kept[torch.randperm(len(kept))]
        losses = torch.empty(-(-len(kept) // batch)).exponential_()
        for number in range(len(losses)):
            keys = kept[number * batch : (number + 1) * batch].numpy()
            train.epochs.report(plan, Batch(keys, 1.0, None, (), 0), losses[number], None)
        folded, peak = peak_of(train.end_epoch)
        folds.append(folded)
        plans.append(planned)
    del hashes, kept, known, keys
    train.begin_epoch()
    plan = train.epochs.plan
    assert plan is not None
    assert plan.keys is not None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # return the memory that sorting the keys has freed
    resident = memory("VmRSS")
    pass_plan = PassPlan(
        epoch=2,
        seed=0,
        keys=plan.keys.fingerprints,
        weights=plan.weight_of_each(),
        served=np.empty(0, np.int64),
        rank=0,
        world_size=1,
        batch_size=batch,
        drop_last=False,
        avoids_lone=False,
    )
    started = time.perf_counter()
    for _ in serve(part, pass_plan, 0, 1):
        pass
    ours = (time.perf_counter() - started) / read

    before = memory("VmRSS")
    skipped = set(Keys(samples))
    as_set = memory("VmRSS") - before
    started = time.perf_counter()
    for key in part.stored(0):
        if key not in skipped:
            raise AssertionError
    theirs = (time.perf_counter() - started) / read
    return {
        "first_fold": folds[0],
        "fold": median(folds[1:]),
        "plan": median(plans[1:]),
        "resident": (resident - base) / samples,
        "peak": (peak - base) / samples,
        "decide": ours - reading,
        "set": theirs - reading,
        "set_bytes": as_set / samples,
    }
