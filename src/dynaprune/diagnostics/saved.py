"""What a saved state holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table

from ..recording.epoch import quantiles_of
from ..summary import Summary

MARKS = ("version", "method", "seed", "epoch", "score", "totals", "progress")
"""What the state of a pruned dataset has."""

QUANTILES = (0, 3, 5, 7, 10)
"""Which of the recorded ones are shown: lowest, a tenth, median, nine tenths, highest."""


def states_in(states: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the states of pruned datasets, however deep they are in a checkpoint, with their names.

    Arguments:
        states: what was loaded.
        name: of the place, joined by dots.
    """
    if isinstance(states, (list, tuple)):
        states = dict(enumerate(states))
    if not isinstance(states, Mapping):
        return
    if all(mark in states for mark in MARKS):
        yield name or "the file itself", dict(states)
        return
    for key, value in states.items():
        yield from states_in(value, f"{name}.{key}" if name else str(key))


def state_table(name: str, state: Mapping[str, Any]) -> Table:
    """Return what the state of a pruned dataset holds, as a table for the terminal."""
    table = Table(title=escape(name), show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for what, value in rows_of(state):
        table.add_row(what, escape(value))
    return table


def rows_of(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a state holds, by name, as text."""
    score = state["score"]
    values = score["values"].float() + score.get("level", 0.0)
    yield "method", f"{state['method']}, seed {state['seed']}"
    yield "dataset", f"{state.get('dataset', '?')}, {values.numel():,} samples"
    if "rank" in state:
        yield "part", f"rank {state['rank']} of {state['world_size']}"
    done = state["progress"]["visits"]
    where = f"in epoch {state['epoch']}, {done:,} visits into it" if done else "between epochs"
    yield (
        "next epoch" if not done else "position",
        (where if done else f"{state['epoch']} ({where})"),
    )
    counts = {field.name for field in fields(Summary)}
    totals = {name: value for name, value in state["totals"].items() if name in counts}
    yield "so far", str(Summary(**totals))
    yield "score", str(score["name"])
    if values.numel() > 0:
        found = quantiles_of(values.numpy())
        shown = ", ".join(f"{found[place]:.4g}" for place in QUANTILES)
        yield "scores: lowest, 10%, median, 90%, highest", shown
    history = score.get("history", {})
    if "visits" in history:
        yield "visits", _visits(history["visits"], int(history.get("num_epochs", 0)))
    else:
        yield "visits", "not counted: train.record(directory) does"
    size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))
    yield "size", f"{size / 2**20:,.1f} MiB, format {state['version']}"


def others_table(states: Mapping[str, Any]) -> Table | None:
    """Return what else is in a checkpoint, or `None` if there is nothing."""
    table = Table("beside it", "tensors", "MiB")
    for name, value in states.items():
        if name in MARKS or any(True for _ in states_in(value)):
            continue
        tensors = list(_tensors(value))
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        table.add_row(escape(str(name)), f"{len(tensors):,}", f"{size / 2**20:,.1f}")
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
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
