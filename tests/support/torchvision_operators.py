"""The operators of torchvision, for a build of torch that its own binary does not fit.

torchvision registers fake versions of its C++ operators when it is imported, which raises if the
operators are missing. Here they are declared; `nms` also works on the CPU, as detectors need it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_BOX_POOLING = "Tensor input, Tensor rois, float spatial_scale, int height, int width"
_DECLARATIONS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({_BOX_POOLING}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool({_BOX_POOLING}) -> (Tensor, Tensor)",
    *(
        f"{name}(Tensor input) -> Tensor"
        for name in (
            "ps_roi_align",
            "ps_roi_pool",
            "deform_conv2d",
            "_roi_align_backward",
            "_roi_pool_backward",
            "_ps_roi_align_backward",
            "_ps_roi_pool_backward",
            "_deform_conv2d_backward",
        )
    ),
)
_library: torch.library.Library | None = None  # the operators exist as long as this object


def declare_operators() -> None:
    """Let torchvision be imported. Where its own operators work, this does nothing."""
    global _library
    if _library is not None or _has_operators():
        return
    _library = torch.library.Library("torchvision", "DEF")
    for declaration in _DECLARATIONS:
        _library.define(declaration)
    _library.impl("nms", nms, "CPU")
    extension: Any = importlib.import_module("torchvision.extension")
    extension._has_ops = lambda: True  # asked before `nms` is called


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the boxes that no better box overlaps by more than a threshold, best first.

    Arguments:
        boxes: left, top, right and bottom, shape (N, 4).
        scores: shape (N,).
        iou_threshold: the largest intersection over union that is allowed.

    Returns:
        Their indices, int64, shape (K,).
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order].float()
    overlaps = _overlaps(boxes) > iou_threshold
    kept: list[int] = []
    is_free = torch.ones(len(boxes), dtype=torch.bool)
    for number in range(len(boxes)):
        if is_free[number]:
            kept.append(number)
            is_free &= ~overlaps[number]
    return order[kept]


def _overlaps(boxes: Tensor) -> Tensor:
    """Return the intersection over union of all pairs of boxes, shape (N, N)."""
    corner = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    opposite = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(-1)
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return shared / (sizes[:, None] + sizes[None] - shared).clamp(min=1e-12)


def _has_operators() -> bool:
    """Whether torchvision's own operators work, or it is not installed."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return True
    try:
        for binary in Path(found.origin).parent.glob("_C*.so"):
            torch.ops.load_library(binary)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")
