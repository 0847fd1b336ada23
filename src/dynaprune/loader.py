"""torch's loader, plus the indices of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch.utils.data
from numpy.typing import NDArray
from torch.utils.data import Sampler

from .indexed import fetch
from .passes import Pass
from .pruned import PrunedDataset


class DataLoader(torch.utils.data.DataLoader[Any]):
    """`torch.utils.data.DataLoader` that tells a pruned dataset which samples each batch holds.

    Batches, workers, `collate_fn` and attributes are torch's. The indices travel beside each
    batch, from where it is fetched to where it is yielded, and then go to the dataset, whose
    `update` needs them. For any other dataset it is torch's loader and nothing else.

    Arguments:
        dataset: the pruned dataset, or any other.
        batch_size: samples a batch, or `None` for samples one by one.
        shuffle: leave it out, or `True`, for a pruned dataset: its sampler shuffles.
        sampler: for a pruned dataset `dataset.sampler`, which is the default.
        batch_sampler: for a pruned dataset one that is built on `dataset.sampler`.
        num_workers: as in torch; so are `collate_fn` and all further arguments.
        collate_fn: makes a batch of a list of samples.
        pin_memory: whether batches are copied to page-locked memory.
        drop_last: whether a last batch of fewer samples is left out.
        arguments: further arguments of torch's loader.

    Raises:
        ValueError: `shuffle=False` without a sampler, which a pruned dataset cannot serve; and
            what torch's loader raises.

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
        arguments.update(num_workers=num_workers, pin_memory=pin_memory)
        is_pruned = isinstance(dataset, PrunedDataset)
        if is_pruned and sampler is None and batch_sampler is None:
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
            # A second loader over the same sampler does the work, so that this one's dataset and
            # collate_fn stay what the user gave, for the user and for frameworks that read them.
            self._tracked = torch.utils.data.DataLoader(
                _Indexing(dataset.dataset),
                **(
                    {"batch_size": None, "sampler": self.sampler}
                    if self.batch_sampler is None
                    else {"batch_sampler": self.batch_sampler}
                ),
                collate_fn=_Collate(self.collate_fn),
                **arguments,
            )

    def __iter__(self) -> Any:
        if self._tracked is None:
            return super().__iter__()
        train = cast("PrunedDataset", self.dataset)
        current = train.open_pass()
        return _serve(train, current, iter(self._tracked))


def _serve(train: PrunedDataset, current: Pass, batches: Iterator[_Indexed]) -> Iterator[Any]:
    """Yield batches, and hand the samples of each to the dataset just before."""
    try:
        for indices, batch in batches:
            train.hand_over(current, indices)
            yield batch
        current.batch = None
    finally:
        train.close_pass(current)


class _Indexed(NamedTuple):
    """A batch and its samples' indices; a named tuple, because torch pins what is in those."""

    indices: NDArray[np.int64]
    batch: Any


class _Indexing(torch.utils.data.Dataset[_Indexed]):
    """The dataset for the fetcher: returns indices with what is fetched, and is else the dataset.

    Workers see it as `get_worker_info().dataset`, and a `worker_init_fn` may read and write the
    dataset's attributes there.
    """

    def __init__(self, dataset: Any) -> None:
        object.__setattr__(self, "dataset", dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> _Indexed:
        return _Indexed(np.atleast_1d(np.asarray(index, dtype=np.int64)), self.dataset[index])

    def __getitems__(self, indices: list[int]) -> _Indexed:
        return _Indexed(np.asarray(indices, dtype=np.int64), fetch(self.dataset, indices))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "dataset" not in self.__dict__:  # asked for by pickle
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)


class _Collate:
    """The user's collate function, applied to the samples and not to the indices."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, fetched: Any) -> _Indexed:
        return _Indexed(fetched.indices, self.collate_fn(fetched.batch))
