"""Transformers' Trainer: what users' models, collators and losses see is what they always see."""

from __future__ import annotations

import pytest
import torch
from test_transformers import (
    LENGTH,
    InOrder,
    Sentences,
    arguments,
    classifier,
    means_of,
    pruning,
    steps_of,
)
from torch import nn
from transformers import BatchEncoding, Trainer, TrainerCallback

from dynaprune import InfoBatch, NoPrune, RandomPrune
from dynaprune.integrations.transformers import PrunedTrainer, PrunedTrainerMixin
from dynaprune.planning.selection import Selection

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


class Line(nn.Module):
    """The mean of (w·x − 3)², with labels of any form that nobody but its user knows.

    It takes further arguments, so the Trainer counts labels for it, and it does not use them.
    """

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.dropout = nn.Dropout(0.0)
        self.calls = 0

    def forward(self, x, labels=None, **others):
        self.calls += 1
        return {"loss": (self.dropout(x) * self.weight - 3).square().mean()}


def points():
    return [{"x": float(i)} for i in range(12)]


def collate_with(labels_of):
    def collate(samples):
        x = torch.tensor([sample["x"] for sample in samples])
        return {"x": x, **labels_of(x)}

    return collate


def boxes(x):
    return {"labels": [{"boxes": torch.ones(2, 4), "class": torch.tensor([1])} for _ in x]}


LABELS = {
    "a list of dicts": boxes,
    "none": lambda x: {},
    "None": lambda x: {"labels": None},
    "a list of tensors": lambda x: {"labels": [torch.ones(3) for _ in x]},
    "a dict": lambda x: {"labels": {"boxes": torch.ones(len(x), 4)}},
    "strings": lambda x: {"labels": ["a cat"] * len(x)},
    "a tensor": lambda x: {"labels": torch.ones(len(x), dtype=torch.long)},
}


def trainer_of(folder, collate, kind=PrunedTrainer, model=None, method=NoPrune, **options):
    options = {"num_train_epochs": 1, "gradient_accumulation_steps": 3, **options}
    epochs = options["num_train_epochs"]
    given = {"pruning": pruning(method, epochs)} if issubclass(kind, PrunedTrainerMixin) else {}
    return kind(
        model or Line(),
        arguments(folder, remove_unused_columns=False, **options),
        train_dataset=points(),
        data_collator=collate,
        **given,
    )


@pytest.mark.parametrize("form", LABELS)
def test_labels_of_any_form(form, tmp_path):
    """The Trainer trains on them, whether it can count them or not, and so do pruned epochs."""
    collate = collate_with(LABELS[form])
    trainer_of(tmp_path, collate, Trainer).train()
    trainer = trainer_of(tmp_path, collate, learning_rate=0.0)
    served = []
    own = trainer.training_step
    trainer.training_step = lambda model, inputs, *others: (
        served.append(inputs["x"].long()),
        own(model, inputs, *others),
    )[1]
    trainer.train()
    assert len(served) == 3
    means = [(2.0 * batch - 3).square().float().mean() for batch in served]
    for batch, mean in zip(served, means, strict=True):
        expected = 0.7 * means[0] + 0.3 * mean  # BLS starts at the mean of the first batch
        assert trainer.pruned.scores[batch].tolist() == pytest.approx([float(expected)] * 4)


class Counting(Trainer):
    """Collects what a metric would, in compute_loss."""

    def __init__(self, *positional, **named):
        super().__init__(*positional, **named)
        self.seen = []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self.seen.append((type(inputs), sorted(inputs), return_outputs, model.training))
        return super().compute_loss(
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )


class PrunedCounting(PrunedTrainerMixin, Counting):
    pass


@pytest.mark.parametrize("kind", [dict, BatchEncoding])
def test_what_is_of_the_user_is_called_as_by_the_trainer(kind, tmp_path):
    def collate(samples):
        return kind(collate_with(LABELS["a tensor"])(samples))

    ours = trainer_of(tmp_path, collate, PrunedCounting, num_train_epochs=2)
    theirs = trainer_of(tmp_path, collate, Counting, num_train_epochs=2)
    ours.train()
    theirs.train()
    assert ours.seen == theirs.seen == [(kind, ["labels", "x"], False, True)] * 6
    assert ours.model.calls == theirs.model.calls == 6


class WithMetrics(Trainer):
    """Takes metrics from the outputs of each training step, as the trainers of TRL do."""

    def __init__(self, *positional, **named):
        super().__init__(*positional, **named)
        self.metrics = {"train": [], "eval": []}

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs["use_cache"] = False
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        if return_outputs:
            model(**inputs)  # a caller that wants outputs pays for another forward pass
        self.metrics["train" if model.training else "eval"].append(outputs["loss"].item())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs, start_time=None):
        if "loss" in logs:
            # the sum over micro-batches: Line does not average them
            logs = {**logs, "own": sum(self.metrics["train"])}
            self.metrics["train"].clear()
        super().log(logs, start_time)


class PrunedWithMetrics(PrunedTrainerMixin, WithMetrics):
    pass


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_trainer_with_metrics_of_its_own(accumulation, tmp_path):
    """One forward pass a micro-batch, and its metrics and loss are those of the Trainer alone."""
    trainer = trainer_of(
        tmp_path,
        collate_with(LABELS["a tensor"]),
        PrunedWithMetrics,
        method=InfoBatch,
        num_train_epochs=4,
        gradient_accumulation_steps=accumulation,
        learning_rate=0.0,
        logging_steps=1,
    )
    micro_batches = []
    own = trainer.training_step
    trainer.training_step = lambda *given: (micro_batches.append(1), own(*given))[1]
    trainer.train()
    summary = trainer.pruned.summary()
    assert summary.visits_avoided > 0
    assert trainer.model.calls == len(micro_batches)
    logged = [each for each in trainer.state.log_history if "own" in each]
    assert len(logged) == trainer.state.global_step
    for each in logged:
        assert each["loss"] == pytest.approx(each["own"], abs=1e-3)


def test_inputs_that_are_no_mapping(tmp_path):
    class OfTuples(Trainer):
        def compute_loss(self, model, inputs, num_items_in_batch=None):
            (x,) = inputs
            return model(x)["loss"]

    class PrunedOfTuples(PrunedTrainerMixin, OfTuples):
        pass

    trainer = trainer_of(
        tmp_path, lambda samples: (torch.tensor([each["x"] for each in samples]),), PrunedOfTuples
    )
    trainer.train()
    assert trainer.pruned.summary().visits_made == 12


def test_a_loss_function_of_ones_own(tmp_path):
    """It divides by a plain number, and the Trainer takes the labels out of the inputs for it."""
    seen = []

    def summed(outputs, labels, num_items_in_batch=None):
        seen.append(outputs["loss"].item())
        return outputs["loss"] * labels.numel() / num_items_in_batch.item()

    trainer = PrunedTrainer(
        Line(),
        arguments(tmp_path, num_train_epochs=1, learning_rate=0.0, remove_unused_columns=False),
        train_dataset=points(),
        data_collator=collate_with(LABELS["a tensor"]),
        compute_loss_func=summed,
        pruning=pruning(NoPrune, 1),
    )
    recorded = means_of(trainer)
    trainer.train()
    assert recorded == pytest.approx(seen)
    assert len(seen) == 3


class Heavy(RandomPrune):
    """Keeps everything, with weights from 1 to 12."""

    def select(self, scores, epoch, generator):
        samples = torch.arange(len(scores))
        return Selection(samples, 1.0 + samples)


@pytest.mark.parametrize(
    ("accumulation", "form", "divisor"),
    [
        (1, "none", 1),
        (3, "none", 3),  # the Trainer averages micro-batches,
        (3, "a tensor", 1),  # or takes the model for one that has done it
    ],
)
def test_the_loss_before_weights_is_logged(accumulation, form, divisor, tmp_path):
    options = {"gradient_accumulation_steps": accumulation, "max_grad_norm": 0.0}
    trainer = trainer_of(
        tmp_path,
        collate_with(LABELS[form]),
        method=Heavy,
        learning_rate=1e-4,
        optim="sgd",
        lr_scheduler_type="constant",
        **options,
    )
    served = []
    own = trainer.training_step
    trainer.training_step = lambda model, inputs, *others: (
        served.append((inputs["x"], model.weight.item())),
        own(model, inputs, *others),
    )[1]
    trainer.train()
    losses = [float((w * x - 3).square().mean()) for x, w in served]
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    expected = losses if accumulation == 1 else [sum(losses) / divisor]
    assert logged == pytest.approx(expected, rel=1e-5)
    assert trainer.state.log_history[-1]["train_loss"] == pytest.approx(
        sum(expected) / len(expected), rel=1e-5
    )
    # and the steps were made by the weighted ones: weight 1 + i, of sample x = i
    gradients = [float((2 * x * (w * x - 3)).mean() * (1 + x).mean()) for x, w in served]
    moved = 1e-4 * sum(gradients) / divisor
    assert trainer.model.weight.item() == pytest.approx(2.0 - moved, rel=1e-5)


def test_a_look_at_the_loader_changes_nothing(tmp_path):
    class Looks(TrainerCallback):
        def on_step_end(self, args, state, control, train_dataloader, **_):
            next(iter(train_dataloader))

        def on_substep_end(self, args, state, control, train_dataloader, **_):
            next(iter(train_dataloader))

    runs = []
    for callbacks in ([], [Looks()]):
        torch.manual_seed(0)
        trainer = trainer_of(
            tmp_path,
            collate_with(LABELS["none"]),
            method=RandomPrune,
            num_train_epochs=4,
            gradient_accumulation_steps=2,
            per_device_train_batch_size=2,
        )
        for each in callbacks:
            trainer.add_callback(each)
        trainer.train()
        runs.append(trainer)
    plain, looked = runs
    assert looked.state.global_step == plain.state.global_step
    assert looked.pruned.scores.equal(plain.pruned.scores)
    assert looked.pruned.summary().visits_made == plain.pruned.summary().visits_made
    assert looked.model.weight.equal(plain.model.weight)


def test_evaluation_between_micro_batches(tmp_path):
    class Evaluates(TrainerCallback):
        trainer = None

        def on_substep_end(self, args, state, control, **_):
            self.trainer.evaluate(eval_dataset=points())
            self.trainer.predict(points())

    trainer = trainer_of(tmp_path, collate_with(LABELS["a tensor"]), num_train_epochs=2)
    callback = Evaluates()
    callback.trainer = trainer
    trainer.add_callback(callback)
    trainer.train()
    assert trainer.pruned.summary().visits_made == 24


def test_steps_that_cannot_be_scored(tmp_path):
    class Twice(PrunedTrainer):
        def compute_loss(self, *positional, **named):
            once, again = (super(Twice, self).compute_loss(*positional, **named) for _ in range(2))
            return (once + again) / 2

    class Around(PrunedTrainer):
        def compute_loss(self, model, inputs, *positional, **named):
            return model(**inputs)["loss"]

    class Copied(PrunedTrainer):
        def get_batch_samples(self, *positional):
            batches, number = super().get_batch_samples(*positional)
            return [dict(each) for each in batches], number

    collate = collate_with(LABELS["none"])
    for kind, message in (
        (Twice, r"called twice in a training step: .*PrunedTrainerMixin, MyTrainer"),
        (Around, r"has not called compute_loss of PrunedTrainerMixin.*PrunedTrainerMixin, MyTr"),
        (Copied, r"that the training loader has not yielded.* not in get_batch_samples"),
    ):
        with pytest.raises(RuntimeError, match=message):
            trainer_of(tmp_path, collate, kind).train()


def test_a_subset_is_what_is_served(tmp_path):
    """`pruning` may wrap the dataset before it prunes it."""
    trainer = PrunedTrainer(
        Line(),
        arguments(tmp_path, num_train_epochs=1, remove_unused_columns=False),
        train_dataset=points(),
        data_collator=collate_with(LABELS["none"]),
        pruning=lambda dataset: pruning(NoPrune, 1)(torch.utils.data.Subset(dataset, range(5))),
    )
    served = []
    own = trainer.training_step
    trainer.training_step = lambda model, inputs, *others: (
        served.append(inputs["x"].tolist()),
        own(model, inputs, *others),
    )[1]
    trainer.train()
    assert sorted(x for batch in served for x in batch) == [0, 1, 2, 3, 4]


def test_a_batch_size_that_is_found(tmp_path):
    class Large(Line):
        def forward(self, x, labels=None, **others):
            if len(x) > 3:
                raise RuntimeError("CUDA out of memory.")
            return super().forward(x, labels, **others)

    trainer = trainer_of(
        tmp_path,
        collate_with(LABELS["none"]),
        model=Large(),
        auto_find_batch_size=True,
        num_train_epochs=2,
    )
    kept = trainer.pruned
    trainer.train()
    assert trainer.pruned is kept  # with what was asked of it before train()
    assert trainer.pruned.summary().visits_made == 24
    assert trainer.state.max_steps == trainer.state.global_step


def test_random_numbers_are_those_of_the_trainer(tmp_path):
    """Dropout, with a model whose loss is not divided by the number of labels."""
    drawn = []
    for kind in (PrunedTrainer, InOrder):
        model = classifier()
        pruned = {"pruning": pruning(NoPrune, 2)} if kind is PrunedTrainer else {}
        trainer = kind(
            model,
            arguments(tmp_path, num_train_epochs=2),
            train_dataset=Sentences(of_tokens=False),
            **pruned,
        )
        if kind is PrunedTrainer:
            steps = steps_of(trainer)
        else:
            served = [i for _, batch in steps for i in batch]
            trainer.order = [served[:LENGTH], served[LENGTH:]]
        trainer.train()
        drawn.append(torch.get_rng_state())
    assert drawn[0].equal(drawn[1])
