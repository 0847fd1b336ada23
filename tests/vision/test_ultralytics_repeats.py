"""Ultralytics: epochs that are repeated, runs that are resumed, and several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics_runs import SETTINGS, Served, pruned_trainer, train, write_boxes

from dynaprune import BLS, InfoBatch
from dynaprune.tracking import read_recording

EPOCHS = 5


def info_batch(dataset, epochs):
    return BLS(InfoBatch(dataset, epochs, saving=0.25)).proxy()


class Failing:
    """Fails once in a batch, as a device without enough memory does."""

    failures = ((0, 2),)  # epoch and batch

    def preprocess_batch(self, batch):
        position = self.epoch, self.train_loader.num_batches
        if position in self.failures:
            self.failures = ()
            raise RuntimeError("CUDA out of memory")
        return super().preprocess_batch(batch)


def test_after_too_little_memory_the_epoch_begins_again(tmp_path):
    def method(dataset, epochs):
        pruned = info_batch(dataset, epochs)
        pruned.record(tmp_path / "recording")
        return pruned

    trainer = train(tmp_path, pruned_trainer(method, bases=(Failing,)), epochs=EPOCHS)
    assert trainer.batch_size == 2
    assert trainer.train_loader.batch_size == 2
    assert trainer.pruned.summary().visits_made == EPOCHS * 12
    recorded = read_recording(tmp_path / "recording")
    assert [len(batches) for batches in recorded] == [6] * EPOCHS  # none of the failed pass
    assert trainer.train_loader.dataset is trainer.pruned.dataset


def test_after_a_nan_the_epoch_begins_again(tmp_path):
    served, broken = Served(), []

    class Breaking:
        def _handle_nan_recovery(self, epoch):
            if epoch == 2 and not broken:
                broken.append(self.pruned.epoch)
                self.loss = self.loss * float("nan")
            is_repeated = super()._handle_nan_recovery(epoch)
            if is_repeated:
                broken.append(self.pruned.epoch)
            return is_repeated

    starts = {}

    def note(trainer):
        starts.setdefault(trainer.epoch, []).append(trainer.pruned.scores)

    trainer = train(
        tmp_path,
        served.recording(pruned_trainer(info_batch, bases=(Breaking,))),
        epochs=EPOCHS,
        events={"on_train_epoch_start": note},
    )
    assert broken == [3, 2]
    assert trainer.pruned.summary().visits_made == EPOCHS * 12
    assert torch.equal(*starts[2])
    batches = served.epochs[2]
    assert batches[:3] == batches[3:]  # the same plan


class Stop(Exception):
    pass


def test_a_resumed_run_serves_what_the_whole_run_does(tmp_path):
    def stop(trainer):
        if trainer.epoch == 1:
            raise Stop

    whole, half = Served(), Served()
    base = pruned_trainer(info_batch)
    plain = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0}
    settings = {"epochs": EPOCHS, "fliplr": 0.0, "save_period": 1, **plain}
    train(tmp_path, whole.recording(base), **settings)
    with pytest.raises(Stop):
        train(tmp_path, half.recording(base), **settings, events={"on_model_save": stop})
    weights = tmp_path / "runs" / "train-2" / "weights"
    names = {path.name for path in weights.iterdir()}
    assert names >= {"last.pruning.pt", "best.pruning.pt", "epoch0.pruning.pt", "epoch1.pruning.pt"}
    model = YOLO(weights / "last.pt")
    model.train(resume=True, trainer=half.recording(base))
    assert model.trainer.pruned.summary().visits_made == EPOCHS * 12
    assert [len(half.epochs[epoch]) for epoch in range(EPOCHS)] == [3] * EPOCHS
    assert half.epochs[2] == whole.epochs[2]  # by the scores that were saved


def test_a_run_without_pruning_state_cannot_be_resumed(tmp_path):
    base = pruned_trainer(info_batch)

    def stop(trainer):
        raise Stop

    with pytest.raises(Stop):
        train(tmp_path, base, epochs=EPOCHS, events={"on_model_save": stop})
    weights = tmp_path / "runs" / "train" / "weights"
    (weights / "last.pruning.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"last\.pruning\.pt.* without resume"):
        YOLO(weights / "last.pt").train(resume=True, trainer=base)


RANKS = 2
SCRIPT = '''
import json, os, sys
from pathlib import Path

import torch
from torch import distributed
from torchvision_operators import declare_operators

declare_operators()
from ultralytics_runs import SETTINGS, pruned_trainer, write_network
from dynaprune import BLS, InfoBatch

torch.set_num_threads(1)
folder = Path(sys.argv[1])
rank = int(os.environ["RANK"])
replicas = torch.nn.parallel.DistributedDataParallel


def on_cpu(model, device_ids, **keywords):
    return replicas(model, **keywords)


torch.nn.parallel.DistributedDataParallel = on_cpu  # the trainer names a device, which is a GPU
served, scored = {}, []


class OnCpu:
    def _setup_ddp(self):
        distributed.init_process_group("gloo", rank=rank, world_size=self.world_size)

    def preprocess_batch(self, batch):
        served.setdefault(self.epoch, []).append([Path(each).stem for each in batch["im_file"]])
        return super().preprocess_batch(batch)

    def final_eval(self):
        """Do nothing: for several processes, it looks for a GPU."""

    def _mean_over_images(self, loss):
        mean = super()._mean_over_images(loss)
        scored.append((mean.item(), sum(self.loss_items.values()).item()))
        return mean


def method(dataset, epochs):
    return BLS(InfoBatch(dataset, epochs, saving=0.25)).proxy()


overrides = {
    **SETTINGS,
    "model": str(write_network(folder / str(rank))),
    "data": str(folder / "data" / "data.yaml"),
    "save_dir": str(folder / "run"),
    "epochs": 3,
    "task": "detect",
    "save": True,
}
trainer = pruned_trainer(method, bases=(OnCpu,))(overrides=overrides)
trainer.world_size = int(os.environ["WORLD_SIZE"])
trainer.train()
(folder / f"{rank}.json").write_text(
    json.dumps(
        {
            "served": served,
            "scored": scored,
            "scores": trainer.pruned.scores.tolist(),
            "batch": trainer.train_loader.batch_size,
        }
    )
)
distributed.destroy_process_group()
'''


def test_two_processes_share_each_epoch(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_boxes(data)
    for rank in range(RANKS):
        (tmp_path / str(rank)).mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    support = Path(__file__).parents[1] / "support"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(support), os.environ.get("PYTHONPATH", "")]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(RANKS),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, tmp_path / "script.py", tmp_path],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(RANKS)
    ]
    outputs = [process.communicate(timeout=250)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs[0][-2000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(RANKS))
    assert first["batch"] == second["batch"] == SETTINGS["batch"] // RANKS
    for epoch in map(str, range(3)):
        images = [image for each in (first, second) for b in each["served"][epoch] for image in b]
        assert len(images) == len(set(images)) == 12
    for scored, mean in [*first["scored"], *second["scored"]]:
        assert scored == pytest.approx(mean, rel=1e-5)
    assert first["scores"] == second["scores"]
    assert np.unique(first["scores"]).size > 2
