"""Data sets with known wrong labels: by people, by chance and by rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tasks import Task, load
from torch import Tensor
from zoo.datasets.rule_labels import load_rule_labelled

from dynaprune.bench.tasks.cifar10n import PEOPLE, labels_by_people

IMAGES = 12_000
"""Images with labels by people."""

FEWER_IMAGES = 6_000
"""Images with labels that are wrong by chance."""


NETWORKS = {", memorized": "wrong images", "": "images"}
"""What is appended to the name of a set, by network: one that memorizes images learns wrong labels
by the end of a training, a smaller one does not."""


@dataclass(frozen=True)
class NoisySet:
    """Samples with some wrong labels.

    Attributes:
        task: the samples with their given labels, N of them.
        is_wrong: which labels are wrong: bool, shape (N,).
        epochs: how long a training takes.
    """

    task: Task
    is_wrong: Tensor
    epochs: int


def _by_people(task: str, name: str, root: Path, seed: int) -> NoisySet:
    right = load(task, root)
    given = replace(right, labels=labels_by_people(name, right.labels, root))
    drawn, truth = (task.first(IMAGES, seed) for task in (given, right))
    return NoisySet(drawn, drawn.labels != truth.labels, 20)


def _by_chance(
    name: str, share: float, count: int | None, epochs: int, root: Path, seed: int
) -> NoisySet:
    task = load(name, root)
    if count is not None:
        task = task.first(count, seed)
    return NoisySet(*task.mislabelled(share, seed), epochs)


def _by_rules(name: str, root: Path, seed: int) -> NoisySet:
    right = load(name, root)
    given = load_rule_labelled(root, name).by_rules
    return NoisySet(replace(right, labels=given), given != right.labels, 20)


NOISY_SETS: dict[str, Callable[[Path, int], NoisySet]] = {
    **{
        f"CIFAR-10N {name}{suffix}": partial(_by_people, task, name)
        for suffix, task in NETWORKS.items()
        for name in PEOPLE
    },
    **{
        f"CIFAR-10, {share:.0%} by chance{suffix}": partial(
            _by_chance, task, share, FEWER_IMAGES, 16
        )
        for suffix, task in NETWORKS.items()
        for share in (0.2, 0.4)
    },
    "spoken digits, 20% by chance": partial(_by_chance, "audio", 0.2, None, 20),
    "SST-2, 20% by chance": partial(_by_chance, "text", 0.2, None, 20),
    "TREC, by rules": partial(_by_rules, "trec"),
    "ChemProt, by rules": partial(_by_rules, "chemprot"),
}
"""By name: takes the folder of data sets and a seed, which draws samples and errors by chance."""
