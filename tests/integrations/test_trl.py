"""TRL's trainers on pruned epochs: forward passes, scored losses, logs."""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("trl", reason="TRL needs Python 3.11")

from datasets import Dataset
from text_models import SIZES, texts, word_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from transformers_runs import means_of
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from dynaprune import BLS, InfoBatch, RandomPrune
from dynaprune.integrations.transformers import PrunedTrainerMixin
from dynaprune.integrations.trl import PrunedDPOTrainer, PrunedRewardTrainer, PrunedSFTTrainer

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # their own warnings are not ours to mend
]

ROWS, BATCH, ACCUMULATION = 44, 4, 3


def language_model(seed=0):
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SIZES, pad_token_id=0))


def reward_model():
    torch.manual_seed(0)
    return LlamaForSequenceClassification(LlamaConfig(**SIZES, pad_token_id=0, num_labels=1))


def passages():
    return Dataset.from_dict({"text": texts(ROWS)})


def answers():
    return Dataset.from_dict({"prompt": texts(ROWS), "completion": texts(ROWS, seed=1)})


def preferences():
    prompts, chosen, rejected = (texts(ROWS, seed) for seed in range(3))
    return Dataset.from_dict({"prompt": prompts, "chosen": chosen, "rejected": rejected})


SFT = (SFTTrainer, PrunedSFTTrainer, SFTConfig)
KINDS = {
    "sft": (*SFT, language_model, passages, {}),
    "sft, of completions": (*SFT, language_model, answers, {}),
    "sft, packed": (*SFT, language_model, passages, {"packing": True, "max_length": 16}),
    "dpo": (DPOTrainer, PrunedDPOTrainer, DPOConfig, language_model, preferences, {}),
    "reward": (RewardTrainer, PrunedRewardTrainer, RewardConfig, reward_model, preferences, {}),
}

every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind, folder, *, pruning=None, epochs=2, **options):
    """Return a trainer of TRL, pruned if `pruning` is given."""
    own, ours, config, model_of, rows, more = KINDS[kind]
    model = model_of()
    given = {} if pruning is None else {"pruning": pruning}
    if own is DPOTrainer:
        given["ref_model"] = language_model(seed=1)  # or all losses would be ln 2
    return (own if pruning is None else ours)(
        model=model,
        args=config(
            **{
                "output_dir": str(folder),
                "num_train_epochs": epochs,
                "per_device_train_batch_size": BATCH,
                "gradient_accumulation_steps": ACCUMULATION,
                "activation_checkpointing": False,
                "learning_rate": 1e-3,
                "logging_steps": 1,
                "save_strategy": "no",
                "report_to": "none",
                "use_cpu": True,
                "bf16": False,
                "dataloader_pin_memory": False,
                "disable_tqdm": True,
                **more,
                **options,
            }
        ),
        train_dataset=rows(),
        processing_class=word_tokenizer(),
        **given,
    )


def half(dataset):
    return BLS(RandomPrune(dataset, num_epochs=2, saving=0.5)).proxy()


@every_kind
def test_a_forward_pass_per_micro_batch(kind, tmp_path):
    trainer = make(kind, tmp_path, pruning=half)
    forwards = []
    trainer.model.register_forward_hook(lambda *_: forwards.append(1))
    trainer.train()
    rows = len(trainer.train_dataset)
    assert (rows < ROWS) == ("packed" in kind)  # a sample is a row as it is trained
    kept = rows // 2
    batches = -(-kept // BATCH)
    assert len(forwards) == 2 * batches
    steps = 2 * -(-batches // ACCUMULATION)
    assert trainer.state.global_step == trainer.state.max_steps == steps
    assert trainer.pruned.summary().visits_made == 2 * kept
    assert set(trainer.lr_scheduler.get_last_lr()) == {0.0}  # the schedule has reached its end


def micro_batches_of(trainer):
    """Note each micro-batch as the loader yields it, and the optimizer step it is a part of."""
    noted, own = [], trainer.training_step

    def training_step(model, inputs, *others):
        noted.append((trainer.state.global_step, copy.deepcopy(dict(inputs))))
        return own(model, inputs, *others)

    trainer.training_step = training_step
    return noted


@every_kind
def test_the_mean_loss_of_each_micro_batch_is_scored(kind, tmp_path):
    """Whatever it is divided by, and however it is weighted; and it is logged without weights."""

    def pruning(dataset):
        return BLS(InfoBatch(dataset, num_epochs=3, prune_ratio=0.5, delta=1.0)).proxy()

    # nothing is learned, so losses can be computed again
    trainer = make(kind, tmp_path, pruning=pruning, epochs=3, learning_rate=0.0)
    inputs, scored = micro_batches_of(trainer), means_of(trainer)
    trainer.train()
    plain = make(kind, tmp_path, learning_rate=0.0)  # of TRL alone
    plain.model.train()
    expected = [plain.compute_loss(plain.model, dict(batch)).item() for _, batch in inputs]
    assert scored == pytest.approx(expected, rel=1e-4)
    assert trainer.pruned.summary().share_saved > 0.1

    history = [each for each in trainer.state.log_history if "loss" in each]
    for entry in history:
        members = [i for i, (step, _) in enumerate(inputs) if step == entry["step"] - 1]
        # TRL divides the losses of tokens by all tokens of a step, and averages those of pairs
        weights = [
            inputs[i][1]["labels"][:, 1:].ne(-100).sum().item() if "sft" in kind else 1
            for i in members
        ]
        total = sum(weight * expected[i] for weight, i in zip(weights, members, strict=True))
        assert entry["loss"] == pytest.approx(total / sum(weights), rel=1e-3)
    assert len(history) == trainer.state.global_step


@every_kind
def test_the_metrics_of_trl_are_those_of_what_was_trained(kind, tmp_path):
    """Nothing is counted that the training itself has not done."""
    trainer = make(kind, tmp_path, pruning=half)
    inputs = micro_batches_of(trainer)
    trainer.train()
    tokens = sum(
        batch["attention_mask"].sum().item()
        if "attention_mask" in batch
        else batch["input_ids"].numel()
        for _, batch in inputs
    )
    last = [each for each in trainer.state.log_history if "num_tokens" in each][-1]
    assert last["num_tokens"] == tokens
    assert last["pruning/share_saved"] == pytest.approx(0.5, abs=0.01)


def test_evaluation_is_that_of_trl(tmp_path):
    pruned, plain = make("sft", tmp_path, pruning=half), make("sft", tmp_path)
    for trainer in (pruned, plain):
        trainer.model.eval()
    ours, theirs = (trainer.evaluate(trainer.train_dataset) for trainer in (pruned, plain))
    assert ours["eval_loss"] == theirs["eval_loss"]
    assert ours["eval_mean_token_accuracy"] == theirs["eval_mean_token_accuracy"]


class PrunedGRPOTrainer(PrunedTrainerMixin, GRPOTrainer):
    pass


def test_a_trainer_that_repeats_rows_is_refused(tmp_path):
    trainer = PrunedGRPOTrainer(
        model=language_model(),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=BATCH,
            num_generations=2,
            report_to="none",
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=answers().remove_columns("completion"),
        processing_class=word_tokenizer(),
        pruning=half,
    )
    with pytest.raises(
        TypeError, match=r"has a RepeatSampler, but a pruned dataset serves each sa"
    ):
        trainer.train()
