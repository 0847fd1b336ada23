"""The progress bar of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...utils.optional_imports import require

trainer_module: Any = require("ultralytics.engine.trainer", "ultralytics")


@contextmanager
def bars_of_pruned_epochs(count_batches: Callable[[], int]) -> Iterator[None]:
    """Let the trainer's bars show how many batches an epoch has, while this context is open.

    The trainer asks for the length of an epoch once per run, and creates each bar with it.

    Arguments:
        count_batches: returns the number of batches of the epoch that comes next.
    """
    bar = trainer_module.TQDM

    def bar_of_epoch(*arguments: Any, **keywords: Any) -> Any:
        return bar(*arguments, **{**keywords, "total": count_batches()})

    trainer_module.TQDM = bar_of_epoch
    try:
        yield
    finally:
        trainer_module.TQDM = bar
