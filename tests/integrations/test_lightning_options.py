"""Lightning: what the Trainer derives from lengths follows each epoch's own."""

from __future__ import annotations

import csv
import logging
import math

import lightning.pytorch as pl
import pytest
import torch
from helpers import Numbers, bls
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning_runs import EPOCHS, Module, fit, held_out, trainer

from dynaprune import DataLoader, InfoBatch, PrunedScheduler, RandomPrune, SeTa
from dynaprune.integrations.lightning import PruningCallback

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]
FULL = 9  # batches of 7 of 60 samples


def batches_of(samples):
    return math.ceil(samples / 7)


class NotesLengths(Callback):
    """Notes how many batches the Trainer expects, as progress bars ask for it."""

    def __init__(self):
        self.told = []

    def on_train_epoch_start(self, trainer, *_):
        self.told.append(trainer.num_training_batches)


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize(
    ("method", "arguments"), [(InfoBatch, {}), (SeTa, {"prune_ratio": 0.3}), (RandomPrune, {})]
)
def test_expected_batches(method, arguments, is_first, tmp_path):
    """What progress bars show, whether the user gives them before the callback or after it."""
    notes = NotesLengths()
    train = bls(method, 60, num_epochs=EPOCHS, **arguments)
    loader, module = DataLoader(train, batch_size=7), Module()
    both = [PruningCallback(loader), notes]
    used = trainer(tmp_path, *(reversed(both) if is_first else both))
    used.fit(module, loader)
    assert notes.told == module.lengths()
    assert len(set(notes.told)) > 1 or method is RandomPrune


@pytest.mark.parametrize(
    ("interval", "validates"),
    [
        (1.0, lambda length: [length]),
        (0.5, lambda length: range(length // 2, length + 1, length // 2)),
        (FULL, lambda length: [length]),
        (5, lambda length: [5]),
        (3, lambda length: range(3, length + 1, 3)),
    ],
)
def test_validation_in_every_epoch(interval, validates, tmp_path):
    """Epochs have 9, then 7 to 8 batches."""
    _, module, _ = fit(tmp_path, InfoBatch, val_check_interval=interval)
    expected, before = [], 0
    for epoch, length in enumerate(module.lengths()):
        assert 5 < length <= FULL
        expected += [(epoch, before + batches) for batches in validates(length)]
        before += length
    assert module.validated == expected
    assert min(module.lengths()) < FULL


def test_an_epoch_shorter_than_the_interval_validates_at_its_end(tmp_path):
    _, module, _ = fit(
        tmp_path, RandomPrune, arguments={"saving": 0.5}, val_check_interval=FULL - 1
    )
    lengths = module.lengths()
    assert lengths == [batches_of(30)] * EPOCHS
    assert module.validated == [(epoch, 5 * epoch + 5) for epoch in range(EPOCHS)]


def test_no_epoch_has_so_many_batches(tmp_path):
    with pytest.raises(ValueError, match=r"val_check_interval=10\) was given, but .* has 9 batch"):
        fit(tmp_path, InfoBatch, val_check_interval=FULL + 1)
    train, _, _ = fit(tmp_path, InfoBatch, val_check_interval=FULL + 1, limit_val_batches=0)
    assert train.epoch == EPOCHS


def test_validation_counted_over_epochs(tmp_path):
    _, module, _ = fit(tmp_path, InfoBatch, check_val_every_n_epoch=None, val_check_interval=20)
    assert [steps for _, steps in module.validated] == list(range(20, len(module.served) + 1, 20))


def test_validation_every_second_epoch(tmp_path):
    _, module, _ = fit(tmp_path, InfoBatch, check_val_every_n_epoch=2, val_check_interval=FULL)
    assert [epoch for epoch, _ in module.validated] == [1, 3, 5, 7]


def test_validation_by_time(tmp_path):
    _, module, _ = fit(tmp_path, InfoBatch, val_check_interval={"hours": 1})
    assert module.validated == []


@pytest.mark.parametrize(
    ("limit", "expected"), [(4, [4] * EPOCHS), (8, None), (0.5, None), (0.15, [1] * EPOCHS)]
)
def test_limited_batches(limit, expected, tmp_path):
    """Both are of each epoch's own length: a share at least a batch, a number at most all."""
    notes = NotesLengths()
    train, module, _ = fit(tmp_path, RandomPrune, notes, limit_train_batches=limit)
    full = batches_of(60 * 0.5)
    expected = expected or [min(full, limit) if isinstance(limit, int) else full // 2] * EPOCHS
    assert module.lengths() == expected == notes.told
    assert train.epoch == EPOCHS


def test_a_share_of_less_than_a_batch(tmp_path):
    with pytest.raises(ValueError, match=r"limit_train_batches=0.1\) was given, but of 9 batches"):
        fit(tmp_path, RandomPrune, limit_train_batches=0.1)


def test_limited_share_of_epochs_that_differ(tmp_path):
    whole = fit(tmp_path, SeTa, arguments={"prune_ratio": 0.3})[1].lengths()
    assert max(whole[1:]) > min(whole)
    notes = NotesLengths()
    _, module, _ = fit(
        tmp_path, SeTa, notes, arguments={"prune_ratio": 0.3}, limit_train_batches=0.999
    )
    assert notes.told == module.lengths()
    assert all(told < FULL for told in notes.told)


def test_a_number_of_steps(tmp_path):
    """These are steps that are made: pruned epochs are shorter, so there are more of them."""
    _, module, used = fit(tmp_path, RandomPrune, max_steps=33, max_epochs=-1)
    assert used.global_step == len(module.served) == 33
    assert module.lengths() == [5] * 6 + [3]


def test_accumulation_steps_at_the_end_of_each_epoch(tmp_path):
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    _, module, used = fit(tmp_path, InfoBatch, saves, accumulate_grad_batches=2)
    assert used.global_step == sum(math.ceil(length / 2) for length in module.lengths())
    assert any(length % 2 for length in module.lengths())
    assert len(list(tmp_path.glob("*.ckpt"))) == used.global_step // 2


@pytest.mark.parametrize("steps", [True, 3])
def test_fast_dev_run(steps, tmp_path, caplog):
    _, module, _ = fit(tmp_path, InfoBatch, fast_dev_run=steps)
    assert len(module.served) == int(steps)
    assert len(module.validated) == 1
    assert "num_epochs" not in caplog.text  # nobody means to train that few


def test_logs_every_so_many_steps(tmp_path):
    """Lightning counts them over epochs."""
    log = CSVLogger(tmp_path)

    class Logs(Module):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss.detach())
            return loss

    train = bls(RandomPrune, 60, num_epochs=EPOCHS)
    module, loader = Logs(), DataLoader(train, batch_size=7)
    trainer(tmp_path, PruningCallback(), logger=log, log_every_n_steps=12).fit(module, loader)
    with open(log.experiment.metrics_file_path) as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["loss"]]
    assert len(module.served) == 40
    assert steps == [11, 23, 35]


def test_overfit_batches_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Trainer\(overfit_batches=2\) was given"):
        fit(tmp_path, InfoBatch, overfit_batches=2)


class Schedules(Module):
    """Plans a schedule by the steps that the Trainer estimates."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        self.estimated = self.trainer.estimated_stepping_batches
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, self.estimated)
        loader = self.trainer.train_dataloader
        steps = self.estimated // self.trainer.max_epochs
        self.schedule = PrunedScheduler(one_cycle, loader, steps_per_full_epoch=steps)
        return [optimizer], [{"scheduler": self.schedule, "interval": "step"}]

    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("method", [InfoBatch, RandomPrune])
def test_estimated_steps_are_those_of_full_training(method, accumulated, is_given, tmp_path):
    full = math.ceil(FULL / accumulated) * EPOCHS

    def run(resume=None, *callbacks):
        train = bls(method, 60, num_epochs=EPOCHS)
        loader, module, notes = DataLoader(train, batch_size=7), Schedules(), NotesLengths()
        pruning = PruningCallback(loader) if is_given else PruningCallback()
        options = {"accumulate_grad_batches": accumulated, "val_check_interval": FULL}
        used = trainer(tmp_path, pruning, notes, *callbacks, **options)
        used.fit(module, loader, held_out(), ckpt_path=resume, weights_only=True)
        assert module.estimated == full
        assert module.schedule.scheduler.last_epoch == full
        return module, notes.told

    whole, told = run(None, ModelCheckpoint(tmp_path, every_n_train_steps=9, save_top_k=-1))
    assert told == whole.lengths()
    assert len(whole.served) < FULL * EPOCHS
    for path in tmp_path.glob("*.ckpt"):
        rest, _ = run(path)
        assert rest.batches() == whole.batches()[len(whole.served) - len(rest.served) :]


def test_validation_loaders_are_asked_for_once(tmp_path):
    """And so are training loaders: the length of each epoch is found out without."""

    class Counts(Module):
        trained, held = 0, 0

        def train_dataloader(self):
            self.trained += 1
            return DataLoader(self.train_set, batch_size=7)

        def val_dataloader(self):
            self.held += 1
            return torch.utils.data.DataLoader(Numbers(4))

    module = Counts(bls(InfoBatch, 60, num_epochs=EPOCHS))
    trainer(tmp_path, PruningCallback()).fit(module)
    assert (module.trained, module.held) == (1, 1)
    assert len(set(module.lengths())) > 1


def test_the_progress_bar_is_not_warned_about_nor_pruning(tmp_path, caplog):
    """A run as it should be has no warnings of ours."""
    with caplog.at_level(logging.WARNING, "dynaprune"):
        fit(tmp_path, InfoBatch, val_check_interval=FULL)
    assert not [each for each in caplog.records if each.name == "dynaprune"]


@pytest.mark.parametrize("size", [45, 50])
def test_epochs_of_which_the_loader_makes_no_batch(size, tmp_path, caplog):
    """As in a loop of one's own, they are passed over, and the run goes on."""

    def loader_of(size):
        train = bls(InfoBatch, 60, num_epochs=EPOCHS, prune_ratio=0.9)
        return train, DataLoader(train, batch_size=size, drop_last=True)

    alone, loader = loader_of(size)
    served = []
    for epoch in range(EPOCHS):
        for batch in loader:
            alone.update(Module().loss(batch))
            served.append((epoch, batch.tolist()))
    alone.end_epoch()
    assert {epoch for epoch, _ in served} < set(range(EPOCHS))
    train, loader = loader_of(size)
    module = Module()
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)
    trainer(tmp_path, PruningCallback()).fit(module, loader, held_out())
    assert [(epoch, batch) for epoch, _, batch in module.served] == served
    assert train.epoch == alone.epoch == EPOCHS
    assert "makes no batch" in caplog.text


def test_lengths_asked_for_in_setup(tmp_path):
    """A data module's `setup` is called before that of callbacks."""

    class Asks(pl.LightningDataModule):
        def setup(self, stage):
            self.pruned = bls(InfoBatch, 60, num_epochs=EPOCHS)
            self.estimated = self.trainer.estimated_stepping_batches

        def train_dataloader(self):
            return DataLoader(self.pruned, batch_size=7)

    data, module = Asks(), Module()
    trainer(tmp_path, PruningCallback()).fit(module, datamodule=data)
    _, alone, _ = fit(tmp_path, InfoBatch)
    assert data.estimated == FULL * EPOCHS
    assert module.served == alone.served
