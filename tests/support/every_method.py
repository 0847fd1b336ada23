"""Every method and every score, with settings that suit small runs.

A new method or score gets a line here, and so runs in every test of all of them.
`methods/test_every_method.py` checks that none is missing.
"""

from __future__ import annotations

import inspect
import itertools
from functools import partial

from dynaprune import BLS, KalmanBLS, PrunedDataset, SampleLoss, methods
from dynaprune.methods import (
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
    StaticPrune,
    TrimmedLoss,
)

CLASSES = [getattr(methods, name) for name in methods.__all__]


def that_take(argument: str) -> list[type[PrunedDataset]]:
    """Return the methods that have an argument of this name."""
    return [each for each in CLASSES if argument in inspect.signature(each.__init__).parameters]


METHODS = {
    "InfoBatch": InfoBatch,
    "InfoBatch, saving": partial(InfoBatch, saving=0.3),
    "SeTa": SeTa,
    "SeTa, narrow": partial(SeTa, prune_ratio=0.4, num_groups=7, window_scale=0.2),
    "TrimmedLoss": TrimmedLoss,
    "TrimmedLoss, trim": partial(TrimmedLoss, trim=0.4, start=0.0, refresh=0.0),
    "TrimmedLoss, saving": partial(TrimmedLoss, saving=0.3),
    "SkipConverged": SkipConverged,
    "SkipConverged, floor": partial(SkipConverged, loss_share=0.9, floor=-3.0, refresh=0.0),
    "EpsilonGreedy": EpsilonGreedy,
    "UCB": UCB,
    "OrderDP": OrderDP,
    "RePB": RePB,
    "RePB, short": partial(RePB, prune_ratio=0.9, window=1, max_weight=3),
    "LossProportional": LossProportional,
    "LossProportional, corrected": partial(LossProportional, power=1, floor=1, correction=0.5),
    "SelectiveBackprop": SelectiveBackprop,
    "SelectiveBackprop, steep": partial(SelectiveBackprop, saving=0.8),
    "RandomPrune": RandomPrune,
    "RandomPrune, auto": partial(RandomPrune, saving="auto"),
    "InfoBatch, auto": partial(InfoBatch, saving="auto"),
    "UCB, auto": partial(UCB, saving="auto"),
    "RePB, auto": partial(RePB, saving="auto"),
    "StaticPrune": StaticPrune,
    "NoPrune": NoPrune,
}

WITH_SAVING = {
    "InfoBatch": InfoBatch,
    "InfoBatch, delta": partial(InfoBatch, delta=0.7),
    "InfoBatch, equal": partial(InfoBatch, weighting="equal"),
    "SeTa": SeTa,
    "SeTa, narrow": partial(SeTa, num_groups=7, window_scale=0.2, delta=0.5),
    "TrimmedLoss": TrimmedLoss,
    "TrimmedLoss, late": partial(TrimmedLoss, start=0.6, refresh=0.3),
    "EpsilonGreedy": EpsilonGreedy,
    "UCB": UCB,
    "OrderDP": OrderDP,
    "RandomPrune": RandomPrune,
    "SelectiveBackprop": SelectiveBackprop,
    "LossProportional": LossProportional,
    "LossProportional, corrected": partial(LossProportional, correction=1),
    "RePB": RePB,
    "RePB, short": partial(RePB, window=1),
}
"""Those that meet an exact share, `saving`, with what else they are given."""

THAT_FIND_THE_SHARE = {
    "InfoBatch": InfoBatch,
    "InfoBatch, equal": partial(InfoBatch, weighting="equal"),
    "SeTa": SeTa,
    "EpsilonGreedy": EpsilonGreedy,
    "UCB": UCB,
    "OrderDP": OrderDP,
    "SelectiveBackprop": SelectiveBackprop,
    "LossProportional": LossProportional,
    "RePB": RePB,
    "RandomPrune": RandomPrune,
}
"""Those that take `saving="auto"`, with what else they are given."""

EACH_KIND = [InfoBatch, SeTa, RandomPrune, StaticPrune, NoPrune]
"""A method for each kind of plan, for tests of what does not depend on the method."""

BATCH = 6
SCORES = {
    "BLS": (BLS, 1),
    "BLS, slices": (BLS, 3),
    "BLS, vectors": (BLS, BATCH),
    "KalmanBLS": (KalmanBLS, 1),
    "KalmanBLS, slices": (KalmanBLS, 4),
    "KalmanBLS, vectors": (KalmanBLS, BATCH),
    "SampleLoss": (SampleLoss, BATCH),
    "SampleLoss, slices": (SampleLoss, 2),
}
"""Each with the number of losses that a batch of `BATCH` samples reports."""

EVERY_PAIR = list(itertools.product(METHODS, SCORES))
