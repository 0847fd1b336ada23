"""Tasks to train with and without pruning, and tests of whether that loses quality."""

from .recipe import Recipe
from .task import Task

__all__ = ["Recipe", "Task"]
