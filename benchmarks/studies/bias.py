"""The effect of one loss per batch on InfoBatch's gradient: its bias, and its noise.

    python benchmarks/studies/bias.py --root DATA    # continues where it stopped

The mean loss times the mean weight is not the mean of weight times loss, because the samples with
higher weights are the easy ones. The script trains a model for some epochs, computes the gradient
of every sample, and compares the expected gradient of a batch with that of full training (times
N/K, the scale of InfoBatch). It averages the coefficients of samples over very many batches, to
separate bias from noise.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS, Runs
from numpy.typing import NDArray
from tasks import Task, load
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from dynaprune import BLS, InfoBatch, KalmanBLS, SampleLoss
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.statistics import mean_of
from dynaprune.losses.chunk_sizes import slice_size

SAMPLES, BATCH, SLICES, EPOCHS = 2048, 64, 8, 16
SCORES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "true losses": (SampleLoss, 0),
    "KalmanBLS, 8 slices": (KalmanBLS, SLICES),
    "KalmanBLS": (KalmanBLS, 1),
    "BLS": (BLS, 1),
}
"""Each with the number of losses per batch; 0 stands for one per sample."""

Weights = NDArray[np.float64]


def sample_by_sample(weights: Weights) -> Weights:
    return weights / weights.size


def mean_times_mean(weights: Weights) -> Weights:
    return np.full(weights.size, weights.mean() / weights.size)


def no_weights(weights: Weights) -> Weights:
    return np.full(weights.size, 1 / weights.size)


def in_slices(weights: Weights) -> Weights:
    length = -(-weights.size // SLICES)
    parts = [weights[first : first + length] for first in range(0, weights.size, length)]
    return np.concatenate([np.full(part.size, part.mean()) for part in parts]) / weights.size


def shuffled(kept: NDArray[np.int64], weights: Weights, random: np.random.Generator) -> Any:
    return random.permutation(kept)


def sorted_inside(kept: NDArray[np.int64], weights: Weights, random: np.random.Generator) -> Any:
    order = random.permutation(kept)
    batches = np.split(order, range(BATCH, order.size, BATCH))
    return np.concatenate([batch[np.argsort(weights[batch])] for batch in batches])


def of_one_weight(kept: NDArray[np.int64], weights: Weights, random: np.random.Generator) -> Any:
    order = random.permutation(kept)
    order = order[np.argsort(weights[order], kind="stable")]
    batches = np.split(order, range(BATCH, order.size - BATCH + 1, BATCH))
    return np.concatenate([batches[i] for i in random.permutation(len(batches))])


VARIANTS: dict[str, tuple[Any, Any]] = {
    "a weight a sample": (shuffled, sample_by_sample),
    "no weights": (shuffled, no_weights),
    "mean times mean": (shuffled, mean_times_mean),
    "8 slices": (shuffled, in_slices),
    "8 slices, batches sorted by weight": (sorted_inside, in_slices),
    "batches of one weight": (of_one_weight, mean_times_mean),
}


def run(task: Task, score: str, trained: int, seed: int) -> dict[str, Any]:
    """Return bias and noise of each variant, relative to the length of the full gradient."""
    make, slices = SCORES[score]
    torch.manual_seed(seed)
    model = task.make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.learning_rate, weight_decay=0.01)
    train = make(InfoBatch(task.train, EPOCHS, delta=1.0, seed=seed)).proxy()
    for _ in range(trained):
        for batch in torch.tensor(list(train.sampler)).split(BATCH):
            optimizer.param_groups[0]["lr"] = task.learning_rate * one_cycle(
                train.progress / EPOCHS
            )
            losses = cross_entropy(model(task.inputs[batch]), task.labels[batch], reduction="none")
            length = slice_size(len(batch), slices) if slices else 1
            means = torch.stack([part.mean() for part in losses.split(length)])
            optimizer.zero_grad()
            train.update(means if slices != 1 else losses.mean(), indices=batch).backward()
            optimizer.step()
        train.end_epoch()
    products = gradient_products(model.eval(), task)
    total = products.shape[0]
    full = float(products.mean())  # the square of the full gradient's length
    random = np.random.default_rng(seed)
    found: dict[str, tuple[float, float]] = {}
    scores, epoch = train.scores, train.epoch
    for name, (arrange, share) in VARIANTS.items():
        mean, second, batches = np.zeros(total), 0.0, 0
        for draw in range(300):
            generator = torch.Generator().manual_seed(seed * 1000 + draw)
            selection = train.select(scores, epoch, generator)
            kept = selection.indices.numpy()
            weights = np.ones(total)
            if selection.weights is not None:
                weights[kept] = selection.weights.numpy()
            order = arrange(kept, weights, random)
            scale = kept.size / total
            for batch in np.split(order, range(BATCH, order.size, BATCH))[:-1]:
                coefficients = share(weights[batch]) * scale
                if share is no_weights:  # the scale would act as a smaller learning rate
                    coefficients = coefficients / scale
                mean[batch] += coefficients
                if draw < 20:
                    inside = products[np.ix_(batch, batch)]
                    second += float(coefficients @ inside @ coefficients)
                    batches += 1
        # dropping each epoch's last batch changes the scale, but adds no bias
        mean /= mean.sum()
        apart = mean - 1 / total
        found[name] = (
            math.sqrt(max(0.0, float(apart @ products @ apart)) / full),
            math.sqrt(max(0.0, second / batches - float(mean @ products @ mean)) / full),
        )
    below = scores < scores.mean()
    return {"ways": found, "below": float(below.float().mean())}


def gradient_products(model: torch.nn.Module, task: Task) -> NDArray[np.float64]:
    """Return the inner products of the gradients of single samples, shape (N, N)."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(values: dict[str, Tensor], inputs: Tensor, label: Tensor) -> Tensor:
        outputs = functional_call(model, (values, buffers), (inputs[None],))
        return cross_entropy(outputs, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    rows = []
    for inputs, labels in zip(task.inputs.split(64), task.labels.split(64), strict=True):
        rows.append(torch.cat([g.flatten(1) for g in each(parameters, inputs, labels).values()], 1))
    gradients = torch.cat(rows)
    return (gradients @ gradients.T).double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS / "bias.jsonl")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs = Runs(given.out)
    for seed in range(given.seeds):
        task = load("images", given.root).first(SAMPLES, seed)
        for score in SCORES:
            for trained in (4, 12):
                key = {"score": score, "trained": trained, "seed": seed}
                runs.do(key, run, task, score, trained, seed)
    print("| score | epochs | variant | bias, % of the gradient | noise, times the gradient |")
    print("| --- | ---: | --- | ---: | ---: |")
    for score in SCORES:
        for trained in (4, 12):
            mine = [r for r in runs.results if (r["score"], r["trained"]) == (score, trained)]
            for name in VARIANTS:
                bias = mean_of([each["ways"][name][0] for each in mine])
                noise = mean_of([each["ways"][name][1] for each in mine])
                wide = "" if math.isnan(noise.half_width) else f" ± {noise.half_width:.2f}"
                print(
                    f"| {score} | {trained} | {name} | {bias.percent()} | {noise.value:.2f}{wide} |"
                )


if __name__ == "__main__":
    main()
