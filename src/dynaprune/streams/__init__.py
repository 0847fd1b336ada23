"""Datasets that are run through from beginning to end, and cannot be indexed."""

from .dataset import PrunedIterableDataset

__all__ = ["PrunedIterableDataset"]
