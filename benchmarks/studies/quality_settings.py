"""The settings and methods of quality.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dynaprune import (
    BLS,
    InfoBatch,
    KalmanBLS,
    NoPrune,
    PrunedDataset,
    RandomPrune,
    SeTa,
    SkipConverged,
    TrimmedLoss,
)
from dynaprune.methods import UCB, EpsilonGreedy, OrderDP, RePB, SelectiveBackprop
from dynaprune.methods._budget import Saving, first_annealed_epoch
from dynaprune.methods.info_batch import DELTA
from dynaprune.planning.selection import Selection

SLICES = 8
FULL, FEWER, RANDOM = "full training", "fewer epochs", "RandomPrune"


@dataclass(frozen=True)
class Setting:
    """A task, its size, and the methods that it is trained with.

    Attributes:
        task: one of `tasks.NAMES`.
        samples: the number of training samples, drawn by the seed.
        epochs: the number of epochs of full training.
        batch_size: the number of samples per step.
        methods: keys of `METHODS`, each with its budgets, the shares of visits to save. A method
            that chooses its own budget has the budget 0.
        wrong: the share of wrong labels.
        copies: the share of the samples that are copies of one sixteenth of them.
    """

    task: str
    samples: int
    epochs: int
    batch_size: int
    methods: dict[str, tuple[float, ...]]
    wrong: float = 0.0
    copies: float = 0.0


@dataclass(frozen=True)
class Variant:
    """A method, and the losses that `update` gets.

    Attributes:
        make: takes the dataset, the number of epochs, the seed and the budget, and returns a pruned
            dataset.
        slices: the number of losses per batch; 0 for per-sample losses.
    """

    make: Callable[[Any, int, int, float], PrunedDataset]
    slices: int = 1


def _variant(method: Any, score: Any = None, slices: int = 1, **more: Any) -> Variant:
    def make(data: Any, epochs: int, seed: int, saved: float) -> PrunedDataset:
        given = {"saving": saved} if saved else {}
        pruned = method(data, epochs, seed=seed, **given, **more)
        return pruned if score is None else score(pruned).proxy()

    return Variant(make, slices)


class FullStart(InfoBatch):
    """InfoBatch with `saving` that trains on everything in the first epoch."""

    def _spread(self, saving: float) -> Saving:
        end = first_annealed_epoch(self.delta, self.num_epochs)
        return Saving(saving, self.num_epochs, 1, end)


class FullEnds(FullStart):
    """InfoBatch with `saving`, and with the full epochs of the paper at the start and the end."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, delta=DELTA, **more)


class Drawn(FullEnds):
    """The same with random scores in each epoch, which leaves its weights and full epochs."""

    def select(
        self, scores: torch.Tensor, epoch: int, generator: torch.Generator, *more: Any
    ) -> Selection:
        if epoch > 0:  # in the first epoch all scores are equal
            scores = torch.rand(scores.shape, generator=generator)
        return super().select(scores, epoch, generator)


def unweighted(method: type[InfoBatch]) -> type[InfoBatch]:
    """Return a method that selects the same samples, all with weight 1."""

    class Unweighted(method):
        def select(self, *given: Any, **more: Any) -> Selection:
            return Selection(super().select(*given, **more).indices)

    return Unweighted


METHODS: dict[str, Variant] = {
    FULL: _variant(NoPrune),
    FEWER: _variant(NoPrune),
    RANDOM: _variant(RandomPrune),
    "InfoBatch, true losses": _variant(InfoBatch, None, 0),
    "InfoBatch, BLS": _variant(InfoBatch, BLS),
    "InfoBatch, KalmanBLS": _variant(InfoBatch, KalmanBLS),
    "InfoBatch, KalmanBLS, slices": _variant(InfoBatch, KalmanBLS, SLICES),
    "InfoBatch, weights 1, KalmanBLS": _variant(unweighted(InfoBatch), KalmanBLS),
    "InfoBatch, weights 1, KalmanBLS, slices": _variant(unweighted(InfoBatch), KalmanBLS, SLICES),
    "InfoBatch, full start, true losses": _variant(FullStart, None, 0),
    "InfoBatch, full start, weights 1, true losses": _variant(unweighted(FullStart), None, 0),
    "InfoBatch, full start, weights 1, KalmanBLS, slices": _variant(
        unweighted(FullStart), KalmanBLS, SLICES
    ),
    "InfoBatch, full ends, true losses": _variant(FullEnds, None, 0),
    "InfoBatch, full ends, weights 1, true losses": _variant(unweighted(FullEnds), None, 0),
    "InfoBatch, full ends, BLS": _variant(FullEnds, BLS),
    "InfoBatch, full ends, KalmanBLS": _variant(FullEnds, KalmanBLS),
    "InfoBatch, full ends, KalmanBLS, slices": _variant(FullEnds, KalmanBLS, SLICES),
    "InfoBatch, full ends, KalmanBLS, sorted slices": _variant(
        FullEnds, KalmanBLS, SLICES, batch_size=64
    ),
    "InfoBatch, full ends, scores drawn": _variant(Drawn, BLS),
    "InfoBatch, full ends, weights 1, scores drawn": _variant(unweighted(Drawn), BLS),
    "SeTa, BLS": _variant(SeTa, BLS),
    "SeTa, KalmanBLS, slices": _variant(SeTa, KalmanBLS, SLICES),
    "SkipConverged, true losses": _variant(SkipConverged, None, 0),
    "SkipConverged, BLS": _variant(SkipConverged, BLS),
    "SkipConverged, KalmanBLS": _variant(SkipConverged, KalmanBLS),
    "SkipConverged, KalmanBLS, slices": _variant(SkipConverged, KalmanBLS, SLICES),
    "EpsilonGreedy, KalmanBLS": _variant(EpsilonGreedy, KalmanBLS),
    "UCB, KalmanBLS": _variant(UCB, KalmanBLS),
    "OrderDP, KalmanBLS": _variant(OrderDP, KalmanBLS),
    "RePB, KalmanBLS": _variant(RePB, KalmanBLS),
    "SelectiveBackprop, KalmanBLS": _variant(SelectiveBackprop, KalmanBLS),
    "TrimmedLoss, true losses": _variant(TrimmedLoss, None, 0),
    "TrimmedLoss, BLS": _variant(TrimmedLoss, BLS),
    "TrimmedLoss, KalmanBLS": _variant(TrimmedLoss, KalmanBLS),
    "TrimmedLoss, KalmanBLS, slices": _variant(TrimmedLoss, KalmanBLS, SLICES),
    "TrimmedLoss auto, true losses": _variant(TrimmedLoss, None, 0, trim="auto"),
    "TrimmedLoss auto, KalmanBLS, slices": _variant(TrimmedLoss, KalmanBLS, SLICES, trim="auto"),
}
"""All methods, in the order in which they run and are shown."""

SHOWN = (0.2, 0.4)
AT_ANY = {FULL: (0.0,), FEWER: SHOWN, RANDOM: SHOWN}
FULL_ENDS = {
    f"InfoBatch, full ends, {score}": SHOWN
    for score in ("true losses", "BLS", "KalmanBLS, sorted slices")
}
WORTH = {
    **AT_ANY,
    "InfoBatch, true losses": SHOWN,
    "InfoBatch, BLS": SHOWN,
    "InfoBatch, KalmanBLS": SHOWN,
    "InfoBatch, KalmanBLS, slices": SHOWN,
    **FULL_ENDS,
    "SeTa, BLS": (0.0,),
    "SkipConverged, KalmanBLS, slices": (0.0,),
    "EpsilonGreedy, KalmanBLS": (0.2,),
    "UCB, KalmanBLS": (0.2,),
    "OrderDP, KalmanBLS": (0.2,),
    "RePB, KalmanBLS": (0.0,),
    "SelectiveBackprop, KalmanBLS": (0.2,),
}
WHY = AT_ANY | {name: SHOWN for name in METHODS if name.startswith("InfoBatch")}
LONG = AT_ANY | {
    **dict.fromkeys(FULL_ENDS, (0.2,)),
    "SeTa, BLS": (0.0,),
    "SkipConverged, KalmanBLS, slices": (0.0,),
}
CONVERGED = {
    **dict.fromkeys((FEWER, RANDOM), (0.2, 0.5)),
    FULL: (0.0,),
    "InfoBatch, full ends, true losses": (0.5,),
    "InfoBatch, full ends, BLS": (0.5,),
    "SkipConverged, true losses": (0.0,),
    "SkipConverged, BLS": (0.0,),
    "SkipConverged, KalmanBLS": (0.0,),
    "SkipConverged, KalmanBLS, slices": (0.0,),
}
TRIMMED = {
    FULL: (0.0,),
    FEWER: (0.2,),
    RANDOM: (0.2,),
    "TrimmedLoss, true losses": (0.2,),
    "TrimmedLoss, KalmanBLS": (0.2,),
    "TrimmedLoss, KalmanBLS, slices": (0.2,),
    "TrimmedLoss auto, true losses": (0.0,),
    "TrimmedLoss auto, KalmanBLS, slices": (0.0,),
}
SMALL_BATCHES = {name: TRIMMED[name] for name in (FULL, FEWER, RANDOM, "TrimmedLoss, KalmanBLS")}
SIZES = {"wrong images": (3000, 16), "wrong text": (6920, 16), "wrong audio": (1000, 24)}
"""The samples and epochs of the settings with wrong labels."""

SETTINGS = (
    {
        "short": Setting("images", 4000, 12, 64, WORTH),
        "long": Setting("images", 2000, 40, 64, LONG),
        "why": Setting("images", 4000, 12, 64, WHY),
        "redundant": Setting("images", 2000, 40, 64, CONVERGED, copies=0.75),
    }
    | {
        f"wrong-pooled-{round(100 * wrong)}-64": Setting(
            "images", 3000, 16, 64, TRIMMED, wrong=wrong
        )
        for wrong in (0.0, 0.2, 0.4)
    }
    | {
        f"wrong-{task.split()[-1]}-{round(100 * wrong)}-{size}": Setting(
            task, *SIZES[task], size, TRIMMED if size == 64 else SMALL_BATCHES, wrong=wrong
        )
        for task in SIZES
        for wrong in (0.0, 0.2, 0.4)
        for size in (64, 32, 16, 8)
    }
)
