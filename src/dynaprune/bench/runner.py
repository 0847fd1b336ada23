"""Running tasks with several variants, budgets and seeds; existing results are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ..loading.loader import DataLoader
from ..methods import NoPrune
from ..utils.devices import to_device
from .recipe import Recipe
from .regimes import REGIMES
from .results import Key, Results, machine, source_of
from .signs import Signs
from .task import Task
from .training import train_run
from .variants import FULL, VARIANTS


@dataclass(frozen=True)
class Planned:
    """A planned run.

    Attributes:
        key: its identity.
        recipe: how it trains.
    """

    key: Key
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """The planned runs of a task.

    Attributes:
        runs: the runs, ordered by seed.
        left_out: which runs are impossible, and why.
    """

    runs: list[Planned]
    left_out: list[str]


def plan_runs(
    task: Task,
    regime: str,
    variants: Sequence[str],
    budgets: Sequence[float],
    seeds: Sequence[int],
    recipe: Recipe,
) -> Plan:
    """Return the runs of a loaded task.

    Runs are ordered by seed. So a change of the machine's speed affects all variants of a seed, and
    an incomplete set of runs can be compared. Full training is always included. Variants that need
    losses that the task does not have are left out, as are budgets that a variant cannot reach.
    Variants without a budget run once per seed.

    Raises:
        ValueError: the task does not have what the regime changes, or the only batch is smaller
            than the batch size and would be dropped.
    """
    data = REGIMES[regime].samples(task, 0)
    REGIMES[regime].task(task, data)  # raises if the regime does not fit the task
    samples = range(len(data))
    if _visits_an_epoch(task, len(data), recipe) == 0:
        raise ValueError(
            f"{task.name} drops a last batch of fewer than {recipe.batch_size} samples, and its "
            f"{len(data)} samples are one such batch: choose a smaller batch size"
        )
    recipe = REGIMES[regime].recipe(recipe)
    pairs, left_out = [], []
    for name in VARIANTS:
        variant = VARIANTS[name]
        if name != FULL and name not in variants:
            continue
        if not variant.fits(task):
            lacks = "per-sample losses" if variant.reads == "samples" else "losses of slices"
            left_out.append(f"{name} for {task.name}, which has no {lacks}")
            continue
        for budget in budgets if variant.has_budget else (0.0,):
            try:
                variant.make(samples, recipe.epochs, 0, budget)
            except ValueError as error:
                left_out.append(f"{name} for {task.name}: {error}")
            else:
                pairs.append((name, budget))
    return Plan(
        [
            Planned(Key(task.name, regime, name, budget, seed, asdict(recipe)), recipe)
            for seed in seeds
            for name, budget in pairs
        ],
        left_out,
    )


def run_all(
    task: Task,
    plan: Sequence[Planned],
    results: Results,
    on_epoch: Callable[[Planned, int], None] = lambda planned, epoch: None,
) -> Iterator[tuple[Planned, dict[str, Any]]]:
    """Make the missing runs of a plan, and yield each one when it is finished.

    Arguments:
        task: a loaded task.
        plan: the runs, from `plan_runs`.
        results: the existing results, to which new ones are added.
        on_epoch: called after each epoch with the run and the number of the epoch.

    Yields:
        The run, and its line in the results.
    """
    is_warm = False
    for planned in plan:
        if planned.key in results:
            continue
        if not is_warm:
            warm_up(task, planned.recipe)
            is_warm = True
        found = make_run(task, planned, partial(on_epoch, planned))
        yield planned, results.add(planned.key, found)


def make_run(
    task: Task, planned: Planned, on_epoch: Callable[[int], None] = lambda epoch: None
) -> dict[str, Any]:
    """Make a run of a loaded task, and return its results."""
    key, recipe, variant = planned.key, planned.recipe, VARIANTS[planned.key.variant]
    regime = REGIMES[key.regime]
    data = regime.samples(task, key.seed)
    trained = regime.task(task, data)
    train = variant.make(data, recipe.epochs, key.seed, key.budget)
    signs = Signs(trained, data, recipe.epochs, recipe.batch_size) if key.variant == FULL else None

    def look(epoch: int, model: nn.Module) -> None:
        if signs is not None:
            signs.look(epoch, model)
        on_epoch(epoch)

    found = train_run(trained, recipe, train, key.seed, reads=variant.reads, on_epoch=look)
    if variant.again is not None:
        second = variant.again(train, data, recipe.epochs, key.budget)
        last = train_run(trained, recipe, second, key.seed, on_epoch=look)
        found = replace(
            last, visits=found.visits + last.visits, seconds=found.seconds + last.seconds
        )
    line = asdict(found)
    if not found.other_metrics:
        del line["other_metrics"]
    if signs is not None:
        line["signs"] = signs.found
    return {
        **line,
        "samples": len(data),
        "full_visits": _visits_an_epoch(task, len(data), recipe) * recipe.epochs,
        "about": task.describe(),
        "source": source_of(type(task)),
        "machine": machine(task.device),
    }


def _visits_an_epoch(task: Task, samples: int, recipe: Recipe) -> int:
    """Return the visits of an epoch of full training, without those that the loader drops."""
    return samples - samples % recipe.batch_size if task.drop_last else samples


def check_losses(task: Task, recipe: Recipe) -> None:
    """Check on one batch that `loss` returns a mean, and that it is the mean of `losses`.

    Raises:
        ValueError: it is not; variants that use `losses` would then train on another loss.
    """
    few = torch.utils.data.Subset(task.train, range(min(len(task.train), recipe.batch_size)))
    loader = DataLoader(NoPrune(few, 1), batch_size=len(few), collate_fn=task.collate())
    batch = to_device(next(iter(loader)), task.device)
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        outputs = task.outputs(task.make_model().to(task.device), batch)
        mean = task.loss(outputs, batch)
        losses = task.losses(outputs, batch) if task.has_losses else None
    if mean.shape != ():
        raise ValueError(
            f"loss() of {task.name} must return the mean loss of a batch, shape (), but it "
            f"returned shape {tuple(mean.shape)}"
        )
    if losses is None:
        return
    if losses.shape != (len(few),):
        raise ValueError(
            f"losses() of {task.name} must return the loss of each sample, shape ({len(few)},) for "
            f"a batch of {len(few)}, but it returned shape {tuple(losses.shape)}"
        )
    if not torch.allclose(losses.float().mean(), mean.float(), rtol=1e-3, equal_nan=True):
        raise ValueError(
            f"the mean of losses() of {task.name} must be its loss(), but on a batch of {len(few)} "
            f"they are {losses.mean():.6g} and {mean:.6g}: variants that use losses() would train "
            "on another loss"
        )


def warm_up(task: Task, recipe: Recipe) -> None:
    """Train for a few steps, because the first ones in a process are slower."""
    short = replace(recipe, epochs=1)
    few = torch.utils.data.Subset(task.train, range(min(len(task.train), 2 * recipe.batch_size)))
    train_run(task, short, NoPrune(few, short.epochs), seed=0)
