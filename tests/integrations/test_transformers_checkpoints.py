"""Transformers' Trainer: where the checkpoints of pruned epochs are, and what is in them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import TrainerCallback
from transformers_runs import (
    LABELS,
    Line,
    Sentences,
    arguments,
    collate_with,
    make,
    points,
    pruning,
    trainer_of,
)

from dynaprune import RandomPrune
from dynaprune.integrations.transformers import PrunedTrainer

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


class Elsewhere(PrunedTrainer):
    """Keeps its checkpoints where a trial does."""

    def _get_output_dir(self, trial):
        return f"{super()._get_output_dir(None)}/run-7"


def test_checkpoints_are_where_the_trainer_has_them(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "num_train_epochs": 3}
    collate = collate_with(LABELS["none"])
    whole = trainer_of(tmp_path, collate, Elsewhere, method=RandomPrune, **options)
    whole.train()
    assert not list(tmp_path.glob("*.pt"))
    folder = tmp_path / "run-7" / "checkpoint-2"
    assert (folder / "pruning.pt").is_file()
    resumed = trainer_of(tmp_path, collate, Elsewhere, method=RandomPrune, **options)
    resumed.train(resume_from_checkpoint=str(folder))
    assert resumed.pruned.scores.equal(whole.pruned.scores)


@pytest.mark.parametrize("options", [{"save_only_model": True}, {"save_total_limit": 1}])
def test_checkpoints_of_less(options, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "num_train_epochs": 3, **options}
    collate = collate_with(LABELS["none"])
    trainer = trainer_of(tmp_path, collate, method=RandomPrune, **options)
    trainer.train()
    folders = sorted(tmp_path.glob("checkpoint-*"))
    assert len(folders) == (1 if "save_total_limit" in options else trainer.state.global_step)
    assert all((folder / "pruning.pt").is_file() for folder in folders)


def test_a_checkpoint_that_no_callback_is_told_of(tmp_path):
    """As those are that the Trainer saves when its job is about to be killed."""

    class Killed(TrainerCallback):
        trainer = None

        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 2:
                self.trainer._save_checkpoint(self.trainer.model, trial=None)
                raise KeyboardInterrupt

    collate = collate_with(LABELS["none"])
    options = {"gradient_accumulation_steps": 1, "num_train_epochs": 4, "optim": "sgd"}
    whole = trainer_of(tmp_path, collate, method=RandomPrune, **options)
    whole.train()
    first = trainer_of(tmp_path, collate, method=RandomPrune, **options)
    callback = Killed()
    callback.trainer = first
    first.add_callback(callback)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = trainer_of(tmp_path, collate, method=RandomPrune, **options)
    second.train(resume_from_checkpoint=True)
    assert second.pruned.scores.equal(whole.pruned.scores)
    assert second.state.global_step == whole.state.global_step


def test_callbacks_find_a_checkpoint_whole(tmp_path):
    found = []

    class Uploads(TrainerCallback):
        def on_save(self, args, state, control, **_):
            folder = tmp_path / f"checkpoint-{state.global_step}"
            found.append((folder / "pruning.pt").is_file())

    trainer = make(tmp_path, callbacks=[Uploads()], num_train_epochs=2, save_strategy="epoch")
    trainer.train()
    assert found == [True, True]


def test_a_checkpoint_of_another_trainer(tmp_path):
    options = {"save_strategy": "epoch", "num_train_epochs": 1}
    trainer = trainer_of(tmp_path, collate_with(LABELS["none"]), **options)
    trainer.train()
    (tmp_path / "checkpoint-1" / "pruning.pt").unlink()
    other = trainer_of(tmp_path, collate_with(LABELS["none"]), **options)
    message = (
        r"there is no checkpoint .*checkpoint-1/pruning.pt, which holds the scores .*resume from "
        r"a folder that has a pruning.pt, .*from_pretrained\('.*checkpoint-1'\).*without resume"
    )
    with pytest.raises(FileNotFoundError, match=message):
        other.train(resume_from_checkpoint=True)


def test_the_best_model_is_loaded_at_the_end(tmp_path):
    trainer = make(
        tmp_path,
        method=RandomPrune,
        held_out=Sentences(9),
        num_train_epochs=3,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
    )
    trainer.train()
    history = [each["eval_loss"] for each in trainer.state.log_history if "eval_loss" in each]
    assert len(history) == 3
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(history))


def test_trials_of_a_search(tmp_path, monkeypatch):
    """Each one starts from anew, and has checkpoints in a folder of its own."""
    wandb = pytest.importorskip("wandb")
    from transformers.trainer_utils import HPSearchBackend

    trainer = PrunedTrainer(
        args=arguments(
            tmp_path,
            num_train_epochs=2,
            save_strategy="epoch",
            remove_unused_columns=False,
        ),
        model_init=Line,
        train_dataset=points(),
        data_collator=collate_with(LABELS["none"]),
        pruning=pruning(RandomPrune, 2),
    )
    trainer.hp_search_backend = HPSearchBackend.WANDB
    scores = []
    for name in ("a", "b"):
        monkeypatch.setattr(wandb, "run", SimpleNamespace(id=name))
        trainer.train(trial={"learning_rate": 1e-3})
        assert trainer.pruned.epoch == 2
        assert trainer.pruned.summary().visits_made == 12  # half of the twelve, twice
        assert sorted(
            path.parent.parent.name for path in tmp_path.rglob(f"run-{name}/*/pruning.pt")
        )
        scores.append(trainer.pruned.scores)
    assert scores[0].equal(scores[1])
    assert not list(tmp_path.glob("checkpoint-*"))
