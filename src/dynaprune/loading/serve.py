"""One run over an epoch: each batch goes to the loop, and its samples to the pruned dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..training.passes import Batch, Pass

if TYPE_CHECKING:
    from ..pruned_dataset import PrunedDataset  # which makes these


class Told(NamedTuple):
    """A batch.

    Attributes:
        batch: what there is to know of it.
        content: what the loop gets.
    """

    batch: Batch
    content: Any


def served(
    train: PrunedDataset,
    begin: Callable[[], tuple[Pass, Iterable[Told]] | None],
    note_end: Callable[[Pass], None] = lambda current: None,
) -> Iterator[Any]:
    """Yield the batches of a pass, and hand the samples of each to the dataset just before.

    Arguments:
        train: the pruned dataset.
        begin: begins the pass, when its first batch is asked for; `None` if it has no batch.
        note_end: is given the pass, when it is over, if it was whole or has trained.
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
                train.epochs.passes.hand_over(current, each.batch)
            held = [each.content]
            del each  # only the loop holds on to a batch, so it is known when it is done with
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
