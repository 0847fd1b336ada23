"""Train the same PyTorch model on fewer samples.

train = KalmanBLS(InfoBatch(train_set, num_epochs=200)).proxy()      # 1 wrap
loader = DataLoader(train, batch_size=128, sampler=train.sampler)    # 2 inject
...
        loss = train.update(loss)                                    # 3 score and rescale

Here is what a first day needs. The rest is in the packages: all methods in `dynaprune.methods`,
recordings and loggers in `dynaprune.tracking`, frameworks in `dynaprune.integrations`.
"""

from .data.sharded import Sharded
from .data.stream import PrunedIterableDataset
from .diagnostics import audit
from .loading.loader import DataLoader
from .loading.lr_scheduler import PrunedScheduler
from .losses.chunked import chunked
from .methods import (
    InfoBatch,
    NoPrune,
    RandomPrune,
    SeTa,
    SkipConverged,
    TrimmedLoss,
)
from .planning.selection import Selection
from .pruned_dataset import PrunedDataset
from .scores import BLS, KalmanBLS, SampleLoss, Score
from .training.checkpoint import load_checkpoint, save_checkpoint
from .utils.versions import __version__ as __version__

__all__ = [
    "BLS",
    "DataLoader",
    "InfoBatch",
    "KalmanBLS",
    "NoPrune",
    "PrunedDataset",
    "PrunedIterableDataset",
    "PrunedScheduler",
    "RandomPrune",
    "SampleLoss",
    "Score",
    "SeTa",
    "Selection",
    "Sharded",
    "SkipConverged",
    "TrimmedLoss",
    "audit",
    "chunked",
    "load_checkpoint",
    "save_checkpoint",
]
