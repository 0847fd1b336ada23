"""The operators that the tests declare where those of torchvision do not work."""

from __future__ import annotations

import torch
from torchvision_operators import nms


def boxes_apart(overlap):
    """Two boxes of 10 × 10 that share this part of their union, and a third far away."""
    shared = 200 * overlap / (1 + overlap)
    shift = 10 - shared / 10
    return torch.tensor([[0.0, 0, 10, 10], [shift, 0, 10 + shift, 10], [50, 50, 60, 60]])


def test_a_box_is_removed_if_a_better_one_overlaps_it_by_more():
    scores = torch.tensor([0.5, 0.9, 0.7])
    assert nms(boxes_apart(0.6), scores, 0.5).tolist() == [1, 2]
    assert nms(boxes_apart(0.4), scores, 0.5).tolist() == [1, 2, 0]


def test_a_removed_box_removes_no_other():
    chain = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(chain, torch.tensor([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_no_boxes():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_torchvision_finds_them():
    from torchvision.ops import batched_nms

    boxes = boxes_apart(0.6)
    classes = torch.tensor([0, 1, 0])
    kept = batched_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), classes, 0.5)
    assert kept.tolist() == [1, 2, 0]
