"""Lightning Fabric: the loop is the user's own, so it needs no integration."""

from __future__ import annotations

import pytest
import torch
from helpers import bls, mean_loss
from lightning.fabric import Fabric
from torch import nn

from dynaprune import DataLoader, InfoBatch

pytestmark = pytest.mark.filterwarnings("default")  # its own warnings are not ours to mend

EPOCHS = 4


class Run:
    """A loop as Fabric's examples have it."""

    def __init__(self):
        self.fabric = Fabric(accelerator="cpu", devices=1)
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        self.train = bls(InfoBatch, 60, num_epochs=EPOCHS)
        self.model, self.optimizer = self.fabric.setup(model, optimizer)
        self.loader = self.fabric.setup_dataloaders(DataLoader(self.train, batch_size=7))
        self.served = []

    @property
    def state(self):
        return {"model": self.model, "optimizer": self.optimizer, "train": self.train}

    def epoch(self, save_at=None, path=None):
        for number, batch in enumerate(self.loader):
            output = self.model(batch.float()[:, None] / 60)
            loss = self.train.update(output.square().mean() * 0 + mean_loss(batch))
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            self.optimizer.step()
            self.served.append(batch.tolist())
            if number == save_at:
                self.fabric.save(path, self.state)


def test_the_loop_is_that_without_fabric():
    run, alone = Run(), bls(InfoBatch, 60, num_epochs=EPOCHS)
    served = []
    for _ in range(EPOCHS):
        length = len(run.loader)
        before = len(run.served)
        run.epoch()
        assert len(run.served) - before == length
        for batch in DataLoader(alone, batch_size=7):
            alone.update(mean_loss(batch))
            served.append(batch.tolist())
    assert run.served == served
    assert run.train.scores.equal(alone.scores)


def test_a_checkpoint_in_the_middle_of_an_epoch(tmp_path):
    whole, rest = Run(), Run()
    whole.epoch()
    whole.epoch(save_at=2, path=tmp_path / "run.ckpt")
    before = 9 + 3
    rest.fabric.load(tmp_path / "run.ckpt", rest.state)
    rest.epoch()
    for run in (whole, rest):
        for _ in range(2):
            run.epoch()
    assert rest.served == whole.served[before:]
    assert rest.train.scores.equal(whole.train.scores)
