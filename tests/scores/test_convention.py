"""The one-line proxy on objects of other libraries that follow the InfoBatch convention."""

from __future__ import annotations

import copy
import pickle
import threading
import types
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest
import torch
from other_libraries import TheirInfoBatch
from scipy.stats import spearmanr
from torch.utils.data import DataLoader, Subset

from dynaprune import BLS, InfoBatch, KalmanBLS, SampleLoss


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
    train = BLS(TheirInfoBatch(list(range(20)))).proxy()
    for indices in batches(20, 7):
        train.cur_batch_index = indices
        train.update(torch.tensor(1.0))
    assert len(train._dynaprune.record) <= 1  # folded when as many visits as samples were noted


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


class RestartingSampler:
    """A sampler as the published ones are: its own iterator, and `iter()` begins an epoch."""

    def __init__(self, train):
        self.train = train
        self.epochs_begun = 0
        self.reset()

    def reset(self):
        pruned = self.epochs_begun <= 3
        self.indices = self.train.prune().tolist() if pruned else list(range(len(self.train)))
        self.left = iter(self.indices)
        self.epochs_begun += 1

    def __len__(self):
        return len(self.indices)

    def __iter__(self):
        self.reset()
        return self

    def __next__(self):
        return next(self.left)


class WithSampler(TheirInfoBatch):
    @property
    def sampler(self):
        return RestartingSampler(self)


class WithMethod(TheirInfoBatch):
    def pruning_sampler(self):
        return RestartingSampler(self)


class WithAttribute(TheirInfoBatch):
    def __init__(self, dataset):
        super().__init__(dataset)
        self.sampler = RestartingSampler(self)


class WithCached(TheirInfoBatch):
    @cached_property
    def sampler(self):
        return RestartingSampler(self)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("kind", [WithSampler, WithMethod, WithAttribute, WithCached])
def test_a_sampler_that_restarts_itself_serves_one_epoch_a_time(kind, drop_last):
    """torch's BatchSampler asks the iterator of a sampler for an iterator again, for each batch."""
    train = BLS(kind(list(range(23)))).proxy()
    train.scores = torch.arange(23.0)  # 11 are below the mean, of which 5 are kept
    sampler = train.pruning_sampler() if kind is WithMethod else train.sampler
    begun = sampler.epochs_begun
    loader = DataLoader(train, batch_size=5, sampler=sampler, drop_last=drop_last)
    for epoch in range(2):
        served = [len(indices) for indices, _ in loader]
        assert served == ([5, 5, 5] if drop_last else [5, 5, 5, 2])  # 17 samples
        assert sampler.epochs_begun == begun + epoch + 1
        assert len(sampler) == 17
    sampler.epochs_begun = 4  # written to theirs, which prunes no more then
    assert sum(len(indices) for indices, _ in loader) == (20 if drop_last else 23)


def test_a_sampler_is_indexed_as_theirs():
    """As the distributed sampler of the published InfoBatch does."""

    class Indexed(RestartingSampler):
        def __getitem__(self, index):
            return 10 * index

    theirs = TheirInfoBatch(list(range(8)))
    theirs.sampler = Indexed(theirs)
    assert BLS(theirs).proxy().sampler[3] == 30


def test_weights_of_integers():
    train = BLS(theirs_with(weights=torch.tensor([1, 2] * 4))).proxy()
    train.cur_batch_index = [0, 1]
    assert train.update(torch.tensor(3.0)).item() == 4.5  # 3 times (1 + 2)/2


def test_samplers_that_are_no_iterators_are_left_alone():
    theirs = TheirInfoBatch(list(range(8)))
    theirs.sampler = torch.utils.data.SequentialSampler(theirs)
    own = theirs.sampler
    train = BLS(theirs).proxy()
    assert train.sampler is own
    train.sampler = RestartingSampler(train)
    assert len([len(indices) for indices, _ in DataLoader(train, 4, sampler=train.sampler)]) == 2


@pytest.mark.parametrize("how", [copy.deepcopy, lambda train: pickle.loads(pickle.dumps(train))])
def test_copies_of_what_holds_its_sampler(how):
    twin = how(BLS(WithAttribute(list(range(8)))).proxy())
    assert twin.sampler.train is twin
    assert sum(len(indices) for indices, _ in DataLoader(twin, 3, sampler=twin.sampler)) == 8


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


def test_where_bls_starts_on_their_objects():
    train = BLS(TheirInfoBatch(list(range(4))), alpha=0.5, initial=0.0).proxy()
    train.cur_batch_index = [0, 1]
    train.update(torch.tensor(6.0))
    assert train.scores.tolist() == [3, 3, 0, 0]
