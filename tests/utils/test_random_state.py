"""Global random state is the user's."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from helpers import Numbers, mean_loss
from torch.utils.data import RandomSampler

from dynaprune import BLS, DataLoader, InfoBatch, RandomPrune, SeTa, StaticPrune


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def seed_everything() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


class FixedOrder(torch.utils.data.Sampler[int]):
    def __iter__(self):
        return iter(range(60))

    def __len__(self):
        return 60


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", [InfoBatch, SeTa, RandomPrune, StaticPrune])
def test_same_numbers_with_and_without(method, workers):
    """All draws in, around and between epochs are those of a loop with the loader of torch."""
    seed_everything()
    without = [draw()]
    loader = torch.utils.data.DataLoader(
        Numbers(60), batch_size=60, sampler=FixedOrder(), num_workers=workers
    )
    for _ in range(6):
        for _ in loader:
            without.append(draw())
        without.append(draw())

    seed_everything()
    with_it = [draw()]
    train = BLS(method(Numbers(60), num_epochs=6)).proxy()
    loader = DataLoader(train, batch_size=60, num_workers=workers)
    for _ in range(6):
        for batch in loader:
            with_it.append(draw())
            train.update(mean_loss(batch))
        with_it.append(draw())
        _ = train.scores, train.weights, train.state_dict(), train.summary()
    assert with_it == without


def test_the_plan_does_not_depend_on_global_seeds():
    served = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        train = BLS(InfoBatch(Numbers(60), num_epochs=6)).proxy()
        loader = DataLoader(train, batch_size=7)
        run = []
        for _ in range(4):
            for batch in loader:
                train.update(mean_loss(batch))
                run.append(batch.tolist())
        served.append(run)
    assert served[0] == served[1]


def test_a_plain_loop_with_shuffle_is_disturbed_by_itself_only():
    """torch's own random sampler draws a seed an epoch from the global generator; ours does not."""
    seed_everything()
    list(RandomSampler(Numbers(10)))
    after_theirs = torch.rand(()).item()
    seed_everything()
    list(BLS(InfoBatch(Numbers(10), 2)).proxy().sampler)
    ours = torch.rand(()).item()
    seed_everything()
    assert ours == torch.rand(()).item() != after_theirs
