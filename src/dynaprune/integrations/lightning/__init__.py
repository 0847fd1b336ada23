"""Lightning.

    from dynaprune.integrations.lightning import PruningCallback

    trainer = Trainer(max_epochs=50, callbacks=[PruningCallback()])
    trainer.fit(module, loader)

Needs `pip install 'dynaprune[lightning]'`; without it, the import raises an `ImportError`.

`_callback.py` has the hooks that the Trainer calls; the other files have what these do, one idea
each.
"""

from ._callback import PruningCallback

__all__ = ["PruningCallback"]
