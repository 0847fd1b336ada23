"""The objects that a command works on: made by a function in a user's file, with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..diagnostics.audit import check_audited
from ..pruned_dataset import PrunedDataset
from ..training.checkpoint import load_checkpoint
from ..utils.user_code import run_file
from ..utils.validation import check_keys

REQUIRED = ("train", "model", "loss_fn")

TAKEN = (*REQUIRED, "collate_fn", "labels", "device", "seed", "repeats")
"""The arguments of `audit` that a user's function may return; the command sets `num_samples`."""


class UsageError(Exception):
    """An error that the user of a command can fix; shown without a traceback."""


def load_dataset(place: str) -> Any:
    """Return the dataset that a function in a file makes, or the one that a pruned dataset prunes.

    Raises:
        UsageError: there is no such file or function, or it does not return a map-style dataset.
        Exception: whatever the file or the function raises.
    """
    made = _function_in(place, "the dataset that was trained on")()
    dataset = getattr(made, "dataset", made) if isinstance(made, PrunedDataset) else made
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise UsageError(
            f"{place} must return the dataset that was trained on, with __getitem__ and __len__, "
            f"but it returned a {type(made).__name__}"
        )
    return dataset


def load(place: str, checkpoint: Path | None = None) -> dict[str, Any]:
    """Return the arguments of `audit` by name, as made by a function in a file.

    The function returns train, model, loss_fn, and optionally a collate_fn, or a dict of arguments
    of `audit`.

    Arguments:
        place: `FILE.py:FUNCTION`. The file is run, and may import from its folder.
        checkpoint: a file written by `save_checkpoint(path, train=..., model=...)`, to be loaded.

    Raises:
        UsageError: there is no such file, function or checkpoint; the function returns something
            else; the checkpoint is damaged, or belongs to other objects.
        Exception: whatever the file or the function raises.
    """
    arguments = _as_arguments(_function_in(place, ", ".join(REQUIRED))(), place)
    train, model = arguments["train"], arguments["model"]
    try:
        check_audited(train, model, arguments["loss_fn"])
        if checkpoint is not None:
            states = load_checkpoint(checkpoint)
            check_keys(states, ("train", "model"), f"the checkpoint {checkpoint}")
            train.load_state_dict(states["train"])
            model.load_state_dict(states["model"])
    except (OSError, RuntimeError, TypeError) as error:
        raise UsageError(str(error)) from error
    return arguments


def _as_arguments(made: Any, place: str) -> dict[str, Any]:
    if isinstance(made, tuple) and len(made) in (len(REQUIRED), len(REQUIRED) + 1):
        return dict(zip((*REQUIRED, "collate_fn"), made, strict=False))
    if isinstance(made, dict):
        unknown = [str(name) for name in made if name not in TAKEN]
        missing = [name for name in REQUIRED if name not in made]
        if not unknown and not missing:
            return made
        given = f"a dict with {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
    else:
        given = f"{len(made)} values" if isinstance(made, tuple) else f"a {type(made).__name__}"
    raise UsageError(
        f"{place} must return train, model, loss_fn, and optionally a collate_fn, or a dict of "
        f"arguments of audit() ({', '.join(TAKEN)}), but it returned {given}"
    )


def _function_in(place: str, result: str) -> Callable[[], Any]:
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UsageError(f"give FILE.py:FUNCTION, such as train.py:make, but {place!r} was given")
    if not Path(file).is_file():
        raise UsageError(f"there is no file {file}")
    function = getattr(run_file(Path(file)), name, None)
    if not callable(function):
        raise UsageError(f"{file} has no function {name}, which must return {result}")
    found: Callable[[], Any] = function
    return found
