"""Several ranks: together they train the plan, and know the same scores."""

from __future__ import annotations

import math
from itertools import chain

import pytest
import torch
from helpers import Numbers, bls, mean_loss, sample_losses
from other_libraries import TheirInfoBatch
from ranks import Traffic, on_ranks
from torch import distributed

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, PrunedDataset, RandomPrune, SeTa
from dynaprune.planning import PruningSampler
from dynaprune.planning.share import ShareRequest
from dynaprune.training.checksum import sealed

LENGTH = 61
EPOCHS = 5
FOREIGN = ("foreign", "batches divided")
HEADER = 8 * 9 + 32  # facts and length, and the message's own header


def loader_of(train, rank, kind):
    """Return a loader of ours, or batches with indices of another library's."""
    if kind == "foreign":
        return torch.utils.data.DataLoader(
            train.with_indices(), batch_size=4, sampler=train.sampler
        )
    if kind == "batches divided":
        whole = PruningSampler(train, world_size=1)
        batches = torch.utils.data.BatchSampler(whole, 4, drop_last=False)
        return torch.utils.data.DataLoader(
            train.with_indices(), batch_sampler=EveryOther(batches, rank)
        )
    if kind == "sampler drops":
        return DataLoader(train, batch_size=4, sampler=PruningSampler(train, drop_last=True))
    arguments = {
        "plain": {},
        "loader drops": {"drop_last": True},
        "workers": {"num_workers": 1},
        "sizes differ": {"batch_size": 2 + rank},
        "vectors": {},
    }[kind]
    return DataLoader(train, **{"batch_size": 4, **arguments})


class EveryOther(torch.utils.data.Sampler):
    """Divides batches among two ranks, as some frameworks do, repeating the first at the end."""

    def __init__(self, batches, rank):
        self.batches, self.rank = batches, rank

    def __len__(self):
        return -(-len(self.batches) // 2)

    def __iter__(self):
        batches = list(self.batches)
        return iter((batches + batches[: len(batches) % 2])[self.rank :: 2])


def train_on_rank(rank, method, kind):
    """Train some epochs; return what this rank has served and knows."""
    traffic = Traffic()
    train = InfoBatch(Numbers(LENGTH), 10) if kind == "vectors" else bls(method, LENGTH)
    loader = loader_of(train, rank, kind)
    epochs = []
    for _ in range(EPOCHS):
        before = train.scores
        sent = len(traffic.sent)
        length, served = len(loader), []
        for batch in loader:
            plan = train.epochs.plan.order.tolist()
            numbers = batch[0] if kind in FOREIGN else batch
            loss = (sample_losses if kind == "vectors" else mean_loss)(numbers)
            train.update(loss, indices=batch[1] if kind in FOREIGN else None)
            served.append(numbers.tolist())
            if len(served) == 3 and rank == 0:
                assert train.scores.equal(before)  # read on one rank alone
        if kind in FOREIGN:
            train.end_epoch()
        elif rank == 0:  # no collective: one rank may do all of this alone
            assert train.state_dict()["epoch"] == train.epoch
            assert next(iter(loader)).numel() > 0
        epochs.append((plan, served, length, traffic.sent[sent:]))
    return epochs, train.scores, train.summary()


def replay(ranks, method, kind):
    """Return the scores of one process that trains on the same batches."""
    train = InfoBatch(Numbers(LENGTH), 10) if kind == "vectors" else bls(method, LENGTH)
    for epochs in zip(*(epochs for epochs, _, _ in ranks), strict=True):
        plan = train.begin_epoch().order.tolist()
        assert all(each[0] == plan for each in epochs)
        seen = set()
        for step in range(max(len(served) for _, served, _, _ in epochs)):
            for _, served, _, _ in epochs:
                if step >= len(served):
                    continue
                batch = torch.tensor(served[step])
                loss = (sample_losses if kind == "vectors" else mean_loss)(batch)
                new = torch.tensor([i not in seen for i in served[step]])
                seen.update(served[step])
                if new.any():
                    train.update(loss[new] if loss.dim() else loss, indices=batch[new])
        train.end_epoch()
    return train.scores


@pytest.mark.parametrize(
    ("world_size", "method", "kind"),
    [
        (2, InfoBatch, "plain"),
        (3, InfoBatch, "plain"),
        (2, SeTa, "plain"),
        pytest.param(3, RandomPrune, "loader drops", marks=pytest.mark.long),
        (2, InfoBatch, "sampler drops"),
        (2, InfoBatch, "foreign"),
        (2, InfoBatch, "batches divided"),
        pytest.param(3, NoPrune, "sizes differ", marks=pytest.mark.long),
        (2, InfoBatch, "vectors"),
        pytest.param(4, InfoBatch, "plain", marks=pytest.mark.long),
        pytest.param(2, SeTa, "workers", marks=pytest.mark.long),
        pytest.param(4, SeTa, "foreign", marks=pytest.mark.long),
    ],
)
def test_ranks_train_one_plan(world_size, method, kind):
    ranks = on_ranks(world_size, train_on_rank, method, kind)
    scores = ranks[0][1]
    for _, others, summary in ranks:
        assert others.equal(scores)
        assert summary.visits_made == ranks[0][2].visits_made
    assert scores.equal(replay(ranks, method, kind))
    assert len(scores.unique()) > 10
    for epoch in range(EPOCHS):
        plan = ranks[0][0][epoch][0]
        shares = [list(chain(*epochs[epoch][1])) for epochs, _, _ in ranks]
        together = list(chain(*shares))
        for epochs, _, _ in ranks:
            assert len(epochs[epoch][1]) == epochs[epoch][2]  # len(loader) told it before
        if kind in ("sampler drops", "loader drops"):
            assert len(set(together)) == len(together)
            assert set(together) <= set(plan)
            assert len(plan) - len(together) < world_size * 5
        elif kind == "batches divided":
            assert set(together) == set(plan)
        else:
            assert set(together) == set(plan)  # the union is the plan
            repeats = len(together) - len(plan)
            assert repeats == -len(plan) % world_size  # none twice, but to make shares equal
        if kind not in ("sizes differ", "batches divided"):
            assert len({len(share) for share in shares}) == 1
    if method is not NoPrune:
        assert ranks[0][2].visits_avoided > 0


def test_one_collective_an_epoch_of_eight_bytes_a_batch():
    ranks = on_ranks(2, train_on_rank, InfoBatch, "plain")
    for epochs, _, _ in ranks:
        for number, (_, served, _, sent) in enumerate(epochs):
            if number == 0:  # the ranks have first to see that they train the same
                sent = sent[1:]
            assert sent == [HEADER + 8 * len(served)]
    foreign = on_ranks(2, train_on_rank, InfoBatch, "foreign")
    for epochs, _, _ in foreign:
        counts = [len(sent) for _, _, _, sent in epochs]
        assert counts == [2, 1, 1, 1, 1]


def test_a_smaller_batch_size_takes_a_second_collective_once():
    sent = on_ranks(2, smaller_batches)[0]
    assert [len(each) for each in sent] == [2, 2, 1]


def smaller_batches(rank):
    traffic, train, counts = Traffic(), bls(NoPrune, LENGTH), []
    for batch_size in (16, 4, 4):
        before = len(traffic.sent)
        for batch in DataLoader(train, batch_size=batch_size):
            train.update(mean_loss(batch))
        counts.append(traffic.sent[before:])
    return counts


# Ranks that do not train the same


def disagree(rank, how):
    length, seed, method = LENGTH, 0, InfoBatch
    if how == "seed":
        seed = rank
    elif how == "num_samples":
        length += 7 * rank
    elif how == "method":
        method = [InfoBatch, NoPrune][rank]
    train = bls(method, length, seed=seed)
    if how == "epoch" and rank == 1:
        state = train.state_dict()
        train.load_state_dict(sealed(state | {"epoch": 3}))
    if how == "scores" and rank == 1:
        state = train.state_dict()
        state["score"]["values"][5] = 1.0
        train.load_state_dict(sealed(state))
    loader = DataLoader(train, batch_size=4)
    for batch in loader:
        try:
            train.update(mean_loss(batch))
        except RuntimeError as error:
            return str(error)
    return None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("seed", "seed (0 on rank 0, 1 on rank 1)"),
        ("num_samples", "num_samples (61 on rank 0, 68 on rank 1)"),
        ("method", "method (here it is InfoBatch, but not on all ranks)"),
        ("epoch", "epoch (0 on rank 0, 3 on rank 1)"),
        ("scores", "scores ("),
    ],
)
def test_ranks_that_disagree_are_told(how, message):
    errors = on_ranks(2, disagree, how)
    assert message in errors[0]
    assert all("the ranks do not train the same epoch" in error for error in errors)


# Ranks of a part of all processes


def in_groups(rank):
    """Two pairs of ranks, each of which trains a model of its own on samples of its own."""
    groups = [distributed.new_group([0, 1]), distributed.new_group([2, 3])]
    train = bls(InfoBatch, LENGTH, seed=rank // 2)
    train.process_group = groups[rank // 2]
    served = []
    for _ in range(3):
        for batch in DataLoader(train, batch_size=4):
            train.update(mean_loss(batch))
            served += batch.tolist()
    return served, train.scores


@pytest.mark.long
def test_a_process_group():
    ranks = on_ranks(4, in_groups)
    assert ranks[0][1].equal(ranks[1][1])
    assert ranks[2][1].equal(ranks[3][1])
    assert not ranks[0][1].equal(ranks[2][1])
    first = ranks[0][0][: math.ceil(LENGTH / 2)] + ranks[1][0][: math.ceil(LENGTH / 2)]
    assert set(first) == set(range(LENGTH))


# Without processes


def test_arguments_of_the_sampler():
    train = bls(InfoBatch, 10)
    assert len(PruningSampler(train, world_size=3, rank=1)) == 4
    assert len(PruningSampler(train, world_size=3, rank=1, drop_last=True)) == 3
    assert len(PruningSampler(train, world_size=1)) == 10
    PruningSampler(train).set_epoch(3)  # as loops for DistributedSampler do
    assert train.epoch == 0
    for arguments, error, message in [
        ({"rank": 1}, ValueError, "world_size=None and rank=1 were given"),
        ({"world_size": 2}, ValueError, "world_size=2 and rank=None were given"),
        ({"world_size": 2, "rank": 2}, ValueError, "rank must be below world_size=2, but 2"),
        ({"world_size": 0, "rank": 0}, ValueError, "world_size must be at least 1"),
        ({"world_size": 2, "rank": 0.5}, TypeError, "rank must be an integer"),
    ]:
        with pytest.raises(error, match=message):
            PruningSampler(train, **arguments)


def test_shares_are_those_of_distributed_sampler():
    for length, world_size, drop_last in [
        (61, 3, False),
        (61, 3, True),
        (60, 4, True),
        (2, 5, False),
    ]:
        train: PrunedDataset = NoPrune(Numbers(length), 2)
        order = train.begin_epoch(ShareRequest(1, 0)).order.tolist()
        for rank in range(world_size):
            theirs = torch.utils.data.DistributedSampler(
                range(length), world_size, rank, shuffle=False, drop_last=drop_last
            )
            ours = PruningSampler(train, world_size=world_size, rank=rank, drop_last=drop_last)
            assert list(ours) == [order[i] for i in theirs]
            assert len(ours) == len(theirs)


def test_objects_of_other_libraries_refuse_several_ranks(monkeypatch):
    base = BLS(TheirInfoBatch(Numbers(10))).proxy()
    base.cur_batch_index = [1, 2]
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 4)
    with pytest.raises(RuntimeError, match=r"world size of 4: use a method of dynaprune"):
        base.update(torch.tensor(1.0))
