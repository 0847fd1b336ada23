"""Ultralytics: its trainers on pruned epochs."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest
import torch
from ultralytics_runs import IMAGES, Served, base_trainer, pruned_trainer, train

from dynaprune import BLS, InfoBatch, NoPrune, RandomPrune
from dynaprune.data.ids import sample_ids


def random_quarter_less(dataset, epochs):
    return RandomPrune(dataset, epochs, saving=0.25)


def test_each_epoch_trains_on_its_share(tmp_path):
    served = Served()
    trainer = train(tmp_path, served.recording(pruned_trainer(random_quarter_less)), epochs=4)
    assert trainer.pruned.summary().visits_made == 4 * 12
    assert [len(batches) for batches in served.epochs.values()] == [3, 3, 3, 3]
    for batches in served.epochs.values():
        images = Counter(image for batch in batches for image in batch)
        assert max(images.values()) == 1
        assert sum(images.values()) == 12
    assert len({tuple(map(tuple, each)) for each in served.epochs.values()}) == 4


@pytest.mark.parametrize("task", ["detect", "segment", "classify"])
def test_the_mean_loss_of_each_batch_is_scored_once(tmp_path, task):
    scored, losses = [], []

    def method(dataset, epochs):
        pruned = BLS(InfoBatch(dataset, epochs, saving=0.25)).proxy()
        update = pruned.update

        def record(loss, *, mean_loss):
            scored.append(mean_loss.item())
            losses.append(loss.item())
            return update(loss, mean_loss=mean_loss)

        pruned.update = record
        return pruned

    means, sums = [], []

    def note(trainer):
        means.append(sum(trainer.loss_items.values()).item())
        sums.append(trainer.loss.item())

    trainer = train(
        tmp_path,
        pruned_trainer(method, task),
        task=task,
        epochs=3,
        batch=7,  # the last batch has fewer images
        events={"on_train_batch_end": note},
    )
    assert scored == pytest.approx(means, rel=1e-5)
    assert losses == sums  # the trainer's own loss is the one before weights
    assert len(scored) == 3 * 2
    assert trainer.pruned.summary().epochs == 3
    assert trainer.pruned.mean_loss > 0


def test_the_gradient_is_weighted_and_the_logged_loss_is_not(tmp_path):
    weight, gradients = 3.0, []

    class Weighted(NoPrune):
        def select(self, scores, epoch, generator):
            selection = super().select(scores, epoch, generator)
            return type(selection)(selection.indices, torch.full((IMAGES,), weight))

    class Clipped:
        def optimizer_step(self):
            trained = [each for each in self.model.parameters() if each.requires_grad]
            gradients.append(torch.cat([each.grad.flatten() for each in trained]).norm().item())

    logged = []
    for method in (NoPrune, Weighted):
        torch.manual_seed(0)
        trainer = train(
            tmp_path,
            pruned_trainer(method, bases=(Clipped,)),
            epochs=1,
            batch=IMAGES,
            **PLAIN,
            events={"on_train_batch_end": lambda trainer: logged.append(trainer.loss.item())},
        )
        assert len(trainer.pruned) == IMAGES
    assert logged[1] == pytest.approx(logged[0], rel=1e-5)
    assert gradients[1] == pytest.approx(weight * gradients[0], rel=1e-3)


PLAIN = dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "erasing"), 0.0)
"""No augmentation."""


def test_without_pruning_the_weights_are_those_of_the_trainer_alone(tmp_path):
    # one batch is the whole epoch, as both draw their own order
    weights = []
    for trainer in (base_trainer(), pruned_trainer(NoPrune)):
        done = train(tmp_path, trainer, epochs=4, batch=IMAGES, warmup_epochs=2.0, **PLAIN)
        weights.append(torch.cat([each.flatten() for each in done.model.parameters()]))
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=1e-5)


def test_the_optimizer_steps_after_as_many_batches(tmp_path):
    batches, steps = [], []

    class Counting:
        def optimizer_step(self):
            steps.append(len(batches))
            super().optimizer_step()

    train(
        tmp_path,
        pruned_trainer(random_quarter_less, bases=(Counting,)),
        epochs=6,
        nbs=8,
        events={"on_train_batch_start": batches.append},
    )
    assert len(batches) == 18  # 3 of 4 in each epoch
    assert steps == list(range(2, 19, 2))


def test_warm_up_ends_after_as_many_epochs(tmp_path):
    rates = []

    def note(trainer):
        group = next(g for g in trainer.optimizer.param_groups if g["param_group"] == "weight")
        rates.append((trainer.epoch, group["lr"], group["momentum"]))

    train(
        tmp_path,
        pruned_trainer(random_quarter_less),
        epochs=4,
        warmup_epochs=1.5,
        lrf=1.0,
        events={"on_train_batch_end": note},
    )
    ends = {epoch: (lr, momentum) for epoch, lr, momentum in rates}
    assert ends[0][0] < ends[1][0] < 0.01
    assert ends[2] == (pytest.approx(0.01), pytest.approx(0.937))


@pytest.mark.parametrize("workers", [0, 2])
def test_mosaic_is_closed_and_workers_end(tmp_path, workers):
    boxes = {}

    class Working:
        def _build_train_pipeline(self):
            self.args.workers = workers  # the trainer sets it to 0 on CPUs
            super()._build_train_pipeline()

    def note(trainer):
        trained = trainer.train_loader
        boxes.setdefault(trainer.epoch, []).append(trainer.boxes / trained.num_images)

    class CountingBoxes:
        def preprocess_batch(self, batch):
            self.boxes = len(batch["cls"])
            return super().preprocess_batch(batch)

    trainer = train(
        tmp_path,
        pruned_trainer(random_quarter_less, bases=(Working, CountingBoxes)),
        epochs=4,
        mosaic=1.0,
        close_mosaic=2,
        scale=0.0,
        translate=0.0,
        events={"on_train_batch_end": note},
    )
    assert trainer.train_loader.num_workers == workers
    assert min(boxes[0] + boxes[1]) > 1  # four images with one box each
    assert max(boxes[2] + boxes[3]) <= 1
    assert multiprocessing.active_children() == []
    assert trainer.pruned.summary().visits_made == 4 * 12


def test_bars_have_the_length_of_their_epoch(tmp_path, monkeypatch):
    from ultralytics.engine import trainer as module

    totals, bar = [], module.TQDM

    def recorded(*arguments, total, **keywords):
        totals.append(total)
        return bar(*arguments, total=total, **keywords)

    monkeypatch.setattr(module, "TQDM", recorded)
    batches: Counter[int] = Counter()
    train(
        tmp_path,
        pruned_trainer(lambda data, epochs: BLS(InfoBatch(data, epochs, prune_ratio=0.9)).proxy()),
        epochs=8,
        events={"on_train_batch_end": lambda trainer: batches.update([trainer.epoch])},
    )
    assert totals == [batches[epoch] for epoch in range(8)]
    assert min(totals) < max(totals) == 4


def test_samples_have_the_names_of_their_files(tmp_path):
    trainer = train(tmp_path, pruned_trainer(random_quarter_less), epochs=1)
    names = sample_ids(trainer.pruned.dataset)
    assert [Path(name).name for name in names] == [f"{number:02}.png" for number in range(IMAGES)]


def test_logs_say_what_was_saved(tmp_path):
    trainer = train(tmp_path, pruned_trainer(random_quarter_less), epochs=2)
    header, *rows = trainer.csv.read_text().splitlines()
    column = header.split(",").index("pruning/share_saved")
    assert [float(row.split(",")[column]) for row in rows] == [0.25, 0.25]
    assert "pruning/mean_score" in header
