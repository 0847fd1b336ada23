"""How much to skip, read from batch losses: a rule with a random choice, against fixed budgets.

    python benchmarks/studies/auto_budget.py --root DATA        # trains; goes on where it stopped
    python benchmarks/studies/auto_budget.py --tables           # prints the results so far

Each epoch of a rule skips the share of the samples that together hold `loss_share` of all loss, at
most `bound`, times 1 − fall/`fastest`, where `fall` is the relative fall of the mean loss in the
epoch before. It reads the mean loss of each batch and nothing else. "auto 5% half" is
`RandomPrune(saving="auto")`. The baselines are a constant random share and fewer epochs, both
interpolated between fixed savings to the saving of the rule, and, as "lowest", `SkipConverged` on
true losses. Interpolation starts at full training, so small savings share its noise.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from auto_budget_tasks import Task, load
from kept_runs import RESULTS, Runs
from numpy.typing import NDArray
from torch import Tensor

from dynaprune.bench.statistics import mean_of
from dynaprune.scores.loss_shape import share_of_learned
from dynaprune.scores.windows import Windows

SAVINGS = (0.15, 0.3, 0.45, 0.6)
"""Of the baselines."""

FEW = (
    *("full", "auto 5% bound", "auto 5% fall", "auto 5% half", "lowest"),
    *(f"{kind} {saving}" for saving in (0.3, 0.45) for kind in ("random", "fewer")),
)
"""The ways in which longer trainings are run."""

RUNS = (
    ("digits", 1, 8, None),
    ("visits", 1, 6, None),
    ("sentences", 1, 6, None),
    ("mnist", 1, 4, FEW),
    ("mnist-wrong", 1, 4, FEW),
    ("cifar", 1, 4, ("full", "auto 5% half", "random 0.3", "fewer 0.3", "lowest")),
    ("cifar", 3, 2, ("auto 5% half", "full")),
    ("sentences", 3, 4, FEW),
    ("digits", 3, 4, FEW),
)
"""Tasks, how many times as long as brief they train, how many seeds, and the ways if not all."""


@dataclass(frozen=True)
class Rule:
    """The rule of the automatic budget.

    Attributes:
        loss_share: that the skipped samples may hold.
        bound: the largest share that an epoch skips.
        fastest: the relative fall of the mean loss at which nothing is skipped any more.
    """

    loss_share: float = 0.05
    bound: float = 0.5
    fastest: float = math.inf


RULES = {
    "auto 5%": Rule(bound=0.9),
    "auto 5% bound": Rule(),
    "auto 5% fall": Rule(fastest=0.2),
    "auto 5% half": Rule(fastest=0.5),
    "auto 2% fall": Rule(loss_share=0.02, fastest=0.2),
    "auto 10% fall": Rule(loss_share=0.1, fastest=0.2),
}


@dataclass
class Losses:
    """What a training knows of its losses.

    Attributes:
        each: the last loss of each sample, (N,); infinite before its first visit.
        means: the mean loss of each epoch.
        variations: the coefficient of variation of single losses in each, from its batch means.
        served: which samples each epoch has served, (N,).
        gains: how much higher, relative to the mean, the losses of the samples are that the epoch
            before has skipped than those of the others; NaN without any.
    """

    each: NDArray[np.float64]
    means: list[float] = field(default_factory=list)
    variations: list[float] = field(default_factory=list)
    served: list[NDArray[np.bool_]] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)


Choice = Callable[[Losses, int, np.random.Generator], NDArray[np.bool_]]
"""Returns which samples an epoch keeps, (N,)."""


def at_random(share: Callable[[Losses, int], float]) -> Choice:
    """Skip a random share of the samples, as `share` says for each epoch."""

    def choose(losses: Losses, epoch: int, generator: np.random.Generator) -> NDArray[np.bool_]:
        total = losses.each.size
        skipped = round(share(losses, epoch) * total)
        return generator.permutation(total) >= skipped

    return choose


def by_rule(rule: Rule) -> Choice:
    """Skip the share that the rule finds, at random."""

    def share(losses: Losses, epoch: int) -> float:
        if epoch < 2:
            return 0.0
        weights = 0.6 ** np.arange(epoch)[::-1]
        variation = float(np.average(losses.variations, weights=weights))
        fall = 1 - losses.means[-1] / losses.means[-2]
        calm = min(1.0, max(0.0, 1 - fall / rule.fastest))
        return calm * min(rule.bound, share_of_learned(variation, rule.loss_share))

    return at_random(share)


def lowest_losses(losses: Losses, epoch: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Skip what holds 5% of the loss, less a refresh of 15%: `SkipConverged` on true losses."""
    if epoch == 0:
        return np.ones(losses.each.size, dtype=np.bool_)
    order = np.argsort(losses.each)
    held = np.cumsum(losses.each[order])
    learned = order[: np.searchsorted(held, 0.05 * held[-1], side="right")]
    kept = np.ones(losses.each.size, dtype=np.bool_)
    kept[generator.permutation(learned)[round(0.15 * learned.size) :]] = False
    return kept


def train(task: Task, epochs: int, choose: Choice, seed: int) -> dict[str, Any]:
    """Train once; return the metric, the share saved, and what the losses told in each epoch."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = task.make_model()
    optimizer = torch.optim.AdamW(model.parameters(), task.learning_rate, weight_decay=0.01)
    inputs, targets = task.train.tensors
    losses = Losses(np.full(len(targets), np.inf))
    for epoch in range(epochs):
        kept = choose(losses, epoch, generator)
        order = torch.from_numpy(generator.permutation(np.flatnonzero(kept)))
        batches = [batch for batch in order.split(task.batch_size) if len(batch) > 1]
        means, sizes = np.empty(len(batches)), np.array([len(batch) for batch in batches])
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = task.rate_at((epoch + step / len(batches)) / epochs)
            each = task.losses(model(inputs[batch]), targets[batch])
            loss: Tensor = each.mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.each[batch.numpy()] = each.detach().numpy()
            means[step] = float(loss.detach())
        record(losses, kept, means, sizes)
    shares = [1 - float(kept.mean()) for kept in losses.served]
    return {
        "metric": task.evaluate(model),
        "saved": float(np.mean(shares)),
        "shares": np.round(shares, 3).tolist(),
        "means": np.round(losses.means, 5).tolist(),
        "variations": np.round(losses.variations, 3).tolist(),
        "gains": np.round(losses.gains, 4).tolist(),
    }


def record(
    losses: Losses, kept: NDArray[np.bool_], means: NDArray[np.float64], sizes: NDArray[np.int64]
) -> None:
    """Add an epoch, by the mean losses of its batches."""
    mean = float(means @ sizes / sizes.sum())
    deviations = Windows(sizes).deviations(means)
    places = np.linspace(-1, 1, means.size)
    deviations -= places * (places @ deviations) / (places @ places)  # losses fall in the epoch
    spread = math.sqrt(float(deviations @ deviations) / max(1, means.size - 2))
    if losses.served and not losses.served[-1].all():
        before = losses.served[-1]
        gain = losses.each[kept & ~before].mean() - losses.each[kept & before].mean()
        losses.gains.append(float(gain / mean))
    else:
        losses.gains.append(math.nan)
    losses.means.append(mean)
    losses.variations.append(spread / mean)
    losses.served.append(kept)


def ways() -> dict[str, tuple[Choice, float]]:
    """Return the ways to train: how each chooses, and the share of the epochs that it trains."""
    found: dict[str, tuple[Choice, float]] = {"full": (at_random(lambda *_: 0.0), 1.0)}
    found |= {name: (by_rule(rule), 1.0) for name, rule in RULES.items()}
    found["lowest"] = (lowest_losses, 1.0)
    for saving in SAVINGS:
        found[f"random {saving}"] = (at_random(lambda *_, s=saving: s), 1.0)
        found[f"fewer {saving}"] = (at_random(lambda *_: 0.0), 1 - saving)
    return found


def run(name: str, long: int, way: str, seed: int, root: Path) -> dict[str, Any]:
    """Train a task in one way; fewer epochs count as saved."""
    task = load(name, root, seed)
    choose, part = ways()[way]
    full = task.epochs * long
    epochs = max(1, round(part * full))
    found = train(task, epochs, choose, seed)
    return found | {"saved": 1 - epochs * (1 - found["saved"]) / full}


def print_tables(results: list[dict[str, Any]]) -> None:
    """Print, for each task and rule, what it saves and costs, and what baselines cost there."""
    print("| task | epochs × | way | saved % | − full | random − full | fewer − full |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for name, long, *_ in RUNS:
        runs = [r for r in results if (r["task"], r["long"]) == (name, long)]
        by_seed = [{r["way"]: r for r in runs if r["seed"] == seed} for seed in range(9)]
        for way in (*RULES, "lowest"):
            found = [ways for ways in by_seed if {way, "full", "fewer 0.3"} <= ways.keys()]
            if len(found) < 2:
                continue
            saved = float(np.mean([ways[way]["saved"] for ways in found]))
            cells = [mean_of([ways[way]["metric"] - ways["full"]["metric"] for ways in found])]
            for kind in ("random", "fewer"):
                cells.append(mean_of([_interpolated(w, kind, w[way]["saved"]) for w in found]))
            shown = " | ".join(cell.text(1, 2, sign=True) for cell in cells)
            print(f"| {name} | {long} | {way} | {100 * saved:.0f} | {shown} |")


def _interpolated(found: dict[str, dict[str, Any]], kind: str, saved: float) -> float:
    """Return what a baseline gains on full training at this saving."""
    points = [r for way, r in found.items() if way == "full" or way.startswith(kind)]
    points.sort(key=lambda point: point["saved"])
    metric = np.interp(saved, [p["saved"] for p in points], [p["metric"] for p in points])
    return float(metric - found["full"]["metric"])


def print_controls(results: list[dict[str, Any]]) -> None:
    """Print by how much a skipped visit leaves a loss higher, against the fall of the mean loss.

    Whom a random choice skips is a control group. If the losses of those fall as fast, the ratio is
    near 0: what others teach serves all. If only visits lower a loss, it is 1 or more.
    """
    print("\n| task | epochs × | skipped above served | fall of the mean loss | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, long, *_ in RUNS:
        pairs = []
        for result in results:
            if (result["task"], result["long"], result["way"]) != (name, long, "auto 5% half"):
                continue
            gains, means = np.array(result["gains"]), np.array(result["means"])
            falls = np.r_[np.nan, 1 - means[1:] / means[:-1]]
            known = np.isfinite(gains)
            pairs.append((gains[known].mean(), falls[known].mean()))
        if pairs:
            gain, fall = np.mean(pairs, axis=0)
            print(f"| {name} | {long} | {gain:.3f} | {fall:.3f} | {gain / fall:.2f} |")


def main() -> None:
    """Train, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="the folder that holds the data")
    parser.add_argument("--save", type=Path, default=RESULTS / "studies" / "auto-budget.jsonl")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.save)
    if not arguments.tables:
        torch.set_num_threads(1)
        for name, long, seeds, chosen in RUNS:
            for seed in range(seeds):
                for way in chosen or ways():
                    key = {"task": name, "long": long, "way": way, "seed": seed}
                    runs.do(key, run, name, long, way, seed, arguments.root)
    print_tables(runs.results)
    print_controls(runs.results)


if __name__ == "__main__":
    main()
