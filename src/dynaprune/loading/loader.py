"""torch's loader, which also passes on the indices of each batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import chain
from typing import Any, cast

import torch
import torch.utils.data
from torch.utils.data import BatchSampler, Sampler

from ..planning.sampler import PruningSampler
from ..planning.share import Share
from ..pruned_dataset import PrunedDataset
from ..scores import Score
from ..training.batch import Batch
from ..training.callers import Caller, is_after_loop
from ..training.loader_pass import LoaderPass
from ..training.passes import PassTracker
from ..utils.rng import epoch_generator
from .fetcher import Fetcher
from .indexed_fetcher import IndexedFetcher
from .last_batches import drops_lone_sample, is_ours
from .serve import served
from .slice_fetcher import SliceFetcher
from .stream_fetcher import StreamFetcher

_END = object()
"""Returned by `next` when an iterator has no more batches."""


def _once(first: Any) -> Iterator[Any]:
    """Yield an element that was taken from an iterator, without keeping a reference to it."""
    held = [first]
    del first
    yield held.pop()


def _default_generator() -> torch.Generator:
    """Return the generator of the default device, from which torch's iterator draws its seed."""
    device = torch.empty(0).device  # torch 2.6 fails to tell it after set_default_device(None)
    if device.type != "cuda":
        return torch.default_generator
    generators: tuple[torch.Generator, ...] = torch.cuda.default_generators
    return generators[device.index]


class DataLoader(torch.utils.data.DataLoader[Any]):
    """`torch.utils.data.DataLoader` that tells a pruned dataset which samples each batch holds.

    Batches, workers, `collate_fn` and attributes are torch's. When a batch is yielded, the dataset
    learns its samples, because `update` needs them: they follow from the order in which samples are
    served, or are passed along with the batch from the worker. For any other dataset it behaves
    exactly like torch's loader.

    Arguments:
        dataset: the pruned dataset, or any other.
        batch_size: samples per batch, or `None` for samples one by one.
        shuffle: leave it out, or `True`, for a pruned dataset: its sampler shuffles.
        sampler: for a pruned dataset `dataset.sampler`, which is the default; not allowed for a
            pruned stream.
        batch_sampler: for a pruned dataset one that is built on `dataset.sampler`; not allowed for
            a pruned stream.
        num_workers: as in torch; so are `collate_fn` and all further arguments.
        collate_fn: makes a batch of a list of samples.
        pin_memory: whether batches are copied to page-locked memory.
        drop_last: whether to leave out a last batch that is smaller.
        arguments: further arguments of torch's loader.

    Raises:
        ValueError: `shuffle=False` without a sampler, which a pruned dataset cannot serve;
            `shuffle` or a sampler with a pruned stream; and what torch's loader raises.

    Example:
        >>> import torch
        >>> from dynaprune import BLS, DataLoader, InfoBatch
        >>> train = BLS(InfoBatch(torch.arange(10.0), num_epochs=3)).proxy()
        >>> loader = DataLoader(train, batch_size=4)
        >>> for epoch in range(3):
        ...     for batch in loader:
        ...         loss = train.update((batch - 4.5).square().mean())
        >>> train.summary().epochs
        3
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        **arguments: Any,
    ) -> None:
        self._fetcher: Fetcher | None = None
        self._is_replaced = False
        self._is_begun = False
        self._ended: tuple[tuple[Caller, ...], int] | None = None  # of a pass: callers, batches
        arguments.update(num_workers=num_workers, pin_memory=pin_memory)
        self._arguments = arguments
        if isinstance(dataset, Score):
            name = type(dataset).__name__
            raise TypeError(
                f"a {name} was given as dataset, but it is a score: give the dataset that "
                f"{name}(...).proxy() returns"
            )
        is_pruned = isinstance(dataset, PrunedDataset)
        if is_pruned and dataset.is_stream:
            if not (shuffle is None and sampler is None and batch_sampler is None):
                raise ValueError(
                    "shuffle, sampler or batch_sampler was given, but a pruned stream is served in "
                    "its own order: leave them out, and shuffle by PrunedIterableDataset(..., "
                    "shuffle=1000)"
                )
            sampler = PruningSampler(dataset)  # only asked for lengths
        elif is_pruned and sampler is None and batch_sampler is None:
            if shuffle is False:
                raise ValueError(
                    "shuffle=False was given, but a pruned dataset serves its epochs shuffled: "
                    "leave shuffle out"
                )
            sampler, shuffle = dataset.sampler, None
        super().__init__(
            dataset,
            batch_size=batch_size,
            shuffle=shuffle,
            sampler=sampler,
            batch_sampler=batch_sampler,
            collate_fn=collate_fn,
            drop_last=drop_last,
            **arguments,
        )
        if is_pruned:
            self._fetcher = self._make_fetcher(dataset)

    def _make_fetcher(self, train: PrunedDataset) -> Fetcher:
        """Return the fetcher that suits the arguments."""
        dataset, collate_fn, batches = train.dataset, self.collate_fn, self.batch_sampler
        arguments = self._arguments
        if train.is_stream:
            size, drops = self.batch_size, self.drop_last
            return StreamFetcher(dataset, collate_fn, size, drop_last=drops, **arguments)
        if not self._is_replaced and SliceFetcher.suits(self):
            return SliceFetcher(
                dataset, cast("BatchSampler", batches), collate_fn=collate_fn, **arguments
            )
        return IndexedFetcher(dataset, collate_fn, batches, self.sampler, **arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        fetcher = self.__dict__.get("_fetcher")
        if fetcher is None or name.startswith("_") or not hasattr(fetcher.inner, name):
            return
        # torch allows some attributes to be set after construction
        setattr(fetcher.inner, name, fetcher.collate(value) if name == "collate_fn" else value)
        if name in self._arguments:
            self._arguments[name] = value

    def __len__(self) -> int:
        """Return the number of batches of the epoch that is served or comes next.

        After a loop, in the function that ran it, it is still the length of that loop's epoch, so
        that `running_loss / len(loader)` is the mean. To be safe anywhere, count the batches or use
        `train.mean_loss`.
        """
        length = self._coming_length()
        if self._ended is None or self._train().epochs.passes.open_pass() is not None:
            return length
        callers, length_of_ended = self._ended
        return length_of_ended if is_after_loop(callers, sys._getframe(1)) else length

    def _coming_length(self) -> int:
        length = super().__len__()
        if self._fetcher is None or not is_ours(self.batch_sampler):
            return length
        batches = cast("BatchSampler", self.batch_sampler)
        return length - drops_lone_sample(batches, len(cast("Sized", batches.sampler)))

    def _train(self) -> PrunedDataset:
        return cast("PrunedDataset", self.dataset)

    @property
    def batches_per_full_epoch(self) -> int:
        """The number of batches of an epoch that skips nothing, in this process.

        A batch sampler that is not torch's may have an attribute of this name, which is returned.

        Raises:
            TypeError: it has none, and the sizes of its batches are unknown.
        """
        batches = self.batch_sampler
        own = getattr(batches, "batches_per_full_epoch", None)
        if own is not None:
            return int(own)
        sampler = getattr(batches, "sampler", self.sampler)
        if isinstance(self.dataset, PrunedDataset) and isinstance(sampler, PruningSampler):
            num_samples = sampler.full_length()
        else:
            num_samples = len(cast("Sized", self.dataset))
        if batches is None:
            return num_samples
        if type(batches) is not BatchSampler:
            raise TypeError(
                f"the number of batches that a {type(batches).__name__} makes of a full epoch is "
                "unknown: give it an attribute batches_per_full_epoch"
            )
        missing = 0 if batches.drop_last else batches.batch_size - 1
        return (num_samples + missing) // batches.batch_size

    def __iter__(self) -> Any:
        if self._fetcher is None:
            return super().__iter__()
        train, batches = self._train(), self.batch_sampler
        size = self.batch_size or getattr(batches, "batch_size", None)
        train.check_batch_size(size, getattr(self.sampler, "world_size", None))
        if isinstance(self._fetcher, SliceFetcher) and not SliceFetcher.suits(self):
            self._fetcher = self._make_fetcher(train)  # for example, in_order was set
        # torch's iterator draws a seed; in a resumed epoch it was drawn before the checkpoint
        with train.epochs.lock:
            has_drawn = self._has_drawn(train)
        resuming = partial(self._with_fresh_seed, train) if has_drawn else nullcontext
        self._is_begun = True
        with resuming():
            # with workers the epoch begins now, without them with the first batch
            fetched, share = train.epochs.served_shares.begun_during(
                partial(self._fetcher.begin, train)
            )
        if not self._is_replaced:
            resuming = nullcontext
        begin = partial(self._begin, self._fetcher, fetched, share, train.epochs.passes, resuming)
        return served(train, begin, self._note_end)

    def _has_drawn(self, train: PrunedDataset) -> bool:
        """Whether the seed of this epoch's iterator was already drawn, before a checkpoint.

        With persistent workers it is drawn once per run, in the first epoch.
        """
        lives_on = self.num_workers > 0 and self.persistent_workers and not self._is_begun
        return train.epochs.position.is_resumed() or (lives_on and train.epochs.number > 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the pruned dataset, which is enough to resume.

        With `load_state_dict` this is torchdata's Stateful protocol. It does not matter what
        loaders have fetched ahead: a batch stays due until `update` was called for it. For a
        dataset that is not pruned the state is empty.
        """
        return self.dataset.state_dict() if isinstance(self.dataset, PrunedDataset) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume with the samples that are still due; see `PrunedDataset.load_state_dict`.

        Arguments:
            state: what `state_dict` returned, here or of the pruned dataset.

        Raises:
            RuntimeError: the state is not one of this dataset.
        """
        if isinstance(self.dataset, PrunedDataset):
            self.dataset.load_state_dict(state)
        elif state:
            raise RuntimeError(
                f"the loader serves a {type(self.dataset).__name__}, which is not pruned, so it "
                "cannot resume from the state of a pruned dataset"
            )

    def replace_fetcher(self, wrap: Callable[[Any], Any]) -> None:
        """Let another loader fetch the batches: for frameworks that wrap torch's loader.

        Arguments:
            wrap: receives the loader that fetches batches and their indices, as tuples, and returns
                one that yields the same tuples.
        """
        if self._fetcher is None:
            return
        self._is_replaced = True
        if isinstance(self._fetcher, SliceFetcher):
            self._fetcher = self._make_fetcher(cast("PrunedDataset", self.dataset))
        self._fetcher.loader = wrap(self._fetcher.loader)

    @contextmanager
    def _with_fresh_seed(self, train: PrunedDataset) -> Iterator[None]:
        """Let torch's iterator draw another seed, and leave its generator as if it had drawn none.

        Workers get their seeds from it. The rest of a resumed epoch must repeat neither the random
        numbers of the epoch's beginning nor those of the next epoch.
        """
        generator = _default_generator() if self.generator is None else self.generator
        state = generator.get_state()
        epochs = train.epochs
        fresh = epoch_generator(train.seed, epochs.number, stream=2 + epochs.progress.visits)
        generator.manual_seed(fresh.initial_seed())
        try:
            yield
        finally:
            generator.set_state(state)

    def _begin(
        self,
        fetcher: Fetcher,
        fetched: Iterator[Any],
        begun: Share | None,
        tracker: PassTracker,
        resuming: Callable[[], AbstractContextManager[None]],
    ) -> tuple[LoaderPass, Iterator[tuple[Batch, Any]]] | None:
        """Begin a pass when its first batch is requested, and return it with its batches."""
        train = self._train()
        with resuming():  # a framework's wrapper creates torch's iterator only now
            first, begun_now = train.epochs.served_shares.begun_during(partial(next, fetched, _END))
        share = begun_now if begun is None else begun
        if begun is None:
            tracker = train.epochs.passes
        if first is _END:
            if share is not None:
                with train.epochs.lock:
                    train.epochs.skip_empty_epoch(share.plan)
            return None
        if share is None:
            raise RuntimeError(
                "the loader does not use the sampler of the pruned dataset, so nothing would be "
                "pruned: pass sampler=train.sampler, or a batch sampler built on it, such as "
                "BatchSampler(train.sampler, 128, drop_last=False)"
            )
        current = LoaderPass(share.plan, *self._count_served(share), tracker)
        return current, fetcher.tracked(chain(_once(first), fetched), share)

    def _note_end(self, current: LoaderPass) -> None:
        """Remember the callers of a pass, and how many batches it had."""
        self._ended = current.callers, current.num_batches or current.num_yielded

    def _count_served(self, share: Share) -> tuple[int | None, int | None]:
        """Return the numbers of samples and batches of a share, `None` if unknown.

        The number of batches of a stream is never known.
        """
        batches: Any = self.batch_sampler
        if self._train().is_stream:
            return len(share), None
        if batches is None:
            return len(share), len(share)
        if is_ours(batches):
            size, count = batches.batch_size, len(share)
            if batches.drop_last:
                return count - count % size, count // size
            count -= drops_lone_sample(batches, count)
            return count, -(-count // size)
        try:
            return None, self._train().epochs.counted_by(share.plan, lambda: len(batches))
        except (TypeError, NotImplementedError):
            return None, None
