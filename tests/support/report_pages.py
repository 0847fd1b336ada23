"""Runs that are recorded for a page, and what a page is made of."""

from __future__ import annotations

from html.parser import HTMLParser

import torch
from torch.utils.data import Dataset

from dynaprune import DataLoader

EVIL = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self._within: tuple[str, dict] = ("", {})
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._within = (tag, dict(attrs))
        self.tags.append(self._within)

    def handle_endtag(self, tag):
        self._within = ("", {})

    def handle_data(self, data):
        tag, attributes = self._within
        if tag == "script" and "id" in attributes:
            self.scripts[attributes["id"]] = self.scripts.get(attributes["id"], "") + data
        elif tag not in ("script", "style"):
            self.text += f" {data}"

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


class Images(Dataset):
    """Small images with names of classes that mean harm."""

    classes = ("plain", EVIL)

    def __init__(self, count: int) -> None:
        self.targets = [int(number % 3 == 0) for number in range(count)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        return torch.full((3, 8, 8), index % 256, dtype=torch.uint8), self.targets[index]


def train_on(train, epochs, loss_of=lambda batch: batch[0].float().mean() / 255, optimizer=None):
    for _ in range(epochs):
        for batch in DataLoader(train, batch_size=8):
            train.update(loss_of(batch))
            if optimizer is not None:
                optimizer.param_groups[0]["lr"] *= 0.5
