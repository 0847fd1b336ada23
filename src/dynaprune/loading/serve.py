"""One pass over an epoch: each batch goes to the loop, and its samples to the pruned dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..training.batch import Batch
from ..training.loader_pass import LoaderPass

if TYPE_CHECKING:
    from ..pruned_dataset import PrunedDataset  # which creates these


def served(
    train: PrunedDataset,
    begin: Callable[[], tuple[LoaderPass, Iterable[tuple[Batch, Any]]] | None],
    note_end: Callable[[LoaderPass], None] = lambda current: None,
) -> Iterator[Any]:
    """Yield the batches of a pass, and tell the dataset the samples of each just before.

    Arguments:
        train: the pruned dataset.
        begin: begins the pass when its first batch is requested, and returns it with its batches,
            each with what the loop gets; `None` if it has no batch.
        note_end: called with the pass when it ends, if it was complete or has trained.
    """
    begun = begin()
    if begun is None:
        return
    current, batches = begun
    del begun
    is_whole = False
    try:
        for batch, content in batches:
            with train.epochs.lock:
                train.epochs.passes.set_current(current, batch)
            held = [content]
            del batch, content  # no other reference: the batch is freed when the loop drops it
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
