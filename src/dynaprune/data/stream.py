"""Streams whose samples have keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import IterableDataset

from ..utils.validation import check_integer
from .indexed import Wrapping
from .keys import Key


class PrunedIterableDataset(Wrapping, IterableDataset[Any]):
    """A stream that can be pruned: each of its samples is identified by a key.

    Pass it to a method like a map-style dataset, and the result to `dynaprune.DataLoader`: scores,
    methods, `update` and checkpoints work the same. The first pass serves every sample and records
    its key. Later passes decide by key, before a sample is decoded. Keys that are new in a later
    pass are served, and known from then on.

    Let `stream` yield samples as they are stored, and `decode` convert them for training: then a
    skipped sample costs only the time to read it, which is little for data in memory or in local
    shards.

    By default each rank and each worker iterates over the whole stream and decodes only what it
    serves, so the stream must be the same in all of them. Each pass then serves the same samples
    and batches as a map-style dataset: every sample on one rank, equally many on each, in an order
    that does not depend on the number of workers. If a stream gives each rank and worker its own
    part (a webdataset with splitters, a Hugging Face dataset of several shards), set
    `splits_itself=True`. Then each process reads only its own part, all ranks stop when the first
    of them runs out of batches, and the order depends on the number of workers.

    If the stream has a method `set_epoch(epoch)`, it is called before each pass.

    Arguments:
        stream: an iterable that can be iterated repeatedly, or a function that returns an iterator.
        key: the key of a sample: a function of what the stream yields, or the name or position of
            the field that holds it. Keys are strings, bytes or integers, unique to the sample and
            the same in every pass.
        decode: converts what the stream yields into a training sample; by default the identity.
        shuffle: the size of the shuffle buffer, in samples that are not decoded yet; 0 keeps the
            stream's order. Scores need batches whose composition changes from pass to pass, so set
            this if the stream does not shuffle itself.
        splits_itself: whether the stream gives each rank and worker its own part.
        num_samples: how many samples the stream has, if known: used only for `len(loader)` and
            schedules in the first pass; by default `len(stream)`, if it has a length.

    Raises:
        TypeError: `stream` cannot be iterated, or only once; `key` or `decode` is of a wrong type;
            `shuffle` or `num_samples` is no integer.
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
        self.key: Callable[[Any], Key] = key if callable(key) else Field(key)
        self.decode = decode
        self.shuffle = check_integer("shuffle", shuffle, minimum=0)
        self.splits_itself = splits_itself
        if num_samples is None:
            self.num_samples = _length(stream)
        else:
            self.num_samples = check_integer("num_samples", num_samples, minimum=1)

    def stored(self, epoch: int) -> Iterator[Any]:
        """Iterate over the stream as it is in an epoch, without decoding.

        Arguments:
            epoch: the number of the epoch, from 0.
        """
        set_epoch = getattr(self.stream, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)
        return iter(self.stream if isinstance(self.stream, Iterable) else self.stream())

    def decoded(self, stored: Any) -> Any:
        """Return the training sample.

        Arguments:
            stored: what the stream has yielded.
        """
        return stored if self.decode is None else self.decode(stored)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over all samples, decoded, in the order of the stream; nothing is pruned."""
        return map(self.decoded, self.stored(0))

    def __repr__(self) -> str:
        return f"PrunedIterableDataset({type(self.stream).__name__})"


@dataclass(frozen=True)
class Field:
    """Reads the key of a sample from one of its fields.

    Attributes:
        key: the name of the field, or its position.
    """

    key: str | int

    def __call__(self, sample: Any) -> Any:
        """Return the field.

        Raises:
            KeyError: a sample that is a mapping does not have it.
            IndexError: a sequence is shorter.
        """
        try:
            return sample[self.key]
        except KeyError:
            if not isinstance(sample, Mapping) or self.key in sample:
                raise  # an error of the sample's own
            names = ", ".join(map(repr, sample)) or "no fields"
            raise KeyError(f"key={self.key!r} is not in a sample, which has {names}") from None
        except IndexError:
            if not isinstance(sample, Sequence):
                raise
            raise IndexError(
                f"key={self.key!r} is not in a sample, which has {len(sample)} fields"
            ) from None


def _length(stream: Any) -> int | None:
    """Return the length of a stream, if it has one."""
    try:
        return len(stream) or None
    except (TypeError, NotImplementedError):
        return None
