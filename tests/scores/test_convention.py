"""The one-line proxy on objects of other libraries that follow the InfoBatch convention."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from other_libraries import TheirInfoBatch
from scipy.stats import spearmanr

from dynaprune import BLS, KalmanBLS, SampleLoss


class Locked(TheirInfoBatch):
    def __init__(self, dataset):
        super().__init__(dataset)
        self.lock = threading.Lock()

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "lock"}

    def __setstate__(self, state):
        vars(self).update(state, lock="made anew")


class Half(list):
    scores = weights = cur_batch_index = None


def batches(length, size, seed=0):
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed)).split(size)


def test_the_same_object_takes_mean_losses():
    theirs = TheirInfoBatch(list(range(20)))
    untouched = TheirInfoBatch(list(range(20)))
    train = BLS(theirs, alpha=0.7).proxy()
    assert train is theirs
    assert isinstance(train, TheirInfoBatch)
    assert type(train).__name__ == "TheirInfoBatch"
    assert train.scores.tolist() == [3.0] * 20  # theirs, until a loss has come
    reference = None
    for epoch in range(3):
        for indices in batches(20, 6, seed=epoch):
            loss = torch.tensor(float(indices.float().mean()), requires_grad=True)
            weight = train.weights[indices].mean().item()
            train.cur_batch_index = indices
            returned = train.update(loss)
            assert returned.item() == pytest.approx(weight * loss.item())
            if reference is None:
                reference = np.full(20, loss.item())
            reference[indices] = 0.7 * reference[indices] + 0.3 * loss.item()
        np.testing.assert_allclose(train.scores.numpy(), reference, rtol=1e-5)
        kept = train.prune()
        assert len(kept) < 20
        assert train.weights.max() == 2
    assert untouched.scores.tolist() == [3.0] * 20
    untouched.cur_batch_index = torch.tensor([0, 1])
    untouched.update(torch.tensor([5.0, 6.0]))  # others of the class still take loss vectors
    assert untouched.scores[:2].tolist() == [5.0, 6.0]


def test_scores_are_read_only_when_they_are_needed():
    class Counting(BLS):
        def observe(self, measurements):
            observed.append(len(measurements.losses))
            super().observe(measurements)

    observed = []
    train = Counting(TheirInfoBatch(list(range(20)))).proxy()
    for indices in batches(20, 7):
        assert observed == []
        train.cur_batch_index = indices
        train.update(torch.tensor(1.0))
    assert observed == [3]  # folded when as many visits as samples were noted


def test_loss_vectors_are_scored_sample_by_sample():
    train = SampleLoss(TheirInfoBatch(list(range(20)))).proxy()
    train.weights[:] = torch.arange(20.0)
    for indices in batches(20, 7):
        train.cur_batch_index = indices
        losses = indices.float()
        returned = train.update(losses)
        assert returned.item() == pytest.approx((losses * indices).mean().item())
    assert train.scores.tolist() == list(range(20))


@pytest.mark.parametrize("kind", [list, np.asarray, torch.as_tensor])
def test_indices_of_any_kind(kind):
    train = BLS(TheirInfoBatch(list(range(20))), alpha=0.0).proxy()
    train.cur_batch_index = kind([3, 4])
    train.update(torch.tensor(1.0))
    train.cur_batch_index = kind([4, 5])
    train.update(torch.tensor(2.0))
    assert train.scores[2:7].tolist() == [1.0, 1.0, 2.0, 2.0, 1.0]


def test_scores_that_the_object_writes_are_kept():
    train = BLS(TheirInfoBatch(list(range(8))), alpha=0.5).proxy()
    train.cur_batch_index = [0]
    train.update(torch.tensor(7.0))
    restored = torch.arange(8.0) * 10
    train.scores = restored.clone()  # as a resumed run does
    train.cur_batch_index = [0, 1]
    train.update(torch.tensor(2.0))
    assert train.scores.tolist() == [1.0, 6.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
    train.scores[3] = 50.0  # in place
    train.cur_batch_index = [3]
    train.update(torch.tensor(0.0))
    assert train.scores.tolist() == [1.0, 6.0, 20.0, 25.0, 40.0, 50.0, 60.0, 70.0]


def test_indices_may_be_written_to_afterwards():
    train = BLS(TheirInfoBatch(list(range(8))), alpha=0.0).proxy()
    buffer = torch.tensor([0, 1])
    for loss in (1.0, 2.0):
        train.cur_batch_index = buffer
        train.update(torch.tensor(loss))
        buffer += 2
    assert train.scores[:4].tolist() == [1.0, 1.0, 2.0, 2.0]


def test_objects_that_say_how_to_be_pickled():
    twin = pickle.loads(pickle.dumps(BLS(Locked(list(range(8)))).proxy()))
    assert twin.lock == "made anew"
    twin.cur_batch_index = [1]
    twin.update(torch.tensor(3.0))
    assert twin.scores.tolist() == [3.0] * 8


def test_misuse():
    train = BLS(TheirInfoBatch(list(range(20)))).proxy()
    with pytest.raises(RuntimeError, match="cur_batch_index of this TheirInfoBatch is empty"):
        train.update(torch.tensor(1.0))
    for wrong in ([[1, 2]], [1.5], [True]):
        train.cur_batch_index = wrong
        with pytest.raises(RuntimeError, match="cur_batch_index of this TheirInfoBatch expects"):
            train.update(torch.tensor(1.0))
    for wrong in (-1, 20):
        train.cur_batch_index = torch.tensor([3, wrong])
        with pytest.raises(RuntimeError, match=f"sample numbers from 0 to 19, but {wrong} was"):
            train.update(torch.tensor(1.0))
    assert train.scores.equal(TheirInfoBatch(list(range(20))).scores)
    train.cur_batch_index = torch.tensor([1, 2])
    with pytest.raises(RuntimeError, match=r"shape \(3,\) was given for a batch of 2"):
        train.update(torch.ones(3))
    train.update(torch.tensor(1.0))
    with pytest.raises(RuntimeError, match="cur_batch_index of this TheirInfoBatch is empty"):
        train.update(torch.tensor(1.0))
    with pytest.raises(RuntimeError, match="this TheirInfoBatch is scored by BLS already"):
        BLS(train).proxy()
    with pytest.raises(TypeError, match="the given Half has no update of its own"):
        BLS(Half([1])).proxy()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda train: pickle.loads(pickle.dumps(train))])
def test_copies_and_pickles(how):
    train = BLS(TheirInfoBatch(list(range(20))), alpha=0.5).proxy()
    for indices in batches(20, 7):
        train.cur_batch_index = indices
        train.update(indices.float().mean())
    twin = how(train)
    assert isinstance(twin, TheirInfoBatch)
    for each in (train, twin):
        each.cur_batch_index = torch.tensor([1])
        each.update(torch.tensor(9.0))
    assert twin.scores.equal(train.scores)
    assert twin[3] == (3, 3)


def test_in_workers():
    train = BLS(TheirInfoBatch(list(range(20)))).proxy()
    for context in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(
            train, batch_size=5, num_workers=1, multiprocessing_context=context
        )
        assert [i for indices, _ in loader for i in indices.tolist()] == list(range(20))


def trained_by(train, true, epochs, read_each_step=False, seed=0):
    for epoch in range(epochs):
        for indices in batches(len(true), 10, seed=seed + epoch):
            train.cur_batch_index = indices
            train.update(true[indices].mean())
            if read_each_step:
                assert train.scores.shape == true.shape
    return train


def test_kalman_reads_their_batches_beside_each_other():
    """Also if scores are read in every step, as a progress bar may."""
    true = torch.from_numpy(np.random.default_rng(0).lognormal(size=200)).float()
    often = trained_by(KalmanBLS(TheirInfoBatch(list(range(200)))).proxy(), true, 12, True)
    once = trained_by(KalmanBLS(TheirInfoBatch(list(range(200)))).proxy(), true, 12)
    assert spearmanr(once.scores, true).statistic > 0.5
    torch.testing.assert_close(often.scores, once.scores)


def test_kalman_goes_on_from_scores_that_they_wrote():
    train = KalmanBLS(TheirInfoBatch(list(range(6)))).proxy()
    train.scores = torch.arange(1.0, 7.0)
    train.cur_batch_index = torch.arange(3)
    train.update(torch.tensor(float("nan")))
    assert train.scores.tolist() == [1, 2, 3, 4, 5, 6]  # nothing was measured


def test_kalman_follows_losses_that_change():
    true = torch.from_numpy(np.random.default_rng(1).lognormal(size=200)).float()
    train = KalmanBLS(TheirInfoBatch(list(range(200)))).proxy()
    trained_by(train, true, 100)
    trained_by(train, true.flip(0), 100, seed=100)
    assert spearmanr(train.scores, true.flip(0)).statistic > 0.8


def test_where_bls_starts_on_their_objects():
    train = BLS(TheirInfoBatch(list(range(4))), alpha=0.5, initial=0.0).proxy()
    train.cur_batch_index = [0, 1]
    train.update(torch.tensor(6.0))
    assert train.scores.tolist() == [3, 3, 0, 0]
