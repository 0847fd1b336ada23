"""Files that a killed job cannot leave half-written: checkpoints, and what else must be whole."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch


def save_checkpoint(path: str | os.PathLike[str], **states: Any) -> None:
    """Write states to a file: all of them, or, if the process is killed meanwhile, none.

    The file is written beside the one it replaces and then renamed, so there is always a whole one.

    Arguments:
        path: of the file; its folder must exist.
        states: what is saved, by name, such as `model=model.state_dict()`; of an object that has a
            `state_dict()`, such as `model=model`, that.

    Example:
        >>> import tempfile, torch
        >>> from dynaprune import NoPrune, load_checkpoint, save_checkpoint
        >>> path = tempfile.mkdtemp() + "/checkpoint.pt"
        >>> train, model = NoPrune(range(10), num_epochs=3), torch.nn.Linear(2, 1)
        >>> save_checkpoint(path, model=model.state_dict(), train=train.state_dict())
        >>> train.load_state_dict(load_checkpoint(path)["train"])
    """
    saved = {
        name: state.state_dict() if hasattr(state, "state_dict") else state
        for name, state in states.items()
    }
    with whole_file(Path(path)) as file:
        torch.save(saved, file)


@contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a file to be written, which takes the place of `path` once all of it is there.

    Arguments:
        path: of the file.
        sync: whether it is on the disk then, so that it also outlasts a failure of the machine.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the states that `save_checkpoint` has written, on the host: tensors and plain values.

    Arguments:
        path: of the file.

    Raises:
        FileNotFoundError: there is none.
        RuntimeError: the file is cut short or damaged, or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        states = torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        EOFError,
        LookupError,  # of a text, whose letters are taken for instructions
        ValueError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise RuntimeError(
            f"the checkpoint {path}, of {path.stat().st_size:,} bytes, cannot be read: it is cut "
            f"short or damaged, or no checkpoint. Go on from an earlier one ({error})"
        ) from error
    if not isinstance(states, dict):
        raise RuntimeError(
            f"the checkpoint {path} holds a {type(states).__name__}, but the states of "
            "save_checkpoint are a dictionary"
        )
    return states
