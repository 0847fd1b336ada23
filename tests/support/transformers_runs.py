"""Small models and runs of transformers' Trainer."""

from __future__ import annotations

import math

import torch
from torch import nn
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
)
from dynaprune.integrations.transformers import PrunedTrainer, PrunedTrainerMixin

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


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


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
