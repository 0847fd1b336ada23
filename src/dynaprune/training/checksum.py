"""A checksum of a state, so that a damaged one is not taken for the run's."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils.validation import has_elements

DEEPEST = 32
"""How deep the values of a state may be nested; ours are three deep."""


def sealed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state with a checksum of all that it holds."""
    content = {name: value for name, value in state.items() if name != "checksum"}
    return content | {"checksum": checksum(content)}


def is_intact(state: Mapping[str, Any]) -> bool:
    """Return whether a state's checksum is that of what it holds."""
    written = state.get("checksum")
    return isinstance(written, int) and sealed(state)["checksum"] == written


def checksum(value: Any) -> int:
    """Return a checksum of tensors and plain values, however nested.

    It is one of what they say: not of the device that tensors are on, their strides, or the order
    of a dictionary. Of what is neither a tensor nor a plain value it counts only that it is there.

    Raises:
        RuntimeError: they are nested deeper than `DEEPEST`.
    """
    return _checksum(value, {}, 0)


def _checksum(value: Any, known: dict[int, tuple[Any, int]], depth: int) -> int:
    """Return the checksum of a value.

    Arguments:
        value: anything.
        known: by `id`, the containers that were seen, which may be in many places, and their
            checksums.
        depth: how many containers the value is in.
    """
    if has_elements(value):
        head = f"tensor {value.dtype} {tuple(value.shape)}:".encode()
        host = value.detach().cpu().resolve_conj().resolve_neg()
        return zlib.crc32(_memory_of(host), zlib.crc32(head))
    if not isinstance(value, (Mapping, list, tuple)):
        return zlib.crc32(_as_bytes(value))
    if id(value) not in known:
        if depth > DEEPEST:
            raise RuntimeError(f"the state is damaged: it is nested deeper than {DEEPEST}")
        if isinstance(value, Mapping):
            kind, keys = "mapping", sorted(value, key=repr)
            inside = [each for key in keys for each in (key, value[key])]
        else:
            kind, inside = "sequence", list(value)
        parts = [_checksum(each, known, depth + 1) for each in inside]
        head = f"{kind} {len(parts)}:".encode()
        found = zlib.crc32(np.array(parts, np.uint32).tobytes(), zlib.crc32(head))
        known[id(value)] = value, found
    return known[id(value)][1]


def _memory_of(tensor: Tensor) -> memoryview:
    """Return the elements of a tensor on the host, one after the other."""
    flat = tensor.contiguous().reshape(-1)
    if flat.numel() < 2:  # whose stride may be any
        flat = flat.clone(memory_format=torch.contiguous_format)
    # NumPy does not know all types of torch
    return flat.view(torch.uint8).numpy().data


def _as_bytes(value: Any) -> bytes:
    """Return what says which plain value it is, as bytes."""
    if isinstance(value, bool) or value is None:
        said = repr(value).encode()
    elif isinstance(value, int):
        said = hex(value).encode()  # repr() refuses the longest ones
    elif isinstance(value, float):
        said = np.float64(value).tobytes()
    elif isinstance(value, str):
        said = value.encode("utf-8", "surrogatepass")
    else:
        said = value if isinstance(value, bytes) else b""
    return f"{type(value).__name__} {len(said)}:".encode() + said
