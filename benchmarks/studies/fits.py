"""Fits: what choosing points by their loss gains over random points and over fewer epochs.

    python benchmarks/studies/fits.py [--results FOLDER]    # trains; goes on where it stopped
    python benchmarks/studies/fits.py --tables              # prints the results so far
    python benchmarks/studies/fits.py --fill docs/fits.md docs/evidence/fits.md

Targets are in fits_targets.py: seven without noise, four of them with 5% noise, and one of these
also with 20%. All ways to train make the same number of visits, with Adam, and a learning rate that
rises in the first tenth of the visits and then falls to 0 like a cosine. All methods read the
losses of single points.

Each way has the best of three learning rates, found on two other seeds for each target, or eight
where runs scatter. The search is at half of the visits (full training: at all of them), and its
rate is used for the other shares. Differences are between runs of the same seed, which begin with
the same network. The whole study takes about 4 hours on one core; the cheapest and most wanted runs
come first.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from fits_targets import TARGETS, Target
from kept_runs import NOTHING, RESULTS, Runs, fill_page, markdown_table

from dynaprune import InfoBatch, NoPrune, PrunedDataset, RandomPrune
from dynaprune.bench.fewer_epochs import FewerEpochs
from dynaprune.bench.statistics import Mean, mean_of
from dynaprune.methods import EpsilonGreedy, LossProportional, OrderDP, SelectiveBackprop

SAVED = 0.5
OTHER_SHARES = (0.25, 0.75)
SEEDS, MORE_SEEDS = range(5), range(5, 10)
SEARCH_SEEDS, MORE_SEARCH_SEEDS = range(100, 102), range(102, 108)
SCATTER = ("Burgers", "Helmholtz", "Helmholtz, noise")
"""Targets whose runs differ so much that they get more seeds, to find rates too."""

FULL, FEWER, RANDOM, ROOT, LOSS = "full", "fewer epochs", "random", "√loss + 0.3", "loss + 1"
EQUAL, OWN = "InfoBatch, equal weights", "InfoBatch, its own weights"
WARM_UP = 0.1


def _fewer(data: range, epochs: int, *, saving: float, seed: int) -> PrunedDataset:
    return FewerEpochs(data, round((1 - saving) * len(data) * epochs), seed=seed)


def _full(data: range, epochs: int, *, saving: float, seed: int) -> PrunedDataset:
    return NoPrune(data, epochs, seed=seed)


_loss = partial(LossProportional, power=1, floor=1)
WAYS: dict[str, Callable[..., PrunedDataset]] = {
    FULL: _full,
    FEWER: _fewer,
    RANDOM: RandomPrune,
    ROOT: LossProportional,
    LOSS: _loss,
    "√loss + 0.3, corrected": partial(LossProportional, correction=0.5),
    "loss + 1, corrected": partial(_loss, correction=0.5),
    "√loss + 1 (RAD)": partial(LossProportional, floor=1),
    "EpsilonGreedy": EpsilonGreedy,
    "SelectiveBackprop": SelectiveBackprop,
    "OrderDP": OrderDP,
    EQUAL: partial(InfoBatch, weighting="equal"),
    OWN: InfoBatch,
}
"""Ways to train, in the order of the tables. RAD is about residuals, the roots of losses."""

MAIN = (FULL, FEWER, RANDOM, ROOT, LOSS)
OTHERS = tuple(way for way in WAYS if way not in MAIN)

Key = dict[str, Any]


@cache
def target_of(name: str) -> Target:
    return TARGETS[name]()


def run(key: Key) -> dict[str, Any]:
    """Train a target in one way, and return the quality and the number of visits."""
    return fit(key, pruned(key))


def pruned(key: Key) -> PrunedDataset:
    """Return the points of a target, pruned in one way."""
    target = target_of(key["target"])
    data = range(target.num_points)
    return WAYS[key["way"]](data, target.epochs, saving=key["saved"], seed=key["seed"])


def fit(key: Key, train: Any) -> dict[str, Any]:
    """Train a target with a pruned dataset, and return the quality and the number of visits."""
    target = target_of(key["target"])
    torch.manual_seed(key["seed"])
    network = target.network()
    optimizer = torch.optim.Adam(network.parameters())
    planned, visits = round((1 - key["saved"]) * target.num_points * target.epochs), 0
    for _ in range(train.num_epochs):
        for indices in train.batches(target.batch):
            optimizer.param_groups[0]["lr"] = key["rate"] * _one_cycle(visits / planned)
            loss = train.update(target.losses(network, indices))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            visits += len(indices)
    return {"quality": target.quality(network), "visits": visits}


def _one_cycle(done: float) -> float:
    """Return the learning rate after a share of the visits, in units of the highest."""
    if done < WARM_UP:
        return 0.05 + 0.95 * done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def wanted(target: str, ways: Sequence[str], saved: float, seeds: Sequence[int]) -> Iterator[Key]:
    """Yield runs without their rates; full training saves nothing, so it is wanted once."""
    for seed in seeds:
        for way in ways:
            if way != FULL or saved == SAVED:
                share = 0.0 if way == FULL else saved
                yield {"target": target, "way": way, "saved": share, "seed": seed}


def search(runs: Runs, target: str, ways: Sequence[str]) -> None:
    """Make the runs that find the learning rates."""
    more = MORE_SEARCH_SEEDS if target in SCATTER else ()
    for key in wanted(target, ways, SAVED, [*SEARCH_SEEDS, *more]):
        for rate in target_of(target).rates:
            _do(runs, key, rate)


def compare(
    runs: Runs, target: str, ways: Sequence[str], saved: float, seeds: Sequence[int] = SEEDS
) -> None:
    """Make the runs that are compared."""
    for key in wanted(target, ways, saved, seeds):
        _do(runs, key, best_rate(runs, target, key["way"]))


def _do(runs: Runs, key: Key, rate: float) -> None:
    whole = {**key, "rate": rate}
    runs.do(whole, run, whole)


def best_rate(runs: Runs, target: str, way: str) -> float:
    """Return the rate with the best mean quality over the seeds of the search."""
    found: dict[float, list[float]] = {}
    for each in runs.results:
        if (each["target"], each["way"]) == (target, way) and _is_search(each["seed"]):
            is_number = math.isfinite(each["quality"])
            found.setdefault(each["rate"], []).append(each["quality"] if is_number else -math.inf)
    return max(found, key=lambda rate: fmean(found[rate]), default=math.nan)


def _is_search(seed: int) -> bool:
    return seed in SEARCH_SEEDS or seed in MORE_SEARCH_SEEDS


def qualities(runs: Runs, target: str, way: str, saved: float) -> dict[int, float]:
    """Return the quality of each seed that was not used to find the rate, at the best rate."""
    wants: Key = {"target": target, "way": way, "saved": saved}
    wants["rate"] = best_rate(runs, target, way)
    return {
        each["seed"]: each["quality"]
        for each in runs.results
        if wants.items() <= each.items() and not _is_search(each["seed"])
    }


def visits_of_fewer_epochs(runs: Runs, target: str, quality: float) -> str:
    """Return the share of all visits with which fewer epochs reach a quality, by interpolation."""
    known = []
    for saved in (0.75, 0.5, 0.25, 0.0):
        found = qualities(runs, target, FEWER if saved else FULL, saved)
        if found:
            known.append((math.log(1 - saved), sum(found.values()) / len(found)))
    places, heights = zip(*known, strict=True) if known else ((), (math.nan,))
    if not heights[-1] > heights[0]:
        return "unknown"  # more visits are no better, or there is no such run yet
    if quality > max(heights):
        return f"more than {math.exp(places[-1]):.2f}"
    if quality < heights[0]:
        return f"less than {math.exp(places[0]):.2f}"
    return f"{math.exp(np.interp(quality, np.maximum.accumulate(heights), places)):.2f}"


def gain(runs: Runs, target: str, way: str, base: str, saved: float) -> Mean | None:
    """Return the decibels that a way gains on another, `None` unless seeds of both have run."""
    found = qualities(runs, target, way, _saved_by(way, saved))
    others = qualities(runs, target, base, _saved_by(base, saved))
    return difference(found, others) if way != base else None


def difference(found: dict[int, float], others: dict[int, float]) -> Mean | None:
    """Return the mean difference by seed, `None` unless both have two seeds in common."""
    pairs = [found[seed] - others[seed] for seed in found if seed in others]
    return mean_of(pairs) if len(pairs) > 1 else None


def text(gained: Mean | None) -> str:
    """Return a mean with its interval, empty for `None`."""
    return "" if gained is None else gained.text(1, 2, sign=True)


def _short(gained: Mean | None) -> str:
    """Return a mean without its interval, bold if the interval is on one side of 0."""
    if gained is None:
        return ""
    shown = f"{gained.value:+.1f}"
    return f"**{shown}**" if gained.is_above_zero or gained.is_below_zero else shown


def _saved_by(way: str, saved: float) -> float:
    return 0.0 if way == FULL else saved


def table(runs: Runs, target: str, saved: float) -> str:
    """Return the ways to train a target with a share of the visits saved, as a table."""
    rows = []
    for way in WAYS:
        found = qualities(runs, target, way, _saved_by(way, saved))
        if not found:
            continue
        mean = mean_of(list(found.values()))
        rows.append(
            [
                way,
                f"{best_rate(runs, target, way):g}",
                mean.text(1, 2),
                *(text(gain(runs, target, way, base, saved)) for base in (RANDOM, FEWER)),
                visits_of_fewer_epochs(runs, target, mean.value),
                str(len(found)),
            ]
        )
    heads = ["way", "rate", "dB", "− random", "− fewer epochs", "visits of fewer epochs", "seeds"]
    return _markdown(heads, rows)


def summary(runs: Runs) -> str:
    """Return what choosing by loss gains on each target at half of the visits."""
    bases = (RANDOM, FEWER, FULL)
    heads = ["target", "way", *(f"− {base}" for base in bases), "as fewer epochs of"]
    rows = []
    for target, way in product(TARGETS, (ROOT, EQUAL)):
        if not _has(runs, target, SAVED, way, RANDOM):  # not run yet, or not at a new rate
            continue
        mean = fmean(qualities(runs, target, way, SAVED).values())
        gains = [text(gain(runs, target, way, base, SAVED)) for base in bases]
        rows.append([target, way, *gains, visits_of_fewer_epochs(runs, target, mean)])
    return _markdown(heads, rows, names=2)


def methods(runs: Runs, saved: float = SAVED) -> str:
    """Return what each way gains on random points at a share of saved visits, a column a target."""
    targets = [each for each in TARGETS if any(_has(runs, each, saved, way) for way in OTHERS)]
    rows = [
        [way, *(_short(gain(runs, each, way, RANDOM, saved)) for each in targets)]
        for way in (FEWER, ROOT, LOSS, *OTHERS)
        if targets
    ]
    return _markdown(["way", *targets], rows)


def shares(runs: Runs) -> str:
    """Return what choosing by loss gains on both baselines, by the share of saved visits."""
    compared = list(product(sorted((SAVED, *OTHER_SHARES)), (RANDOM, FEWER)))
    heads = [f"{saved:.0%} saved: − {base}" for saved, base in compared]
    rows = [
        [target, way, *(text(gain(runs, target, way, base, saved)) for saved, base in compared)]
        for target, way in product(TARGETS, (ROOT, EQUAL))
        if any(_has(runs, target, saved, way) for saved in OTHER_SHARES)
    ]
    return _markdown(["target", "way", *heads], rows, names=2)


def _has(runs: Runs, target: str, saved: float, *ways: str) -> bool:
    return all(qualities(runs, target, way, saved) for way in ways)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    return markdown_table([heads, *rows], names) if rows else NOTHING


def details(runs: Runs) -> str:
    """Return a table for each target and share of saved visits."""
    return "\n".join(
        f"### {target}, {saved:.0%} saved\n\n{table(runs, target, saved)}"
        for target in TARGETS
        for saved in (SAVED, *OTHER_SHARES)
        if _has(runs, target, saved, RANDOM)
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--shares", nargs="+", type=float, default=[SAVED, *OTHER_SHARES])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--tables", action="store_true", help="only print the results so far")
    parser.add_argument("--fill", nargs="+", type=Path, help="pages whose tables are updated")
    given = parser.parse_args()
    runs = Runs(given.results / "fits.jsonl")
    if given.fill is not None:
        parts = {
            "fits": summary(runs),
            "fits-methods": methods(runs),
            "fits-shares": shares(runs),
            **{f"fits-methods-{100 * saved:.0f}": methods(runs, saved) for saved in OTHER_SHARES},
            "fits-details": details(runs),
        }
        for page in given.fill:
            fill_page(page, parts)
        return
    if not given.tables:
        torch.set_num_threads(1)
        for group in (MAIN, OTHERS):
            ways = [way for way in group if way in given.ways]
            for target in given.targets:
                search(runs, target, ways)
                if SAVED in given.shares:
                    compare(runs, target, ways, SAVED)
            for target in given.targets:
                if target in SCATTER and SAVED in given.shares:
                    compare(runs, target, ways, SAVED, MORE_SEEDS)
            for target, saved in product(given.targets, given.shares):
                compare(runs, target, ways, saved)
    print(details(runs))


if __name__ == "__main__":
    main()
