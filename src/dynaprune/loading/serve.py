"""One pass over an epoch: each batch goes to the loop, and its samples to the pruned dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..training.passes import Batch, LoaderPass

if TYPE_CHECKING:
    from ..pruned_dataset import PrunedDataset  # which creates these


class TrackedBatch(NamedTuple):
    """A batch with its samples.

    Attributes:
        batch: what is known of the batch's samples.
        content: what the loop gets.
    """

    batch: Batch
    content: Any


def served(
    train: PrunedDataset,
    begin: Callable[[], tuple[LoaderPass, Iterable[TrackedBatch]] | None],
    note_end: Callable[[LoaderPass], None] = lambda current: None,
) -> Iterator[Any]:
    """Yield the batches of a pass, and tell the dataset the samples of each just before.

    Arguments:
        train: the pruned dataset.
        begin: begins the pass when its first batch is requested; `None` if it has no batch.
        note_end: called with the pass when it ends, if it was complete or has trained.
    """
    begun = begin()
    if begun is None:
        return
    current, told = begun
    del begun
    is_whole = False
    try:
        for each in told:
            with train.epochs.lock:
                train.epochs.passes.set_current(current, each.batch)
            held = [each.content]
            del each  # no other reference: the batch is freed when the loop drops it
            yield held.pop()
        with train.epochs.lock:
            current.end()
        is_whole = True
        train.finish(current)
    finally:
        with train.epochs.lock:
            train.epochs.passes.close(current)
        if is_whole or current.is_trained:
            note_end(current)
