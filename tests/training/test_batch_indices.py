"""The samples of a batch, as loops say them: `update(loss, indices=...)`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, with_scores

from dynaprune import BLS, InfoBatch, NoPrune
from dynaprune.data.indexed import usual_indices
from dynaprune.planning.weights import Weights

SAMPLES = [7, 0, 3, 9, 3]

USUAL = {
    "tensor": torch.tensor(SAMPLES),
    "int32 tensor": torch.tensor(SAMPLES, dtype=torch.int32),
    "int8 tensor": torch.tensor(SAMPLES, dtype=torch.int8),
    "every other": torch.tensor(SAMPLES).repeat_interleave(2)[::2],
    "array": np.array(SAMPLES),
    "int16 array": np.array(SAMPLES, dtype=np.int16),
    "other byte order": np.array(SAMPLES, dtype=">i4"),
    "backwards": np.array(SAMPLES[::-1])[::-1],
}

OTHERS = {
    "list": SAMPLES,
    "tuple": tuple(SAMPLES),
    "uint8 tensor": torch.tensor(SAMPLES, dtype=torch.uint8),
    "uint8 array": np.array(SAMPLES, dtype=np.uint8),
}


@pytest.mark.parametrize("name", [*USUAL, *OTHERS])
def test_samples_of_every_kind(name):
    given = {**USUAL, **OTHERS}[name]
    train = BLS(NoPrune(Numbers(10), 2), alpha=0.0).proxy()
    train.begin_epoch()
    train.update(torch.tensor(2.0), indices=given)
    train.update(torch.tensor([3.0, 4.0]), indices=[1, 2])
    expected = [2.0, 3.0, 4.0, 2.0, 0, 0, 0, 2.0, 0, 2.0]
    scores = train.scores
    assert [scores[i] for i, each in enumerate(expected) if each] == [e for e in expected if e]


@pytest.mark.parametrize("name", USUAL)
def test_usual_ones_are_copied(name):
    batch = usual_indices(USUAL[name], 10)
    assert batch is not None
    assert (batch.dtype, batch.tolist()) == (np.int64, SAMPLES)
    assert batch.flags.c_contiguous
    assert not np.shares_memory(batch, np.asarray(USUAL[name]))


@pytest.mark.parametrize("make", [torch.tensor, np.array])
@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([3, 10], "sample numbers from 0 to 9, but 10 was given"),
        ([3, -1], "sample numbers from 0 to 9, but -1 was given"),
        ([-(2**63)], "but -9223372036854775808 was given"),
        ([2**63 - 1], "but 9223372036854775807 was given"),
        ([1.0, 2.0], "as integers of shape"),
        ([True, False], "torch.bool of shape"),
        ([[1, 2]], r"torch.int64 of shape \(1, 2\) was given"),
        (3, r"torch.int64 of shape \(\) was given"),
        ([], r"shape \(0,\) was given"),
    ],
)
def test_what_no_samples_are(make, indices, message):
    train = bls(InfoBatch, 10)
    train.begin_epoch()
    with pytest.raises(RuntimeError, match=message):
        train.update(torch.tensor(1.0), indices=make(indices))
    assert train.summary().visits_made == 0


@pytest.mark.parametrize("weights", [[2.0, 2.0, 1.0], [2.0, 3.0, 1.5], [0.1, 0.1, 1.0]])
def test_mean_weights(weights):
    """Of two different weights, as InfoBatch has them, and of more."""
    selected = torch.tensor([1, 4, 2])
    own = Weights.scattered(selected, torch.tensor(weights), 6)
    assert (own.codes is None) == (len(set(weights)) == 3)
    each = dict(zip(selected.tolist(), torch.tensor(weights).tolist(), strict=True))
    for indices in ([4], [0], [0, 1, 2, 3, 4, 5], [1, 1, 4, 5], [2, 4]):
        expected = sum(each.get(i, 1.0) for i in indices) / len(indices)
        assert own.mean(np.array(indices)) == pytest.approx(expected, rel=1e-12)


def test_the_weighted_loss_of_all_samples_at_once():
    """Many terms in float32: the sum is as near as those of a mean."""
    count = 300_000
    draw = torch.Generator().manual_seed(0)
    train = with_scores(InfoBatch(range(count), 10), torch.rand(count, generator=draw))
    indices = train.begin_epoch().order.long()
    losses = torch.rand(indices.numel(), generator=draw)
    weights = train.weights[indices].double()
    expected = (losses.double() * weights).mean().item()
    assert train.update(losses, indices=indices).item() == pytest.approx(expected, rel=3e-6)
