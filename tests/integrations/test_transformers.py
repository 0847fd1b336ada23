"""Transformers' Trainer: what it scores, how long it trains, what its checkpoints hold."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import (
    Trainer,
    TrainerCallback,
)
from transformers_runs import (
    LENGTH,
    InOrder,
    Sentences,
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
    BLS,
    InfoBatch,
    NoPrune,
    PrunedIterableDataset,
    PrunedScheduler,
    RandomPrune,
    Sharded,
)
from dynaprune.integrations.transformers import PrunedTrainer, PrunedTrainerMixin

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 1},
        {"gradient_accumulation_steps": 3},
        {"torch_compile": True, "torch_compile_backend": "aot_eager"},
    ],
)
def test_the_mean_loss_of_each_micro_batch_is_scored(options, tmp_path):
    trainer = make(tmp_path, method=NoPrune, learning_rate=0.0, num_train_epochs=1, **options)
    steps = steps_of(trainer)
    recorded = means_of(trainer)
    trainer.train()
    torch.compiler.reset()
    assert len(steps) == LENGTH / 4
    for (_, batch), mean_loss in zip(steps, recorded, strict=True):
        assert mean_loss == pytest.approx(mean_loss_of(trainer.model, batch), rel=1e-5)


def test_the_mean_loss_of_a_model_that_does_not_normalise(tmp_path):
    model = classifier()
    trainer = make(
        tmp_path,
        model=model,
        of_tokens=False,
        method=NoPrune,
        learning_rate=0.0,
        num_train_epochs=1,
    )
    trainer.train()
    assert 0.9 < float(trainer.pruned.scores.mean()) < 1.4  # log 3 = 1.1, and not three times that


@pytest.mark.parametrize("make_model", [language_model, classifier])
def test_where_nothing_is_pruned_it_is_the_trainer(make_model, tmp_path):
    of_tokens = make_model is language_model
    ours = make(tmp_path, model=make_model(), method=NoPrune, of_tokens=of_tokens)
    steps = steps_of(ours)
    ours.train()
    theirs = InOrder(
        make_model(), arguments(tmp_path), train_dataset=Sentences(of_tokens=of_tokens)
    )
    served = [i for _, batch in steps for i in batch]
    theirs.order = [served[at : at + LENGTH] for at in range(0, len(served), LENGTH)]
    theirs.train()
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert one.equal(other)
    for one, other in zip(ours.state.log_history, theirs.state.log_history, strict=True):
        for key in ("loss", "learning_rate", "epoch", "step", "grad_norm", "train_loss"):
            assert one.get(key) == other.get(key), key
    assert ours.state.max_steps == theirs.state.max_steps


def test_pruned_epochs(tmp_path):
    """Each epoch has its own number of steps; the schedule ends where the run does."""
    trainer = make(tmp_path, num_train_epochs=12, per_device_train_batch_size=2)
    steps, gradients = steps_of(trainer), []
    trainer.add_callback(_NoteGradients(trainer, gradients))
    trainer.train()
    pruned = trainer.pruned
    assert pruned.epoch == 12
    assert pruned.summary().visits_avoided > 0
    assert len(steps) == trainer.state.global_step * 3 - sum(
        3 - len(rest) for rest in _last_groups(steps)
    )
    assert isinstance(trainer.lr_scheduler, PrunedScheduler)
    full = -(-LENGTH // 2)
    assert trainer.lr_scheduler.steps == 12 * -(-full // 3)
    assert set(trainer.lr_scheduler.get_last_lr()) == {0.0}
    assert trainer.state.epoch == 12
    assert trainer.state.global_step == trainer.state.max_steps < 12 * -(-full // 3)
    assert all(gradient is None for gradient in gradients)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert history[0]["pruning/share_saved"] == 0
    assert history[-1]["pruning/share_saved"] == pytest.approx(pruned.summary().share_saved)
    assert "pruning/mean_score" not in history[0]
    assert 0.5 < history[-1]["pruning/mean_score"] < 5


class _NoteGradients(TrainerCallback):
    """Gradients that one epoch leaves to the next."""

    def __init__(self, trainer, gradients):
        self.trainer, self.gradients = trainer, gradients

    def on_epoch_end(self, *_, **__):
        self.gradients += [p.grad for p in self.trainer.model.parameters()]


def _last_groups(steps):
    """The micro-batches of optimizer steps that had fewer than three."""
    groups: dict[int, list] = {}
    for step, batch in steps:
        groups.setdefault(step, []).append(batch)
    return [group for group in groups.values() if len(group) < 3]


@pytest.mark.parametrize("options", [{"max_steps": 10}, {"num_train_epochs": 2.5}])
def test_a_run_that_ends_within_an_epoch(options, tmp_path):
    trainer = make(tmp_path, **options)
    trainer.train()
    assert trainer.lr_scheduler.steps == 10
    assert trainer.state.max_steps == trainer.state.global_step
    assert set(trainer.lr_scheduler.get_last_lr()) == {0.0}


def test_evaluation_is_left_alone(tmp_path):
    held_out = Sentences(9)
    trainer = make(tmp_path, num_train_epochs=2, eval_strategy="epoch", held_out=held_out)
    trainer.train()
    plain = Trainer(trainer.model, arguments(tmp_path), eval_dataset=held_out)
    assert plain.evaluate()["eval_loss"] == pytest.approx(trainer.evaluate()["eval_loss"])
    assert trainer.pruned.summary().visits_made == 2 * LENGTH


def test_a_trainer_class_of_ones_own(tmp_path):
    class Doubled(Trainer):
        def compute_loss(self, *arguments, **keywords):
            loss, outputs = super().compute_loss(*arguments, **{**keywords, "return_outputs": True})
            loss = loss * 2
            return (loss, outputs) if keywords.get("return_outputs") else loss

    class PrunedDoubled(PrunedTrainerMixin, Doubled):
        pass

    scores = []
    for kind in (PrunedTrainer, PrunedDoubled):
        trainer = kind(
            language_model(),
            arguments(tmp_path, learning_rate=0.0, num_train_epochs=2),
            train_dataset=Sentences(),
            pruning=pruning(RandomPrune, 2),
        )
        trainer.train()
        scores.append(trainer.pruned.scores)
    torch.testing.assert_close(scores[1], scores[0] * 2)


def test_what_it_does_not_take(tmp_path):
    def build(**options):
        options = {"train_dataset": Sentences(), "pruning": pruning(), **options}
        given = options.pop("args", arguments(tmp_path))
        return PrunedTrainer(language_model(), given, **options)

    with pytest.raises(ValueError, match="expects train_dataset, but None was given"):
        build(train_dataset=None)
    with pytest.raises(TypeError, match="pruning must return .* but it returned a BLS"):
        build(pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)))
    with pytest.raises(TypeError, match="must be a function of .*, but it is a InfoBatch"):
        build(pruning=InfoBatch(Sentences(), num_epochs=3))
    with pytest.raises(TypeError, match="a stream does not have"):
        build(pruning=lambda dataset: InfoBatch(PrunedIterableDataset([1], key=0), num_epochs=3))
    with pytest.raises(ValueError, match="train_sampling_strategy='sequential' was given"):
        build(args=arguments(tmp_path, train_sampling_strategy="sequential"))


def test_the_mixin_comes_first():
    with pytest.raises(TypeError, match=r"write class Late\(PrunedTrainerMixin, Trainer\)"):

        class Late(Trainer, PrunedTrainerMixin):
            pass


def test_a_part_of_the_samples_for_the_only_rank_is_all_of_them(tmp_path):
    def parts(dataset):
        return BLS(RandomPrune(Sharded(dataset, rank=0, world_size=1), num_epochs=2)).proxy()

    trainer = PrunedTrainer(
        language_model(),
        arguments(tmp_path, num_train_epochs=2),
        train_dataset=Sentences(),
        pruning=parts,
    )
    trainer.train()
    assert isinstance(trainer.pruned.dataset, Sharded)
    assert trainer.pruned.summary().visits_made == LENGTH  # half of two epochs


def test_a_trainer_of_another_version_names_the_tested_one(monkeypatch, tmp_path):
    monkeypatch.delattr(transformers.Trainer, "_run_epoch")
    with pytest.raises(
        ImportError, match=r"no Trainer\._run_epoch, .* tested with transformers 5\.23: pip install"
    ):
        make(tmp_path)
