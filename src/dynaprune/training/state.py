"""What a checkpoint holds of the epochs, as tensors and plain values."""

from __future__ import annotations

import inspect
import logging
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.indexed import check_range
from ..losses.measurements import Measurements
from ..planning.plan import Plan
from ..scores import Score
from ..utils.settings import plain
from ..utils.validation import check_count, check_finite, check_keys, has_elements, shown
from .progress import SavedProgress
from .summary import Summary

logger = logging.getLogger("dynaprune")

DEEPEST = 32
"""How deep the values of a state may be nested; ours are three deep."""

UNSET = "not set"


def pack(
    number: int,
    score: Score,
    totals: Summary,
    mean_loss: float,
    progress: SavedProgress,
    plan: Plan | None,
) -> dict[str, Any]:
    """Return the state of an epoch.

    Arguments:
        number: of the epoch.
        score: the scores at its start.
        totals: of the epochs before it.
        mean_loss: of the epoch before it.
        progress: how far it has come.
        plan: its plan, if it has come anywhere.
    """
    return {
        "epoch": number,
        "score": score.state_dict(),
        "totals": asdict(totals),
        # of none before the first epoch has ended: NaN would not be equal to itself
        "mean_loss": torch.tensor(
            [] if math.isnan(mean_loss) else [mean_loss], dtype=torch.float64, device="cpu"
        ),
        "progress": {
            # copies: what is saved later must not change with the run
            **{name: values.clone() for name, values in vars(progress.batches).items()},
            "indices": progress.batches.indices.long(),
            "visits": progress.visits,
            "seconds": progress.seconds,
            "repeats": progress.repeats,
            "plan": 0 if plan is None else plan.digest(),
        },
    }


def unpack(
    state: Mapping[str, Any], score: Score
) -> tuple[int, Summary, float, SavedProgress, int]:
    """Load `score`; return the epoch's number, totals, mean loss, progress and plan's digest.

    Raises:
        RuntimeError: the state is incomplete or damaged, or not one of as many samples as `score`
            has.
    """
    check_keys(state, ("epoch", "score", "totals", "mean_loss", "progress"), "the state")
    number, totals = check_count("epoch", state["epoch"]), totals_of(state["totals"])
    if totals.epochs > number:
        raise RuntimeError(
            f"the state is damaged: it is of epoch {number:,}, before which it says that "
            f"{totals.epochs:,} epochs were trained on"
        )
    mean_loss = _mean_loss(state["mean_loss"])
    progress, plan = _progress(state["progress"])
    _load(score, state["score"])
    indices = progress.batches.indices
    if score.keys is None and indices.numel() > 0:
        check_range(indices, score.num_samples)
    return number, totals, mean_loss, progress, plan


def _mean_loss(state: Any) -> float:
    values: list[float] = []
    if has_elements(state) and state.dtype == torch.float64 and state.dim() == 1:
        values = state.tolist()
        if len(values) <= 1 and all(map(math.isfinite, values)):
            return values[0] if values else math.nan
    raise RuntimeError(
        "the state is damaged: its mean_loss must be a float64 tensor of at most one finite "
        f"element, but {shown(state)} was found"
    )


def _load(score: Score, state: Any) -> None:
    try:
        score.load_state_dict(state)
    except RuntimeError:
        raise
    except Exception as error:  # of a score of the user's own
        raise RuntimeError(
            f"the state's score cannot be loaded into this {type(score).__name__}: {error!r}"
        ) from error


def totals_of(state: Any) -> Summary:
    """Return the totals of a state.

    Raises:
        RuntimeError: they are incomplete or damaged.
    """
    counts = asdict(Summary())
    check_keys(state, tuple(counts), "the state's totals")
    found: dict[str, Any] = {
        name: check_finite(name, state[name], minimum=0)
        if isinstance(first, float)
        else check_count(name, state[name])
        for name, first in counts.items()
    }
    return Summary(**found)


def _progress(state: Any) -> tuple[SavedProgress, int]:
    names = tuple(vars(Measurements.none()))
    check_keys(state, (*names, "visits", "seconds", "repeats", "plan"), "the state's progress")
    batches = _batches({name: state[name] for name in names})
    visits = check_count("visits", state["visits"])
    if visits != batches.indices.numel():
        raise RuntimeError(
            f"the state is damaged: it counts {visits:,} visits in its epoch, but holds those of "
            f"{batches.indices.numel():,} samples"
        )
    seconds = check_finite("seconds", state["seconds"], minimum=0)
    repeats = max(1, check_count("repeats", state["repeats"]))
    return SavedProgress(batches, visits, seconds, repeats), check_count("plan", state["plan"])


def _batches(found: Mapping[str, Any]) -> Measurements:
    wrong = None
    for name, values in found.items():
        dtype = torch.float32 if name == "losses" else torch.int64
        if not has_elements(values) or values.dtype != dtype or values.dim() != 1:
            wrong = f"its {name} are no {dtype} of one dimension"
            break
    else:
        batches = Measurements(**{name: values.detach().cpu() for name, values in found.items()})
        steps = batches.steps.numpy()
        if not len(batches.sizes) == len(batches.losses) == len(batches.steps):
            wrong = "its sizes, losses and steps are not of one length"
        elif bool((batches.sizes < 1).any()):
            wrong = "its sizes are not all above 0"
        elif sum(batches.sizes.tolist()) != batches.indices.numel():
            wrong = "its sizes do not sum to the number of its samples"
        elif steps.size > 0 and (steps[0] < 0 or (steps[1:] < steps[:-1]).any()):
            wrong = "its steps are below 0, or fall"
    if wrong is not None:
        raise RuntimeError(f"the state's progress in its epoch is damaged: {wrong}")
    return batches


# Whether a state is as it was, and of this run


def sealed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state with a checksum of all that it holds."""
    content = {name: value for name, value in state.items() if name != "checksum"}
    return content | {"checksum": checksum(content)}


def is_intact(state: Mapping[str, Any]) -> bool:
    """Return whether a state's checksum is that of what it holds."""
    written = state.get("checksum")
    return isinstance(written, int) and sealed(state)["checksum"] == written


def check_origin(state: Any, expected: Mapping[str, Any]) -> None:
    """Check that a state is one of this run, and as it was when it was taken.

    Arguments:
        state: what `state_dict` has returned.
        expected: the format's version, and what identifies the run.

    Raises:
        RuntimeError: it is not.
    """
    check_keys(state, ("version",), "the state")
    _check_version(state["version"], expected["version"])
    check_keys(state, (*expected, "settings", "epoch", "score", "totals", "progress"), "the state")
    check_keys(state, ("checksum",), "the state")
    if not is_intact(state):
        raise RuntimeError(
            "the state is damaged: what it holds does not match its checksum, so it is not what "
            "state_dict() has returned. Go on from an earlier state"
        )
    for key, value in expected.items():
        if type(state[key]) is not type(value) or state[key] != value:
            raise RuntimeError(
                f"the state belongs to another run: its {key} is {shown(state[key])}, but here it "
                f"is {value!r}. Make this object with the arguments of the run that saved it"
            )


def _check_version(found: Any, known: int) -> None:
    number = check_count("version", found)
    if number != known:
        mend = (
            "update dynaprune"
            if number > known
            else "finish the run with the version of dynaprune that it was begun with"
        )
        raise RuntimeError(
            f"the state is of format {number}, but this version of dynaprune reads format {known}, "
            f"which is {'older' if number > known else 'newer'}: {mend}, or begin the run anew"
        )


def checksum(value: Any) -> int:
    """Return a checksum of tensors and plain values, however nested.

    It is one of what they say: not of the device that tensors are on, their strides, or the order
    of a dictionary. Of what is neither a tensor nor a plain value it counts only that it is there.

    Raises:
        RuntimeError: they are nested deeper than `DEEPEST`.
    """
    return _checksum(value, {}, 0)


def _checksum(value: Any, known: dict[int, tuple[Any, int]], depth: int) -> int:
    """Return the checksum of a value.

    Arguments:
        value: anything.
        known: the containers that were seen, each of which may be in many places, by their `id`,
            and their checksums.
        depth: how many containers the value is in.
    """
    if has_elements(value):
        head = f"tensor {value.dtype} {tuple(value.shape)}:".encode()
        host = value.detach().cpu().resolve_conj().resolve_neg()
        return zlib.crc32(_memory_of(host), zlib.crc32(head))
    if not isinstance(value, (Mapping, list, tuple)):
        return zlib.crc32(_as_bytes(value))
    if id(value) not in known:
        if depth > DEEPEST:
            raise RuntimeError(f"the state is damaged: it is nested deeper than {DEEPEST}")
        if isinstance(value, Mapping):
            kind, keys = "mapping", sorted(value, key=repr)
            inside = [each for key in keys for each in (key, value[key])]
        else:
            kind, inside = "sequence", list(value)
        parts = [_checksum(each, known, depth + 1) for each in inside]
        head = f"{kind} {len(parts)}:".encode()
        found = zlib.crc32(np.array(parts, np.uint32).tobytes(), zlib.crc32(head))
        known[id(value)] = value, found
    return known[id(value)][1]


def _memory_of(tensor: Tensor) -> memoryview:
    """Return the elements of a tensor on the host, one after the other."""
    flat = tensor.contiguous().reshape(-1)
    if flat.numel() < 2:  # whose stride may be any
        flat = flat.clone(memory_format=torch.contiguous_format)
    # NumPy does not know all types of torch
    return flat.view(torch.uint8).numpy().data


def _as_bytes(value: Any) -> bytes:
    """Return what says which plain value it is, as bytes."""
    if isinstance(value, bool) or value is None:
        said = repr(value).encode()
    elif isinstance(value, int):
        said = hex(value).encode()  # repr() refuses the longest ones
    elif isinstance(value, float):
        said = np.float64(value).tobytes()
    elif isinstance(value, str):
        said = value.encode("utf-8", "surrogatepass")
    else:
        said = value if isinstance(value, bytes) else b""
    return f"{type(value).__name__} {len(said)}:".encode() + said


# The arguments that the run was made with


def settings_of(method: Any, score: Score) -> dict[str, dict[str, Any]]:
    """Return the arguments of a run's method and score, as far as they are plain values."""
    return {"method": _arguments_of(method), "score": _arguments_of(score)}


def _arguments_of(made: Any) -> dict[str, Any]:
    """Return the attributes that are named like arguments: others may change with the run."""
    names = {
        name
        for each in type(made).__mro__
        if inspect.isfunction(made_by := vars(each).get("__init__"))
        for name in inspect.signature(made_by).parameters
    }
    # the seed is no setting, but says which run it is
    return {name: _bare(value) for name, value in plain(made).items() if name in names - {"seed"}}


def _bare(value: Any) -> bool | int | float | str:
    """Return a number or a text without a class of its own, which `torch.load` would not allow."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    return int(value) if isinstance(value, int) else float(value)


def differences(before: Any, now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which settings of a state differ from those here: a sentence's part for each.

    Raises:
        RuntimeError: the state's are damaged.
    """
    check_keys(before, tuple(now), "the state's settings")
    found = []
    for part, settings in now.items():
        check_keys(before[part], (), f"the state's settings of the {part}")
        for name in sorted({*before[part], *settings}, key=str):
            was, is_now = before[part].get(name, UNSET), settings.get(name, UNSET)
            if not isinstance(was, (int, float, str)):
                raise RuntimeError(
                    f"the state is damaged: its setting {name} is a {type(was).__name__}, and no "
                    "plain value"
                )
            if was != is_now:
                found.append(f"{name} was {_named(was)} and is {_named(is_now)} here")
    return found


def _named(setting: Any) -> str:
    return UNSET if setting == UNSET else shown(setting)


def warn_of(differing: list[str]) -> None:
    """Say once which settings of a state differ, if any do."""
    if differing:
        logger.warning(
            "the state was taken with other arguments: %s. The run goes on with those here",
            "; ".join(differing),
        )
