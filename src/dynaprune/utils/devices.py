"""Moves to a device, and the CUDA stream that work is queued in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .nested import parts_of, with_parts


def to_device(value: Any, device: torch.device) -> Any:
    """Return a batch on a device: everything in it that has a method `to` is moved.

    Nobody waits for copies of tensors from the host.
    """
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=device.type != "cpu")
    if callable(getattr(value, "to", None)):
        return value.to(device)
    parts = parts_of(value)
    if not parts:
        return value
    return with_parts(value, {name: to_device(part, device) for name, part in parts.items()})


def copied_to(device: torch.device, values: Tensor) -> Tensor:
    """Return a host tensor on a device, without waiting for the copy."""
    if device.type == "cuda":
        values = values.contiguous().pin_memory()  # a copy from pageable memory would wait
    return values.to(device, non_blocking=True)


def current_stream(device: torch.device) -> int:
    """Return the handle of the current CUDA stream of a device; 0 for other devices."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
