"""Lightning: other stages, tuners, steps that are no plain backward and step."""

from __future__ import annotations

import pytest
import torch
from helpers import bls
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
    ModelCheckpoint,
)
from lightning.pytorch.tuner import Tuner
from lightning_runs import EPOCHS, Module, fit, held_out, trainer

from dynaprune import DataLoader, InfoBatch, NoPrune
from dynaprune.integrations.lightning import PruningCallback

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


# Steps


class Skips(Module):
    """Returns `None` for some batches, as one does for bad ones."""

    def __init__(self, train, skipped):
        super().__init__(train)
        self.skipped, self.count = skipped, 0

    def training_step(self, batch, batch_idx):
        self.count += 1
        return None if self.count - 1 in self.skipped else super().training_step(batch, batch_idx)


@pytest.mark.parametrize("skipped", [{0}, {0, 1, 2}, {8}, set(range(9))])
def test_skipped_batches(skipped, tmp_path):
    """The first, the last one, or all of the first epoch's nine."""
    train = bls(NoPrune, 60, num_epochs=2)
    module = Skips(train, skipped)
    trainer(tmp_path, PruningCallback(), max_epochs=2).fit(module, DataLoader(train, 7))
    assert module.count == 18
    assert train.summary().visits_made == sum(len(batch) for batch in module.batches())
    assert len(module.served) == 18 - len(skipped)


class Evaluates(Module):
    """Is trained by LBFGS, for which Lightning calls `training_step` several times for a batch."""

    def on_train_batch_start(self, batch, batch_idx):
        self.is_scored = False

    def training_step(self, batch, batch_idx):
        if not self.is_scored:
            self.is_scored = True
            return super().training_step(batch, batch_idx)
        return self.loss(batch) * self.train_set.batch_weight

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


def test_a_step_that_is_evaluated_several_times(tmp_path):
    """It is the run of a plain loop with the same closure."""
    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    module = Evaluates(train)
    trainer(tmp_path, PruningCallback()).fit(module, DataLoader(train, batch_size=7))
    assert train.summary().visits_made == sum(map(len, module.batches()))
    assert train.summary().visits_avoided > 0

    plain = bls(InfoBatch, 60, num_epochs=EPOCHS)
    alone = Evaluates(plain)
    optimizer = alone.configure_optimizers()
    loader = DataLoader(plain, batch_size=7)
    for _ in range(EPOCHS):
        for batch in loader:
            scored = []

            def closure(batch=batch, scored=scored):
                optimizer.zero_grad()
                loss = alone.loss(batch)
                weighted = loss * plain.batch_weight if scored else plain.update(loss)
                scored.append(True)
                weighted.backward()
                return weighted

            optimizer.step(closure)
            assert len(scored) > 1
    assert module.weight.equal(alone.weight)
    assert train.scores.equal(plain.scores)


def test_a_step_that_updates_in_each_evaluation(tmp_path):
    class Twice(Module):
        configure_optimizers = Evaluates.configure_optimizers

    train = bls(InfoBatch, 60)
    message = r"LBFGS\) updates with the first evaluation, and .* by train.batch_weight"
    with pytest.raises(RuntimeError, match=message):
        trainer(tmp_path, PruningCallback()).fit(Twice(train), DataLoader(train, batch_size=7))


@pytest.mark.parametrize(("samples", "told"), [(20, 4), (100, 8)])
def test_a_forgotten_update(samples, told, tmp_path):
    """It is told after eight batches, or at the end of a shorter epoch."""
    train = bls(NoPrune, samples)
    module = Module(train, updates=False)
    message = rf"Module has not called update\(\) in the {told} batches that were trained"
    with pytest.raises(RuntimeError, match=message):
        trainer(tmp_path, PruningCallback()).fit(module, DataLoader(train, batch_size=5))
    assert len(module.served) == told


class Manual(Module):
    """Steps two optimizers itself, one of them every second batch."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        often, seldom = self.optimizers()
        loss = self.loss(batch)
        self.served.append((self.current_epoch, batch_idx, batch.tolist()))
        if self.updates:
            loss = self.train_set.update(loss)
        often.zero_grad()
        self.manual_backward(loss)
        often.step()
        if batch_idx % 2:
            seldom.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), lr=0.01) for _ in range(2)]


def test_manual_optimization(tmp_path):
    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    module, loader = Manual(train), DataLoader(train, batch_size=7)
    saves = ModelCheckpoint(tmp_path, every_n_epochs=3, save_top_k=-1)
    trainer(tmp_path, PruningCallback(), saves).fit(module, loader)
    assert train.epoch == EPOCHS
    _, alone, _ = fit(tmp_path, InfoBatch)
    assert module.served == alone.served  # losses are ordered by `mean_loss`, not by the weight


def test_manual_optimization_that_forgets_update(tmp_path):
    train = bls(NoPrune, 100)
    module, loader = Manual(train, updates=False), DataLoader(train, batch_size=5)
    with pytest.raises(RuntimeError, match=r"Manual has not called update\(\) in the 8 batches"):
        trainer(tmp_path, PruningCallback()).fit(module, loader)


# Stages


def test_other_stages_leave_the_pruned_dataset(tmp_path):
    """Also with a checkpoint of an earlier epoch, from which they take the weights."""
    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    loader, module = DataLoader(train, batch_size=7), Module(train)
    module.test_step = module.predict_step = module.validation_step
    saves = ModelCheckpoint(tmp_path, every_n_epochs=2, save_top_k=-1, filename="{epoch}")
    used = trainer(tmp_path, PruningCallback(loader), saves)
    used.fit(module, loader)
    scores, visits = train.scores, train.summary().visits_made
    early = str(tmp_path / "epoch=1.ckpt")
    used.validate(module, held_out(), ckpt_path=early)
    used.test(module, held_out(), ckpt_path=early)
    used.predict(module, held_out(), ckpt_path=early)
    assert train.epoch == EPOCHS
    assert train.scores.equal(scores)
    assert train.summary().visits_made == visits
    assert "setup_data" not in vars(used.fit_loop)


def test_fit_twice(tmp_path):
    """As Lightning has it: the second one goes on, here to more epochs."""
    _, alone, _ = fit(tmp_path, InfoBatch)
    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    loader, module = DataLoader(train, batch_size=7), Module(train)
    used = trainer(tmp_path, PruningCallback(), max_epochs=3)
    used.fit(module, loader)
    used.fit_loop.max_epochs = EPOCHS
    used.fit(module, loader)
    assert module.served == alone.served


def test_a_second_run_on_a_trained_dataset(tmp_path, caplog):
    train = bls(InfoBatch, 60, num_epochs=2)
    loader = DataLoader(train, batch_size=7)
    trainer(tmp_path, PruningCallback(), max_epochs=2).fit(Module(train), loader)
    assert "create a new one" not in caplog.text
    trainer(tmp_path, PruningCallback(), max_epochs=2).fit(Module(train), loader)
    assert "the InfoBatch has already trained 2.0 epochs" in caplog.text


class Fails(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 12:
            raise ArithmeticError


def test_after_an_error(tmp_path):
    """The Trainer is as it was, and the next run begins with an epoch."""
    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    loader = DataLoader(train, batch_size=7)
    used = trainer(tmp_path, PruningCallback(), Fails())
    with pytest.raises(ArithmeticError):
        used.fit(Module(train), loader)
    assert "setup_data" not in vars(used.fit_loop)
    module = Module(train)
    trainer(tmp_path, PruningCallback(), max_epochs=2).fit(module, loader)
    assert sum(len(batch) for epoch, _, batch in module.served if epoch == 0) <= 60
    assert train.epoch == 4


# Tuners


class Tuned(Module):
    """Has what the tuners set, and makes its loader itself, as they want it."""

    def __init__(self, train):
        super().__init__(train)
        self.learning_rate, self.batch_size = 0.01, 7
        self.sizes = []

    def train_dataloader(self):
        self.sizes.append(self.batch_size)
        return DataLoader(self.train_set, batch_size=self.batch_size)

    def val_dataloader(self):
        return held_out()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate, momentum=0.9)


def tune(folder, is_given, tuner, *callbacks):
    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    module = Tuned(train)
    pruning = PruningCallback(DataLoader(train, 7)) if is_given else PruningCallback()
    used = trainer(folder, pruning, *callbacks)
    tuner(used, module)
    return train, module, used


@pytest.mark.parametrize("is_given", [False, True])
def test_learning_rate_finder(is_given, tmp_path):
    """Its steps, over several epochs, are undone in the pruned dataset as in the model."""
    train, module, used = tune(
        tmp_path,
        is_given,
        lambda used, module: Tuner(used).lr_find(module, num_training=25, update_attr=False),
    )
    assert len(module.served) >= 25
    assert train.progress == 0
    assert train.summary().visits_made == 0
    module.served.clear()
    used.fit(module)
    _, alone, _ = fit(tmp_path, InfoBatch)
    assert module.served == alone.served


@pytest.mark.parametrize("is_given", [False, True])
def test_batch_size_finder(is_given, tmp_path):
    train, module, used = tune(
        tmp_path,
        is_given,
        lambda used, module: Tuner(used).scale_batch_size(module, init_val=2, max_trials=3),
    )
    assert train.progress == 0
    assert module.batch_size == 8
    assert {4, 8} <= set(module.sizes)
    module.served.clear()
    used.fit(module)
    assert train.epoch == EPOCHS
    assert [len(batch) for batch in module.batches()[:8]] == [8] * 7 + [4]


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize(
    "finder",
    [
        lambda: LearningRateFinder(num_training_steps=25, update_attr=False),
        lambda: BatchSizeFinder(init_val=7, max_trials=1),
    ],
)
def test_tuners_as_callbacks(finder, is_given, tmp_path):
    """They run at the beginning of `fit`, which goes on then."""
    train, module, _ = tune(tmp_path, is_given, lambda used, module: used.fit(module), finder())
    _, alone, _ = fit(tmp_path, InfoBatch)
    assert module.served[-len(alone.served) :] == alone.served
    assert len(module.served) > len(alone.served)
    assert train.summary().visits_made == sum(len(batch) for *_, batch in alone.served)


def test_a_step_that_takes_its_batch_itself(tmp_path):
    class Takes(Module):
        def training_step(self, dataloader_iter):
            batch, number, _ = next(dataloader_iter)
            return super().training_step(batch, number)

    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    module = Takes(train)
    trainer(tmp_path, PruningCallback()).fit(module, DataLoader(train, batch_size=7))
    _, alone, _ = fit(tmp_path, InfoBatch)
    assert module.batches() == alone.batches()
