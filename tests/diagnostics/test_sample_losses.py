"""How `audit` gets true losses: by any batches, on any device, and without a trace."""

from __future__ import annotations

import math
import random
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from audits import LOSSES, SCORES, looked_up, scored
from helpers import with_scores
from scipy import stats
from torch import Tensor, nn

from dynaprune import (
    InfoBatch,
    audit,
)
from dynaprune.utils.devices import to_device


class Recorder(nn.Module):
    """A model whose parts are in different modes."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(1)
        self.frozen = nn.BatchNorm1d(1)
        self.train()
        self.frozen.eval()

    def modes(self) -> list[bool]:
        return [module.training for module in self.modules()]


def random_numbers() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


def seed_everything() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)


@pytest.mark.parametrize("fails", [False, True])
def test_modes_and_random_states_are_restored(fails):
    model, seen = Recorder(), []

    def loss_fn(given: Recorder, batch: Tensor) -> Tensor:
        assert given is model
        seen.append((model.modes(), torch.is_grad_enabled()))
        random_numbers()
        if fails and len(seen) == 7:
            raise ZeroDivisionError
        return model.norm(model.dropout(batch.float()[:, None])).mean()

    modes, norm = model.modes(), model.norm.running_mean.clone()
    seed_everything()
    expected = random_numbers()
    seed_everything()
    if fails:
        with pytest.raises(ZeroDivisionError):
            audit(scored(), model, loss_fn)
    else:
        audit(scored(), model, loss_fn)
    assert random_numbers() == expected
    assert model.modes() == modes
    assert torch.is_grad_enabled()
    assert torch.equal(model.norm.running_mean, norm)
    assert all(each == ([False] * len(modes), False) for each in seen)
    assert len(seen) == (7 if fails else 400)


def test_losses_that_draw_numbers_draw_the_same_for_all_samples():
    def loss_fn(model: Any, batch: Tensor) -> Tensor:
        drawn.append(sum(random_numbers()))
        return torch.tensor(drawn[-1])

    drawn: list[float] = []
    audit(scored(), nn.Identity(), loss_fn, num_samples=5)
    once = drawn.copy()
    assert len(set(once)) == 1
    torch.rand(3)
    drawn.clear()
    found = audit(scored(), nn.Identity(), loss_fn, num_samples=5, repeats=3)
    assert drawn[0] == once[0]
    assert drawn == drawn[:3] * 5
    assert len(set(drawn)) == 3
    np.testing.assert_allclose(found.losses, np.mean(drawn[:3]), rtol=1e-6)
    drawn.clear()
    audit(scored(), nn.Identity(), loss_fn, num_samples=5, seed=1)
    assert drawn[0] != once[0]


# Any loss


class Pairs(torch.utils.data.Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input": torch.full((index % 3 + 1,), float(index)), "target": index}


def test_batches_of_any_kind():
    """Samples that only the given function can collate, a dictionary, and a number as loss."""

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        assert len(samples) == 1
        return {"inputs": samples[0]["input"][None], "targets": [samples[0]["target"]]}

    def loss_fn(model: nn.Module, batch: dict[str, Any]) -> float:
        assert batch["inputs"].shape == (1, batch["targets"][0] % 3 + 1)
        return float((model(batch["inputs"]).mean() - 2 * batch["targets"][0]) ** 2)

    train = with_scores(InfoBatch(Pairs(), 10), torch.arange(40.0))
    found = audit(train, nn.Identity(), loss_fn, collate_fn=collate)
    np.testing.assert_allclose(found.losses, np.arange(40.0) ** 2)
    assert found.correlation.value == 1


def test_all_of_a_batch_is_moved_to_the_device():
    Sample = namedtuple("Sample", ["image", "name"])
    device = torch.device("meta")
    image = torch.ones(2)
    batch = {"a": image, "b": [image, (image, 3)], "c": Sample(image, "x")}
    there = to_device(batch, device)
    assert there["a"].device == there["b"][0].device == there["b"][1][0].device == device
    assert there["c"].image.device == device
    assert (there["b"][1][1], there["c"].name, type(there["c"])) == (3, "x", Sample)
    assert image.device.type == "cpu"


def test_batches_go_where_the_model_is_or_as_said():
    seen = []

    def loss_fn(model: Any, batch: Tensor) -> float:
        seen.append(batch.device.type)
        return 1.0

    audit(scored(), nn.Linear(1, 1, device="meta"), loss_fn, num_samples=4)
    audit(scored(), nn.Linear(1, 1), loss_fn, num_samples=4, device="meta")
    audit(scored(), nn.Identity(), loss_fn, num_samples=4)
    assert seen == ["meta"] * 8 + ["cpu"] * 4


def test_losses_that_are_not_finite_are_left_out():
    def loss_fn(model: Any, batch: Tensor) -> Tensor:
        bad = {3: math.nan, 5: math.inf}.get(int(batch))
        return looked_up(model, batch) if bad is None else torch.tensor(bad)

    found = audit(scored(), nn.Identity(), loss_fn)
    assert (found.num_samples, found.left_out) == (398, 2)
    rest = np.setdiff1d(np.arange(400), [3, 5])
    assert found.indices.tolist() == rest.tolist()
    expected = stats.spearmanr(SCORES.float().numpy()[rest], LOSSES.numpy()[rest]).statistic
    assert found.correlation.value == pytest.approx(expected)
    assert "398 in" in str(found)
    assert "2 losses were not finite" in str(found)


# Misuse


def test_no_finite_loss():
    with pytest.raises(RuntimeError, match=r"none of the losses of 400 samples is finite"):
        audit(scored(), nn.Identity(), lambda model, batch: math.nan)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (torch.ones(2), ValueError, r"tensor of shape \(2,\) was returned.*take its mean"),
        ({"loss": 1}, TypeError, r"a dict was returned: return only the loss"),
        (None, TypeError, r"a NoneType was returned"),
    ],
)
def test_what_is_no_loss(returned, error, message):
    with pytest.raises(error, match=message):
        audit(scored(), nn.Identity(), lambda model, batch: returned)
