"""Hugging Face Transformers.

    from dynaprune import BLS, InfoBatch
    from dynaprune.integrations.transformers import PrunedTrainer

    trainer = PrunedTrainer(
        model, args, train_dataset=train_set,
        pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy(),
    )
    trainer.train()

To extend your own Trainer subclass: `class MyPrunedTrainer(PrunedTrainerMixin, MyTrainer): pass`.

Needs `pip install 'dynaprune[transformers]'`; without it, the import raises an `ImportError`.

`_trainer.py` has the methods of the Trainer that the mixin overrides; the other files have what
these do, one idea each.
"""

from ._trainer import PrunedTrainer, PrunedTrainerMixin

__all__ = ["PrunedTrainer", "PrunedTrainerMixin"]
