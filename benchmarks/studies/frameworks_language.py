"""Full training against pruned training at 30% of visits saved, in TRL and sentence-transformers.

    python benchmarks/studies/frameworks_language.py --data DATA [--task sft] [--seeds 5]
    python benchmarks/studies/frameworks_language.py --data DATA --time  # on an idle machine

DATA is a folder with `tinyshakespeare.txt` and `weak-labels/trec/{train,test}.json`. Full training
is the framework's own trainer, without dynaprune. The methods of a seed are trained one after the
other in one process, so that their times can be compared. Each run's result is written when it
finishes; the script continues where it stopped. It needs SciPy and the frameworks. `--time` trains
with and without pruning in turns, and prints the share of time saved over that of steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from kept_runs import RESULTS, Runs
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments as EmbeddingArguments
from sentence_transformers.sentence_transformer.losses import (
    BatchAllTripletLoss,
    BatchHardTripletLossDistanceFunction,
)
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as TokenizerFast
from trl import SFTConfig, SFTTrainer

from dynaprune import BLS, InfoBatch, RandomPrune
from dynaprune.bench.statistics import mean_of
from dynaprune.integrations.sentence_transformers import PrunedSentenceTransformerTrainer
from dynaprune.integrations.trl import PrunedSFTTrainer

SAVING = 0.3
METHODS = ("full", "BLS-InfoBatch", "RandomPrune")
EPOCHS = {"sft": 6, "embeddings": 8}
QUALITY = {"sft": "held-out loss", "embeddings": "accuracy of the nearest class mean"}
TRAINED = {
    "report_to": "none",
    "use_cpu": True,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_strategy": "no",
}


def pruned(dataset: Any, epochs: int, method: str, seed: int) -> Any:
    if method == "BLS-InfoBatch":
        return BLS(InfoBatch(dataset, epochs, saving=SAVING, seed=seed)).proxy()
    return RandomPrune(dataset, epochs, saving=SAVING, seed=seed)


def with_method(method: str, own: Any, ours: Any, task: str, seed: int) -> Callable[..., Any]:
    """Return the class of the trainer, with `pruning` if the method prunes."""
    if method == "full":
        return own

    def make(*arguments: Any, **keywords: Any) -> Any:
        return ours(
            *arguments,
            pruning=lambda dataset: pruned(dataset, EPOCHS[task], method, seed),
            **keywords,
        )

    return make


def trained(trainer: Any) -> dict[str, float]:
    """Train; return the seconds that it took and the share of visits saved."""
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.train()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    saved = trainer.pruned.summary().share_saved if hasattr(trainer, "pruned") else 0.0
    return {"saved": saved, "wall": wall, "cpu": cpu, "steps": trainer.state.global_step}


def tokenizer_of(tokens: list[str], pre_tokenizer: Any) -> TokenizerFast:
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>"}
    vocabulary = {token: number for number, token in enumerate([*special.values(), *tokens])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])]
    )
    return TokenizerFast(tokenizer_object=tokenizer, **special)


def sft(data: Path, method: str, seed: int, folder: str) -> dict[str, float]:
    """Train a language model of characters on passages of 128 characters."""
    text = (data / "tinyshakespeare.txt").read_text()
    passages = [text[start : start + 128] for start in range(0, 160_000, 128)]
    tokenizer = tokenizer_of(sorted(set(text)), pre_tokenizers.Split("", "isolated"))
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=256,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    trainer = with_method(method, SFTTrainer, PrunedSFTTrainer, "sft", seed)(
        model,
        args=SFTConfig(
            output_dir=folder,
            num_train_epochs=EPOCHS["sft"],
            per_device_train_batch_size=8,
            learning_rate=2e-3,
            lr_scheduler_type="cosine",
            warmup_steps=20,
            gradient_checkpointing=False,
            bf16=False,
            seed=seed,
            **TRAINED,
        ),
        train_dataset=Dataset.from_dict({"text": passages[:1000]}),
        eval_dataset=Dataset.from_dict({"text": passages[1000:]}),
        processing_class=tokenizer,
    )
    result = trained(trainer)
    return {"quality": trainer.evaluate()["eval_loss"], **result}


def questions(data: Path, name: str) -> tuple[list[str], torch.Tensor]:
    rows = json.loads((data / "weak-labels" / "trec" / f"{name}.json").read_text())
    return [row["text"] for row in rows], torch.tensor([row["label"] for row in rows])


def embeddings(data: Path, method: str, seed: int, folder: str) -> dict[str, float]:
    """Train embeddings of questions, so that those of a class are close."""
    texts, labels = questions(data, "train")
    texts, labels = texts[:2000], labels[:2000]
    tokenizer = tokenizer_of(
        sorted({word for text in texts for word in text.split()}), pre_tokenizers.WhitespaceSplit()
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder)
    encoder = Transformer(folder, max_seq_length=32)
    model = SentenceTransformer(
        modules=[encoder, Pooling(encoder.get_embedding_dimension())], device="cpu"
    )
    own, ours = SentenceTransformerTrainer, PrunedSentenceTransformerTrainer
    trainer = with_method(method, own, ours, "embeddings", seed)(
        model,
        EmbeddingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS["embeddings"],
            per_device_train_batch_size=32,
            learning_rate=5e-4,
            warmup_steps=20,
            batch_sampler="group_by_label",
            seed=seed,
            **TRAINED,
        ),
        train_dataset=Dataset.from_dict({"text": texts, "label": labels.tolist()}),
        loss=BatchAllTripletLoss(
            model, BatchHardTripletLossDistanceFunction.cosine_distance, margin=0.2
        ),
    )
    result = trained(trainer)
    points, (others, truth) = model.encode(texts, convert_to_tensor=True), questions(data, "test")
    means = torch.stack([points[labels == label].mean(0) for label in labels.unique()])
    nearest = torch.cdist(model.encode(others, convert_to_tensor=True), means).argmin(1)
    return {"quality": (labels.unique()[nearest] == truth).float().mean().item(), **result}


TASKS = {"sft": sft, "embeddings": embeddings}


def share_of(name: str, one: dict[str, Any], full: dict[str, Any]) -> float:
    """Return the share of full training's time or steps that a run has saved."""
    return float(1 - one[name] / full[name])


def time_in_turns(task: str, data: Path, number: int) -> dict[str, Any]:
    """Train by each method, and return its steps and seconds."""
    timed: dict[str, Any] = {}
    for method in METHODS[:: 1 if number % 2 else -1]:
        with tempfile.TemporaryDirectory() as folder:
            result = TASKS[task](data, method, 0, folder)
        timed[method] = {name: result[name] for name in ("steps", "wall", "cpu")}
    return timed


TURNS = 5


def print_times(runs: Runs) -> None:
    """Print the share of time saved over that of steps: the median of the turns, the range."""
    turns = [each for each in runs.results if each["turn"] > 0]  # the first one warms up
    for task, method in itertools.product(TASKS, METHODS[1:]):
        pairs = [(each[method], each["full"]) for each in turns if each["task"] == task]
        for clock in ("wall", "cpu") if pairs else ():
            ratios = [share_of(clock, *pair) / share_of("steps", *pair) for pair in pairs]
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(f"{task}, {method}, {clock}: {middle:.2f}, from {low:.2f} to {high:.2f}")


def table(runs: Runs) -> None:
    """Print the results of the seeds that all methods have trained.

    Visits are compared by steps: the batch sampler of a task may leave samples out.
    """
    columns = (
        "task",
        "method",
        "quality",
        "against full",
        "steps saved %",
        "wall-clock",
        "CPU time",
    )
    print("| " + " | ".join(columns) + " |\n| --- | --- |" + " ---: |" * 5)
    for task in TASKS:
        found = {
            (each["method"], each["seed"]): each for each in runs.results if each["task"] == task
        }
        seeds = sorted(seed for method, seed in found if method == METHODS[-1])
        for method in METHODS if seeds else ():
            pairs = [(found[method, seed], found["full", seed]) for seed in seeds]
            quality = mean_of([one["quality"] for one, _ in pairs]).text()
            against = mean_of([one["quality"] - full["quality"] for one, full in pairs])
            saved = [share_of("steps", one, full) for one, full in pairs]
            cells = [f"{task}, {QUALITY[task]}", method, quality]
            if method != "full":
                cells += [against.text(sign=True), mean_of(saved).percent()]
                for clock in ("wall", "cpu"):  # saved, divided by the visits saved
                    ratios = [
                        share_of(clock, *pair) / share
                        for pair, share in zip(pairs, saved, strict=True)
                    ]
                    cells.append(f"{statistics.median(ratios):.2f}")
            print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", choices=TASKS, action="append")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "frameworks-language.jsonl")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the models are too small for more
    if arguments.time:
        runs = Runs(arguments.out.with_stem(f"{arguments.out.stem}-time"))
        for task in arguments.task or TASKS:
            for turn in range(TURNS + 1):
                runs.do({"task": task, "turn": turn}, time_in_turns, task, arguments.data, turn)
        print_times(runs)
        return
    runs = Runs(arguments.out)
    for task in arguments.task or TASKS:
        for seed in range(arguments.seeds):
            for method in METHODS:
                with tempfile.TemporaryDirectory() as folder:
                    key = {"task": task, "seed": seed, "method": method}
                    runs.do(key, TASKS[task], arguments.data, method, seed, folder)
    table(runs)


if __name__ == "__main__":
    main()
