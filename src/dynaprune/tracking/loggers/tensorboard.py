"""TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...utils.optional_imports import require


class TensorBoardLogger:
    """Writes the metrics of each epoch as TensorBoard scalars.

    Arguments:
        writer: a `SummaryWriter` of torch, or the folder for a new one.

    Raises:
        ImportError: tensorboard is not installed.
        TypeError: `writer` is neither.
    """

    def __init__(self, writer: Any) -> None:
        if isinstance(writer, (str, os.PathLike)):
            require("tensorboard", "tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(os.fspath(writer))
        if not hasattr(writer, "add_scalar"):
            raise TypeError(
                "writer must be a SummaryWriter or a folder, but a "
                f"{type(writer).__name__} was given"
            )
        self.writer = writer

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Write the metrics of an epoch, with the epoch's number as the step."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()
