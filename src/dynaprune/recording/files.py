"""The files of a recording: a folder with a few of each epoch."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..batches import Batches

RUN = "run.json"
SAMPLES = "samples.npy"
EPOCHS = "epochs.jsonl"
LOSSES = re.compile(r"epoch-(\d{5,})\.npz")
ARRAYS = ("indices", "sizes", "losses", "steps")


def losses_file(directory: Path, number: int) -> Path:
    """Return where the losses of an epoch are written."""
    return directory / f"epoch-{number:05}.npz"


def losses_files(directory: Path) -> dict[int, Path]:
    """Return the files of losses by the number of their epoch, in order."""
    found = {
        int(match[1]): path
        for path in directory.iterdir()
        if (match := LOSSES.fullmatch(path.name)) is not None
    }
    return dict(sorted(found.items()))


def pack_losses(file: Any, batches: Batches) -> None:
    """Write an npz file: 4 bytes an index and a loss; what repeats itself is compressed."""
    indices = batches.indices.numpy()
    if indices.size == 0 or (indices.min() >= 0 and indices.max() <= np.iinfo(np.int32).max):
        indices = indices.astype(np.int32, copy=False)
    arrays = {
        "indices": indices,
        "sizes": batches.sizes.numpy().astype(np.int32),
        "losses": batches.losses.numpy().astype(np.float32, copy=False),
        "steps": batches.steps.numpy().astype(np.int32),
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            repeats = name in ("sizes", "steps")
            compression = zipfile.ZIP_DEFLATED if repeats else zipfile.ZIP_STORED
            archive.writestr(f"{name}.npy", content.getvalue(), compression)


def unpack_losses(path: Path) -> Batches:
    """Read a file of `pack_losses`.

    Raises:
        RuntimeError: it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            indices, sizes, losses, steps = (arrays[name] for name in ARRAYS)
        if not (
            sizes.shape == losses.shape == steps.shape == (losses.size,)
            and indices.shape == (int(sizes.sum()),)
        ):
            raise ValueError("its arrays do not fit each other")
    except (
        AttributeError,  # of an .npy file, which is no context
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise RuntimeError(
            f"{path}, of {path.stat().st_size:,} bytes, cannot be read: it is damaged, or no epoch "
            f"of a recording. Remove it and all epochs after it, or all before ({error})"
        ) from error
    return Batches(
        torch.from_numpy(indices),
        torch.from_numpy(sizes.astype(np.int64)),
        torch.from_numpy(losses),
        torch.from_numpy(steps.astype(np.int64)),
    )
