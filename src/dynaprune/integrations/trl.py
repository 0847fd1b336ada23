"""TRL: trainers of language models that train pruned epochs.

    from dynaprune import BLS, InfoBatch
    from dynaprune.integrations.trl import PrunedSFTTrainer

    trainer = PrunedSFTTrainer(
        model, args=args, train_dataset=train_set,
        pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy(),
    )
    trainer.train()

Needs `pip install 'dynaprune[trl]'`; without it, the import raises an `ImportError`.

The samples are the rows that TRL makes of the dataset: `pruning` is called with the tokenized rows,
or with the packed ones. Any other trainer of TRL that serves each row once an epoch works, too:
`class PrunedMyTrainer(PrunedTrainerMixin, MyTrainer): pass`. Trainers that generate (`GRPOTrainer`,
`RLOOTrainer`, `DistillationTrainer`) repeat rows within an epoch, and raise an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..utils.optional_imports import require
from .transformers import PrunedTrainerMixin

if TYPE_CHECKING:
    from trl import DPOTrainer, RewardTrainer, SFTTrainer
else:
    _trl = require("trl", "trl")
    SFTTrainer, DPOTrainer, RewardTrainer = _trl.SFTTrainer, _trl.DPOTrainer, _trl.RewardTrainer

__all__ = ["PrunedDPOTrainer", "PrunedRewardTrainer", "PrunedSFTTrainer"]


class PrunedSFTTrainer(PrunedTrainerMixin, SFTTrainer):  # type: ignore[misc]
    """`trl.SFTTrainer` on pruned epochs; see `PrunedTrainerMixin`.

    A sample is a row as TRL trains on it: with `packing=True` a packed row, which joins several
    texts. The score is the mean loss over the tokens that are trained: with completion-only or
    assistant-only losses those of the completions.

    Arguments:
        arguments: the trainer's arguments.
        pruning: a function that creates the pruned dataset from the tokenized training set.
        keywords: the trainer's keyword arguments.
    """


class PrunedDPOTrainer(PrunedTrainerMixin, DPOTrainer):  # type: ignore[misc]
    """`trl.DPOTrainer` on pruned epochs; see `PrunedTrainerMixin`.

    A sample is a pair of a chosen and a rejected answer, and the score is the mean of their loss.

    Arguments:
        arguments: the trainer's arguments.
        pruning: a function that creates the pruned dataset from the tokenized training set.
        keywords: the trainer's keyword arguments.
    """


class PrunedRewardTrainer(PrunedTrainerMixin, RewardTrainer):  # type: ignore[misc]
    """`trl.RewardTrainer` on pruned epochs; see `PrunedTrainerMixin`.

    A sample is a pair of a chosen and a rejected answer, and the score is the mean of their loss.

    Arguments:
        arguments: the trainer's arguments.
        pruning: a function that creates the pruned dataset from the tokenized training set.
        keywords: the trainer's keyword arguments.
    """
