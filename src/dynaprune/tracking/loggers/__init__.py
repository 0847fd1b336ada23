"""Where the numbers of each epoch can go: one file each, its package imported only on use."""

from .base import Logger
from .mlflow import MLflowLogger
from .tensorboard import TensorBoardLogger
from .wandb import WandbLogger

__all__ = ["Logger", "MLflowLogger", "TensorBoardLogger", "WandbLogger"]
