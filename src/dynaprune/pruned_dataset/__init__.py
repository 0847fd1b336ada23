"""The class that a user holds, and the base of all methods.

`PrunedDataset` is one object with many duties, because a user should hold one object. Each duty is
a base class in a file of its own here, with the methods that a user calls and their documentation.
The work is done by the packages below: `training` for the run, `planning` for what is served,
`losses` for `update`.
"""

from .dataset import PrunedDataset

__all__ = ["PrunedDataset"]
