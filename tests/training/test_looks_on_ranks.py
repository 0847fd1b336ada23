"""Several ranks: one looks at batches, skips some, or cannot record, and the others go on."""

from __future__ import annotations

import copy
import logging
import time

import pytest
import torch
from helpers import Numbers, bls, mean_loss
from ranks import on_ranks
from streams import Split, stream_of
from torch import distributed, nn

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, Sharded

LENGTH = 61


def made(kind, rank):
    if kind == "sharded":
        return BLS(InfoBatch(Sharded(Numbers(LENGTH)), 10, delta=1.0)).proxy()
    if kind == "stream":
        return BLS(InfoBatch(stream_of(Split(LENGTH, rank, 2), splits_itself=True), 10)).proxy()
    return bls(InfoBatch, LENGTH)


def looking(rank, kind, looks):
    """Rank 0 logs some pictures: before the first update, in mid-epoch, after it, after a break."""
    train = made(kind, rank)
    loader = DataLoader(train, batch_size=4)
    served = []

    def look(*, also_keep=False):
        if looks and rank == 0:
            batches = iter(loader)
            next(batches)
            if also_keep:
                next(batches)
        distributed.barrier()  # another collective, which a hidden one would meet

    for epoch in range(5):
        look()
        for step, batch in enumerate(loader):
            if step in (0, 3):
                look(also_keep=step == 3 and kind != "stream")
            train.update(mean_loss(batch))
            distributed.barrier()
            served.append(batch.tolist())
            if epoch in (1, 2) and step == 5:
                break
        look()
    train.end_epoch()
    return served, train.scores, train.summary().visits_made


@pytest.mark.parametrize("kind", ["plain", "sharded", "stream"])
def test_a_look_on_one_rank_changes_nothing(kind):
    without = on_ranks(2, looking, kind, False)
    looked = on_ranks(2, looking, kind, True)
    for one, other in zip(without, looked, strict=True):
        assert one[0] == other[0]
        assert one[1].equal(other[1])
        assert one[2] == other[2]
    if kind == "plain":
        assert looked[0][1].equal(looked[1][1])


def looking_with_ddp(rank):
    train = bls(InfoBatch, LENGTH)
    loader = DataLoader(train, batch_size=4)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        for step, batch in enumerate(loader):
            if rank == 0 and step == 2:
                next(iter(loader))
            loss = model(batch[:, None].float() / LENGTH).square().mean()
            optimizer.zero_grad()
            train.update(loss).backward()
            optimizer.step()
        if rank == 0:
            next(iter(loader))
    return train.scores, train.epoch


def test_a_look_on_one_rank_under_ddp():
    one, other = on_ranks(2, looking_with_ddp)
    assert one[0].equal(other[0])
    assert one[1] == other[1] == 3


def evaluating_alone(rank):
    """Rank 0 evaluates on the training loader by itself, without gradients."""
    train = bls(InfoBatch, LENGTH)
    loader = DataLoader(train, batch_size=4)
    for _ in range(3):
        for step, batch in enumerate(loader):
            if rank == 0 and step == 2:
                with torch.no_grad():
                    assert sum(len(inner) for inner in loader) > 0
            train.update(mean_loss(batch))
        if rank == 0:
            with torch.no_grad():
                assert sum(len(inner) for inner in loader) > 0
        distributed.barrier()
    return train.scores, train.epoch


def test_one_rank_may_evaluate_alone_without_gradients():
    one, other = on_ranks(2, evaluating_alone)
    assert one[0].equal(other[0])
    assert one[1] == other[1] == 3


def saving_alone(rank):
    """Rank 0 asks for the next length, shows a batch and saves, between two epochs."""
    train = bls(InfoBatch, LENGTH)
    loader = DataLoader(train, batch_size=4)
    for epoch in range(3):
        for batch in loader:
            train.update(mean_loss(batch))
        if rank == 0:
            assert len(loader) > 0
            next(iter(loader))
            assert train.scores.numel() == LENGTH
            resumed = bls(InfoBatch, LENGTH)
            resumed.load_state_dict(train.state_dict())
            assert resumed.epoch == epoch + 1
        distributed.barrier()
    return train.scores, train.epoch


def test_one_rank_may_save_alone_between_epochs_after_it_has_looked():
    one, other = on_ranks(2, saving_alone)
    assert one[0].equal(other[0])
    assert one[1] == other[1] == 3


def evaluating_together(rank):
    """All ranks go through the loader with gradients and without an update, around each epoch."""
    train = bls(InfoBatch, LENGTH)
    loader = DataLoader(train, batch_size=4)
    epochs = []
    for epoch in range(3):
        assert sum(map(len, loader)) > 0
        for step, batch in enumerate(loader):
            train.update(mean_loss(batch))
            if epoch == 1 and step == 2:
                state = train.state_dict()
        assert sum(map(len, loader)) > 0
        epochs.append(train.epoch)
    resumed = copy.deepcopy(train)
    resumed.load_state_dict(state)
    left = DataLoader(resumed, batch_size=4)
    looked_at = sum(map(len, left))
    return epochs, resumed.epoch, looked_at == sum(map(len, left)) > 0


def test_evaluations_by_all_ranks_are_no_epochs():
    for epochs, resumed, is_the_same in on_ranks(2, evaluating_together):
        assert epochs == [1, 2, 3]
        assert resumed == 1
        assert is_the_same


def skipping_the_last_one(rank, kind):
    """Rank 1 holds a batch back, and skips the one that is left at the end of an epoch."""
    numbers = Numbers(LENGTH)
    if kind == "sharded":
        train = BLS(NoPrune(Sharded(numbers), 10)).proxy()
    else:
        train = bls(InfoBatch, LENGTH)
    loader, epochs = DataLoader(train, batch_size=4), []
    for epoch in range(3):
        batches = iter(loader)
        held = next(batches)
        for batch in batches:
            train.update(mean_loss(held), batch=held)
            held = batch
        if rank == 1 and epoch == 1:
            train.skip_batch()
        else:
            train.update(mean_loss(held), batch=held)
        epochs.append(train.epoch)
    return epochs, train.scores


@pytest.mark.parametrize("kind", ["plain", "sharded"])
def test_the_last_batch_that_is_held_back_may_be_skipped_on_one_rank(kind):
    ranks = on_ranks(2, skipping_the_last_one, kind)
    assert [epochs for epochs, _ in ranks] == [[1, 2, 3]] * 2
    if kind == "plain":
        assert ranks[0][1].equal(ranks[1][1])


def skipping(rank, kind, epochs_skipped, saves):
    """Rank 1 skips all its batches in some epochs."""
    if kind == "sharded":
        train = BLS(NoPrune(Sharded(Numbers(LENGTH)), 10)).proxy()
    else:
        train = BLS(InfoBatch(Numbers(LENGTH), 10)).proxy()
    loader = DataLoader(train, batch_size=4)
    measured, epochs = [], []
    for epoch in range(4):
        for step, batch in enumerate(loader):
            if rank == 0 or epoch not in epochs_skipped:
                train.update(mean_loss(batch))
                measured.append((epoch, batch.tolist()))
            if saves and step % 2 == 0:
                train.state_dict()
        epochs.append(train.epoch)
    return measured, train.scores, epochs, train.summary().visits_made


@pytest.mark.parametrize(
    ("kind", "epochs_skipped", "saves"),
    [
        ("plain", [2], False),
        ("plain", [0], False),
        ("plain", [0, 3], True),
        ("sharded", [1], False),
        pytest.param("plain", [0, 1, 2, 3], False, marks=pytest.mark.long),
    ],
)
def test_a_rank_that_skips_a_whole_epoch_takes_part_in_its_end(kind, epochs_skipped, saves):
    ranks = on_ranks(2, skipping, kind, epochs_skipped, saves)
    for measured, scores, epochs, visits in ranks:
        assert epochs == [1, 2, 3, 4]
        if kind == "plain":
            assert scores.equal(ranks[0][1])
            # what both have measured, in the order of steps, by the formula of BLS
            assert visits == sum(len(batch) for each, *_ in ranks for _, batch in each)
        else:
            assert visits == sum(len(batch) for _, batch in measured)
    if kind == "plain":
        expected, first = {}, None
        for number in range(4):
            each = [
                [batch for epoch, batch in measured if epoch == number] for measured, *_ in ranks
            ]
            seen = set()
            for step in range(max(len(batches) for batches in each)):
                for batches in each:
                    if step >= len(batches):
                        continue
                    loss = float(mean_loss(torch.tensor(batches[step])))
                    first = loss if first is None else first
                    for sample in set(batches[step]) - seen:
                        expected[sample] = 0.7 * expected.get(sample, first) + 0.3 * loss
                    seen |= set(batches[step])
        assert ranks[0][1].tolist() == pytest.approx(
            [expected.get(i, first) for i in range(LENGTH)]
        )


def skipping_with_another_loader(rank):
    train = bls(InfoBatch, LENGTH)
    loader = torch.utils.data.DataLoader(train.with_indices(), batch_size=4, sampler=train.sampler)
    for epoch in range(3):
        for numbers, indices in loader:
            if rank == 0 or epoch != 1:
                train.update(mean_loss(numbers), indices=indices)
        train.end_epoch()
        train.end_epoch()  # once more: nothing happens
    return train.scores, train.epoch


def test_a_rank_that_skips_an_epoch_of_another_loader():
    one, other = on_ranks(2, skipping_with_another_loader)
    assert one[0].equal(other[0])
    assert one[1] == other[1] == 3


class Full:
    """A logger whose disk is full in the second epoch."""

    def log(self, metrics, epoch):
        if epoch == 1:
            raise OSError("no space left on device")


def logging_fails(rank):
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("dynaprune").addHandler(handler)
    train = bls(InfoBatch, LENGTH)
    train.log_to(Full())
    loader = DataLoader(train, batch_size=4)
    for _ in range(4):
        for batch in loader:
            train.update(mean_loss(batch))
    return train.scores, train.epoch, [each for each in said if "failed at the end" in each]


def test_a_logger_that_fails_on_one_rank_does_not_stop_the_others():
    started = time.monotonic()
    one, other = on_ranks(2, logging_fails)
    assert time.monotonic() - started < 60
    assert one[0].equal(other[0])
    assert one[1] == other[1] == 4
    assert len(one[2]) == 1
    assert not other[2]


def left_early(rank, ends):
    """What an epoch that was left has measured is in the scores of the one after the next."""
    train = BLS(InfoBatch(Numbers(LENGTH), 10, delta=1.0), alpha=0.5).proxy()
    loader = DataLoader(train, batch_size=4)
    scores = []
    for _ in range(4):
        for step, batch in enumerate(loader):
            train.update(mean_loss(batch))
            if step == 3:
                break
        if ends:
            train.end_epoch()
        length = len(loader)
        scores.append((train.epochs.score.values().tolist(), length))
    train.end_epoch()
    return scores, train.scores, train.summary().visits_made, train.epoch


@pytest.mark.parametrize("ends", [False, True])
def test_epochs_left_early_are_scored_on_all_ranks(ends):
    one, other = on_ranks(2, left_early, ends)
    assert one[0] == other[0]
    assert one[1].equal(other[1])
    assert one[2:] == other[2:] == (2 * 4 * 4 * 4, 4)
