"""Train the same PyTorch model on fewer samples.

train = KalmanBLS(InfoBatch(train_set, num_epochs=200)).proxy()      # 1 wrap
loader = DataLoader(train, batch_size=128, sampler=train.sampler)    # 2 inject
...
        loss = train.update(loss)                                    # 3 score and rescale
"""

from .checkpoint import load_checkpoint, save_checkpoint
from .chunks import chunked
from .diagnostics import Audit, audit
from .loader import DataLoader
from .methods import (
    UCB,
    EpsilonGreedy,
    InfoBatch,
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
from .plan import Selection
from .pruned import PrunedDataset
from .recording import read_recording
from .sampler import PruningSampler
from .schedule import PrunedScheduler
from .scores import BLS, KalmanBLS, SampleLoss, Score
from .sharded import Sharded
from .streams import PrunedIterableDataset
from .summary import Summary
from .versions import __version__ as __version__

__all__ = [
    "BLS",
    "UCB",
    "Audit",
    "DataLoader",
    "EpsilonGreedy",
    "InfoBatch",
    "KalmanBLS",
    "NoPrune",
    "OrderDP",
    "PrunedDataset",
    "PrunedIterableDataset",
    "PrunedScheduler",
    "PruningSampler",
    "RandomPrune",
    "RePB",
    "SampleLoss",
    "Score",
    "SeTa",
    "Selection",
    "SelectiveBackprop",
    "Sharded",
    "SkipConverged",
    "StaticPrune",
    "Summary",
    "TrimmedLoss",
    "audit",
    "chunked",
    "load_checkpoint",
    "read_recording",
    "save_checkpoint",
]
