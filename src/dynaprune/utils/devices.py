"""Copies to a device that nobody waits for, and the CUDA stream that work is queued in."""

from __future__ import annotations

import torch
from torch import Tensor


def copied_to(device: torch.device, values: Tensor) -> Tensor:
    """Return a host tensor on a device, without waiting for the copy."""
    if device.type == "cuda":
        values = values.contiguous().pin_memory()  # a copy from pageable memory would wait
    return values.to(device, non_blocking=True)


def current_stream(device: torch.device) -> int:
    """Return the handle of the current CUDA stream of a device; 0 for other devices."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
