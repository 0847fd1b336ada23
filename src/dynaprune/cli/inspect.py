"""The contents of a saved state, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table

from ..scores.saved import saved_scores
from ..tracking.recording.epoch_record import quantiles_of
from ..training.checksum import is_intact
from ..training.state import totals_of
from ..utils.validation import (
    check_count,
    check_finite,
    check_keys,
    check_tensor,
    has_elements,
    shown,
)

MARKS = ("version", "method", "seed", "epoch", "score", "totals", "progress")
"""The keys by which the state of a pruned dataset is recognized."""

DEEPEST = 64
"""The deepest nesting of containers that is accepted in a file."""

QUANTILES = (0, 3, 5, 7, 10)
"""The recorded quantiles that are shown: lowest, 10%, median, 90%, highest."""


def states_in(states: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the states of pruned datasets anywhere in a checkpoint, with their names.

    A container that occurs several times, or contains itself, is visited once.

    Arguments:
        states: the loaded checkpoint.
        name: the path to it, joined by dots.

    Raises:
        RuntimeError: containers are nested deeper than `DEEPEST`.
    """
    for place, container in _containers(states, (name,) if name else (), leave=_is_state):
        if _is_state(container):
            yield ".".join(place) or "the file itself", dict(container)


def _containers(
    value: Any,
    place: tuple[str, ...] = (),
    seen: set[int] | None = None,
    *,
    leave: Callable[[Mapping[Any, Any]], bool],
) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Yield each container in a value, itself included, with its path; sequences as mappings.

    Containers for which `leave` is true are yielded, but not searched.
    """
    seen = set() if seen is None else seen
    if not isinstance(value, (Mapping, list, tuple)) or id(value) in seen:
        return
    seen.add(id(value))
    if len(place) > DEEPEST:
        raise RuntimeError(
            f"the file holds containers nested deeper than {DEEPEST}, which no checkpoint needs: "
            "it is damaged or malicious"
        )
    inside = value if isinstance(value, Mapping) else dict(enumerate(value))
    yield place, inside
    if not leave(inside):
        for key, each in inside.items():
            yield from _containers(each, (*place, str(key)), seen, leave=leave)


def _is_state(value: Mapping[Any, Any]) -> bool:
    return all(mark in value for mark in MARKS)


def state_table(name: str, state: Mapping[str, Any]) -> Table:
    """Return the contents of a pruned dataset's state, as a table for the terminal."""
    table = Table(title=escape(name), show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for what, value in rows_of(state):
        table.add_row(what, escape(value))
    return table


def rows_of(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the contents of a state as names and texts.

    Raises:
        RuntimeError: it is damaged.
    """
    score, progress = state["score"], state["progress"]
    check_keys(score, ("name", "values"), "the state's score")
    check_keys(progress, ("visits",), "the state's progress")
    values = saved_scores(score)
    yield "method", f"{_text(state['method'])}, seed {_text(state['seed'])}"
    yield "dataset", f"{_text(state.get('dataset', '?'))}, {values.numel():,} samples"
    if "rank" in state:
        part = f"rank {_text(state['rank'])} of {_text(state.get('world_size', '?'))}"
        yield "part", part
    done, epoch = check_count("visits", progress["visits"]), check_count("epoch", state["epoch"])
    if done:
        yield "position", f"in epoch {epoch}, {done:,} visits into it"
    else:
        yield "next epoch", f"{epoch} (between epochs)"
    yield "so far", str(totals_of(state["totals"]))
    yield "score", _text(score["name"])
    if a_loss := check_finite("samples_a_loss", score.get("samples_a_loss", 0.0), minimum=0):
        yield "losses", "per sample" if a_loss == 1 else f"one per {a_loss:,.1f} samples on average"
    if values.numel() > 0:
        found = quantiles_of(values.numpy())
        some = ", ".join(f"{found[place]:.4g}" for place in QUANTILES)
        yield "scores: lowest, 10%, median, 90%, highest", some
    history = score.get("history", {})
    check_keys(history, (), "the state's history")
    if "visits" in history:
        visits = check_tensor("visits", history["visits"], (values.numel(),), torch.int32)
        epochs = check_count("history's num_epochs", history.get("num_epochs", 0))
        yield "visits", _visits(visits, epochs)
    else:
        yield "visits", "not counted: train.record(directory) does"
    yield "size", f"{_mebibytes(state):,.1f} MiB, format {_text(state['version'])}"
    if "checksum" in state and not is_intact(state):
        yield "damaged", "it does not match its checksum and cannot be loaded"


def others_table(states: Mapping[str, Any]) -> Table | None:
    """Return the other contents of a checkpoint, or `None` if there are none.

    Raises:
        RuntimeError: containers are nested deeper than `DEEPEST`.
    """
    table = Table("other contents", "tensors", "MiB")
    for name, value in states.items():
        if name in MARKS or any(True for _ in states_in(value)):
            continue
        count = sum(1 for _ in _tensors(value))
        table.add_row(escape(str(name)), f"{count:,}", f"{_mebibytes(value):,.1f}")
    return table if table.row_count else None


def _visits(visits: torch.Tensor, epochs: int) -> str:
    counts = visits.numpy()
    if counts.size == 0:
        return "no sample is known yet"
    never = int(np.count_nonzero(counts == 0))
    share = float(counts.mean()) / max(1, epochs)
    return (
        f"in {epochs:,} epochs each sample {counts.min():,} to {counts.max():,} times, {share:.1%} "
        f"of them on average; {never:,} samples never"
    )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a value whose elements are in memory: others may claim any size."""
    for _, container in _containers([value], leave=lambda _: False):
        yield from filter(has_elements, container.values())


def _mebibytes(value: Any) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(value)) / 2**20


def _text(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
