"""sentence-transformers: trainers of embeddings and rerankers that train pruned epochs.

    from dynaprune import BLS, InfoBatch
    from dynaprune.integrations.sentence_transformers import PrunedSentenceTransformerTrainer

    trainer = PrunedSentenceTransformerTrainer(
        model, args, train_dataset=train_set, loss=loss,
        pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy(),
    )
    trainer.train()

Needs `pip install 'dynaprune[sentence-transformers]'`; without it, the import raises an
`ImportError`.

`_batches.py` and `_groups.py` let the trainer's batch samplers group the samples that an epoch
keeps; `_trainer.py` has the rest.
"""

from ._trainer import (
    PrunedCrossEncoderTrainer,
    PrunedEncoderTrainerMixin,
    PrunedSentenceTransformerTrainer,
    PrunedSparseEncoderTrainer,
)

__all__ = [
    "PrunedCrossEncoderTrainer",
    "PrunedEncoderTrainerMixin",
    "PrunedSentenceTransformerTrainer",
    "PrunedSparseEncoderTrainer",
]
