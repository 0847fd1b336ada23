"""Lightning: every checkpoint that a run may write leads to the same end as the run itself."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import Callback, OnExceptionCheckpoint
from lightning_runs import EPOCHS, SavesEverywhere, fit
from ranks import environment_of_torchrun, free_port, on_ranks

from dynaprune import InfoBatch, RandomPrune, SeTa

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]

OPTIONS = {
    "validates at the end": {},
    "twice an epoch": {"val_check_interval": 0.5},
    "every third batch": {"val_check_interval": 3},
    "every full epoch's batches": {"val_check_interval": 9},
    "accumulates": {"val_check_interval": 0.5, "accumulate_grad_batches": 2},
    "some batches": {"limit_train_batches": 4, "val_check_interval": 0.5},
    "a share of the batches": {"limit_train_batches": 0.6},
    "every five batches over epochs": {"check_val_every_n_epoch": None, "val_check_interval": 5},
    "every second epoch": {"check_val_every_n_epoch": 2},
    "a number of steps": {"max_steps": 20, "val_check_interval": 0.5},
    "a number of steps, validates never": {"max_steps": 20, "validates": False},
}


def resumes_from_everywhere(folder, method, max_epochs, **options):
    options |= {"max_epochs": max_epochs, "num_epochs": max_epochs}
    saves = SavesEverywhere(folder)
    whole, alone, used = fit(folder, method, saves, **options)
    for path, place, steps, validations in saves.saved:
        train, module, resumed = fit(folder, method, resume=path, **options)
        where = f"{place} {steps}"
        assert module.batches() == alone.batches()[steps:], where
        assert module.weight.equal(alone.weight), where
        assert train.scores.equal(whole.scores), where
        assert train.summary().visits_made == whole.summary().visits_made, where
        assert resumed.global_step == used.global_step, where
        if place != "step":  # after a step, Lightning takes what is due then for done
            told = [step + steps for _, step in module.validated]
            assert told == [step for _, step in alone.validated[validations:]], where
    return {place for _, place, *_ in saves.saved}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_info_batch(options, tmp_path):
    resumes_from_everywhere(tmp_path, InfoBatch, max_epochs=4, **options)


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 0.5}])
def test_epochs_that_become_longer(options, tmp_path):
    places = resumes_from_everywhere(
        tmp_path, SeTa, max_epochs=5, arguments={"prune_ratio": 0.3}, **options
    )
    assert places == {"step", "validation", "epoch"}


def test_pruned_from_the_first_epoch_on(tmp_path):
    resumes_from_everywhere(
        tmp_path, RandomPrune, max_epochs=3, val_check_interval=4, arguments={"saving": 0.5}
    )


class Fails(Callback):
    """Raises an error in a step, from the hook of that name."""

    def __init__(self, hook, step):
        self.step = step
        setattr(self, hook, self.fail)

    def fail(self, trainer, module, *_):
        if len(module.served) == self.step:
            raise ArithmeticError


@pytest.mark.parametrize("validates", [True, False])
@pytest.mark.parametrize("step", [3, 8, 9, 10])
@pytest.mark.parametrize(
    "hook", ["on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end"]
)
def test_after_an_error_in_a_step(hook, step, validates, tmp_path):
    """The first epoch has nine batches. A batch is due until `update` was called for it."""
    _, alone, _ = fit(tmp_path, InfoBatch, validates=validates, max_epochs=3)
    with pytest.raises(ArithmeticError):
        fit(tmp_path, InfoBatch, Fails(hook, step), OnExceptionCheckpoint(tmp_path))
    path = tmp_path / "on_exception.ckpt"
    train, module, _ = fit(tmp_path, InfoBatch, resume=path, validates=validates, max_epochs=3)
    rest = alone.batches()[step:]
    if hook == "on_before_optimizer_step":  # a step was lost, so later losses are others
        assert len(module.served) == len(rest)
    else:
        assert module.batches() == rest
        assert module.weight.equal(alone.weight)
    assert train.epoch == 3


def test_another_batch_size(tmp_path):
    """The samples that are due are served, and each later epoch has its own length."""
    saves = SavesEverywhere(tmp_path)
    _, alone, _ = fit(tmp_path, InfoBatch, saves)
    for path, place, steps, _ in saves.saved:
        if place == "step" and steps in (3, 12, 20):
            epoch, *_ = alone.served[steps - 1]
            train, module, _ = fit(tmp_path, InfoBatch, resume=path, batch_size=5)
            due = [i for e, _, batch in alone.served[steps:] for i in batch if e == epoch]
            served = [i for e, _, batch in module.served for i in batch if e == epoch]
            assert sorted(served) == sorted(due)
            assert train.epoch == EPOCHS
            assert module.lengths()[-1] == 60 // 5


def on_two_ranks(rank, port, folder):
    environment_of_torchrun(rank, 2, port)
    options = {"strategy": "ddp", "devices": 2, "val_check_interval": 0.5, "max_epochs": 3}
    places = resumes_from_everywhere(folder, InfoBatch, **options)
    saves = SavesEverywhere(folder)
    _, module, _ = fit(folder, InfoBatch, saves, **options)
    return places, module.served, saves.saved


def test_two_devices_and_then_one(tmp_path):
    ranks = on_ranks(2, on_two_ranks, free_port(), str(tmp_path))
    assert [places for places, *_ in ranks] == [{"step", "validation", "epoch"}] * 2
    for path, place, steps, _ in ranks[0][2]:
        if place == "step" and steps in (2, 6):
            epoch = ranks[0][1][steps][0]
            due = [
                i
                for _, served, _ in ranks
                for e, _, batch in served[steps:]
                for i in batch
                if e == epoch
            ]
            train, module, _ = fit(tmp_path, InfoBatch, resume=path, max_epochs=3)
            served = [i for e, _, batch in module.served for i in batch if e == epoch]
            assert set(served) == set(due)
            assert len(served) == len(set(due))
            assert train.epoch == 3
