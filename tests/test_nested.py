"""Nested containers: their parts, and moving all of them to a device."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from types import MappingProxyType

import pytest
import torch
from torch import Tensor

from dynaprune.utils.devices import to_device
from dynaprune.utils.nested import LEAVES, first_leaves, parts_of, with_parts

Pair = namedtuple("Pair", "inputs labels")


@dataclass(frozen=True)
class Sample:
    inputs: Tensor
    label: int


@pytest.mark.parametrize(
    "value", [{"a": 1, "b": 2}, [1, 2], (1, 2), Pair(1, 2), Sample(torch.ones(1), 2)]
)
def test_parts_are_put_back_into_a_container_of_the_same_type(value):
    parts = dict(parts_of(value))
    changed = with_parts(value, {name: (part, "changed") for name, part in parts.items()})
    assert type(changed) is type(value)
    assert dict(parts_of(changed)) == {name: (part, "changed") for name, part in parts.items()}
    assert dict(parts_of(value)) == parts  # the value itself is as before


@pytest.mark.parametrize("value", [3, "ab", None, torch.ones(2), torch.Size([1, 2]), Sample])
def test_other_values_have_no_parts(value):
    assert parts_of(value) == {}


def test_mappings_that_cannot_be_written_to_become_dictionaries():
    value = MappingProxyType({"a": torch.ones(1)})
    assert with_parts(value, {"a": 2}) == {"a": 2}


def test_all_that_can_be_moved_is_moved():
    there = torch.device("meta")
    moved = to_device([Sample(torch.ones(2), 3), {"a": (torch.ones(1), "x")}, None], there)
    assert (moved[0].inputs.device, moved[0].label) == (there, 3)
    assert (moved[1]["a"][0].device, moved[1]["a"][1], moved[2]) == (there, "x", None)


def test_the_outermost_tensors_come_first():
    tensors = [torch.ones(1) for _ in range(LEAVES + 1)]
    found = first_leaves([[tensors[1], [tensors[2]]], {"a": tensors[0]}, tensors[3], 5, "x"])
    assert [id(each) for each in found] == [id(tensors[place]) for place in (3, 1, 0, 2)]
    assert len(first_leaves(tensors)) == LEAVES
    assert first_leaves([1, "a", (2.0, None)]) == []
