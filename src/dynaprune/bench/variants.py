"""The variants of training that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..methods import (
    UCB,
    EpsilonGreedy,
    InfoBatch,
    LossProportional,
    NoPrune,
    OrderDP,
    RandomPrune,
    RePB,
    SelectiveBackprop,
    SeTa,
    SkipConverged,
    TrimmedLoss,
)
from ..pruned_dataset import PrunedDataset
from ..scores import BLS, KalmanBLS
from . import removal, twice
from .drawn_scores import DrawnScores
from .fewer_epochs import FewerEpochs, visits_left
from .task import Task
from .training import Reads

FULL, FEWER, RANDOM = "full", "fewer-epochs", "random"
BASELINES = (FEWER, RANDOM)
"""Variants without scores: pruning is useful only if it beats them at the same number of visits."""


@dataclass(frozen=True)
class Variant:
    """A variant of training: a method, a score, and the losses that it reads.

    Attributes:
        about: a short description.
        make: takes a dataset, the number of epochs of full training, a seed, and the share of all
            sample visits to save, and returns a pruned dataset.
        reads: the losses that `update` gets.
        has_budget: whether it saves exactly the given share; otherwise it decides itself.
        again: makes a second training of a new model, from the first one, the data set, the number
            of epochs of full training and the share. The cost is that of both, and the metric that
            of the second.
    """

    about: str
    make: Callable[[Any, int, int, float], PrunedDataset]
    reads: Reads = "mean"
    has_budget: bool = True
    again: Callable[[PrunedDataset, Any, int, float], PrunedDataset] | None = None

    def fits(self, task: Task) -> bool:
        """Return whether a task has the losses that this variant reads."""
        if self.reads in ("samples", "focal"):
            return task.has_losses
        return self.reads == "mean" or task.can_slice


def _variant(
    about: str,
    method: Any,
    score: Any = None,
    reads: Reads = "mean",
    budget: str | None = "saving",
    **more: Any,
) -> Variant:
    def make(data: Any, epochs: int, seed: int, saved: float) -> PrunedDataset:
        given = {} if budget is None else {budget: saved}
        pruned: PrunedDataset = method(data, epochs, seed=seed, **given, **more)
        return pruned if score is None else score(pruned).proxy()

    return Variant(about, make, reads, budget is not None)


def _fewer(data: Any, epochs: int, seed: int, saved: float) -> PrunedDataset:
    return FewerEpochs(data, visits_left(data, epochs, saved), seed=seed)


VARIANTS: dict[str, Variant] = {
    FULL: _variant("full training", NoPrune, budget=None),
    FEWER: Variant("full training for fewer epochs, with the schedule scaled to them", _fewer),
    RANDOM: _variant("RandomPrune: a new random share in each epoch", RandomPrune),
    "infobatch": _variant("InfoBatch on true per-sample losses", InfoBatch, reads="samples"),
    "seta": _variant("SeTa on true per-sample losses", SeTa, reads="samples"),
    "bls-infobatch": _variant("InfoBatch on BLS", InfoBatch, BLS),
    "bls-seta": _variant("SeTa on BLS", SeTa, BLS),
    "kalman-infobatch": _variant("InfoBatch on KalmanBLS", InfoBatch, KalmanBLS),
    "kalman-seta": _variant("SeTa on KalmanBLS", SeTa, KalmanBLS),
    "slices-infobatch": _variant(
        "InfoBatch on KalmanBLS, 8 slices", InfoBatch, KalmanBLS, "slices"
    ),
    "slices-seta": _variant("SeTa on KalmanBLS, 8 slices", SeTa, KalmanBLS, "slices"),
    "equal-infobatch": _variant(
        "InfoBatch with equal weights, on true per-sample losses",
        InfoBatch,
        reads="samples",
        weighting="equal",
    ),
    "slices-equal-infobatch": _variant(
        "InfoBatch with equal weights, on KalmanBLS, 8 slices",
        InfoBatch,
        KalmanBLS,
        "slices",
        weighting="equal",
    ),
    "loss-proportional": _variant(
        "LossProportional on true per-sample losses", LossProportional, reads="samples"
    ),
    "slices-loss-proportional": _variant(
        "LossProportional on KalmanBLS, 8 slices", LossProportional, KalmanBLS, "slices"
    ),
    "drawn-infobatch": _variant(
        "InfoBatch on random scores, drawn anew in each epoch", DrawnScores, BLS
    ),
    "epsilon-greedy": _variant(
        "EpsilonGreedy on true per-sample losses", EpsilonGreedy, reads="samples"
    ),
    "selective-backprop": _variant(
        "SelectiveBackprop on true per-sample losses", SelectiveBackprop, reads="samples"
    ),
    "order-dp": _variant("OrderDP on true per-sample losses", OrderDP, reads="samples"),
    "trimmed": _variant("TrimmedLoss on true per-sample losses", TrimmedLoss, reads="samples"),
    "kalman-trimmed": _variant("TrimmedLoss on KalmanBLS", TrimmedLoss, KalmanBLS),
    "slices-trimmed": _variant(
        "TrimmedLoss on KalmanBLS, 8 slices", TrimmedLoss, KalmanBLS, "slices"
    ),
    "fine-slices-trimmed": _variant(
        "TrimmedLoss on KalmanBLS, 16 slices", TrimmedLoss, KalmanBLS, "fine-slices"
    ),
    "trimmed-auto": _variant(
        "TrimmedLoss on true per-sample losses, trimming what they show to be wrong",
        TrimmedLoss,
        reads="samples",
        budget=None,
        trim="auto",
    ),
    "fine-slices-trimmed-auto": _variant(
        "TrimmedLoss on KalmanBLS, 16 slices, trimming what they show to be wrong",
        TrimmedLoss,
        KalmanBLS,
        "fine-slices",
        budget=None,
        trim="auto",
    ),
    "slices-trimmed-auto": _variant(
        "TrimmedLoss on KalmanBLS, 8 slices, trimming what they show to be wrong",
        TrimmedLoss,
        KalmanBLS,
        "slices",
        budget=None,
        trim="auto",
    ),
    "kalman-trimmed-auto": _variant(
        "TrimmedLoss on KalmanBLS, trimming what it shows to be wrong",
        TrimmedLoss,
        KalmanBLS,
        budget=None,
        trim="auto",
    ),
    "removal": Variant(
        "two trainings, the second one without as many suspects as TrimmedLoss trims",
        removal.first_training,
        "samples",
        again=removal.second_training,
    ),
    "twice": Variant(
        "two trainings, the second one with five copies of what the first one got wrong (JTT)",
        twice.first_training,
        "samples",
        again=twice.second_training,
    ),
    "focal": Variant(
        "focal loss, for fewer epochs, with the schedule scaled to them", _fewer, "focal"
    ),
    "random-auto": _variant(
        "RandomPrune, skipping as much as the losses of batches allow",
        RandomPrune,
        budget=None,
        saving="auto",
    ),
    "infobatch-auto": _variant(
        "InfoBatch on true per-sample losses, skipping as much as the losses of batches allow",
        InfoBatch,
        reads="samples",
        budget=None,
        saving="auto",
    ),
    "bls-infobatch-auto": _variant(
        "InfoBatch on BLS, skipping as much as the losses of batches allow",
        InfoBatch,
        BLS,
        budget=None,
        saving="auto",
    ),
    "bls-seta-auto": _variant(
        "SeTa on BLS, skipping as much as the losses of batches allow",
        SeTa,
        BLS,
        budget=None,
        saving="auto",
    ),
    "drawn-infobatch-auto": _variant(
        "InfoBatch on random scores, skipping as much as the losses of batches allow",
        DrawnScores,
        BLS,
        budget=None,
        saving="auto",
    ),
    "slices-infobatch-auto": _variant(
        "InfoBatch on KalmanBLS, 8 slices, skipping as much as the losses of batches allow",
        InfoBatch,
        KalmanBLS,
        "slices",
        budget=None,
        saving="auto",
    ),
    "slices-lowest-auto": _variant(
        "EpsilonGreedy on KalmanBLS, 8 slices, skipping as much as the losses of batches allow",
        EpsilonGreedy,
        KalmanBLS,
        "slices",
        budget=None,
        saving="auto",
    ),
    "skip-converged": _variant(
        "SkipConverged on true per-sample losses", SkipConverged, reads="samples", budget=None
    ),
    "slices-skip-converged": _variant(
        "SkipConverged on KalmanBLS, 8 slices", SkipConverged, KalmanBLS, "slices", None
    ),
    "kalman-epsilon-greedy": _variant("EpsilonGreedy on KalmanBLS", EpsilonGreedy, KalmanBLS),
    "kalman-ucb": _variant("UCB on KalmanBLS", UCB, KalmanBLS),
    "kalman-order-dp": _variant("OrderDP on KalmanBLS", OrderDP, KalmanBLS),
    "kalman-repb": _variant("RePB on KalmanBLS", RePB, KalmanBLS, budget=None),
    "kalman-selective-backprop": _variant(
        "SelectiveBackprop on KalmanBLS", SelectiveBackprop, KalmanBLS
    ),
}
"""All variants, in the order in which they run and are shown."""

DEFAULT = (
    FULL,
    FEWER,
    RANDOM,
    "infobatch",
    "seta",
    "bls-infobatch",
    "bls-seta",
    "kalman-infobatch",
    "slices-infobatch",
)
