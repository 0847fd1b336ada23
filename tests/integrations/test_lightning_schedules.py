"""Lightning: schedules as its users write them reach their end when the pruned run does."""

from __future__ import annotations

import logging

import lightning.pytorch as pl
import pytest
import torch
from helpers import bls
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning_runs import EPOCHS, Module, held_out, trainer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, StepLR

from dynaprune import DataLoader, InfoBatch, NoPrune, PrunedScheduler, RandomPrune
from dynaprune.integrations.lightning import PruningCallback

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]

FULL = 9
"""Batches of seven in an epoch of 60 samples that skips nothing."""


class Scheduled(Module):
    """Has a schedule that notes at which of its steps the optimizer makes each step."""

    def __init__(self, frequency=1):
        super().__init__()
        self.frequency, self.positions = frequency, []

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        self.total = self.trainer.estimated_stepping_batches
        self.schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
        config = {"scheduler": self.schedule, "interval": "step", "frequency": self.frequency}
        return [optimizer], [config]

    def on_train_batch_end(self, *_):
        self.positions.append(self.schedule.last_epoch)


def train(folder, module, *callbacks, method=InfoBatch, resume=None, arguments=None, **options):
    pruned = bls(method, 60, num_epochs=EPOCHS, **(arguments or {}))
    loader = DataLoader(pruned, batch_size=7)
    used = trainer(folder, PruningCallback(), *callbacks, **options)
    used.fit(module, loader, held_out(), ckpt_path=resume, weights_only=True)
    return pruned


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("method", [InfoBatch, RandomPrune])
def test_it_ends_with_the_run(method, accumulated, tmp_path):
    module = Scheduled()
    train(tmp_path, module, method=method, accumulate_grad_batches=accumulated)
    assert module.total == -(-FULL // accumulated) * EPOCHS
    assert module.schedule.last_epoch == module.total
    assert len(module.served) < FULL * EPOCHS


def test_nothing_changes_for_full_training(tmp_path):
    module = Scheduled()
    train(tmp_path, module, method=NoPrune)
    assert module.positions == list(range(1, FULL * EPOCHS + 1))


def test_half_of_the_steps_are_two_of_the_schedule_each(tmp_path):
    module = Scheduled()
    pruned = bls(RandomPrune, 60, num_epochs=EPOCHS, saving=0.5)
    loader = DataLoader(pruned, batch_size=5)
    trainer(tmp_path, PruningCallback()).fit(module, loader)
    assert module.positions == list(range(2, 12 * EPOCHS + 1, 2))


def test_one_cycle_as_the_documentation_of_lightning_has_it(tmp_path):
    class OneCycle(Module):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            total = self.trainer.estimated_stepping_batches
            self.schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=total)
            return [optimizer], [{"scheduler": self.schedule, "interval": "step"}]

    module = OneCycle()
    monitor, log = LearningRateMonitor("step"), CSVLogger(tmp_path)
    train(tmp_path, module, monitor, logger=log, log_every_n_steps=1)
    assert module.schedule.last_epoch == FULL * EPOCHS


def test_a_frequency(tmp_path):
    module = Scheduled(frequency=3)
    train(tmp_path, module)
    assert FULL * EPOCHS // 3 - 1 <= module.schedule.last_epoch <= FULL * EPOCHS // 3


def test_it_resumes_in_its_place(tmp_path):
    whole = Scheduled()
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=11, save_top_k=-1)
    train(tmp_path, whole, saves)
    paths = list(tmp_path.glob("*.ckpt"))
    assert len(paths) > 3
    for path in paths:
        rest = Scheduled()
        train(tmp_path, rest, resume=path)
        assert rest.positions == whole.positions[len(whole.positions) - len(rest.positions) :]


def test_a_run_that_was_not_pruned_before(tmp_path, caplog):
    """Its schedule goes on step by step, as the pruned dataset does not know where the run is."""
    first = Scheduled()
    used = trainer(tmp_path, max_epochs=2)
    plain = torch.utils.data.DataLoader(range(60), batch_size=7)
    first.updates = False
    used.fit(first, plain)
    used.save_checkpoint(tmp_path / "plain.ckpt")
    second = Scheduled()
    with caplog.at_level(logging.WARNING, "dynaprune"):
        train(tmp_path, second, resume=tmp_path / "plain.ckpt")
    assert "the checkpoint holds no state of a pruned dataset" in caplog.text
    before = len(first.positions)
    assert second.positions == [before + 1 + n for n in range(len(second.positions))]


def test_max_steps_count_actual_steps_and_so_does_the_schedule(tmp_path):
    module = Scheduled()
    train(tmp_path, module, max_steps=20)
    assert module.total == 20
    assert module.positions == list(range(1, 21))


def test_a_schedule_that_was_built_without_the_estimate_counts_steps(tmp_path):
    class Own(Scheduled):
        def configure_optimizers(self):
            optimizer = Module.configure_optimizers(self)
            self.schedule = StepLR(optimizer, 10)
            return [optimizer], [{"scheduler": self.schedule, "interval": "step"}]

    module = Own()
    train(tmp_path, module)
    assert module.positions == list(range(1, len(module.served) + 1))


def test_a_schedule_of_epochs(tmp_path):
    class OfEpochs(Scheduled):
        def configure_optimizers(self):
            (optimizer,), (config,) = super().configure_optimizers()
            return [optimizer], [config["scheduler"]]

    module = OfEpochs()
    train(tmp_path, module)
    assert module.schedule.last_epoch == EPOCHS


def test_a_module_that_steps_its_schedule_itself(tmp_path):
    class Steps(Scheduled):
        def lr_scheduler_step(self, scheduler, metric):
            assert scheduler is self.schedule
            scheduler.step()

    module = Steps()
    train(tmp_path, module)
    assert module.positions == list(range(1, len(module.served) + 1))


def test_manual_optimization(tmp_path):
    class Manual(Scheduled):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()
            assert isinstance(self.lr_schedulers(), PrunedScheduler)
            self.lr_schedulers().step()

    module = Manual()
    train(tmp_path, module)
    assert module.schedule.last_epoch == FULL * EPOCHS


class Data(pl.LightningDataModule):
    """Creates its pruned dataset each time it is set up."""

    def __init__(self):
        super().__init__()
        self.made = []

    def setup(self, stage):
        self.made.append(bls(InfoBatch, 60, num_epochs=EPOCHS))

    def train_dataloader(self):
        return DataLoader(self.made[-1], batch_size=7)


def alone(folder):
    module = Module()
    pruned = train(folder, module)
    return module, pruned


def test_a_data_module_that_is_set_up_before(tmp_path):
    """As those do who need the number of classes for their model."""
    expected, pruned = alone(tmp_path)
    data, module = Data(), Module()
    data.setup("fit")
    trainer(tmp_path, PruningCallback()).fit(module, datamodule=data)
    assert module.served == expected.served
    assert data.made[0].epoch == 0
    assert data.made[1].scores.equal(pruned.scores)


def test_a_run_that_a_second_fit_continues(tmp_path):
    expected, pruned = alone(tmp_path)
    data, module = Data(), Module()
    used = trainer(tmp_path, PruningCallback(), max_epochs=3)
    used.fit(module, datamodule=data)
    used.fit_loop.max_epochs = EPOCHS
    used.fit(module, datamodule=data)
    assert len(data.made) == 2
    assert module.served == expected.served
    # Lightning begins a second fit with a new optimizer, without the momentum of the first
    torch.testing.assert_close(data.made[1].scores, pruned.scores, atol=0.01, rtol=0)


def test_a_second_fit_on_other_data(tmp_path, caplog):
    used, module = trainer(tmp_path, PruningCallback(), max_epochs=3), Module()
    used.fit(module, DataLoader(bls(InfoBatch, 60), batch_size=7))
    used.fit_loop.max_epochs = 5
    other = bls(InfoBatch, 40)
    with caplog.at_level(logging.WARNING, "dynaprune"):
        used.fit(module, DataLoader(other, batch_size=7))
    assert "with another pruned dataset, so its scores" in caplog.text
    assert other.epoch == 2


def test_a_version_with_another_fit_loop(tmp_path, monkeypatch):
    monkeypatch.delattr("lightning.pytorch.loops.fit_loop._FitLoop.max_batches", raising=False)
    used = trainer(tmp_path, PruningCallback())
    vars(used.fit_loop).pop("max_batches", None)
    with pytest.raises(ImportError, match=r"no _FitLoop\.max_batches.* lightning 2\.6"):
        used.fit(Module(), DataLoader(bls(InfoBatch, 60), batch_size=7))
