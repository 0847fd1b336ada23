"""Lightning.

    from dynaprune.integrations.lightning import PruningCallback

    trainer = Trainer(max_epochs=50, callbacks=[PruningCallback(loader)])
    trainer.fit(module, loader)

Needs `pip install 'dynaprune[lightning]'`; without it, the import raises an `ImportError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..extras import require
from ..loader import DataLoader
from ..pruned import PrunedDataset
from . import warn_of_other_epochs

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Callback = require("lightning.pytorch", "lightning").Callback


class PruningCallback(Callback):  # type: ignore[misc]
    """Lets a Lightning Trainer train pruned epochs and carry their state in its checkpoints.

    `training_step` calls `update` as any loop does:

        loss = self.train_set.update(cross_entropy(self(images), labels))

    The callback ends epochs where Lightning does, so that each has its own length, and saves and
    restores the pruned dataset, in the middle of an epoch too. With several devices each one serves
    its share; no `use_distributed_sampler` is needed, nor does it do harm.

    It logs `pruning/share_saved` and `pruning/mean_score` at the end of each epoch.

    Source of what it works around: the Trainer asks for an epoch's length once in a run, unless
    `reload_dataloaders_every_n_epochs=1`, which the callback therefore sets.

    Arguments:
        loader: the training loader, a `dynaprune.DataLoader` of a pruned dataset.

    Raises:
        TypeError: `loader` is something else, or serves a stream that does not say its length:
            then the Trainer fetches batches ahead.
        RuntimeError: in training, when a step has made no `update`.
    """

    def __init__(self, loader: DataLoader) -> None:
        if not isinstance(loader, DataLoader) or not isinstance(loader.dataset, PrunedDataset):
            raise TypeError(
                "PruningCallback wants the training loader, a dynaprune.DataLoader of a pruned "
                f"dataset, but a {type(loader).__name__} was given"
            )
        self.loader = loader
        self.train: PrunedDataset = loader.dataset
        if self.train.is_stream and self.train.epochs.expected_samples == 0:
            raise TypeError(
                "PruningCallback wants to know how many samples the stream has, so that the "
                "Trainer knows how many batches to take: PrunedIterableDataset(..., num_samples=N)"
            )
        self._batches_before = 0  # in the epoch of the checkpoint that is being loaded

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the Trainer ask for the length of each epoch.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            stage: what the Trainer is about to do.
        """
        trainer.reload_dataloaders_every_n_epochs = 1
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            warn_of_other_epochs(self.train, trainer.max_epochs)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Make sure that the batch was scored.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            outputs: of `training_step`.
            batch: the batch.
            batch_idx: its number.
        """
        if len(self.train.epochs.record) == 0:
            raise RuntimeError(
                f"training_step of {type(pl_module).__name__} has not called update(): return "
                "train.update(loss) in place of loss, where train is the pruned dataset; else "
                "nothing is scored"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the epoch, before the Trainer saves it and asks for the length of the next.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
        """
        self.train.end_epoch()
        self.loader.batches_before = 0
        pl_module.log_dict(
            {
                "pruning/share_saved": self.train.summary().share_saved,
                "pruning/mean_score": float(self.train.scores.mean()),
            },
            rank_zero_only=True,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the pruned dataset, for the Trainer's checkpoint."""
        return self.train.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the pruned dataset.

        Arguments:
            state_dict: what `state_dict` has returned.
        """
        self.train.load_state_dict(state_dict)
        resumed = self.train.epochs.is_resumed()
        self.loader.batches_before = self._batches_before if resumed else 0

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note how many batches of its epoch the Trainer will count as done.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            checkpoint: the Trainer's checkpoint.
        """
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        self._batches_before = int(progress["current"]["ready"])
