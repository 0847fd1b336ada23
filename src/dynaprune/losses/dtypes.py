"""The type in which numbers are added."""

from __future__ import annotations

import torch


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return float32 for narrower types, in which a sum may overflow, and any other type itself."""
    return torch.float32 if dtype.itemsize < 4 else dtype
