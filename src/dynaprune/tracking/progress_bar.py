"""A progress bar in the terminal for plain training loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..loading.loader import DataLoader
from ..pruned_dataset import PrunedDataset
from ..utils.optional_imports import require


def progress(loader: DataLoader, *, console: Any = None) -> Iterator[Any]:
    """Yield the batches of an epoch, and show the progress and the share of visits saved.

    It does not read losses, so it does not wait for a device. It needs the extra `progress`.

    Arguments:
        loader: a loader over a pruned dataset.
        console: a console of rich; by default a new one. If it is not a terminal, one line is
            printed per epoch.

    Raises:
        ImportError: rich is not installed.
        TypeError: the loader's dataset is not a pruned one.

    Example:
        >>> from dynaprune import DataLoader, NoPrune
        >>> from dynaprune.tracking.progress_bar import progress
        >>> train = NoPrune(range(20), num_epochs=1)
        >>> for batch in progress(DataLoader(train, batch_size=10)):  # doctest: +ELLIPSIS
        ...     _ = train.update(batch.float())
        epoch 1/1 ━... 2/2 0:00:00 20 of 20 samples, 0.0% saved
    """
    rich = require("rich.progress", "progress")
    train = getattr(loader, "dataset", None)
    if not isinstance(train, PrunedDataset):
        raise TypeError(
            f"progress() needs a loader over a pruned dataset, but a {type(loader).__name__} over "
            f"a {type(train).__name__} was given"
        )
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(elapsed_when_finished=True),
        rich.TextColumn("{task.fields[about]}"),
    )
    with rich.Progress(*columns, console=console) as shown:
        task = None
        for batch in loader:
            if task is None:  # the epoch, and so its length, is known once it yields a batch
                task = shown.add_task(
                    f"epoch {train.epoch + 1}/{train.num_epochs}",
                    total=_length(loader),
                    about=_about(train),
                )
            yield batch
            shown.advance(task)


def _length(loader: DataLoader) -> int | None:
    try:
        return len(loader)
    except TypeError:  # the first pass over a stream
        return None


def _about(train: PrunedDataset) -> str:
    saved = f"{train.summary().share_saved:.1%} saved"
    epochs = train.epochs
    known = epochs.now.num_samples
    if known == 0:  # the first pass over a stream
        return saved
    served = 0 if epochs.plan is None else len(epochs.plan)
    return f"{served:,} of {known:,} {epochs.source.noun}, {saved}"
