"""The training loader: that of Ultralytics, on pruned epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import RandomSampler

from ...loading.loader import DataLoader
from ...pruned_dataset import PrunedDataset
from .._settings import settings_of


class PrunedLoader:
    """Serves pruned epochs with the settings of a loader of Ultralytics, and its methods.

    Before its first epoch it has the length of a full epoch, because the trainer then counts the
    batches of the run: it numbers the batches of epoch e from e times this length on. From then on
    it has the length of the epoch that is served or comes next. Other attributes are those of the
    `DataLoader` that serves the batches.

    Arguments:
        pruned: the pruned dataset.
        dataset: the dataset of Ultralytics in it. The trainer reads its labels and closes its
            mosaic.
        stock: a training loader of Ultralytics.

    Attributes:
        dataset: the dataset of Ultralytics.
        num_images: the number of images in the batch that was yielded last.
        num_batches: how many batches of the latest epoch were yielded.

    Raises:
        ValueError: `stock` does not shuffle.
    """

    def __init__(self, pruned: PrunedDataset, dataset: Any, stock: Any) -> None:
        is_shuffled = getattr(stock.sampler, "shuffle", isinstance(stock.sampler, RandomSampler))
        if not is_shuffled:
            raise ValueError(
                "rect=True was given, so Ultralytics serves the images in order of their shapes, "
                "but pruned epochs are shuffled: leave rect out"
            )
        self.dataset = dataset
        self.num_images = self.num_batches = 0
        self._pruned, self._stock = pruned, stock
        self._loader = self._new_loader()
        self._is_begun = False

    def _new_loader(self) -> DataLoader:
        stock = self._stock
        # its own loader keeps the workers between epochs, too
        settings = {**settings_of(stock), "persistent_workers": stock.num_workers > 0}
        return DataLoader(
            self._pruned, batch_size=stock.batch_size, drop_last=stock.drop_last, **settings
        )

    def __len__(self) -> int:
        return self.batches_of_epoch if self._is_begun else self.batches_per_full_epoch

    @property
    def batches_of_epoch(self) -> int:
        """The number of batches of the epoch that is served or comes next."""
        return len(self._loader)

    @property
    def batches_per_full_epoch(self) -> int:
        """The number of batches of an epoch that skips nothing."""
        return self._loader.batches_per_full_epoch

    def __iter__(self) -> Iterator[Any]:
        self._is_begun, self.num_batches = True, 0
        yield from map(self._counted, self._loader)

    def _counted(self, batch: Any) -> Any:
        self.num_images = len(batch["img"])
        self.num_batches += 1
        return batch

    def reset(self) -> None:
        """End the workers, so that those of the next epoch see changes of the dataset."""
        self.close()
        self._loader = self._new_loader()

    def close(self) -> None:
        """End the workers."""
        fetcher = self._loader._fetcher
        workers: Any = fetcher.inner._iterator if fetcher is not None else None
        if workers is not None:
            workers._shutdown_workers()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # while it is being copied
            raise AttributeError(name)
        return getattr(self._loader, name)
