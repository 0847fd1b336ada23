"""Every wrong argument gets an error that says what was given and what is wanted."""

from __future__ import annotations

import pytest
from every_method import CLASSES, that_take
from helpers import Numbers
from torch.utils.data import IterableDataset

from dynaprune import BLS, NoPrune, SeTa, SkipConverged, TrimmedLoss
from dynaprune.methods import UCB, EpsilonGreedy, OrderDP, RePB


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
                (30, ValueError, r"prune_ratio .* but 30 was given. Give a share: 0.3 for 30%"),
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
                (30, ValueError, r"saving .* but 30 was given. Give a share: 0.3 for 30%"),
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
        (TrimmedLoss, {"trim": 12.5}, ValueError, "12.5 was given. Give a share: 0.125 for 12.5%"),
        (TrimmedLoss, {"trim": 300}, ValueError, "300 was given$"),
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
