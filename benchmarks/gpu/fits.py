"""Stage `fits`: an image of 1024² and a field in space, with half of the visits.

As in benchmarks/studies/fits.py, at a size that needs a GPU: a million points on the device, whose
batches `train.batches` draws there. Each way has the best of three learning rates, found on another
seed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from session import Session, aligned
from torch import Tensor, nn

from dynaprune import PrunedDataset
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.variants import FEWER, FULL, RANDOM, VARIANTS
from dynaprune.methods import LossProportional

sys.path.append(str(Path(__file__).parents[1] / "studies"))
from fits_fields import hollow_box_on_ring, julia_set
from fits_networks import wave_network

SAVED = 0.5
SEEDS, SEARCH_SEED = range(5), 1000
RATES = (0.003, 0.01, 0.03)


def _by_loss(data: range, epochs: int, seed: int, saved: float) -> PrunedDataset:
    return LossProportional(data, epochs, seed=seed, saving=saved, power=1, floor=1)


WAYS: dict[str, Callable[[range, int, int, float], PrunedDataset]] = {
    "full": VARIANTS[FULL].make,
    "fewer epochs": VARIANTS[FEWER].make,
    "random": VARIANTS[RANDOM].make,
    "√loss + 0.3": VARIANTS["loss-proportional"].make,
    "loss + 1": _by_loss,
}


@dataclass(frozen=True)
class Size:
    """How large fits are.

    Attributes:
        side: of the image, in pixels; the field has as many points as the image.
        batch: points a step.
        width: of the network.
        epochs: of full training.
    """

    side: int
    batch: int
    width: int
    epochs: int


FULL_SIZE = Size(side=1024, batch=65_536, width=256, epochs=100)
TOY_SIZE = Size(side=32, batch=256, width=16, epochs=4)


@dataclass(frozen=True)
class Target:
    """A function that is known at points.

    Attributes:
        points: shape (N, d).
        values: shape (N, 1).
        test_points: shape (M, d).
        test_values: shape (M, 1).
        scale: the standard deviation of the network's frequencies.
    """

    points: Tensor
    values: Tensor
    test_points: Tensor
    test_values: Tensor
    scale: float


@dataclass(frozen=True)
class Planned:
    """A run to be made.

    Attributes:
        is_search: whether it finds the learning rate, and is not compared.
    """

    target: str
    way: str
    rate: float
    seed: int
    is_search: bool = False


@cache
def target_of(name: str, size: Size, device: torch.device) -> Target:
    """Return what is fitted, on a device."""
    if name == "image":
        axis = (torch.arange(size.side, device=device) + 0.5) / (size.side / 2) - 1
        points = torch.cartesian_prod(axis, axis)
        values = julia_set(points)
        return Target(points, values, points, values, scale=8.0)
    generator = torch.Generator(device).manual_seed(0)
    points = torch.rand(2, size.side**2, 3, generator=generator, device=device) * 2 - 1
    values = [hollow_box_on_ring(each) for each in points]
    return Target(points[0], values[0], points[1], values[1], scale=0.5)


TARGETS = ("image", "field")


def make(planned: Planned, size: Size, device: torch.device) -> dict[str, Any]:
    """Make a run, and return its result."""
    target = target_of(planned.target, size, device)
    data = range(len(target.points))
    train = WAYS[planned.way](data, size.epochs, planned.seed, SAVED)
    torch.manual_seed(planned.seed)
    network = wave_network(target.points.shape[1], 1, target.scale, size.width).to(device)
    optimizer = torch.optim.Adam(network.parameters())
    saved = 0.0 if planned.way == "full" else SAVED
    total, visits = round((1 - saved) * len(data) * size.epochs), 0
    started = time.perf_counter()
    for _ in range(train.num_epochs):
        for indices in train.batches(size.batch, device=device):
            optimizer.param_groups[0]["lr"] = planned.rate * one_cycle(visits / total)
            errors = network(target.points[indices]) - target.values[indices]
            loss = train.update(errors.square().mean(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            visits += len(indices)
    decibels = quality(network, target)  # waits for the device
    seconds = time.perf_counter() - started
    return asdict(planned) | {"decibels": decibels, "visits": visits, "seconds": seconds}


@torch.no_grad()
def quality(network: nn.Module, target: Target) -> float:
    """Return −10·log10 of the mean squared error over the variance of the target."""
    errors = (network(target.test_points) - target.test_values).square().mean()
    return -10 * math.log10(float(errors / target.test_values.var()))


def best_rate(records: list[dict[str, Any]], target: str, way: str) -> float | None:
    """Return the best rate of a way, `None` unless all were tried."""
    tried = {
        each["rate"]: each["decibels"]
        for each in records
        if (each["target"], each["way"], each["is_search"]) == (target, way, True)
    }
    return max(tried, key=lambda rate: tried[rate]) if len(tried) == len(RATES) else None


def plan(records: list[dict[str, Any]]) -> Iterator[Planned]:
    """Yield all runs: the search for rates, and then, seed by seed, what is compared.

    Arguments:
        records: the results so far, which grow while the runs are made.
    """
    for target, way, rate in product(TARGETS, WAYS, RATES):
        yield Planned(target, way, rate, SEARCH_SEED, is_search=True)
    for seed, target, way in product(SEEDS, TARGETS, WAYS):
        best = best_rate(records, target, way)
        if best is not None:
            yield Planned(target, way, best, seed)


def work(session: Session) -> None:
    """Make the runs that are missing, as far as time allows."""
    size = TOY_SIZE if session.toy else FULL_SIZE

    def run(planned: Planned) -> dict[str, Any]:
        return make(planned, size, session.device)

    def share(planned: Planned) -> float:
        return 1.0 if planned.way == "full" else 1 - SAVED

    session.make_missing(plan(session.results.records), run, size=share)


def table(records: list[dict[str, Any]]) -> str:
    """Return decibels, and the differences to random points and to fewer epochs."""
    rows = [["target, way", "rate", "seeds", "dB", "− fewer epochs", "− random", "s"]]
    for target in TARGETS:
        found = {way: compared(records, target, way) for way in WAYS}
        for way, runs in found.items():
            if not runs:
                continue
            decibels = {seed: run["decibels"] for seed, run in runs.items()}
            rows.append(
                [
                    f"{target}, {way}",
                    f"{next(iter(runs.values()))['rate']:g}",
                    str(len(runs)),
                    f"{np.mean(list(decibels.values())):.2f}",
                    *(_difference(decibels, found[base]) for base in ("fewer epochs", "random")),
                    f"{np.mean([run['seconds'] for run in runs.values()]):.1f}",
                ]
            )
    return aligned(rows)


def compared(records: list[dict[str, Any]], target: str, way: str) -> dict[int, dict[str, Any]]:
    """Return the runs of a way, by seed; those of the search are left out."""
    return {
        each["seed"]: each
        for each in records
        if (each["target"], each["way"], each["is_search"]) == (target, way, False)
    }


def _difference(decibels: dict[int, float], base: dict[int, dict[str, Any]]) -> str:
    gains = [decibels[seed] - base[seed]["decibels"] for seed in decibels if seed in base]
    return f"{np.mean(gains):+.2f}" if gains and any(gains) else ""
