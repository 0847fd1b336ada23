"""Transformers' Trainer: runs that stop and resume, and several processes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
from ranks import environment_of_torchrun, free_port, on_ranks
from transformers_runs import (
    LENGTH,
    Sentences,
    Stop,
    arguments,
    classifier,
    language_model,
    make,
    mean_loss_of,
    means_of,
    pruning,
    steps_of,
)

from dynaprune import (
    RandomPrune,
    Sharded,
)
from dynaprune.integrations.transformers import PrunedTrainer

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


@pytest.mark.parametrize(("stop", "workers"), [(2, 0), (4, 0), (9, 0), (6, 1)])
def test_stopped_and_resumed(stop, workers, tmp_path):
    options = {
        "num_train_epochs": 8,
        "save_strategy": "steps",
        "save_steps": 1,
        "dataloader_num_workers": workers,
    }
    build = {"of_tokens": False, **options}
    whole = make(tmp_path / "whole", model=classifier(), **build)
    expected = steps_of(whole)
    whole.train()
    first = make(tmp_path / "run", model=classifier(), callbacks=[Stop(stop + 1)], **build)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = make(tmp_path / "run", model=classifier(), **build)
    steps = steps_of(second)
    torch.manual_seed(123)
    second.train(resume_from_checkpoint=True)
    assert steps == [step for step in expected if step[0] >= stop]
    assert second.pruned.scores.equal(whole.pruned.scores)
    for one, other in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert one.equal(other)
    assert second.state.global_step == whole.state.global_step
    # what took time is not the same twice
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss")
    for one, other in zip(second.state.log_history, whole.state.log_history, strict=True):
        for key in one.keys() - set(timed) - {"total_flos"}:
            assert one[key] == other[key], key


def test_stopped_with_samples_left_that_make_no_batch(tmp_path):
    options = {
        "save_strategy": "steps",
        "save_steps": 1,
        "dataloader_drop_last": True,
        "per_device_train_batch_size": 5,
        "gradient_accumulation_steps": 2,
    }
    whole = make(tmp_path / "whole", **options)
    whole.train()
    first = make(tmp_path / "run", callbacks=[Stop(5)], **options)
    with pytest.raises(KeyboardInterrupt):
        first.train()  # the last checkpoint is at the end of the first epoch's eight batches
    second = make(tmp_path / "run", **options)
    second.train(resume_from_checkpoint=True)
    assert second.pruned.scores.equal(whole.pruned.scores)
    assert second.state.global_step == whole.state.global_step


@pytest.mark.parametrize(("before", "after"), [(4, 8), (8, 4)])
def test_resumed_with_another_batch_size(before, after, tmp_path):
    options = {"num_train_epochs": 8, "save_strategy": "steps", "save_steps": 1}
    first = make(tmp_path, per_device_train_batch_size=before, callbacks=[Stop(10)], **options)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = make(tmp_path, per_device_train_batch_size=after, **options)
    second.train(resume_from_checkpoint=True)
    assert second.pruned.epoch == second.state.epoch == 8
    assert set(second.lr_scheduler.get_last_lr()) == {0.0}


def test_trained_twice(tmp_path):
    trainer = make(tmp_path, num_train_epochs=4, learning_rate=0.0)
    trainer.train()
    once = trainer.pruned.summary(), trainer.state.global_step
    trainer.train()
    assert trainer.pruned.summary().visits_made == once[0].visits_made
    assert trainer.state.global_step == once[1]


def test_checkpoints_that_are_none(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "num_train_epochs": 2}
    trainer = make(tmp_path, **options)
    trainer.train()
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = json.loads((last / "trainer_state.json").read_text())
    assert state["epoch"] == 2
    content = (last / "pruning.pt").read_bytes()
    (last / "pruning.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(RuntimeError, match=r"pruning.pt, of .* cannot be read: it is cut short"):
        make(tmp_path, **options).train(resume_from_checkpoint=True)
    Path(last / "pruning.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*pruning.pt"):
        make(tmp_path, **options).train(resume_from_checkpoint=True)


def on_two_ranks(rank, port, folder):
    """A whole run, one that is stopped in the middle of an epoch, and its end."""
    environment_of_torchrun(rank, 2, port)
    options = {"num_train_epochs": 8, "save_strategy": "steps", "save_steps": 1}
    whole = make(f"{folder}/whole", **options)
    expected, recorded = steps_of(whole), means_of(whole)
    whole.train()
    for (step, batch), mean in list(zip(expected, recorded, strict=True))[:3]:
        assert step == 0  # the losses of all three are of the untrained model
        assert mean == pytest.approx(mean_loss_of(language_model(), batch), rel=1e-5)
    with contextlib.suppress(KeyboardInterrupt):
        make(f"{folder}/run", callbacks=[Stop(8)], **options).train()
    second = make(f"{folder}/run", **options)
    steps = steps_of(second)
    second.train(resume_from_checkpoint=True)
    weights = [
        torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
        for trainer in (whole, second)
    ]
    parts = [resumed_parts(folder, stop) for stop in (None, 2)]
    return expected, steps, (whole.pruned.scores, second.pruned.scores), weights, parts


def resumed_parts(folder, stop):
    """Train on this rank's part of the samples, stopped and resumed where `stop` is given."""
    options = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1}

    def build(callbacks):
        return PrunedTrainer(
            language_model(),
            arguments(f"{folder}/parts-{stop}", **options),
            train_dataset=Sentences(),
            callbacks=callbacks,
            pruning=lambda dataset: pruning(RandomPrune, 3)(Sharded(dataset)),
        )

    if stop is not None:
        with contextlib.suppress(KeyboardInterrupt):
            build([Stop(stop + 1)]).train()
    trainer = build([])
    trainer.train(resume_from_checkpoint=stop is not None)
    steps = trainer.state.global_step, trainer.state.max_steps
    return trainer.pruned.scores, steps, trainer.pruned.dataset.rank


def test_two_processes(tmp_path):
    ranks = on_ranks(2, on_two_ranks, free_port(), str(tmp_path))
    full_epoch = -(-LENGTH // 2 // 4)
    first = [i for expected, *_ in ranks for _, batch in expected[:full_epoch] for i in batch]
    assert sorted(first) == list(range(LENGTH))
    for rank, (expected, steps, scores, weights, parts) in enumerate(ranks):
        (whole, ends, _), (resumed, resumed_ends, part) = parts
        assert part == rank
        assert resumed.equal(whole)
        assert ends == resumed_ends == (3, 3)  # 11 of 22 samples an epoch: 3 batches, one step
        assert steps == [step for step in expected if step[0] >= 7]
        assert scores[0].equal(scores[1])
        assert scores[0].equal(ranks[0][2][0])
        assert weights[0].equal(weights[1])
        assert weights[0].equal(ranks[0][3][0])


def test_another_number_of_epochs(tmp_path, caplog):
    trainer = make(tmp_path, num_train_epochs=2)
    trainer.train()
    assert "num_epochs" not in caplog.text
    trainer.args.num_train_epochs = 3
    trainer.train()
    assert "made with num_epochs=2, but the run trains 3 epochs" in caplog.text
