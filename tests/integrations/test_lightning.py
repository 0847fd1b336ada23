"""Lightning: epochs of their own lengths, checkpoints in their middle, several devices."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from helpers import Numbers, bls
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_runs import EPOCHS, Module, StopAt, fit, trainer
from ranks import environment_of_torchrun, free_port, on_ranks
from streams import Stored, bls_stream, stream_of

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, RandomPrune, SeTa
from dynaprune.integrations.lightning import PruningCallback

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


def plain(method, arguments=None):
    """The same in a loop of one's own."""
    train = bls(method, 60, num_epochs=EPOCHS, **(arguments or {}))
    loader = DataLoader(train, batch_size=7)
    module = Module(train)
    optimizer = module.configure_optimizers()
    for epoch in range(EPOCHS):
        for number, batch in enumerate(loader):
            loss = train.update(module.loss(batch))
            module.served.append((epoch, number, batch.tolist()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    train.end_epoch()
    return train, module


@pytest.mark.parametrize(
    ("method", "arguments", "workers"),
    [
        (InfoBatch, {}, 0),
        (InfoBatch, {}, 1),
        (SeTa, {"prune_ratio": 0.3}, 0),
        (RandomPrune, {"saving": 0.4}, 0),
    ],
)
def test_the_same_run_as_without_it(method, arguments, workers, tmp_path):
    """SeTa's epochs become longer and shorter: the first one's length is not that of all."""
    expected, alone = plain(method, arguments)
    train, module, used = fit(tmp_path, method, workers=workers, arguments=arguments)
    assert module.served == alone.served
    assert train.scores.equal(expected.scores)
    assert module.weight.equal(alone.weight)
    assert [epoch for epoch, _ in module.validated] == list(range(EPOCHS))
    assert train.epoch == EPOCHS
    logged = used.callback_metrics
    assert float(logged["pruning/share_saved"]) == pytest.approx(train.summary().share_saved)
    assert float(logged["pruning/mean_score"]) == pytest.approx(float(train.scores.mean()))


@pytest.mark.parametrize("step", [3, 9, 12, 20])
def test_resumed_in_the_middle_of_an_epoch(step, tmp_path):
    whole, alone, _ = fit(tmp_path / "whole", InfoBatch)
    every = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, InfoBatch, every, StopAt(step + 2))
    checkpoint = next((tmp_path / "kept").glob(f"*step={step}.ckpt"))
    train, module, _ = fit(tmp_path, InfoBatch, resume=checkpoint)
    assert module.served == alone.served[step:]
    assert train.scores.equal(whole.scores)
    assert module.weight.equal(alone.weight)
    assert max(module.validated)[0] == EPOCHS - 1


def test_resumed_between_epochs(tmp_path):
    whole, alone, _ = fit(tmp_path / "whole", InfoBatch)
    ends = ModelCheckpoint(tmp_path / "kept", every_n_epochs=1, save_top_k=-1)
    fit(tmp_path, InfoBatch, ends, max_epochs=4)
    checkpoint = next((tmp_path / "kept").glob("epoch=2-*.ckpt"))
    train, module, _ = fit(tmp_path, InfoBatch, resume=checkpoint)
    assert module.served == [step for step in alone.served if step[0] > 2]
    assert train.scores.equal(whole.scores)
    assert module.weight.equal(alone.weight)


def test_a_step_without_update_is_found_out(tmp_path):
    train = bls(NoPrune, 20)
    loader = DataLoader(train, batch_size=5)
    with pytest.raises(RuntimeError, match=r"training_step of Module has not called update\(\)"):
        trainer(tmp_path, PruningCallback(loader)).fit(Module(train, updates=False), loader)


def test_only_loaders_of_ours():
    for wrong in (torch.utils.data.DataLoader(Numbers(4)), DataLoader(Numbers(4))):
        with pytest.raises(TypeError, match="expects the training loader, a dynaprune.DataLoader"):
            PruningCallback(wrong)


def test_accumulation(tmp_path):
    train, module, used = fit(tmp_path, InfoBatch, accumulate_grad_batches=2)
    per_epoch = [sum(1 for epoch, *_ in module.served if epoch == e) for e in range(EPOCHS)]
    assert used.global_step == sum(-(-batches // 2) for batches in per_epoch)
    assert train.summary().visits_avoided > 0


def on_two_ranks(rank, port, folder):
    """A whole run, one that is stopped in the middle of an epoch, and its end."""
    environment_of_torchrun(rank, 2, port)
    options = {"strategy": "ddp", "devices": 2}
    whole, alone, _ = fit(f"{folder}/whole", InfoBatch, **options)
    every = ModelCheckpoint(f"{folder}/kept", every_n_train_steps=1, save_top_k=-1)
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        fit(folder, InfoBatch, every, StopAt(9), **options)
    checkpoint = next(Path(folder, "kept").glob("*step=7.ckpt"))
    train, module, _ = fit(folder, InfoBatch, resume=checkpoint, **options)
    return (
        alone.served,
        module.served,
        (whole.scores, train.scores),
        (alone.weight.detach(), module.weight.detach()),
    )


def test_two_devices(tmp_path):
    ranks = on_ranks(2, on_two_ranks, free_port(), str(tmp_path))
    first = [i for served, *_ in ranks for epoch, _, batch in served if epoch == 0 for i in batch]
    assert sorted(first) == list(range(60))
    for served, resumed, scores, weights in ranks:
        assert resumed == served[7:]
        assert scores[0].equal(scores[1])
        assert scores[0].equal(ranks[0][2][0])
        assert weights[0].equal(weights[1])


def test_another_number_of_epochs(tmp_path, caplog):
    fit(tmp_path, NoPrune, max_epochs=EPOCHS)
    assert "num_epochs" not in caplog.text
    fit(tmp_path, NoPrune, max_epochs=2)
    assert f"made with num_epochs={EPOCHS}, but the run trains 2 epochs" in caplog.text


def test_a_stream_trains_its_passes_whole(tmp_path):
    untold = DataLoader(bls_stream(InfoBatch, 60), batch_size=7)
    with pytest.raises(TypeError, match=r"PrunedIterableDataset\(\.\.\., num_samples=N\)"):
        PruningCallback(untold)
    stream = stream_of(Stored(60), shuffle=20, num_samples=60)
    train = BLS(InfoBatch(stream, EPOCHS)).proxy()
    loader = DataLoader(train, batch_size=7)
    module = Module(train)
    trainer(tmp_path, PruningCallback(loader)).fit(module, loader)
    assert train.epoch == EPOCHS
    for epoch in range(EPOCHS):
        samples = [i for number, _, batch in module.served for i in batch if number == epoch]
        assert len(set(samples)) == len(samples)
        assert (len(samples) < 60) == (1 <= epoch < 7)
    assert train.summary().visits_made == sum(len(batch) for *_, batch in module.served)


def stream_on_two_ranks(rank, port, folder):
    environment_of_torchrun(rank, 2, port)
    stream = stream_of(Stored(60), shuffle=20, num_samples=60)
    train = BLS(InfoBatch(stream, EPOCHS)).proxy()
    loader = DataLoader(train, batch_size=7)
    module = Module(train)
    trainer(folder, PruningCallback(loader), strategy="ddp", devices=2).fit(module, loader)
    return module.served, train.scores


def test_a_stream_on_two_devices(tmp_path):
    ranks = on_ranks(2, stream_on_two_ranks, free_port(), str(tmp_path))
    assert ranks[0][1].equal(ranks[1][1])
    for epoch in range(EPOCHS):
        samples = [i for served, _ in ranks for e, _, batch in served for i in batch if e == epoch]
        assert len(samples) - len(set(samples)) <= 1
        assert (len(set(samples)) == 60) == (epoch in (0, 7))
