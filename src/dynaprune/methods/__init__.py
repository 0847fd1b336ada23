"""The pruning methods: which samples an epoch keeps. One class per file, with one `select`.

`select` is a pure function of scores, epoch and random generator: that makes a resumed run equal to
the uninterrupted one. A method that skips an exact share of all visits derives from `ExactShare`,
which counts, so that the method only chooses. Modules that begin with an underscore are tools.
"""

from .epsilon_greedy import EpsilonGreedy
from .info_batch import InfoBatch
from .loss_proportional import LossProportional
from .no_prune import NoPrune
from .order_dp import OrderDP
from .random_prune import RandomPrune
from .repb import RePB
from .selective_backprop import SelectiveBackprop
from .seta import SeTa
from .skip_converged import SkipConverged
from .static_prune import StaticPrune
from .trimmed_loss import TrimmedLoss
from .ucb import UCB

__all__ = [
    "UCB",
    "EpsilonGreedy",
    "InfoBatch",
    "LossProportional",
    "NoPrune",
    "OrderDP",
    "RandomPrune",
    "RePB",
    "SeTa",
    "SelectiveBackprop",
    "SkipConverged",
    "StaticPrune",
    "TrimmedLoss",
]
