"""What a recording knows of each sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers, train_epoch
from scipy import stats

from dynaprune import DataLoader, InfoBatch, KalmanBLS, chunked
from dynaprune.tracking.recording.files import losses_files
from dynaprune.tracking.review.sources import ledger_of, ledger_of_recording

LEVEL = torch.from_numpy(np.random.default_rng(0).gamma(1.0, size=1200)).float()


def slices(batch):
    return chunked(lambda part: LEVEL[part].mean(), chunks=4)(batch)


@pytest.fixture
def run(tmp_path):
    """A run of ten epochs that skips samples, and reads slices of 8."""
    train = KalmanBLS(InfoBatch(Numbers(1200), 10, saving=0.2)).proxy()
    train.record(tmp_path)
    loader = DataLoader(train, batch_size=32)
    for _ in range(10):
        train_epoch(loader, slices)
    return train


def order(ledger):
    return stats.spearmanr(ledger.mean_excess, LEVEL).statistic


def test_a_whole_recording_orders_samples_better_than_the_run(run, tmp_path):
    ledger = ledger_of_recording(tmp_path)
    assert order(ledger) > order(ledger_of(run)) + 0.02
    assert (ledger.visits == ledger_of(run).visits).all()


def test_a_recording_without_its_first_losses_has_what_the_run_knew(run, tmp_path):
    losses_files(tmp_path)[0].unlink()
    assert (ledger_of_recording(tmp_path).mean_excess == ledger_of(run).mean_excess).all()
