"""Transformers' Trainer: what it scores, how long it trains, what its checkpoints hold."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest
import torch
from ranks import environment_of_torchrun, free_port, on_ranks
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
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

LENGTH, VOCABULARY = 44, 17


class Sentences(torch.utils.data.Dataset):
    """Token sequences of different lengths, padded, with labels for each token."""

    def __init__(self, length=LENGTH, of_tokens=True):
        draw = torch.Generator().manual_seed(0)
        self.samples = []
        for index in range(length):
            tokens = torch.randint(1, VOCABULARY, (12,), generator=draw)
            labels = tokens.clone()
            labels[3 + index % 8 :] = -100
            self.samples.append(
                {
                    "input_ids": tokens,
                    "labels": labels if of_tokens else torch.tensor(index % 3),
                    "unused": torch.tensor(index),
                }
            )

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def language_model():
    """Its loss is normalised by num_items_in_batch."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def classifier():
    """Its loss is a mean, whatever the Trainer gives it."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=3,
        hidden_dropout_prob=0.1,
    )
    return BertForSequenceClassification(config)


def arguments(folder, **options):
    return TrainingArguments(
        **{
            "output_dir": str(folder),
            "num_train_epochs": 6,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 3,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "disable_tqdm": True,
            **options,
        }
    )


def pruning(method=InfoBatch, num_epochs=6, **options):
    return lambda dataset: BLS(method(dataset, num_epochs=num_epochs, **options)).proxy()


def make(
    folder,
    *,
    model=None,
    method=InfoBatch,
    of_tokens=True,
    callbacks=None,
    held_out=None,
    **options,
):
    return PrunedTrainer(
        model or language_model(),
        arguments(folder, **options),
        train_dataset=Sentences(of_tokens=of_tokens),
        eval_dataset=held_out,
        callbacks=callbacks,
        pruning=pruning(method, num_epochs=math.ceil(options.get("num_train_epochs", 6))),
    )


def steps_of(trainer):
    """Note the samples of every micro-batch, and the optimizer step that it is a part of."""
    steps, own = [], trainer.training_step
    numbers = {tuple(sample["input_ids"].tolist()): i for i, sample in enumerate(Sentences())}

    def noted(model, inputs, *others):
        samples = [numbers[tuple(tokens)] for tokens in inputs["input_ids"].tolist()]
        steps.append((trainer.state.global_step, samples))
        return own(model, inputs, *others)

    trainer.training_step = noted
    return steps


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


def means_of(trainer):
    """Note the mean losses that are scored."""
    recorded, own = [], trainer.pruned.update

    def noted(loss, indices, mean_loss):
        recorded.append(float(mean_loss))
        return own(loss, indices, mean_loss=mean_loss)

    trainer.pruned.update = noted
    return recorded


def mean_loss_of(model, batch):
    """The mean loss of some samples over their own labels."""
    data = Sentences()
    tokens = torch.stack([data[i]["input_ids"] for i in batch])
    labels = torch.stack([data[i]["labels"] for i in batch])
    logits = model.eval()(input_ids=tokens).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, VOCABULARY), labels[:, 1:].reshape(-1), ignore_index=-100
    )
    return loss.item()


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
    assert trainer._mean_loss.is_normalised is False
    assert 0.9 < float(trainer.pruned.scores.mean()) < 1.4  # log 3 = 1.1, and not three times that


class InOrder(Trainer):
    """The Trainer, serving the batches of another run."""

    order = ()

    def _get_train_sampler(self, dataset=None):
        return Listed(self.order)


class Listed(torch.utils.data.Sampler):
    def __init__(self, epochs):
        self.epochs, self.count = epochs, 0

    def __len__(self):
        return len(self.epochs[0])

    def __iter__(self):
        self.count += 1
        return iter(self.epochs[self.count - 1])


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


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


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
    with pytest.raises(TypeError, match="a stream does not have"):
        build(pruning=lambda dataset: InfoBatch(PrunedIterableDataset([1], key=0), num_epochs=3))
    with pytest.raises(ValueError, match="train_sampling_strategy='sequential' was given"):
        build(args=arguments(tmp_path, train_sampling_strategy="sequential"))


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
