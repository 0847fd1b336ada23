"""Loggers for the metrics of each epoch: one file each, which imports its package when used."""

from .base import Logger
from .mlflow import MLflowLogger
from .tensorboard import TensorBoardLogger
from .wandb import WandbLogger

__all__ = ["Logger", "MLflowLogger", "TensorBoardLogger", "WandbLogger"]
