"""A method of another library that follows the InfoBatch convention."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset


class TheirInfoBatch(Dataset):
    """Another library's method: the convention and nothing of ours."""

    def __init__(self, dataset, ratio=0.5):
        self.dataset = dataset
        self.ratio = ratio
        self.scores = torch.ones(len(dataset)) * 3
        self.weights = torch.ones(len(dataset))
        self.cur_batch_index = None

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return index, self.dataset[index]

    def __getattr__(self, name):  # forwards what it does not know, as the published one does
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def update(self, values):
        indices = self.cur_batch_index
        self.cur_batch_index = []
        self.scores[indices] = values.detach().clone()
        return (values * self.weights[indices]).mean()

    def prune(self):
        well_learned = (self.scores < self.scores.mean()).nonzero().flatten()
        self.weights[:] = 1
        self.weights[well_learned] = 1 / (1 - self.ratio)
        kept = well_learned[: int((1 - self.ratio) * len(well_learned))]
        return torch.cat([(self.scores >= self.scores.mean()).nonzero().flatten(), kept])
