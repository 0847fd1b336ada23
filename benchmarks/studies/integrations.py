"""Quality and savings in each framework: full training, pruned by score, pruned at random.

    python benchmarks/studies/integrations.py [--seeds 5] [--sst2 FOLDER]
        [--out runs/integrations.jsonl]

Each run's result is written when it finishes; the script continues where it stopped. It needs
scikit-learn, SciPy and the frameworks. The task of the Trainer needs the folder of SST-2, with
files `train.tsv` and `dev.tsv` whose lines are `sentence TAB label`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, PrunedScheduler, RandomPrune
from dynaprune.bench.statistics import mean_of
from dynaprune.integrations.accelerate import prepare
from dynaprune.integrations.lightning import PruningCallback
from dynaprune.integrations.transformers import PrunedTrainer

SAVING = 0.25
"""The share of all sample visits that pruned runs are asked to save."""

METHODS = ("full", "BLS-InfoBatch", "RandomPrune")

EPOCHS, LENGTH, WORDS = {"digits": 30, "sst2": 8}, 32, 4000


def wrapped(dataset: Any, epochs: int, method: str, seed: int) -> Any:
    if method == "BLS-InfoBatch":
        return BLS(InfoBatch(dataset, epochs, saving=SAVING, seed=seed)).proxy()
    if method == "RandomPrune":
        return RandomPrune(dataset, epochs, saving=SAVING, seed=seed)
    return NoPrune(dataset, epochs, seed=seed)


def digits(seed: int) -> tuple[TensorDataset, Tensor, Tensor]:
    """Return a training set and images and labels to test on, split by the seed."""
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    images, labels = images[order].float() / 16, labels[order]
    return TensorDataset(images[:1000], labels[:1000]), images[1000:], labels[1000:]


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def one_cycle(optimizer: torch.optim.Optimizer, loader: DataLoader, epochs: int) -> PrunedScheduler:
    steps = loader.batches_per_full_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, epochs=epochs, steps_per_epoch=steps
    )
    return PrunedScheduler(schedule, loader, steps)


def with_accelerate(method: str, seed: int) -> tuple[float, float]:
    train_set, images, labels = digits(seed)
    train = wrapped(train_set, EPOCHS["digits"], method, seed)
    model, loader = network(seed), DataLoader(train, batch_size=32)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = one_cycle(optimizer, loader, EPOCHS["digits"])
    accelerator = Accelerator(cpu=True)
    model, optimizer, loader = prepare(accelerator, model, optimizer, loader)
    for _ in range(EPOCHS["digits"]):
        for batch, targets in loader:
            loss = train.update(nn.functional.cross_entropy(model(batch), targets))
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
    accuracy = (model(images).argmax(1) == labels).float().mean().item()
    return accuracy, train.summary().share_saved


class Module(pl.LightningModule):
    def __init__(self, model: nn.Module, loader: DataLoader) -> None:
        super().__init__()
        self.model, self.loader = model, loader

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        loss: Tensor = nn.functional.cross_entropy(self.model(images), labels)
        return self.loader.dataset.update(loss)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters())
        scheduler = one_cycle(optimizer, self.loader, EPOCHS["digits"])
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()


def with_lightning(method: str, seed: int) -> tuple[float, float]:
    train_set, images, labels = digits(seed)
    train = wrapped(train_set, EPOCHS["digits"], method, seed)
    loader = DataLoader(train, batch_size=32)
    module = Module(network(seed), loader)
    trainer = pl.Trainer(
        max_epochs=EPOCHS["digits"],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[PruningCallback(loader)],
    )
    trainer.fit(module, loader)
    accuracy = (module.model(images).argmax(1) == labels).float().mean().item()
    return accuracy, train.summary().share_saved


def sentences(folder: Path, name: str, numbers: dict[str, int]) -> list[dict[str, Tensor]]:
    """Return sentences as tokens, padded with 0; unknown words are 1."""
    samples = []
    for line in (folder / f"{name}.tsv").read_text().splitlines():
        text, label = line.rsplit("\t", 1)
        tokens = torch.zeros(LENGTH, dtype=torch.long)
        words = text.lower().split()[:LENGTH]
        tokens[: len(words)] = torch.tensor([numbers.get(word, 1) for word in words])
        samples.append(
            {
                "input_ids": tokens,
                "attention_mask": (tokens > 0).long(),
                "labels": torch.tensor(int(label)),
            }
        )
    return samples


def with_trainer(folder: Path, method: str, seed: int) -> tuple[float, float]:
    text = (folder / "train.tsv").read_text().lower()
    counts = Counter(word for line in text.splitlines() for word in line.split("\t")[0].split())
    numbers = {word: 2 + rank for rank, (word, _) in enumerate(counts.most_common(WORDS))}
    torch.manual_seed(seed)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS + 2,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=LENGTH,
            num_labels=2,
        )
    )
    with tempfile.TemporaryDirectory() as out:
        trainer = PrunedTrainer(
            model,
            TrainingArguments(
                output_dir=out,
                num_train_epochs=EPOCHS["sst2"],
                per_device_train_batch_size=16,
                gradient_accumulation_steps=2,
                learning_rate=5e-4,
                warmup_steps=0.1,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                use_cpu=True,
                dataloader_pin_memory=False,
                disable_tqdm=True,
                seed=seed,
            ),
            train_dataset=sentences(folder, "train", numbers),
            eval_dataset=sentences(folder, "dev", numbers),
            compute_metrics=lambda result: {
                "accuracy": float((result.predictions.argmax(1) == result.label_ids).mean())
            },
            pruning=lambda dataset: wrapped(dataset, EPOCHS["sst2"], method, seed),
        )
        trainer.train()
        accuracy = trainer.evaluate()["eval_accuracy"]
    return accuracy, trainer.pruned.summary().share_saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sst2", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/integrations.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the models are too small for more
    tasks: dict[str, Callable[[str, int], tuple[float, float]]] = {
        "Accelerate, digits": with_accelerate,
        "Lightning, digits": with_lightning,
    }
    if arguments.sst2 is not None:
        tasks["Trainer, SST-2"] = lambda method, seed: with_trainer(arguments.sst2, method, seed)
    seeds = range(arguments.seeds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    results = {tuple(json.loads(line)[:3]): json.loads(line)[3:] for line in lines}
    for task, run in tasks.items():
        for seed in seeds:
            for method in METHODS:
                if (task, seed, method) not in results:
                    results[task, seed, method] = run(method, seed)
                    with arguments.out.open("a") as out:
                        line = [task, seed, method, *results[task, seed, method]]
                        out.write(json.dumps(line) + "\n")
    print("| framework and data | method | accuracy % | against full % | visits saved % |")
    print("| --- | --- | ---: | ---: | ---: |")
    for task in tasks:
        columns = {
            method: list(zip(*(results[task, seed, method] for seed in seeds), strict=True))
            for method in METHODS
        }
        full = columns["full"][0]
        for method, (accuracies, saved) in columns.items():
            against = [one - other for one, other in zip(accuracies, full, strict=True)]
            print(
                f"| {task} | {method} | {mean_of(accuracies).percent()} "
                f"| {mean_of(against).percent(sign=True)} | {mean_of(saved).percent()} |"
            )


if __name__ == "__main__":
    main()
