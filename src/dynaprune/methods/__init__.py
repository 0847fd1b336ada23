"""Which samples an epoch keeps: one class a file, each of them one `select`."""

from .info_batch import InfoBatch
from .no_prune import NoPrune
from .random_prune import RandomPrune
from .seta import SeTa
from .skip_converged import SkipConverged
from .static_prune import StaticPrune
from .trimmed_loss import TrimmedLoss

__all__ = [
    "InfoBatch",
    "NoPrune",
    "RandomPrune",
    "SeTa",
    "SkipConverged",
    "StaticPrune",
    "TrimmedLoss",
]
