"""torch's loader, plus the indices of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, Sampler

from .indexed import Forwarding, fetch
from .keys import KeyTable
from .passes import Pass
from .plan import epoch_generator
from .pruned import PrunedDataset
from .sampler import PruningSampler
from .scores import Score
from .share import Share
from .streams.fetching import CollateKeyed, StreamPass, checked, in_step
from .streams.serving import Orders


class DataLoader(torch.utils.data.DataLoader[Any]):
    """`torch.utils.data.DataLoader` that tells a pruned dataset which samples each batch holds.

    Batches, workers, `collate_fn` and attributes are torch's. The indices travel beside each
    batch, from where it is fetched to where it is yielded, and then go to the dataset, whose
    `update` needs them. For any other dataset it is torch's loader and nothing else.

    Arguments:
        dataset: the pruned dataset, or any other.
        batch_size: samples a batch, or `None` for samples one by one.
        shuffle: leave it out, or `True`, for a pruned dataset: its sampler shuffles.
        sampler: for a pruned dataset `dataset.sampler`, which is the default; for a pruned stream
            none.
        batch_sampler: for a pruned dataset one that is built on `dataset.sampler`; for a pruned
            stream none.
        num_workers: as in torch; so are `collate_fn` and all further arguments.
        collate_fn: makes a batch of a list of samples.
        pin_memory: whether batches are copied to page-locked memory.
        drop_last: whether a last batch of fewer samples is left out.
        arguments: further arguments of torch's loader.

    Attributes:
        batches_before: what `len()` counts besides the batches to come. A framework that resumes in
            the middle of an epoch, and counts from its beginning, sets it.

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
        self._tracked: torch.utils.data.DataLoader[_Indexed] | None = None
        self._is_replaced = False
        self.batches_before = 0
        arguments.update(num_workers=num_workers, pin_memory=pin_memory)
        if isinstance(dataset, Score):
            name = type(dataset).__name__
            raise TypeError(
                f"a {name} was given as dataset, but it is a score: give what "
                f"{name}(...).proxy() returns, the dataset that is scored by it"
            )
        is_pruned = isinstance(dataset, PrunedDataset)
        is_stream = is_pruned and dataset.is_stream
        self._stream: StreamPass | None = None
        if is_stream and not (shuffle is None and sampler is None and batch_sampler is None):
            raise ValueError(
                "shuffle, sampler or batch_sampler was given, but a pruned stream is served in its "
                "own order: leave them out, and shuffle by PrunedIterableDataset(..., shuffle=1000)"
            )
        if is_pruned and not is_stream and sampler is None and batch_sampler is None:
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
        if is_stream:
            has_workers = num_workers > 0
            lives_on = bool(arguments.get("persistent_workers"))
            self._stream = StreamPass(dataset.dataset, has_workers, lives_on)
            self._tracked = torch.utils.data.DataLoader(
                cast("Any", self._stream),
                batch_size=batch_size,
                drop_last=drop_last,
                collate_fn=self._collate(self.collate_fn),
                **arguments,
            )
        elif is_pruned:
            # A second loader over the same sampler does the work, so that this one's dataset and
            # collate_fn stay what the user gave, for the user and for frameworks that read them.
            one_by_one = self.batch_sampler is None
            self._tracked = torch.utils.data.DataLoader(
                _Indexing(dataset.dataset, one_by_one),
                **(
                    {"batch_size": None, "sampler": self.sampler}
                    if one_by_one
                    else {"batch_sampler": self.batch_sampler}
                ),
                collate_fn=self._collate(self.collate_fn),
                **arguments,
            )

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        tracked = self.__dict__.get("_tracked")
        if tracked is not None and not name.startswith("_") and hasattr(tracked, name):
            # set later, as torch allows for some
            setattr(tracked, name, self._collate(value) if name == "collate_fn" else value)

    def _collate(self, collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the user's collate function for batches that say which samples they hold."""
        if self._stream is None:
            return _Collate(collate_fn)
        return CollateKeyed(collate_fn, one_by_one=self.batch_size is None)

    def __len__(self) -> int:
        if self._stream is None:
            return self.batches_before + super().__len__()
        samples = cast("PrunedDataset", self.dataset).epoch_length()
        size = self.batch_size or 1
        return self.batches_before + (samples // size if self.drop_last else -(-samples // size))

    @property
    def batches_per_full_epoch(self) -> int:
        """The number of batches of an epoch that skips nothing, in this process.

        Raises:
            TypeError: the batch sampler is not torch's, and may make batches of any size.
        """
        num_samples, batches = len(cast("Sized", self.dataset)), self.batch_sampler
        if isinstance(self.dataset, PrunedDataset) and isinstance(self.sampler, PruningSampler):
            num_samples = self.sampler.full_length()
        if self._stream is not None:
            num_samples = cast("PrunedDataset", self.dataset).full_length()
        if batches is None:
            return num_samples
        if type(batches) is not BatchSampler:
            raise TypeError(
                f"how many batches a {type(batches).__name__} makes of a full epoch is not known"
            )
        missing = 0 if batches.drop_last else batches.batch_size - 1
        return (num_samples + missing) // batches.batch_size

    def __iter__(self) -> Any:
        if self._tracked is None:
            return super().__iter__()
        train = cast("PrunedDataset", self.dataset)
        # torch's iterator draws a number; in a resumed epoch that has been done before
        resuming = partial(self._undrawn, train) if train.epochs.is_resumed() else nullcontext
        with resuming():
            # workers begin the epoch at once, a loader without them with its first batch
            batches, share = train.epochs.begun_by(partial(self._begin, train))
        return self._serve(train, batches, share, resuming if self._is_replaced else nullcontext)

    def _begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Return an iterator over batches and what is known of their samples."""
        if self._stream is None:
            return iter(cast("Any", self._tracked))
        share = train.begin_epoch()
        plan, ranks = share.plan, train.epochs.ranks
        resumed = train.epochs.findings.resumed.batches
        is_resumed = plan is train.epochs.plan  # and not the next one, of which nothing was served
        self._stream.begin(
            Orders(
                epoch=plan.epoch,
                seed=epoch_generator(train.seed, plan.epoch, stream=1).initial_seed(),
                keys=cast("KeyTable", plan.keys).fingerprints,
                weights=plan.weight_of_each(),
                served=np.sort(resumed.indices.numpy()) if is_resumed else np.empty(0, np.int64),
                rank=ranks.own,
                world_size=ranks.size,
                batch_size=self.batch_size or 1,
            )
        )
        batches = iter(cast("Any", self._tracked))
        if not train.dataset.splits_itself:
            return checked(batches)
        if ranks.size == 1:
            return cast("Iterator[Any]", batches)
        block = max(1, self.num_workers * (self.prefetch_factor or 2))
        return in_step(batches, block, ranks.range_of)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the pruned dataset, which is all that there is to resume.

        With `load_state_dict` it is torchdata's Stateful protocol. What loaders have fetched ahead
        does not matter: a batch is due until `update` was called for it. Of another dataset than a
        pruned one nothing is known, and the state is empty.
        """
        return self.dataset.state_dict() if isinstance(self.dataset, PrunedDataset) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume: the next `iter()` serves what was still due. See `PrunedDataset.load_state_dict`.

        Arguments:
            state: of `state_dict`, here or of the pruned dataset.

        Raises:
            RuntimeError: the state is not one of this dataset.
        """
        if isinstance(self.dataset, PrunedDataset):
            self.dataset.load_state_dict(state)
        elif state:
            raise RuntimeError(
                f"the loader serves a {type(self.dataset).__name__}, which is not pruned, so it "
                "cannot go on from the state of a pruned dataset"
            )

    def replace_fetcher(self, wrap: Callable[[Any], Any]) -> None:
        """Let another loader fetch the batches: for frameworks, which put one around torch's.

        Arguments:
            wrap: is given the loader that fetches batches and their indices, as tuples, and returns
                one that yields the same tuples.
        """
        if self._tracked is not None:
            self._tracked, self._is_replaced = wrap(self._tracked), True

    @contextmanager
    def _undrawn(self, train: PrunedDataset) -> Iterator[None]:
        """Leave the generator that torch's iterator draws a number from as it is.

        The number makes the seeds of workers, so it is another one: the rest of an epoch should
        have neither the random numbers that its beginning had nor those of the next epoch.
        """
        generator = torch.default_generator if self.generator is None else self.generator
        state = generator.get_state()
        epochs = train.epochs
        fresh = epoch_generator(train.seed, epochs.number, stream=2 + epochs.findings.visits)
        generator.manual_seed(fresh.initial_seed())
        try:
            yield
        finally:
            generator.set_state(state)

    def _serve(
        self,
        train: PrunedDataset,
        batches: Iterator[_Indexed],
        begun: Share | None,
        resuming: Callable[[], AbstractContextManager[None]],
    ) -> Iterator[Any]:
        """Yield batches, and hand the samples of each to the dataset just before."""
        with resuming():  # loaders that were put around torch's make its iterator only now
            fetched, begun_now = train.epochs.begun_by(partial(next, batches, None))
        share = begun_now if begun is None else begun
        if fetched is None:
            if share is not None:
                train.epochs.pass_over(share.plan)
            return
        if share is None:
            raise RuntimeError(
                "the loader does not use the sampler of the pruned dataset, so nothing would be "
                "pruned: pass sampler=train.sampler, or a batch sampler built on it, such as "
                "BatchSampler(train.sampler, 128, drop_last=False)"
            )
        current = Pass(share.plan, self._count_served(share))
        try:
            while fetched is not None:
                weights = None
                if self._stream is not None:
                    weights, train.epochs.first_key = fetched.weights, fetched.first
                train.epochs.passes.hand_over(current, fetched.indices, weights)
                yield fetched.batch
                fetched = next(batches, None)
            current.batch = None
            train.finish(current)
        finally:
            train.epochs.passes.close(current)

    def _count_served(self, share: Share) -> int:
        """Return how many of a share's samples are in batches: not those that drop_last drops.

        Of a stream, nobody knows.
        """
        batches = self.batch_sampler
        if isinstance(batches, BatchSampler) and batches.drop_last:
            return len(share) - len(share) % batches.batch_size
        return len(share)


class _Indexed(NamedTuple):
    """A batch and its samples' indices; a named tuple, because torch pins what is in those."""

    indices: NDArray[np.int64]
    batch: Any


class _Indexing(Forwarding, torch.utils.data.Dataset[_Indexed]):
    """The dataset for the fetcher: returns indices with what is fetched, and is else the dataset.

    Workers see it as `get_worker_info().dataset`, and a `worker_init_fn` may read and write the
    dataset's attributes there.

    Arguments:
        samples: the dataset.
        one_by_one: whether torch fetches with `[]` and not in batches.
    """

    def __init__(self, samples: Any, one_by_one: bool) -> None:
        super().__init__(samples)
        vars(self).update(_one_by_one=one_by_one)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        sample = self._samples[index]
        return (
            _Indexed(np.atleast_1d(_sample_numbers(index)), sample) if self._one_by_one else sample
        )

    def __getitems__(self, indices: list[int]) -> _Indexed:
        return _Indexed(_sample_numbers(indices), fetch(self._samples, indices))


def _sample_numbers(indices: Any) -> NDArray[np.int64]:
    """Return what a sampler yields as an array, shape (B,), or () for a single one."""
    numbers = np.asarray(indices)
    if numbers.ndim > 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise TypeError(
            f"the DataLoader of dynaprune wants sample numbers from its sampler, but {indices!r} "
            "was yielded"
        )
    return numbers.astype(np.int64, copy=False)


class _Collate:
    """The user's collate function, applied to the samples and not to the indices."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, fetched: Any) -> _Indexed:
        return _Indexed(fetched.indices, self.collate_fn(fetched.batch))
