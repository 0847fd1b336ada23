"""Runs of Lightning on `Numbers`, and what they serve."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from helpers import Numbers, bls, mean_loss
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import nn

from dynaprune import DataLoader
from dynaprune.integrations.lightning import PruningCallback

EPOCHS = 8


class Module(pl.LightningModule):
    """Learns one number from `Numbers`, and notes what it is given.

    Arguments:
        train: the pruned dataset; by default that of the Trainer's loader.
        updates: whether `training_step` calls `update`.
    """

    def __init__(self, train: Any = None, updates: bool = True) -> None:
        super().__init__()
        self.train_set, self.updates = train, updates
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.served, self.validated = [], []

    def loss(self, batch):
        return (self.weight - batch / 60).square().mean() + mean_loss(batch)

    def training_step(self, batch, batch_idx):
        self.served.append((self.current_epoch, batch_idx, batch.tolist()))
        if not self.updates:
            return self.loss(batch)
        train = self.train_set or self.trainer.train_dataloader.dataset
        return train.update(self.loss(batch))

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking and batch_idx == 0:
            self.validated.append((self.current_epoch, len(self.served)))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    def batches(self):
        """Return the samples of each step."""
        return [batch for *_, batch in self.served]

    def lengths(self):
        """Return how many batches each epoch had."""
        epochs = [epoch for epoch, *_ in self.served]
        return [epochs.count(epoch) for epoch in sorted(set(epochs))]


def trainer(folder, *callbacks, **arguments):
    """Return a quiet Trainer on one CPU."""
    return pl.Trainer(
        **{
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "devices": 1,
            "default_root_dir": folder,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
            "callbacks": list(callbacks),
            **arguments,
        }
    )


def held_out():
    return torch.utils.data.DataLoader(Numbers(4))


def fit(
    folder,
    method,
    *callbacks,
    resume=None,
    workers=0,
    batch_size=7,
    num_epochs=EPOCHS,
    arguments=None,
    validates=True,
    **options,
):
    """Train with a `PruningCallback`, and return the pruned dataset, the module and the Trainer."""
    train = bls(method, 60, num_epochs=num_epochs, **(arguments or {}))
    loader = DataLoader(train, batch_size=batch_size, num_workers=workers)
    module = Module(train)
    used = trainer(folder, PruningCallback(loader), *callbacks, **options)
    validation = held_out() if validates else None
    used.fit(module, loader, validation, ckpt_path=resume, weights_only=True)
    return train, module, used


class StopAt(Callback):
    """Ends the process, as far as Lightning is concerned, in the middle of an epoch."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


class SavesEverywhere(Checkpoint):
    """Saves a checkpoint wherever one may be: after each step, validation and epoch.

    Arguments:
        folder: where to.

    Attributes:
        saved: of each, its path, where it was taken, the steps and the validations before it.
    """

    def __init__(self, folder):
        self.folder, self.saved = folder, []

    def save(self, trainer, place):
        if trainer.sanity_checking:
            return
        path, module = f"{self.folder}/{len(self.saved)}.ckpt", trainer.lightning_module
        self.saved.append((path, place, len(module.served), len(module.validated)))
        trainer.save_checkpoint(path, weights_only=False)

    def has_stepped(self, trainer):
        """Whether there is no gradient in the middle of being accumulated, which none holds."""
        return not trainer.fit_loop._should_accumulate()

    def on_train_batch_end(self, trainer, *_):
        if self.has_stepped(trainer):
            self.save(trainer, "step")

    def on_validation_end(self, trainer, *_):
        if self.has_stepped(trainer):
            self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_):
        self.save(trainer, "epoch")
