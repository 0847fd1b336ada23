"""Boxes: their overlap, the loss of a set, and how well they are found."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy
from zoo.boxes import (
    average_precision,
    centres_of,
    corners_of,
    generalized_overlap,
    set_loss,
)


def test_corners_and_centres():
    corners = torch.tensor([[0.1, 0.2, 0.5, 0.8]])
    assert centres_of(corners).tolist() == [pytest.approx([0.3, 0.5, 0.4, 0.6])]
    torch.testing.assert_close(corners_of(centres_of(corners)), corners)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6),  # no gap around them
        ((0, 0, 1, 1), (2, 0, 3, 1), -1 / 3),  # apart: a third of what is around is neither
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7 - 2 / 9),
    ],
)
def test_generalized_overlap(one, other, expected):
    boxes = (torch.tensor(box, dtype=torch.float32) for box in (one, other))
    assert generalized_overlap(*boxes).item() == pytest.approx(expected)


def test_the_loss_of_a_set_is_that_of_the_cheapest_match():
    torch.manual_seed(0)
    for _ in range(20):
        logits, boxes = torch.randn(4, 4), 0.2 + 0.6 * torch.rand(4, 4)
        labels, truth = torch.tensor([0, 2]), 0.2 + 0.6 * torch.rand(2, 4)
        costs = {}
        for chosen in itertools.permutations(range(4), 2):
            queries = torch.tensor(chosen)
            overlap = generalized_overlap(corners_of(boxes[queries]), corners_of(truth))
            distance = (boxes[queries] - truth).abs().sum(1)
            likely = logits.softmax(1)[queries, labels]
            cost = (-likely + 5 * distance - 2 * overlap).sum().item()
            wanted = torch.full((4,), 3)
            wanted[queries] = labels
            loss = cross_entropy(logits, wanted, weight=torch.tensor([1, 1, 1, 0.1]))
            costs[cost] = loss + 5 * distance.mean() + 2 * (1 - overlap).mean()
        torch.testing.assert_close(set_loss(logits, boxes, labels, truth), costs[min(costs)])


def test_an_image_without_objects():
    logits = torch.zeros(3, 4)
    loss = set_loss(logits, torch.rand(3, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    assert loss.item() == pytest.approx(torch.log(torch.tensor(4.0)).item())


def test_average_precision():
    box, elsewhere = torch.tensor([[0.1, 0.1, 0.3, 0.3]]), torch.tensor([[0.6, 0.6, 0.9, 0.9]])
    truth = [(box, torch.tensor([0])), (elsewhere, torch.tensor([1]))]
    right = [(boxes, torch.tensor([0.9]), kinds) for boxes, kinds in truth]
    assert average_precision(right, truth) == pytest.approx(1)
    wrong_kind = [right[0], (elsewhere, torch.tensor([0.9]), torch.tensor([0]))]
    assert average_precision(wrong_kind, truth) == pytest.approx(0.5)
    misplaced = [right[0], (elsewhere - 0.3, torch.tensor([0.9]), torch.tensor([1]))]
    assert average_precision(misplaced, truth) == pytest.approx(0.5)
    nothing = (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert average_precision([nothing, nothing], truth) == 0
