"""Loops that fetch a batch before they update the one before."""

from __future__ import annotations

ALPHA = 0.7


def moving_average(steps, length):
    """Return the scores of a run of one epoch, from the definition: s ← α·s + (1−α)·L."""
    scores = {}
    for batch, loss in steps:
        for sample in batch:
            scores[sample] = ALPHA * scores.get(sample, float(steps[0][1])) + (1 - ALPHA) * loss
    return [scores.get(sample, float(steps[0][1])) for sample in range(length)]


def held_back(loader):
    """Yield each batch when the next one is there, as prefetchers to a device do."""
    batches = iter(loader)
    held = next(batches)
    for batch in batches:
        yield held
        held = batch
    yield held


def copied_ahead(loader):
    """The same with copies, as what lies on a device is."""
    batches = iter(loader)
    held = next(batches).clone()
    for batch in batches:
        following = batch.clone()
        yield held
        held = following
    yield held
