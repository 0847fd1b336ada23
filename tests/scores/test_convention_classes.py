"""Classes of other libraries that the proxy scores, and those that it refuses."""

from __future__ import annotations

import copy
import pickle
import types
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from other_libraries import TheirInfoBatch
from torch.utils.data import Subset

from dynaprune import BLS, InfoBatch, KalmanBLS


def test_weights_of_integers():
    train = BLS(theirs_with(weights=torch.tensor([1, 2] * 4))).proxy()
    train.cur_batch_index = [0, 1]
    assert train.update(torch.tensor(3.0)).item() == 4.5  # 3 times (1 + 2)/2


class WithoutWeights(TheirInfoBatch):
    """As the published OrderDP; what it forwards to has `weights` of another meaning."""

    def __init__(self, dataset):
        super().__init__(dataset)
        del self.weights


class Labelled(list):
    weights = "of classes"


def test_weights_that_an_object_has_not_are_1():
    train = BLS(WithoutWeights(Labelled(range(8))), alpha=0.0).proxy()
    train.cur_batch_index = torch.tensor([1, 2])
    assert train.update(torch.tensor(3.0)).item() == 3
    train.cur_batch_index = torch.tensor([2, 3])
    assert train.update(torch.tensor([4.0, 6.0])).item() == 5
    assert train.scores[1:4].tolist() == [3, 4, 6]
    train.weights = torch.full((8,), 2.0)  # made later
    train.cur_batch_index = torch.tensor([1, 2])
    assert train.update(torch.tensor(3.0)).item() == 6


def patched(theirs):
    """The published proxy: an `update` on the object itself."""
    theirs.update = types.MethodType(lambda self, loss: loss, theirs)
    return theirs


@pytest.mark.parametrize("kind", [TheirInfoBatch, lambda dataset: InfoBatch(dataset, 5)])
def test_an_object_that_another_proxy_has_taken_over_is_refused(kind):
    theirs = patched(kind(list(range(8))))
    kind, score = type(theirs), getattr(theirs, "epochs", None) and theirs.epochs.score
    with pytest.raises(RuntimeError, match=r"update of this .*InfoBatch was replaced on the obj"):
        KalmanBLS(theirs).proxy()
    assert type(theirs) is kind
    assert score is None or theirs.epochs.score is score


class Computed(TheirInfoBatch):
    scores = property(lambda self: self._scores, lambda self, new: vars(self).update(_scores=new))


class Decides(TheirInfoBatch):
    def __getattribute__(self, name):
        if name == "update":
            return lambda loss: loss
        return super().__getattribute__(name)


class Final(TheirInfoBatch):
    def __init_subclass__(cls):
        raise TypeError("Final has no subclasses")


class Forwarding:
    """A wrapper that forwards what it does not know."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getattr__(self, name):
        return getattr(vars(self)["dataset"], name)


@dataclass(slots=True)
class Slotted:
    scores: torch.Tensor
    cur_batch_index: list | None = None

    def __len__(self):
        return len(self.scores)

    def update(self, loss):
        return loss


def theirs_with(**attributes):
    theirs = TheirInfoBatch(list(range(8)))
    for name, value in attributes.items():
        setattr(theirs, name, value)
    return theirs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Computed([1]), "the class of this Computed computes its scores"),
        (lambda: Decides([1]), "a Decides cannot be scored by BLS.*its class controls its attr"),
        (lambda: Final([1]), "a Final cannot be scored by BLS.*Final has no subclasses"),
        (
            lambda: Forwarding(TheirInfoBatch([1])),
            "Forwarding has no scores, cur_batch_index, update of its own.*"
            "Its dataset, a TheirInfoBatch, can be scored",
        ),
        (lambda: Subset(InfoBatch([1], 3), [0]), "Its dataset, a InfoBatch, can be scored"),
        (
            lambda: [1, 2],
            "the given list has no scores, cur_batch_index, update.*scores, a tensor of shape "
            r"\(N,\).*the samples of the current batch, which its loader sets; update, a method",
        ),
        (lambda: Slotted(torch.ones(3)), "a Slotted cannot hold a score: it defines __slots__"),
        (
            lambda: theirs_with(scores=np.ones(8)),
            r"scores of this TheirInfoBatch must be a tensor of shape \(8,\).*ndarray was found",
        ),
        (
            lambda: theirs_with(scores=torch.ones(8, dtype=torch.int64)),
            r"scores of this .* and float, but torch.int64 of shape \(8,\) was found",
        ),
        (lambda: TheirInfoBatch, "but the class TheirInfoBatch was given"),
        (
            lambda: theirs_with(weights=torch.ones(9)),
            r"weights of this TheirInfoBatch must be a tensor of shape \(8,\).*shape \(9,\) was",
        ),
    ],
)
def test_what_cannot_be_scored_says_why_and_stays_as_it_was(make, message):
    theirs = make()
    kind, before = type(theirs), dict(getattr(theirs, "__dict__", {}))
    with pytest.raises(TypeError, match=message):
        BLS(theirs).proxy()
    assert type(theirs) is kind
    assert getattr(theirs, "__dict__", {}) == before


@dataclass(frozen=True, eq=False)
class Frozen:
    ratio: float = 0.5
    scores: torch.Tensor = field(default_factory=lambda: torch.zeros(4))
    cur_batch_index: list | None = None

    def __len__(self):
        return 4

    def update(self, losses):
        return losses.mean()


class Base:
    __slots__ = ("cur_batch_index", "scores")


class PartlySlotted(Base):
    __slots__ = ("__dict__",)

    def __init__(self):
        self.scores, self.cur_batch_index = torch.zeros(4), None

    def __len__(self):
        return 4

    def update(self, losses):
        return losses.mean()


class Listed(list):
    def __init__(self, items):
        super().__init__(items)
        self.scores, self.cur_batch_index = torch.zeros(len(items)), None

    def update(self, losses):
        return losses.mean()


def set_batch(train, batch):
    if isinstance(train, Frozen):
        vars(train)["cur_batch_index"] = batch
    else:
        train.cur_batch_index = batch


@pytest.mark.parametrize("make", [Frozen, PartlySlotted, lambda: Listed([5, 6, 7, 8])])
def test_classes_of_all_kinds(make):
    theirs = make()
    train = BLS(theirs, alpha=0.0).proxy()
    assert train is theirs
    for each in (train, copy.deepcopy(train), pickle.loads(pickle.dumps(train))):
        set_batch(each, [1, 2])
        assert each.update(torch.tensor(7.0)).item() == 7
        with pytest.raises(RuntimeError, match="cur_batch_index of this .* is empty"):
            each.update(torch.tensor(7.0))
        assert each.scores[1:3].tolist() == [7, 7]
        assert len(each) == 4
        assert list(each) == [5, 6, 7, 8] if isinstance(each, list) else True


def test_another_object_of_the_class_is_not_scored():
    train = BLS(Frozen(), alpha=0.0).proxy()
    other = replace(train, ratio=0.7, scores=torch.ones(4))
    assert type(other) is Frozen
    assert other.ratio == 0.7
    assert other.scores.tolist() == [1] * 4
    made = type(train)(ratio=0.1)
    assert made.update(torch.tensor([1.0, 3.0])).item() == 2  # theirs


def test_scores_that_are_written_past_their_property():
    """As a checkpoint of the object's own is often saved and restored."""
    train = BLS(TheirInfoBatch(list(range(4))), alpha=0.5).proxy()
    train.cur_batch_index = [0, 1, 2, 3]
    train.update(torch.tensor(6.0))
    saved = {key: copy.copy(value) for key, value in vars(train).items() if key[0] != "_"}
    assert saved["scores"].shape == (4,)
    vars(train).update(saved, scores=torch.tensor([10.0, 20.0, 30.0, 40.0]))
    train.cur_batch_index = [0, 1]
    train.update(torch.tensor(0.0))
    assert train.scores.tolist() == [5, 10, 30, 40]
    with pytest.raises(TypeError, match=r"scores of this TheirInfoBatch must be a tensor of shape"):
        train.scores = [1.0] * 4
