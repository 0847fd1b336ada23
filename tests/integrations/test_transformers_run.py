"""Transformers' Trainer: when a run of pruned epochs ends, and what it tells."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback
from transformers_runs import Sentences, arguments, language_model, make, pruning

from dynaprune import InfoBatch, NoPrune, RandomPrune
from dynaprune.integrations.transformers import PrunedTrainer
from dynaprune.planning.selection import Selection

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]

# RandomPrune trains on 22 of the 44 sentences: 6 batches of four, which are 2 steps of three


class Ends(TrainerCallback):
    """Notes the step at which the run is expected to end."""

    def __init__(self):
        self.at_train_begin, self.by_epoch, self.by_step = 0, [], []

    def on_train_begin(self, args, state, control, **_):
        self.at_train_begin = state.max_steps

    def on_epoch_begin(self, args, state, control, **_):
        self.by_epoch.append(state.max_steps)

    def on_step_end(self, args, state, control, **_):
        self.by_step.append(state.max_steps)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"num_train_epochs": 6}, 12),
        # ten steps of full training, four an epoch: half of the third epoch's 22 samples is reached
        # by its first step, of twelve samples
        ({"num_train_epochs": 2.5}, 5),
        ({"max_steps": 10}, 5),
        ({"max_steps": 9, "gradient_accumulation_steps": 1}, 5),  # 11 batches an epoch, then 6
        ({"num_train_epochs": 3, "dataloader_drop_last": True}, 6),
        ({"num_train_epochs": 3, "gradient_accumulation_steps": 100}, 3),
        ({"num_train_epochs": 3, "lr_scheduler_type": "constant"}, 6),
    ],
)
def test_the_end_is_known_where_all_epochs_are_alike(options, steps, tmp_path):
    ends = Ends()
    trainer = make(tmp_path, method=RandomPrune, callbacks=[ends], **options)
    trainer.train()
    assert trainer.state.global_step == steps
    assert ends.at_train_begin == steps
    assert set(ends.by_step) == {steps}
    assert set(ends.by_epoch) == {steps}


class Falling(RandomPrune):
    """Keeps 40, 32, 24 and 16 samples, and then 40 in the last epoch."""

    kept = (40, 32, 24, 16, 40)

    def select(self, scores, epoch, generator):
        return Selection(torch.randperm(44, generator=generator)[: self.kept[epoch]])


def test_epochs_that_are_unlike_are_foreseen_by_the_method(tmp_path):
    ends = Ends()
    trainer = make(tmp_path, method=Falling, callbacks=[ends], num_train_epochs=5)
    trainer.train()
    # 10, 8, 6, 4 and 10 batches
    assert trainer.state.global_step == ends.at_train_begin == 4 + 3 + 2 + 2 + 4


def test_the_end_is_learned_as_scores_are(tmp_path):
    ends = Ends()
    options = {"num_train_epochs": 12, "per_device_train_batch_size": 2}
    trainer = make(tmp_path, callbacks=[ends], **options)
    trainer.train()
    steps = trainer.state.global_step
    assert ends.at_train_begin == 12 * math.ceil(22 / 3)  # nothing is known: that of full training
    assert ends.by_epoch[-1] == steps
    assert abs(ends.by_epoch[6] - steps) <= 6
    assert ends.by_epoch[-1] < ends.at_train_begin
    # never over before it is, which would stop the run
    assert all(end > step for step, end in enumerate(ends.by_step[:-1], start=1))
    assert ends.by_step[-1] == steps


def test_the_progress_bar_follows(tmp_path):
    bars = []

    class Bars(TrainerCallback):
        trainer = None

        def on_step_end(self, args, state, control, **_):
            for each in self.trainer.callback_handler.callbacks:
                if isinstance(each, ProgressCallback):
                    bars.append((each.training_bar.total, each.training_bar.n))

    callback = Bars()
    trainer = make(
        tmp_path, callbacks=[callback], num_train_epochs=8, disable_tqdm=False, method=InfoBatch
    )
    callback.trainer = trainer
    trainer.train()
    steps = trainer.state.global_step
    assert bars[0][0] == 8 * 4 > steps
    assert bars[-1][0] == steps
    assert all(n < total for total, n in bars[:-1])


def test_steps_that_are_a_share_of_the_run(tmp_path):
    trainer = make(
        tmp_path,
        method=RandomPrune,
        held_out=Sentences(9),
        num_train_epochs=6,
        logging_steps=0.25,
        eval_strategy="steps",
        eval_steps=0.5,
        save_strategy="steps",
        save_steps=0.5,
    )
    trainer.train()
    history = trainer.state.log_history
    assert [each["step"] for each in history if "loss" in each] == [3, 6, 9, 12]
    assert [each["step"] for each in history if "eval_loss" in each] == [6, 12]
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-12",
        "checkpoint-6",
    ]


@pytest.mark.parametrize(("delay", "evaluated"), [(0, [5]), (6, [])])
def test_the_last_step_is_evaluated_and_saved_as_by_the_trainer(delay, evaluated, tmp_path):
    trainer = make(
        tmp_path,
        method=RandomPrune,
        held_out=Sentences(9),
        num_train_epochs=2.5,
        eval_strategy="steps",
        eval_steps=1000,
        eval_delay=delay,
        save_strategy="steps",
        save_steps=1000,
    )
    trainer.train()
    history = trainer.state.log_history
    assert [each["step"] for each in history if "eval_loss" in each] == evaluated
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-5"]


def test_samples_per_second_are_those_that_were_trained_on(tmp_path):
    trainer = make(tmp_path, method=RandomPrune, num_train_epochs=6)
    metrics = trainer.train().metrics
    samples = metrics["train_samples_per_second"] * metrics["train_runtime"]
    assert samples == pytest.approx(6 * 22, rel=0.01)
    assert trainer.state.log_history[-1]["train_samples_per_second"] == pytest.approx(
        metrics["train_samples_per_second"]
    )


def test_an_epoch_of_which_drop_last_leaves_nothing(tmp_path):
    """The Trainer would stop at it; here the next one follows."""

    class Few(Falling):
        kept = (44, 3, 44)

    trainer = make(
        tmp_path,
        method=Few,
        held_out=Sentences(9),
        num_train_epochs=3,
        dataloader_drop_last=True,
        eval_strategy="epoch",
    )
    trainer.train()
    assert trainer.state.global_step == trainer.state.max_steps == 4 + 4
    assert trainer.state.epoch == 3
    history = trainer.state.log_history
    assert [each["epoch"] for each in history if "eval_loss" in each] == [1, 2, 3]


def test_epochs_are_counted_as_by_the_trainer(tmp_path):
    """By batches, of which the last one is smaller; also after a checkpoint in the middle."""
    options = {
        "num_train_epochs": 2,
        "gradient_accumulation_steps": 1,
        "per_device_train_batch_size": 10,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    whole = make(tmp_path, method=NoPrune, **options)
    whole.train()
    resumed = make(tmp_path, method=NoPrune, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for trainer in (whole, resumed):
        epochs = [each["epoch"] for each in trainer.state.log_history if "loss" in each]
        # 44 samples make five batches
        assert epochs == [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
        assert trainer.state.max_steps == 10


def test_an_epoch_that_a_callback_ends(tmp_path):
    class Ended(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_epoch_stop = state.global_step == 1

    ends = Ends()
    trainer = make(tmp_path, method=RandomPrune, callbacks=[Ended(), ends], num_train_epochs=4)
    trainer.train()
    assert ends.by_epoch == [8, 7, 7, 7]
    assert trainer.state.global_step == 7


def test_a_scheduler_that_was_given_follows_each_run(tmp_path):
    model = language_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rates = []

    def rate(step):
        rates.append(step)
        return 1.0

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    trainer = PrunedTrainer(
        model,
        arguments(tmp_path, num_train_epochs=3),
        train_dataset=Sentences(),
        optimizers=(optimizer, schedule),
        pruning=pruning(RandomPrune, 3),
    )
    trainer.train()
    assert rates[-1] == 3 * 4  # steps of full training
    trainer.train()
    assert rates[-1] == 2 * 3 * 4
    assert trainer.state.global_step == trainer.state.max_steps == 6


def test_a_pruned_dataset_that_is_given_twice(tmp_path):
    made = []

    def same(dataset):
        made.append(pruning(RandomPrune, 2)(dataset) if not made else made[0])
        return made[0]

    trainer = PrunedTrainer(
        language_model(),
        arguments(tmp_path, num_train_epochs=2),
        train_dataset=Sentences(),
        pruning=same,
    )
    trainer.train()
    with pytest.raises(ValueError, match="a new pruned dataset .* has been trained for 2 epochs"):
        trainer.train()
