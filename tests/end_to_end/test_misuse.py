"""Every misuse in training gets an error that says what was given and wanted, and what to do."""

from __future__ import annotations

import re

import pytest
import torch
from helpers import Numbers, bls, mean_loss, train_epoch

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SampleLoss, SeTa
from dynaprune.training.checksum import sealed


def test_score_of_something_else():
    with pytest.raises(TypeError, match="BLS scores the samples of a pruned dataset, such as"):
        BLS(3)
    with pytest.raises(TypeError, match="the given Numbers has no scores, cur_batch_index, up"):
        BLS(Numbers(10)).proxy()


def test_score_used_twice():
    score = BLS(NoPrune(Numbers(10), 2))
    score.proxy()
    with pytest.raises(RuntimeError, match="this BLS is in use already: make a new one"):
        score.proxy()


def test_a_forgotten_proxy():
    score = BLS(NoPrune(Numbers(10), 2))
    for use in (lambda: score.sampler, lambda: score.update(torch.tensor(1.0))):
        with pytest.raises(
            AttributeError, match=r"it is a score. Use the dataset that BLS\(...\).proxy\(\)"
        ):
            use()
    with pytest.raises(TypeError, match="a BLS was given as dataset, but it is a score"):
        DataLoader(score)
    with pytest.raises(AttributeError, match="BLS has no attribute 'nothing'$"):
        _ = score.nothing
    assert isinstance(score.proxy(), NoPrune)  # it is not used up by that


def test_a_proxy_that_failed_can_be_tried_again():
    train = bls(NoPrune, 10)
    train_epoch(DataLoader(train), mean_loss, stop_after=1)
    score = BLS(train)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="has been trained on"):
            score.proxy()


def test_samplers_that_yield_more_than_numbers():
    class Sized:
        def __init__(self, sampler):
            self.sampler = sampler

        def __iter__(self):
            yield [(index, 224) for index in self.sampler]

    train = bls(NoPrune, 10)
    with pytest.raises(TypeError, match=r"expects sample numbers from its sampler, but \[\("):
        next(iter(DataLoader(train, batch_sampler=Sized(train.sampler))))


def test_with_indices_wants_samples():
    class Collated(Numbers):
        def __getitems__(self, indices):
            return torch.tensor(indices), torch.tensor(indices)

    data = BLS(NoPrune(Collated(10), 2)).proxy().with_indices()
    with pytest.raises(RuntimeError, match="list of 2 samples from __getitems__ .* a tuple: use"):
        data.__getitems__([1, 2])


def test_score_after_training():
    train = bls(NoPrune, 10)
    train_epoch(DataLoader(train), mean_loss, stop_after=1)
    with pytest.raises(RuntimeError, match="has been trained on: choose its score before"):
        SampleLoss(train).proxy()


def test_update_before_a_batch():
    train = bls(InfoBatch, 10)
    with pytest.raises(RuntimeError, match=r"before a batch was served by dynaprune.DataLoader"):
        train.update(torch.tensor(1.0))
    iter(DataLoader(train))
    with pytest.raises(RuntimeError, match="before a batch was served"):
        train.update(torch.tensor(1.0))


def test_update_twice_for_one_batch():
    train = bls(InfoBatch, 10)
    for _ in DataLoader(train, batch_size=5):
        train.update(torch.tensor(1.0))
        with pytest.raises(RuntimeError, match="twice for one batch. Add up the losses"):
            train.update(torch.tensor(1.0))


def test_update_after_the_last_batch():
    train = bls(InfoBatch, 10)
    for batch in DataLoader(train, batch_size=5):
        train.update(mean_loss(batch))
    with pytest.raises(RuntimeError, match="after the last batch.*fetches batches ahead"):
        train.update(mean_loss(batch))


def test_update_with_the_loader_of_torch():
    train = bls(InfoBatch, 10)
    for loader in (
        torch.utils.data.DataLoader(train, batch_size=5, sampler=train.sampler),
        torch.utils.data.DataLoader(train, batch_size=5, shuffle=True),
    ):
        for _ in loader:
            with pytest.raises(RuntimeError, match="DataLoader of torch does not tell .* indices"):
                train.update(torch.tensor(1.0))


def test_update_with_a_loader_over_the_dataset_that_was_wrapped():
    train = bls(InfoBatch, 10)
    for _ in DataLoader(Numbers(10), batch_size=5, sampler=train.sampler):
        with pytest.raises(RuntimeError, match="the pruned dataset and not the one that it wraps"):
            train.update(torch.tensor(1.0))


def test_update_with_indices_but_another_sampler():
    train = bls(InfoBatch, 10)
    loader = torch.utils.data.DataLoader(train.with_indices(), batch_size=5, shuffle=True)
    for _, indices in loader:
        with pytest.raises(RuntimeError, match="no loader has asked train.sampler for an epoch"):
            train.update(torch.tensor(1.0), indices=indices)


def test_update_for_a_batch_of_an_epoch_that_is_over():
    train = bls(InfoBatch, 20)
    loader = DataLoader(train, batch_size=5)
    outer = iter(loader)
    next(outer)
    for _ in range(2):  # trains in the middle of the other loop
        train_epoch(loader, mean_loss)
    next(outer)
    with pytest.raises(RuntimeError, match="belongs to epoch 0, which is over: .* on to epoch 1"):
        train.update(torch.tensor(1.0))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (1.0, "expects the loss as a tensor, but a float was given: .* not loss.item()"),
        (None, "expects the loss as a tensor, but a NoneType was given"),
        (torch.tensor(1), "expects a loss of a float type, but torch.int64 was given"),
        (torch.ones(4), r"shape \(4,\) was given for a batch of 5, .* mean loss .* shape \(5,\)"),
        (torch.ones(5, 2), r"shape \(5, 2\) was given for a batch of 5, .*flatten"),
        (torch.ones(1, 1), r"shape \(1, 1\) was given for a batch of 5"),
        (torch.ones(0), r"shape \(0,\) was given for a batch of 5"),
    ],
)
def test_losses_of_the_wrong_kind(loss, message):
    train = bls(InfoBatch, 10)
    for batch in DataLoader(train, batch_size=5):
        with pytest.raises(RuntimeError, match=message):
            train.update(loss)
        train.update(mean_loss(batch))  # the batch is still pending


def test_a_mean_loss_for_a_method_of_sample_losses():
    train = InfoBatch(Numbers(10), 3)
    for _ in DataLoader(train, batch_size=5):
        with pytest.raises(
            RuntimeError,
            match=r'SampleLoss scores by per-sample losses.*reduction="none".*BLS\(...\).proxy\(\)',
        ):
            train.update(torch.tensor(1.0))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([1.0, 2.0], "integers of shape .* but torch.float32 of shape"),
        ([[1, 2]], r"integers of shape \(B,\), but torch.int64 of shape \(1, 2\) was given"),
        ([], "integers of shape"),
        ([True, False], "but torch.bool of shape"),
        ([0, "a"], r"integers of shape \(B,\), but \[0, 'a'\] was given"),
        (3, r"integers of shape \(B,\), but torch.int64 of shape \(\) was given"),
        ([1, 10], "must be sample numbers from 0 to 9, but 10 was given"),
        ([-1, 3], "must be sample numbers from 0 to 9, but -1 was given"),
    ],
)
def test_indices_of_the_wrong_kind(indices, message):
    train = bls(InfoBatch, 10)
    train.begin_epoch()
    with pytest.raises(RuntimeError, match=message):
        train.update(torch.tensor(1.0), indices=indices)
    assert train.summary().visits_made == 0


@pytest.mark.parametrize("length", [9, 11])
def test_a_dataset_whose_length_has_changed(length):
    dataset = Numbers(10)
    train = BLS(InfoBatch(dataset, 3)).proxy()
    loader = DataLoader(train, batch_size=5)
    train_epoch(loader, mean_loss)
    dataset.length = length
    with pytest.raises(
        RuntimeError, match=f"the dataset has {length} samples now, but had 10 when .* wrap"
    ):
        next(iter(loader))


def state_of(train):
    train_epoch(DataLoader(train, batch_size=5), mean_loss)
    return train.state_dict()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bls(InfoBatch, 11), "its num_samples is 10, but here it is 11"),
        (lambda: bls(SeTa, 10), "its method is 'InfoBatch', but here it is 'SeTa'"),
        (lambda: bls(InfoBatch, 10, seed=1), "its seed is 0, but here it is 1"),
        (
            lambda: BLS(InfoBatch(list(range(10)), 10)).proxy(),
            "its dataset is 'Numbers', but here it is 'list'",
        ),
        (lambda: InfoBatch(Numbers(10), 10), "holds scores of BLS, but this is SampleLoss"),
    ],
)
def test_a_state_that_belongs_to_another_run(make, message):
    state = state_of(bls(InfoBatch, 10))
    train = make()
    length, scores = len(train.sampler), train.scores
    with pytest.raises(RuntimeError, match=re.escape(message)):
        train.load_state_dict(state)
    assert (train.epoch, len(train.sampler)) == (0, length)
    assert train.scores.equal(scores)


@pytest.mark.parametrize("key", ["version", "method", "epoch", "score", "totals"])
def test_an_incomplete_state(key):
    state = state_of(bls(InfoBatch, 10))
    del state[key]
    with pytest.raises(RuntimeError, match=f"the state is incomplete, it has no {key}"):
        bls(InfoBatch, 10).load_state_dict(state)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (dict.fromkeys(("train", "model", "epoch")), "'train', 'model', 'epoch'"),
        (dict.fromkeys("abcdef"), "'a', 'b', 'c', 'd', 'e', …"),
        ({0: 1}, "0"),
    ],
)
def test_the_state_of_something_else(other, named):
    train = bls(InfoBatch, 10)
    with pytest.raises(RuntimeError, match=re.escape(f"this holds {named}: it is not the state")):
        train.load_state_dict(other)
    with pytest.raises(RuntimeError, match=r"pass that state, as in states\['train'\]"):
        train.load_state_dict(torch.nn.Linear(2, 1).state_dict())


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [
        ("score", "values", "the state's score is incomplete, it has no values"),
        ("totals", "epochs", "the state's totals is incomplete, it has no epochs"),
    ],
)
def test_a_part_of_a_state_is_incomplete(part, key, message):
    state = state_of(bls(InfoBatch, 10))
    del state[part][key]
    train = bls(InfoBatch, 10)
    with pytest.raises(RuntimeError, match=message):
        train.load_state_dict(sealed(state))
    assert train.epoch == 0


def test_something_else_than_a_state():
    with pytest.raises(RuntimeError, match="the state must be a dictionary, but a NoneType was"):
        bls(InfoBatch, 10).load_state_dict(None)
