"""Train the same PyTorch model on fewer samples.

train = KalmanBLS(InfoBatch(train_set, num_epochs=200)).proxy()      # 1 wrap
loader = DataLoader(train, batch_size=128, sampler=train.sampler)    # 2 inject
...
        loss = train.update(loss)                                    # 3 score and rescale
"""

from .data.sharded import Sharded
from .data.stream import PrunedIterableDataset
from .diagnostics import Audit, audit
from .loading.loader import DataLoader
from .loading.lr_scheduler import PrunedScheduler
from .losses.chunked import chunked
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
from .planning.sampler import PruningSampler
from .planning.selection import Selection
from .pruned_dataset import PrunedDataset
from .scores import BLS, KalmanBLS, SampleLoss, Score
from .tracking.recording import read_recording
from .training.checkpoint import load_checkpoint, save_checkpoint
from .training.summary import Summary
from .utils.versions import __version__ as __version__

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
