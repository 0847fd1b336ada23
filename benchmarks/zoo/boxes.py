"""Boxes: the loss of a set of them, and how well they are found."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, l1_loss

from dynaprune.utils.optional_imports import require

NOTHING = 0.1
"""What it weighs in the loss that a query finds nothing, as there are many of these."""

CLASS, PLACE, OVERLAP = 1.0, 5.0, 2.0
"""Weights of the parts of the loss, and of what a match costs (Carion et al., 2020)."""


def corners_of(boxes: Tensor) -> Tensor:
    """Return left, top, right and bottom of centre, width and height: (..., 4)."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def centres_of(corners: Tensor) -> Tensor:
    """Return centre, width and height of left, top, right and bottom: (..., 4)."""
    return torch.cat(
        [(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], dim=-1
    )


def generalized_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Return the generalised intersection over union of boxes by their corners: (...).

    Source: Rezatofighi et al., arXiv:1902.09630.
    """
    inner = torch.min(one[..., 2:], other[..., 2:]) - torch.max(one[..., :2], other[..., :2])
    outer = torch.max(one[..., 2:], other[..., 2:]) - torch.min(one[..., :2], other[..., :2])
    shared, around = inner.clamp(min=0).prod(-1), outer.prod(-1)
    union = _size(one) + _size(other) - shared
    return shared / union.clamp(min=1e-9) - (around - union) / around.clamp(min=1e-9)


def _size(corners: Tensor) -> Tensor:
    return (corners[..., 2:] - corners[..., :2]).prod(-1)


def set_loss(logits: Tensor, boxes: Tensor, labels: Tensor, truth: Tensor) -> Tensor:
    """Return the loss of an image: classes, places and overlaps of queries matched to objects.

    Each object gets the query that costs least, all together (the Hungarian algorithm); the other
    queries are to find nothing.

    Arguments:
        logits: of classes, the last for nothing: (queries, classes + 1).
        boxes: centre, width and height: (queries, 4).
        labels: of the objects there are: int64, (objects,).
        truth: their centre, width and height: (objects, 4).
    """
    assign = require("scipy.optimize", "bench").linear_sum_assignment
    with torch.no_grad():
        cost = (
            -CLASS * logits.softmax(-1)[:, labels]
            + PLACE * torch.cdist(boxes, truth, p=1)
            - OVERLAP * generalized_overlap(corners_of(boxes)[:, None], corners_of(truth)[None])
        )
        queries, objects = (torch.as_tensor(side) for side in assign(cost.cpu().numpy()))
    wanted = torch.full((len(logits),), logits.shape[1] - 1, device=logits.device)
    wanted[queries] = labels[objects]
    weight = torch.ones(logits.shape[1], device=logits.device)
    weight[-1] = NOTHING
    loss = CLASS * cross_entropy(logits, wanted, weight=weight)
    if len(objects) == 0:
        return loss
    found, there = boxes[queries], truth[objects]
    overlap = generalized_overlap(corners_of(found), corners_of(there))
    return (
        loss
        + PLACE * l1_loss(found, there, reduction="none").sum(1).mean()
        + OVERLAP * (1 - overlap).mean()
    )


def average_precision(
    found: Sequence[tuple[Tensor, Tensor, Tensor]], truth: Sequence[tuple[Tensor, Tensor]]
) -> float:
    """Return the mean over classes of the average precision at an overlap of a half (AP50).

    Arguments:
        found: of each image: corners, (boxes, 4), confidences and classes, (boxes,).
        truth: of each image: corners, (objects, 4), and classes, (objects,).

    Raises:
        ImportError: pycocotools is not installed.
    """
    coco = require("pycocotools.coco", "bench")
    evaluation = require("pycocotools.cocoeval", "bench")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        known = coco.COCO()
        known.dataset = {
            "images": [{"id": image} for image in range(len(truth))],
            "categories": [
                {"id": kind} for kind in sorted({int(k) for _, kinds in truth for k in kinds})
            ],
            "annotations": [
                {"image_id": image, "category_id": int(kind), "iscrowd": 0, **_area(box)}
                for image, (boxes, kinds) in enumerate(truth)
                for box, kind in zip(boxes, kinds, strict=True)
            ],
        }
        for number, annotation in enumerate(known.dataset["annotations"], start=1):
            annotation["id"] = number  # from 1: to COCO, 0 is no match
        known.createIndex()
        told = [
            {"image_id": image, "category_id": int(kind), "score": float(score), **_area(box)}
            for image, (boxes, scores, kinds) in enumerate(found)
            for box, score, kind in zip(boxes, scores, kinds, strict=True)
        ]
        if not told:
            return 0.0
        judge = evaluation.COCOeval(known, known.loadRes(told), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[1])


def _area(corners: Tensor) -> dict[str, Any]:
    left, top, right, bottom = (1000 * corners).tolist()  # COCO counts in pixels
    width, height = right - left, bottom - top
    return {"bbox": [left, top, width, height], "area": width * height}
