"""Numbers of each epoch, in TensorBoard, Weights & Biases, MLflow and a terminal."""

from __future__ import annotations

import copy
import io
import sys

import pytest
import torch
from helpers import Numbers, bls
from ranks import on_ranks

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, Sharded
from dynaprune.tracking.loggers import Logger, MLflowLogger, TensorBoardLogger, WandbLogger
from dynaprune.tracking.progress_bar import progress

NAMES = {
    "pruning/visits",
    "pruning/share_served",
    "pruning/share_saved",
    "pruning/seconds",
    "pruning/mean_loss",
    "pruning/mean_score",
    "pruning/losses_left_out",
}


class Kept:
    """A logger that keeps what it gets."""

    def __init__(self):
        self.epochs = {}

    def log(self, metrics, epoch):
        self.epochs[epoch] = dict(metrics)


def train_on(train, epochs, loss_of=lambda batch: batch.float().mean()):
    for _ in range(epochs):
        for batch in DataLoader(train, batch_size=10, sampler=train.sampler):
            train.update(loss_of(batch))


def test_the_numbers_of_an_epoch():
    train = BLS(InfoBatch(Numbers(100), num_epochs=4, saving=0.4)).proxy()
    kept = Kept()
    assert isinstance(kept, Logger)
    train.log_to(kept)
    losses = []
    for _ in range(3):
        epoch = []
        for batch in DataLoader(train, batch_size=10, sampler=train.sampler):
            loss = batch.float().mean()
            train.update(loss)
            epoch += [float(loss)] * len(batch)
        losses.append(sum(epoch) / len(epoch))
    assert list(kept.epochs) == [0, 1, 2]  # the last one too, as soon as it is over
    assert set(kept.epochs[0]) == NAMES
    assert set(kept.epochs[2]) == NAMES | {"pruning/reliability"}
    for number, numbers in kept.epochs.items():
        assert numbers["pruning/visits"] == 60
        assert numbers["pruning/share_served"] == 0.6
        assert numbers["pruning/share_saved"] == pytest.approx(0.4)
        assert numbers["pruning/mean_loss"] == pytest.approx(losses[number], rel=1e-5)
        assert numbers["pruning/seconds"] > 0
    assert kept.epochs[2]["pruning/mean_score"] == pytest.approx(float(train.scores.mean()))
    assert kept.epochs[2]["pruning/reliability"] == pytest.approx(train.reliability)


def test_losses_that_are_not_finite_are_counted():
    train, kept = bls(NoPrune, 30), Kept()
    train.log_to(kept)
    train_on(train, 1, lambda batch: torch.tensor(float("nan")))
    assert kept.epochs[0]["pruning/losses_left_out"] == 3
    assert "pruning/mean_loss" not in kept.epochs[0]


def test_logging_changes_nothing():
    plain, logged = bls(InfoBatch, 100), bls(InfoBatch, 100)
    logged.log_to(Kept())
    train_on(plain, 4)
    train_on(logged, 4)
    assert plain.scores.equal(logged.scores)
    assert plain.summary().visits_made == logged.summary().visits_made


def test_what_is_no_logger():
    for wrong in ([], Kept):
        with pytest.raises(TypeError, match=r"an object with a method log\(metrics, epoch\), but"):
            bls(NoPrune, 4).log_to(wrong)


def test_a_logger_that_raises_changes_nothing_else():
    class Once(Kept):
        def log(self, metrics, epoch):
            super().log(metrics, epoch)
            if epoch == 0:
                raise OSError("the disk is full")

    train, logger = bls(NoPrune, 30), Once()
    train.log_to(logger)
    with pytest.raises(OSError, match="disk is full"):
        train_on(train, 1)
    train_on(train, 2)
    assert list(logger.epochs) == [0, 1, 2]
    assert train.summary().epochs == 3
    assert train.summary().visits_made == 90


def test_one_part_of_a_sharded_dataset_logs():
    parts = [
        BLS(NoPrune(Sharded(Numbers(21), rank=rank, world_size=2), 2)).proxy() for rank in (0, 1)
    ]
    loggers = [Kept(), Kept()]
    for train, logger in zip(parts, loggers, strict=True):
        train.log_to(logger)
    assert [len(train.epochs.callbacks.all) for train in parts] == [1, 0]


def test_copies_log_and_record_nothing(tmp_path):
    train = bls(NoPrune, 30)
    train.log_to(Kept())
    train.record(tmp_path)
    copied = copy.deepcopy(train)
    assert copied.epochs.callbacks.all == ()
    assert len(train.epochs.callbacks.all) == 2


def logged_on_rank(rank: int) -> list[int]:
    train, kept = bls(NoPrune, 40), Kept()
    train.log_to(kept)
    train_on(train, 2)
    return [int(numbers["pruning/visits"]) for numbers in kept.epochs.values()]


def test_one_rank_logs_for_all():
    assert on_ranks(2, logged_on_rank) == [[40, 40], []]


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train = bls(InfoBatch, 100)
    train.log_to(TensorBoardLogger(tmp_path))
    train_on(train, 3)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == NAMES | {"pruning/reliability"}
    assert [event.step for event in events.Scalars("pruning/visits")] == [0, 1, 2]
    saved = events.Scalars("pruning/share_saved")[-1].value
    assert saved == pytest.approx(train.summary().share_saved)
    with pytest.raises(TypeError, match="writer must be a SummaryWriter or a folder, but a int"):
        TensorBoardLogger(3)


@pytest.mark.long
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train, other = bls(InfoBatch, 100), bls(InfoBatch, 100)
    run = wandb.init(mode="offline", dir=tmp_path, project="pruning")
    train.log_to(WandbLogger(run))
    other.log_to(WandbLogger())  # the one that is active
    for step in range(3):
        run.log({"mine": step}, step=100 * step)
        train_on(train, 1)
    train_on(other, 1)
    assert run.summary["pruning/share_saved"] == pytest.approx(other.summary().share_saved)
    assert run.summary["pruning/epoch"] == 0
    assert run.summary["mine"] == 2  # nothing of what else is logged is lost
    run.finish()
    assert list(tmp_path.rglob("*.wandb"))
    with pytest.raises(RuntimeError, match=r"call wandb.init\(\) before the first epoch ends"):
        train_on(other, 1)


def test_mlflow_in_a_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    train = bls(InfoBatch, 100)
    with mlflow.start_run() as run:
        train.log_to(MLflowLogger())
        train_on(train, 3)
    later = bls(InfoBatch, 100)
    later.log_to(MLflowLogger(run.info.run_id))
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "pruning/share_saved")
    assert [point.step for point in history] == [0, 1, 2]
    assert history[-1].value == pytest.approx(train.summary().share_saved)
    train_on(later, 1)
    assert len(client.get_metric_history(run.info.run_id, "pruning/visits")) == 4


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("tensorboard", lambda: TensorBoardLogger("nowhere")),
        ("wandb", WandbLogger),
        ("mlflow", MLflowLogger),
        ("rich.progress", lambda: next(progress(DataLoader(bls(NoPrune, 4))))),
    ],
)
def test_a_missing_package_is_named_with_its_extra(name, make, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    extra = name.replace("rich.", "")
    with pytest.raises(ImportError, match=rf"{name.partition('.')[0]}.*\[{extra}\]"):
        make()


def test_a_line_in_the_terminal():
    console = pytest.importorskip("rich.console")
    train = BLS(InfoBatch(Numbers(100), num_epochs=3, saving=0.4)).proxy()
    out = io.StringIO()
    screen = console.Console(file=out, width=100, force_terminal=False)
    loader = DataLoader(train, batch_size=10, sampler=train.sampler)
    for _ in range(2):
        for batch in progress(loader, console=screen):
            train.update(batch.float().mean())
    first, second = out.getvalue().splitlines()
    assert "epoch 1/3" in first
    assert "6/6" in first
    assert "60 of 100 samples, 0.0% saved" in first
    assert "epoch 2/3" in second
    assert "60 of 100 samples, 40.0% saved" in second


def test_progress_wants_a_pruned_dataset():
    loader = torch.utils.data.DataLoader(Numbers(4))
    with pytest.raises(TypeError, match="a loader over a pruned dataset, but a DataLoader"):
        next(progress(loader))
