"""The settings of end_to_end.py: models, data, and the batches of an epoch."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, RandomSampler

import dynaprune
from dynaprune import BLS, InfoBatch, NoPrune, PrunedDataset, SeTa
from dynaprune.bench.tasks.image_sets import load_images

BATCH, SAVING = 128, 0.3

PLAIN, NOTHING, FEWER = "plain", "nothing pruned", "plain, as few samples"
INFOBATCH, SETA = "BLS-InfoBatch", "BLS-SeTa"

LOADED = ("small", "workers", "typical")
IN_MEMORY = ("memory", "memory-cnn")
"""The settings, with a loader and without."""


class Images(Dataset[tuple[Tensor, int]]):
    """Images that are normalized when they are fetched, and randomly mirrored."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index].float().div_(127.5).sub_(1)
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return image, self.labels[index]

    def in_memory(self) -> tuple[Tensor, Tensor]:
        """Return all images, normalized, and their labels."""
        return self.images.float().div_(127.5).sub_(1), torch.tensor(self.labels)


class Residual(nn.Module):
    """Two convolutions beside a shortcut, at half the resolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels, out, 1, stride=2, bias=False)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.relu(self.layers(images) + self.shortcut(images))


def small_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def memory_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))


def memory_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )


def typical_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16, 32),
        Residual(32, 64),
        Residual(64, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def random_images(samples: int, channels: int, size: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    shape = (samples, channels, size, size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return Images(images, torch.randint(10, (samples,), generator=generator))


def cifar10(root: Path, samples: int) -> Images:
    """Return a random subset of CIFAR-10."""
    images, labels = load_images("cifar10", root).train.tensors
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:samples]
    return Images(images[chosen], labels[chosen])


@dataclass
class Setting:
    """A model and its data.

    Attributes:
        name: the name on the command line.
        dataset: the whole training set.
        model: returns a new model.
        epochs: the number of epochs of a run.
        workers: the number of workers of the loader.
        data: all images and labels, if they are in memory and there is no loader.
    """

    name: str
    dataset: Images
    model: Callable[[], nn.Module]
    epochs: int
    workers: int = 0
    data: tuple[Tensor, Tensor] | None = None

    def pruned(self, run: str, seed: int) -> PrunedDataset | None:
        """Return the pruned training set of a run, `None` for plain runs."""
        methods: dict[str, Callable[..., PrunedDataset]] = {
            NOTHING: NoPrune,
            INFOBATCH: partial(InfoBatch, saving=SAVING),
            SETA: SeTa,
        }
        if run not in methods:
            return None
        train: PrunedDataset = BLS(methods[run](self.dataset, self.epochs, seed=seed)).proxy()
        return train

    def plain_batches(self, served: int | None = None) -> Iterable[Any]:
        """Return the batches of an epoch of the plain loop: all samples, or `served` random ones.

        Without `served`, the result can be iterated over in each epoch, as a user's loader.
        """
        if self.data is not None:
            return Shuffled(len(self.dataset), served)
        sampler = None if served is None else RandomSampler(self.dataset, num_samples=served)
        return torch.utils.data.DataLoader(
            self.dataset,
            batch_size=BATCH,
            shuffle=sampler is None,
            sampler=sampler,
            num_workers=self.workers,
        )

    def pruned_batches(self, train: PrunedDataset) -> Iterable[Any]:
        if self.data is not None:
            return train.batches(BATCH)
        return dynaprune.DataLoader(
            train, batch_size=BATCH, sampler=train.sampler, num_workers=self.workers
        )

    def resized(self, samples: int, epochs: int) -> Setting:
        """Return the setting with fewer samples and another number of epochs."""
        few = Images(self.dataset.images[:samples], torch.tensor(self.dataset.labels[:samples]))
        data = None if self.data is None else few.in_memory()
        return Setting(self.name, few, self.model, epochs, self.workers, data)


@dataclass
class Shuffled:
    """Batches of random indices, as one writes them without a library.

    Attributes:
        samples: the size of the training set.
        served: the number of samples per epoch; `None` for all.
    """

    samples: int
    served: int | None

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.randperm(self.samples)[: self.served].split(BATCH))


def settings_of(options: argparse.Namespace) -> dict[str, Setting]:
    """Return the chosen settings by their names."""
    chosen, epochs = options.settings, options.epochs
    settings = {}
    small = random_images(options.small_samples, 1, 8)
    if "small" in chosen:
        settings["small"] = Setting("small", small, small_model, epochs)
    if "workers" in chosen:
        settings["workers"] = Setting("workers", small, small_model, epochs, workers=2)
    if "typical" in chosen:
        images = (
            random_images(options.samples, 3, 32)
            if options.root is None
            else cifar10(options.root, options.samples)
        )
        settings["typical"] = Setting("typical", images, typical_model, epochs)
    memory = random_images(options.memory_samples, 1, 8)
    for name, model in zip(IN_MEMORY, (memory_model, memory_cnn), strict=True):
        if name in chosen:
            settings[name] = Setting(name, memory, model, epochs, data=memory.in_memory())
    return settings


def described(setting: Setting, options: argparse.Namespace) -> str:
    kind = "images"
    if setting.name == "typical":
        kind = "random images" if options.root is None else "images of CIFAR-10"
    workers = f"{setting.workers} workers, " if setting.workers > 0 else ""
    threads = f"{options.threads} thread{'s' if options.threads > 1 else ''}"
    return (
        f"{setting.name}: {len(setting.dataset):,} {kind}, {setting.epochs} epochs, "
        f"batches of {BATCH}, {workers}torch {torch.__version__}, {threads}"
    )
