"""A stream whose samples have keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

from torch.utils.data import IterableDataset

from ..utils.validation import check_integer
from .indexed import Wrapping
from .keys import Key


class PrunedIterableDataset(Wrapping, IterableDataset[Any]):
    """A stream that can be pruned: each of its samples has a key, and is known by it again.

    Give it to a method as you would a map-style dataset, and the result to `dynaprune.DataLoader`:
    scores, methods, `update` and checkpoints are the same. The first pass serves every sample, and
    takes its key down; later ones decide by key, before a sample is decoded. Keys that are new in
    a later pass are served, and known from then on.

    Let `stream` yield samples as they are stored, and `decode` turn one into what is trained on:
    then a skipped sample costs no more than reading it. Read from memory, or from shards that are
    on this machine, that is little.

    By default each rank and each worker runs through the whole stream and decodes only what it
    serves, so the stream has to be the same in all of them, and each pass serves the samples and
    batches that a map-style dataset would: every sample on one rank, equally many on each, in an
    order that does not depend on the number of workers. A stream that gives each rank and worker
    a part of its own (a webdataset with splitters, a Hugging Face dataset of several shards) is
    declared by `splits_itself=True`. Then only this part is read, ranks stop together, where
    the first of them has no batch left, and the order depends on workers.

    A stream with `set_epoch(epoch)` is told the epoch before each pass.

    Arguments:
        stream: an iterable that can be run through again and again, or a function that returns an
            iterator.
        key: what a sample's key is: a function of what the stream yields, or the name or place of
            the field that holds it. Keys are strings, bytes or integers: each sample has its own,
            and the same in every pass.
        decode: makes of what the stream yields what is trained on; by default nothing is done.
        shuffle: how many samples, not decoded yet, wait in a buffer from which the next one is
            drawn at random; 0 leaves the stream's order. Scores need neighbours that change from
            pass to pass, so shuffle here if the stream itself does not.
        splits_itself: whether the stream gives each rank and worker a part of its own.
        num_samples: how many samples the stream has, if that is known: only for `len(loader)` and
            schedules in the first pass, and by default what `len(stream)` says.

    Raises:
        TypeError: `stream` cannot be run through, or only once; `key` or `decode` is not what it
            should be; `shuffle` or `num_samples` is no integer.
        ValueError: `shuffle` is below 0, or `num_samples` below 1.

    Example:
        >>> import torch
        >>> from dynaprune import BLS, DataLoader, InfoBatch, PrunedIterableDataset
        >>> shard = [{"key": f"{i:03}", "value": str(i)} for i in range(100)]
        >>> stream = PrunedIterableDataset(
        ...     shard, key="key", decode=lambda stored: float(stored["value"]), shuffle=50
        ... )
        >>> train = BLS(InfoBatch(stream, num_epochs=5)).proxy()
        >>> loader = DataLoader(train, batch_size=10)
        >>> for epoch in range(5):
        ...     for batch in loader:
        ...         loss = train.update((batch - 50).square().mean())
        >>> len(train), train.summary().visits_avoided > 0
        (100, True)
    """

    wraps = "stream"

    def __init__(
        self,
        stream: Iterable[Any] | Callable[[], Iterator[Any]],
        key: Callable[[Any], Key] | str | int,
        decode: Callable[[Any], Any] | None = None,
        *,
        shuffle: int = 0,
        splits_itself: bool = False,
        num_samples: int | None = None,
    ) -> None:
        if isinstance(stream, Iterator):
            raise TypeError(
                f"stream must be an object that can be iterated once per epoch, but a "
                f"{type(stream).__name__} was given, which can be iterated only once: give the "
                "function that makes it, or an object with __iter__"
            )
        if not isinstance(stream, Iterable) and not callable(stream):
            raise TypeError(
                "stream must be an iterable, or a function that returns an iterator, but "
                f"{stream!r} was given"
            )
        if not callable(key) and (not isinstance(key, (str, int)) or isinstance(key, bool)):
            raise TypeError(
                "key must be a function of what the stream yields, or the name or position of a "
                f"field in it, but {key!r} was given"
            )
        if decode is not None and not callable(decode):
            raise TypeError(
                f"decode must be a function of what the stream yields, but {decode!r} was given"
            )
        self.stream = stream
        self.key: Callable[[Any], Key] = key if callable(key) else itemgetter(key)
        self.decode = decode
        self.shuffle = check_integer("shuffle", shuffle, minimum=0)
        self.splits_itself = splits_itself
        if num_samples is None:
            self.num_samples = _length(stream)
        else:
            self.num_samples = check_integer("num_samples", num_samples, minimum=1)

    def stored(self, epoch: int) -> Iterator[Any]:
        """Run through the stream as it is in some epoch, without decoding.

        Arguments:
            epoch: its number, from 0.
        """
        set_epoch = getattr(self.stream, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)
        return iter(self.stream if isinstance(self.stream, Iterable) else self.stream())

    def decoded(self, stored: Any) -> Any:
        """Return what is trained on.

        Arguments:
            stored: what the stream has yielded.
        """
        return stored if self.decode is None else self.decode(stored)

    def __iter__(self) -> Iterator[Any]:
        """Run through all samples, decoded, as the stream yields them: nothing is pruned."""
        return map(self.decoded, self.stored(0))

    def __repr__(self) -> str:
        return f"PrunedIterableDataset({type(self.stream).__name__})"


def _length(stream: Any) -> int | None:
    """Return the length of a stream, if it has one."""
    try:
        return len(stream) or None
    except (TypeError, NotImplementedError):
        return None
