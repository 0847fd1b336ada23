"""Several ranks in loops other than a plain one: left early, with steps left out, resumed."""

from __future__ import annotations

import math

import pytest
from helpers import bls, mean_loss
from ranks import on_ranks

from dynaprune import DataLoader, InfoBatch

LENGTH = 61


def left_early(rank, by_hand):
    train = bls(InfoBatch, LENGTH)
    loader = DataLoader(train, batch_size=4)
    served = []
    for _ in range(4):
        iterator = iter(loader)
        for _ in range(3):
            batch = next(iterator)
            train.update(mean_loss(batch))
            served.append((train.epochs.plan.epoch, batch.tolist()))
        if not by_hand:
            del iterator
        assert len(loader) > 0
    train.end_epoch()
    return served, train.scores, train.summary()


@pytest.mark.parametrize("by_hand", [True, False])
def test_epochs_left_early(by_hand):
    ranks = on_ranks(2, left_early, by_hand)
    assert ranks[0][1].equal(ranks[1][1])
    assert [epoch for epoch, _ in ranks[0][0]] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert ranks[0][2].visits_made == 2 * 4 * 3 * 4


def skips(rank):
    """One rank meets a batch that it leaves out, now and then, also the last one."""
    train = bls(InfoBatch, LENGTH)
    loader = DataLoader(train, batch_size=4)
    for _ in range(4):
        length = len(loader)
        for number, batch in enumerate(loader, start=1):
            if rank == 0 or number not in (3, length):
                loss = mean_loss(batch)
                train.update(loss * math.nan if rank == 0 and number == 2 else loss)
            if number % 2:
                train.state_dict()
    return train.scores, train.epoch, train.summary().losses_left_out


def test_updates_that_one_rank_skips_and_losses_that_are_not_finite():
    ranks = on_ranks(2, skips)
    assert ranks[0][0].equal(ranks[1][0])
    assert ranks[0][1] == ranks[1][1] == 4
    assert ranks[0][2] == ranks[1][2] == 4  # all ranks know of them


# Checkpoints


def stop(rank, batch_size, steps, resumed=None, whole=False):
    """Train on some steps, all of it if `whole`; return the batches and a state of their end."""
    train = bls(InfoBatch, LENGTH)
    if resumed is not None:
        train.load_state_dict(resumed)
    served, taken = [], 0
    loader = DataLoader(train, batch_size=batch_size)
    for epoch in range(train.epoch, 4):
        for batch in loader:
            train.update(mean_loss(batch))
            served.append((epoch, batch.tolist()))
            taken += 1
            if taken == steps and not whole:
                state = train.state_dict()
                again = train.state_dict()  # nothing new: no collective, and the same
                assert again["progress"]["losses"].equal(state["progress"]["losses"])
                return served, state, None
    return served, train.state_dict(), train.scores


@pytest.mark.long
def test_stopped_and_resumed_on_the_same_ranks():
    whole = on_ranks(2, stop, 4, 0, None, True)
    served, state = [[], []], None
    for steps in (3, 2, 9, 100):  # twice in the first epoch
        ranks = on_ranks(2, stop, 4, steps, state, steps == 100)
        for all_batches, (batches, _, _) in zip(served, ranks, strict=True):
            all_batches += batches
        state = ranks[0][1]
        assert state["progress"]["indices"].equal(ranks[1][1]["progress"]["indices"])
        assert state["progress"]["losses"].equal(ranks[1][1]["progress"]["losses"])
    for rank in range(2):
        assert served[rank] == whole[rank][0]
        assert ranks[rank][2].equal(whole[rank][2])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(2, 3, marks=pytest.mark.long),
        (3, 1),
        pytest.param(1, 2, marks=pytest.mark.long),
    ],
)
def test_another_world_size_serves_what_is_due_once(before, after):
    steps = 5
    first = (
        on_ranks(before, stop, 4, steps) if before > 1 else [stop(0, 4, steps)]
    )  # one process is as it is without torch.distributed
    state = first[0][1]
    rest = on_ranks(after, stop, 4, 0, state, True) if after > 1 else [stop(0, 4, 0, state, True)]
    served = [i for batches, _, _ in first for _, batch in batches for i in batch]
    due = set(range(LENGTH)) - set(served)  # the first epoch trains on everything
    late = [i for batches, _, _ in rest for epoch, batch in batches if epoch == 0 for i in batch]
    assert len(served) == before * steps * 4
    assert due <= set(late)
    repeats = [i for i in late if i not in due]  # to make the shares equal, from what was served
    assert len(repeats) == -len(due) % after
    assert len([i for i in late if i in due]) == len(due)
    for _, _, scores in rest:
        assert scores.equal(rest[0][2])
