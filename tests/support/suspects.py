"""Runs that know which labels are suspicious, and data sets to look at them."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from dynaprune.tracking.review import Ledger

EVIL = '</script><script>window.harmed = true</script><img src="x" onerror="window.harmed = true">'


class Pictures(Dataset):
    """Pictures of a plain colour, with a label each; class 1 has a name that means harm."""

    classes = ("cat", EVIL, "dog")

    def __init__(self, count: int = 12) -> None:
        self.targets = [number % 3 for number in range(count)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        return torch.full((3, 8, 8), 20 * index % 256, dtype=torch.uint8), self.targets[index]


def ledger_of(count: int = 12, **others) -> Ledger:
    """Return a ledger in which the last sample is the most suspicious one, and so on."""
    excess = np.linspace(-1, 2, count, dtype=np.float32)
    visits = np.arange(1, count + 1, dtype=np.int32)
    facts = {"method": "NoPrune", "dataset": "Pictures", **others}
    return Ledger(excess, excess * 2, visits, visits - 1, count, **facts)
