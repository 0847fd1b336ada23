"""What a user's callback is told, and when."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from helpers import Numbers, bls, mean_loss, train_epoch
from ranks import on_ranks
from torch import Tensor

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, PrunedDataset, Sharded, Summary
from dynaprune.tracking import Callback, EpochResult
from dynaprune.tracking.recording import epoch_numbers


class Kept(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.train: PrunedDataset | None = None
        self.steps = 0
        self.results: list[EpochResult] = []
        self.resumed: list[Summary] = []

    def on_attach(self, train: PrunedDataset) -> None:
        self.train = train

    def on_step(self) -> None:
        self.steps += 1

    def on_epoch_end(self, result: EpochResult) -> None:
        self.results.append(result)

    def on_resume(self, totals: Summary) -> None:
        self.resumed.append(totals)

    @property
    def numbers(self) -> list[int]:
        return [result.number for result in self.results]


def followed(train: PrunedDataset) -> tuple[PrunedDataset, Kept]:
    kept = Kept()
    train.add_callback(kept)
    return train, kept


def run(train: PrunedDataset, epochs: int, loss_of: Callable[[Tensor], Tensor] = mean_loss) -> None:
    loader = DataLoader(train, batch_size=8)
    for _ in range(epochs):
        train_epoch(loader, loss_of)


def test_each_epoch_comes_once_and_the_last_one_too():
    train, kept = followed(BLS(InfoBatch(Numbers(40), 4, saving=0.4)).proxy())
    run(train, 4)
    train.state_dict()
    train.end_epoch()
    assert kept.train is train
    assert kept.numbers == [0, 1, 2, 3]
    assert kept.steps == 4 * 3
    last = kept.results[-1]
    assert (last.kept, last.visits, last.losses_left_out, last.ranks) == (24, 24, 0, 1)
    assert last.measurements.indices.numel() == 24
    assert last.score.values().equal(train.scores)
    assert last.mean_loss == train.mean_loss
    assert last.totals == train.summary()
    assert last.seconds > 0
    assert last.was_served


def test_an_epoch_that_was_left_early_comes_when_the_next_one_begins():
    train, kept = followed(bls(NoPrune, 40))
    loader = DataLoader(train, batch_size=8)
    train_epoch(loader, mean_loss, stop_after=2)
    assert kept.numbers == []
    train_epoch(loader, mean_loss, stop_after=1)
    assert [(each.number, each.visits) for each in kept.results] == [(0, 16)]
    train.end_epoch()
    assert [(each.number, each.visits) for each in kept.results] == [(0, 16), (1, 8)]


def test_an_epoch_of_which_the_loader_makes_no_batch():
    train, kept = followed(bls(NoPrune, 5))
    list(DataLoader(train, batch_size=8, drop_last=True))
    (result,) = kept.results
    assert not result.was_served
    assert (result.number, result.kept, result.visits) == (0, 5, 0)
    assert math.isnan(result.mean_loss)


def test_a_callback_changes_nothing():
    plain, (train, _) = bls(InfoBatch, 40), followed(bls(InfoBatch, 40))
    for each in (plain, train):
        run(each, 4)
    assert plain.scores.equal(train.scores)
    assert plain.summary().visits_made == train.summary().visits_made


def test_a_callback_may_read_the_run():
    class Reader(Kept):
        def on_epoch_end(self, result):
            super().on_epoch_end(result)
            assert self.train.scores.equal(result.score.values())
            assert self.train.mean_loss == result.mean_loss
            self.train.state_dict()

    train, reader = bls(InfoBatch, 40), Reader()
    train.add_callback(reader)
    run(train, 3)
    assert reader.numbers == [0, 1, 2]


def test_recordings_come_before_what_was_added_earlier(tmp_path):
    class Checker(Kept):
        def on_epoch_end(self, result):
            super().on_epoch_end(result)
            assert epoch_numbers(tmp_path)[-1] == result.number

    train, checker = bls(NoPrune, 40), Checker()
    train.add_callback(checker)
    train.record(tmp_path)
    run(train, 2)
    assert checker.numbers == [0, 1]


class Fails(Kept):
    """Raises in the first epoch, the first time."""

    def on_epoch_end(self, result):
        super().on_epoch_end(result)
        if len(self.results) == 1:
            raise OSError("the disk is full")


class FailsRequired(Fails):
    is_required = True


@pytest.mark.parametrize(("kind", "told"), [(Fails, [0, 1]), (FailsRequired, [0, 0, 1])])
def test_a_callback_that_raises(kind, told):
    train, failing = bls(NoPrune, 40), kind()
    train.add_callback(failing)
    with pytest.raises(OSError, match="disk is full"):
        run(train, 1)
    run(train, 1)
    assert failing.numbers == told
    assert train.summary().visits_made == 80


def test_a_step_that_a_callback_refuses_has_not_happened():
    class Refuses(Callback):
        def on_step(self):
            raise RuntimeError("not yet")

    train = bls(NoPrune, 40)
    train.add_callback(Refuses())
    with pytest.raises(RuntimeError, match="not yet"):
        run(train, 1)
    assert train.summary().visits_made == 0


def test_a_run_that_goes_on_from_a_state():
    first = bls(NoPrune, 40)
    run(first, 2)
    train, kept = followed(bls(NoPrune, 40))
    train.load_state_dict(first.state_dict())
    assert kept.resumed == [train.summary()]
    run(train, 1)
    assert kept.numbers == [2]
    train.load_state_dict(first.state_dict())
    run(train, 1)
    assert kept.numbers == [2, 2]  # it was repeated


def test_copies_have_no_callbacks():
    train, kept = followed(bls(NoPrune, 40))
    run(copy.deepcopy(train), 1)
    assert kept.numbers == []


@pytest.mark.parametrize("wrong", [Kept, object(), print])
def test_what_is_no_callback(wrong):
    with pytest.raises(TypeError, match=r"a subclass of dynaprune\.tracking\.Callback, but"):
        bls(NoPrune, 4).add_callback(wrong)


def followed_on_rank(rank: int, apart: bool) -> tuple[int, list[tuple[int, int]]]:
    dataset = Numbers(48)
    train, kept = followed(BLS(NoPrune(Sharded(dataset) if apart else dataset, 2)).proxy())
    run(train, 2)
    return kept.steps, [(each.visits, each.ranks) for each in kept.results]


def test_the_first_rank_is_told_of_epochs_for_all():
    assert on_ranks(2, followed_on_rank, False) == [(6, [(48, 2)] * 2), (6, [])]


def test_each_part_of_a_sharded_dataset_is_told_of_its_own():
    assert on_ranks(2, followed_on_rank, True) == [(6, [(24, 1)] * 2)] * 2


def failing_on_rank(rank: int) -> tuple[list[int], int]:
    train, failing = bls(NoPrune, 48), Fails()
    train.add_callback(failing)
    run(train, 3)
    return failing.numbers, train.summary().visits_made


def test_a_callback_that_raises_on_one_of_several_ranks_ends_and_the_run_goes_on():
    assert on_ranks(2, failing_on_rank) == [([0], 144), ([], 144)]


def test_a_loss_that_is_not_finite():
    train, kept = followed(bls(NoPrune, 40))
    run(train, 1, lambda batch: torch.tensor(math.nan))
    (result,) = kept.results
    assert result.losses_left_out == len(result.measurements) == 5
    assert math.isnan(result.mean_loss)
