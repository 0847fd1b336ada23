"""Random number generators that leave the user's global generators unchanged."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def restored_random_state(devices: Collection[torch.device]) -> Iterator[None]:
    """Restore the global generators of torch, NumPy and Python when the block is left.

    Arguments:
        devices: the devices whose generators are restored in addition to the CPU's; those that are
            not CUDA devices are ignored.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=_cuda(devices)):
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def seed_all(seed: int, devices: Collection[torch.device]) -> None:
    """Seed the same generators; `seed` is from 0 to 2³² − 1, the range that NumPy accepts."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    # not torch.manual_seed, which would also seed devices that are not restored
    torch.default_generator.manual_seed(seed)
    for device in _cuda(devices):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _cuda(devices: Collection[torch.device]) -> list[torch.device]:
    return [device for device in devices if device.type == "cuda"]


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """Return a generator that depends only on the seed, the epoch and the stream.

    NumPy's `SeedSequence` mixes the three well: seed 0 in epoch 1 is unrelated to seed 1 in
    epoch 0. Global generators are neither read nor written.
    """
    mixed: Any = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(mixed) >> 1)


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Return a NumPy generator that is seeded from one of torch."""
    seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
    return np.random.default_rng(seed)
