"""Lightning: one callback, and `update` in `training_step`.

    python examples/train_lightning.py [--epochs 20] [--devices 2] [--folder lightning]

Needs `pip install '.[lightning,demo]'` in the clone.
"""

import argparse

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import distributed, nn
from torch.utils.data import TensorDataset

import dynaprune
from dynaprune import BLS, InfoBatch
from dynaprune.integrations.lightning import PruningCallback


class Classifier(pl.LightningModule):
    """A small network on images of 8 × 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch, batch_idx):
        """Return the loss, scored and rescaled."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.layers(images), labels)
        self.log("train_loss", loss)  # before update, which multiplies it by the batch's weight
        return self.trainer.train_dataloader.dataset.update(loss)

    def validation_step(self, batch, batch_idx):
        """Log the accuracy."""
        images, labels = batch
        accuracy = (self.layers(images).argmax(1) == labels).float().mean()
        self.log("accuracy", accuracy, prog_bar=True, sync_dist=True)

    def configure_optimizers(self):
        """Return an optimizer and a schedule, as without pruning: the callback adapts it."""
        optimizer = torch.optim.AdamW(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)  # of full training
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
        return [optimizer], [{"scheduler": one_cycle, "interval": "step"}]


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--folder", default="lightning")
    parser.add_argument("--resume", help="a checkpoint of an earlier run")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # more threads do not speed up a model this small
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    images = images.float() / 16
    train = BLS(InfoBatch(TensorDataset(images[:1400], labels[:1400]), arguments.epochs)).proxy()
    loader = dynaprune.DataLoader(train, batch_size=32)
    test_loader = torch.utils.data.DataLoader(TensorDataset(images[1400:], labels[1400:]), 128)

    trainer = pl.Trainer(
        max_epochs=arguments.epochs,
        devices=arguments.devices,
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        default_root_dir=arguments.folder,
        callbacks=[PruningCallback()],
        log_every_n_steps=10,
    )
    module = Classifier()
    trainer.fit(module, loader, test_loader, ckpt_path=arguments.resume)
    if trainer.is_global_zero:
        print(f"test accuracy {trainer.callback_metrics['accuracy']:.1%}; {train.summary()}")
    if distributed.is_initialized():
        distributed.destroy_process_group()  # Lightning does not, and gloo may abort at exit


if __name__ == "__main__":
    main()
