"""Every misuse gets an error that says what was given, what is wanted and what to do."""

from __future__ import annotations

import re

import pytest
import torch
from every_method import CLASSES, that_take
from helpers import Numbers, bls, mean_loss, train_epoch
from torch.utils.data import IterableDataset

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    NoPrune,
    SampleLoss,
    SeTa,
    SkipConverged,
    TrimmedLoss,
)
from dynaprune.methods import (
    UCB,
    EpsilonGreedy,
    OrderDP,
    RePB,
)
from dynaprune.training.checksum import sealed


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


class StreamWithLength(Stream):
    def __len__(self):
        return 3


class NoLength:
    def __getitem__(self, index):
        return index


class LengthUnknown(NoLength):
    def __len__(self):
        raise NotImplementedError("length of a stream")


@pytest.mark.parametrize("method", CLASSES)
@pytest.mark.parametrize(
    ("dataset", "num_epochs", "further", "error", "message"),
    [
        (Stream(), 3, {}, TypeError, "dataset must be map-style, .* but a Stream was given"),
        (StreamWithLength(), 3, {}, TypeError, "map-style, .* but a StreamWithLength was given"),
        (NoLength(), 3, {}, TypeError, "dataset must be map-style, .* but a NoLength was given"),
        (LengthUnknown(), 3, {}, TypeError, "dataset must have a length, .* length of a stream"),
        (3, 3, {}, TypeError, "dataset must be map-style, .* but a int was given"),
        (
            {"train": [1, 2]},
            3,
            {},
            TypeError,
            "from 0, but the given dict has keys such as 't",
        ),
        ([], 3, {}, ValueError, "dataset must hold samples, but the given list has 0"),
        ([1], 0, {}, ValueError, "num_epochs must be at least 1, but 0 was given"),
        ([1], 2.0, {}, TypeError, r"num_epochs must be an integer, but 2.0 \(float\) was given"),
        ([1], True, {}, TypeError, r"num_epochs must be an integer, but True \(bool\) was given"),
        ([1], 3, {"seed": -1}, ValueError, "seed must be at least 0, but -1 was given"),
        ([1], 3, {"seed": "a"}, TypeError, r"seed must be an integer, but 'a' \(str\) was given"),
    ],
)
def test_arguments_of_every_method(method, dataset, num_epochs, further, error, message):
    with pytest.raises(error, match=message):
        method(dataset, num_epochs, **further)


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        *(
            (method, {"prune_ratio": value}, error, message)
            for method in that_take("prune_ratio")
            for value, error, message in [
                (1.0, ValueError, r"prune_ratio must be in \[0, 1\), but 1.0 was given"),
                (-0.1, ValueError, r"prune_ratio must be in \[0, 1\), but -0.1 was given"),
                (float("nan"), ValueError, r"prune_ratio must be in \[0, 1\), but nan was given"),
                ("0.5", TypeError, r"prune_ratio must be a number, but '0.5' \(str\) was given"),
            ]
        ),
        *(
            (method, {"saving": value}, error, message)
            for method in that_take("saving")
            for value, error, message in [
                (1.0, ValueError, r"saving must be in \[0, 1\), but 1.0 was given"),
                (-0.1, ValueError, r"saving must be in \[0, 1\), but -0.1 was given"),
                (float("nan"), ValueError, r"saving must be in \[0, 1\), but nan was given"),
                ("0.5", TypeError, r"saving must be a number, but '0.5' \(str\) was given"),
            ]
        ),
        *(
            (method, {"delta": value}, ValueError, rf"delta must be in \[0, 1\], but {value} was")
            for method in that_take("delta")
            for value in (1.5, -0.5)
        ),
        *(
            (
                method,
                {"prune_ratio": 0.5, "saving": 0.3},
                ValueError,
                "give prune_ratio or saving, not both: prune_ratio=0.5 and saving=0.3 were given",
            )
            for method in that_take("prune_ratio")
        ),
        (
            TrimmedLoss,
            {"trim": 0.1, "saving": 0.3},
            ValueError,
            "give trim or saving, not both: trim=0.1 and saving=0.3 were given",
        ),
        (
            TrimmedLoss,
            {"trim": "all"},
            ValueError,
            r'trim must be "auto" or a share .* \'all\' was',
        ),
        (TrimmedLoss, {"trim": 1.0}, ValueError, r"trim must be in \[0, 1\), but 1.0 was given"),
        (TrimmedLoss, {"start": 1.5}, ValueError, r"start must be in \[0, 1\], but 1.5 was given"),
        (TrimmedLoss, {"refresh": 1.0}, ValueError, r"refresh must be in \[0, 1\), but 1.0 was"),
        (
            SkipConverged,
            {"loss_share": 1.0},
            ValueError,
            r"loss_share must be in \[0, 1\), but 1.0 was",
        ),
        (SkipConverged, {"refresh": -1}, ValueError, r"refresh must be in \[0, 1\], but -1 was"),
        (SkipConverged, {"floor": float("inf")}, ValueError, "floor must be finite, but inf was"),
        (SkipConverged, {"floor": None}, TypeError, "floor must be a number, but None"),
        (EpsilonGreedy, {"epsilon": 1.1}, ValueError, r"epsilon must be in \[0, 1\], but 1.1 was"),
        (UCB, {"c": -1}, ValueError, "c must be finite and at least 0, but -1 was given"),
        (OrderDP, {"pool": 0}, ValueError, r"pool must be in \(0, 1\], but 0 was given"),
        (
            OrderDP,
            {"saving": 0.4, "pool": 0.6},
            ValueError,
            r"pool must be in \(1 - r, 1\], where r = 0.4 is .* by saving=0.4, but pool=0.6 was",
        ),
        (RePB, {"window": 0}, ValueError, "window must be at least 1, but 0 was given"),
        (RePB, {"max_weight": 0.5}, ValueError, "max_weight must be .* at least 1, but 0.5 was"),
        (SeTa, {"num_groups": 0}, ValueError, "num_groups must be at least 1, but 0 was given"),
        (SeTa, {"num_groups": 2.5}, TypeError, "num_groups must be an integer, but 2.5"),
        (SeTa, {"window_scale": 0}, ValueError, r"window_scale must be in \(0, 1\], but 0"),
        (SeTa, {"window_scale": 1.1}, ValueError, r"window_scale must be in \(0, 1\], but 1.1"),
    ],
)
def test_arguments_of_methods(method, arguments, error, message):
    with pytest.raises(error, match=message):
        method(Numbers(10), 10, **arguments)


@pytest.mark.parametrize("alpha", [1.0, -0.1, float("nan"), 7])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match=rf"alpha must be in \[0, 1\), but {alpha} was given"):
        BLS(NoPrune(Numbers(10), 2), alpha=alpha)


def test_alpha_of_another_type():
    with pytest.raises(TypeError, match="alpha must be a number, but None"):
        BLS(NoPrune(Numbers(10), 2), alpha=None)


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
        train.update(mean_loss(batch))  # the batch is still at hand


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
