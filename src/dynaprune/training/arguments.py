"""The arguments that a run was made with, and which of them differ from those of a state."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from ..scores import Score
from ..utils.settings import plain
from ..utils.validation import check_keys, shown

logger = logging.getLogger("dynaprune")

UNSET = "not set"


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
