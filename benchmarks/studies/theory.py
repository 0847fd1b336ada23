"""The measurements and pictures of docs/theory.md.

    python benchmarks/studies/theory.py --root DATA [--fidelity runs/fidelity.jsonl]

It trains three models once, for a minute in all, and records them in runs/theory; existing
recordings are kept. The results for all batch sizes use the losses of one training: the samples of
each epoch are divided randomly into batches, so nothing else differs. With `--fidelity`, the plots
also show the results of fidelity.py, which trains at each batch size.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from fidelity import EPOCHS, SAMPLES, Ours, true_losses
from predictions import Numbers, averaged, best, filter_variance, predicted, static
from scipy.stats import pearsonr, spearmanr
from tasks import NAMES, Task, load
from torch.nn.functional import cross_entropy

from dynaprune import BLS, DataLoader, KalmanBLS, NoPrune, read_recording
from dynaprune.bench.recipe import one_cycle
from dynaprune.diagnostics.spectrum import Spectrum, spectrum
from dynaprune.losses.measurements import Measurements

mpl.use("Agg")
from matplotlib import pyplot

BATCH_SIZE = 16
BATCH_SIZES = (4, 16, 64, 128)
ALPHAS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def record(task: Task, folder: Path) -> None:
    """Train once, and store the losses of all samples, in training and after each epoch."""
    if (folder / "true.npy").exists():
        return
    torch.manual_seed(0)
    model = task.make_model()
    highest = task.learning_rate * math.sqrt(BATCH_SIZE / 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, weight_decay=0.01)
    train = NoPrune(task.train, EPOCHS)
    train.record(folder, overwrite=True)  # an existing recording is incomplete
    loader = DataLoader(train, batch_size=BATCH_SIZE, sampler=train.sampler)
    true = []
    for _ in range(EPOCHS):
        model.train()
        for inputs, labels in loader:
            optimizer.param_groups[0]["lr"] = highest * one_cycle(train.progress / EPOCHS)
            optimizer.zero_grad()
            train.update(cross_entropy(model(inputs), labels, reduction="none")).backward()
            optimizer.step()
        true.append(true_losses(model, task))
    np.save(folder / "true.npy", np.array(true))


# Reading a recording


def as_table(recording: list[Measurements]) -> Numbers:
    """Return the training loss of each sample in each epoch: shape (E, N)."""
    losses = np.empty((len(recording), recording[0].indices.numel()))
    for epoch, batches in enumerate(recording):
        losses[epoch, batches.indices.numpy()] = batches.losses.numpy()
    return losses


def in_batches(losses: Numbers, batch_size: int, seed: int = 0) -> list[Measurements]:
    """Return the mean losses of random batches, drawn anew in each epoch, from losses (E, N)."""
    rng, epochs = np.random.default_rng(seed), []
    for each in losses:
        order = rng.permutation(each.size)
        starts = np.arange(0, each.size, batch_size)
        sizes = np.diff(np.append(starts, each.size))
        means = np.add.reduceat(each[order], starts) / sizes
        epochs.append(
            Measurements(
                torch.from_numpy(order),
                torch.from_numpy(sizes),
                torch.from_numpy(means).float(),
                torch.arange(sizes.size),
            )
        )
    return epochs


def as_served(recording: list[Measurements]) -> list[Measurements]:
    """Return the mean losses of the batches of the training."""
    epochs = []
    for batches in recording:
        _, step, sizes = np.unique(batches.steps.numpy(), return_inverse=True, return_counts=True)
        means = np.bincount(step, batches.losses.numpy()) / sizes
        losses = torch.from_numpy(means).float()
        epochs.append(
            Measurements(batches.indices, torch.from_numpy(sizes), losses, torch.arange(sizes.size))
        )
    return epochs


def correlations(
    losses: Numbers, true: Numbers, batch_size: int, alpha: float | None, seeds: int = 3
) -> tuple[Numbers, Numbers]:
    """Return the correlations of scores with true losses after each epoch, and those of ranks.

    Arguments:
        losses: training losses, shape (E, N).
        true: losses after each epoch, shape (E, N).
        batch_size: the size of the random batches.
        alpha: α of BLS, or `None` for KalmanBLS.
        seeds: the number of random divisions into batches, over which the results are averaged.
    """
    found = np.zeros((2, len(losses)))
    for seed in range(seeds):
        base = NoPrune(range(losses.shape[1]), EPOCHS)
        reader = Ours(KalmanBLS(base) if alpha is None else BLS(base, alpha))
        for epoch, batches in enumerate(in_batches(losses, batch_size, seed)):
            reader.fold(batches)
            values = reader.values()
            found[0, epoch] += pearsonr(values, true[epoch]).statistic / seeds
            found[1, epoch] += spearmanr(values, true[epoch]).statistic / seeds
    return found[0], found[1]


# Pictures and tables


def draw_spectra(path: Path, spectra: dict[str, tuple[Spectrum, Spectrum]]) -> None:
    figure, rows = pyplot.subplots(2, 3, figsize=(12, 7), layout="constrained", sharex=True)
    for column, (name, (own, batch)) in enumerate(spectra.items()):
        for axes, power in zip(rows[:, column], (1.0, own.response**2), strict=True):
            lowest = own.noise.max() * 1e-5
            axes.plot(own.frequencies, own.noise * power, "C1", label="neighbours")
            axes.plot(batch.frequencies, batch.noise * power, "C1--", label="from batches alone")
            axes.plot(own.frequencies, own.signal * power, "C0", label="own loss")
            below = np.where(batch.signal > 0, batch.signal, np.nan) * power
            axes.plot(batch.frequencies, below, "C0--", label="from batches alone")
            axes.set_yscale("log")
            axes.set_ylim(lowest, None)
            axes.grid(alpha=0.3)
        rows[0, column].set_title(f"{name}: one visit, signal/noise {own.snr:.3f}")
        rows[1, column].set_title(f"after the average, α = 0.7: {own.filtered_snr:.3f}")
        rows[1, column].set_xlabel("frequency, cycles per visit")
    for axes in rows[:, 0]:
        axes.set_ylabel("power, loss²")
    rows[0, 0].legend(fontsize=8)
    save(figure, path)


def draw_visits(path: Path, tables: dict[str, Any]) -> None:
    figure, columns = pyplot.subplots(1, 3, figsize=(12, 4.2), layout="constrained", sharey=True)
    visits = np.arange(1.0, EPOCHS + 1)
    for axes, (name, found) in zip(columns, tables.items(), strict=True):
        for colour, size in enumerate(BATCH_SIZES):
            each = found[size]
            axes.plot(visits, each["predicted"], f"C{colour}", label=f"B = {size}")
            axes.plot(visits, each["BLS"][0], f"C{colour}o", markersize=3)
            axes.plot(visits, static(averaged(0.7, visits), size), f"C{colour}:")
        axes.set_title(name)
        axes.set_xlabel("visits of each sample (epochs)")
        axes.grid(alpha=0.3)
    columns[0].set_ylabel("correlation of BLS, α = 0.7, with true loss")
    title = "line: predicted; dots: measured; dotted: for a constant excess"
    figure.legend(
        *columns[0].get_legend_handles_labels(), title=title, loc="outside lower center", ncols=4
    )
    save(figure, path)


def draw_batch_sizes(path: Path, tables: dict[str, Any], fidelity: list[dict[str, Any]]) -> None:
    figure, columns = pyplot.subplots(1, 3, figsize=(12, 4.2), layout="constrained", sharey=True)
    sizes = np.geomspace(1, 128, 60)
    shown = {"BLS 0.7": ("C0", "o", 1), "KalmanBLS": ("C2", "s", 1)}
    shown["KalmanBLS, 8 slices"] = ("C2", "^", 8)
    for axes, (name, found) in zip(columns, tables.items(), strict=True):
        worth = averaged(0.7, np.array(30.0))
        axes.plot(sizes, static(worth, sizes), "C0:", label="BLS, constant excess")
        for kind, colour in (("BLS", "C0"), ("KalmanBLS", "C2")):
            measured = [found[size][kind][1][-1] for size in BATCH_SIZES]
            axes.plot(BATCH_SIZES, measured, f"{colour}-", label=f"{kind}, one training")
        for kind, (colour, marker, slices) in shown.items():
            runs = [e for e in fidelity if e["task"] == name and not e["prune"]]
            at = sorted({each["batch_size"] for each in runs})
            means = [
                np.mean([e["scores"][kind]["30"][0] for e in runs if e["batch_size"] == size])
                for size in at
            ]
            if at:
                effective = np.maximum(1, np.array(at) / slices)
                label = f"{kind}, trained at {'8 B' if slices > 1 else 'B'}"
                axes.plot(effective, means, f"{colour}{marker}", label=label)
        axes.set_xscale("log", base=2)
        axes.set_title(name)
        axes.set_xlabel("B: samples that share a loss")
        axes.grid(alpha=0.3)
    columns[0].set_ylabel("rank correlation with true loss, 30 epochs")
    columns[0].legend(fontsize=8)
    save(figure, path)


def draw_conditions(path: Path) -> None:
    """Plot the effects of falling losses, of heavy tails and of time, with simulated losses."""
    figure, (falling, tails, time) = pyplot.subplots(1, 3, figsize=(12, 5.2), layout="constrained")
    rng, count, size = np.random.default_rng(0), 4096, 16
    normal = rng.normal(size=(EPOCHS, count))
    changing = normal.copy()
    for epoch in range(1, EPOCHS):
        changing[epoch] = 0.9 * changing[epoch - 1] + math.sqrt(0.19) * normal[epoch]
    rates = np.array([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6])
    for excess, style, label in (
        (np.tile(normal[0], (EPOCHS, 1)), "--", "constant excess"),
        (changing, "-", "changing excess (0.9 per epoch)"),
    ):
        for alpha, colour, name in ((0.7, "C0", "BLS"), (None, "C2", "KalmanBLS")):
            measured, theory = [], []
            for rate in rates:
                level = rate ** np.arange(EPOCHS)[:, None]
                losses = level * (1 + 0.2 * excess)
                measured.append(correlations(losses, losses, size, alpha, 2)[0][-1])
                if alpha is not None:
                    theory.append(predicted(losses, losses, size, alpha)[-1])
            falling.plot(rates, measured, f"{colour}{'o' if style == '-' else 's'}", markersize=4)
            shown = theory or measured
            falling.plot(rates, shown, f"{colour}{style}", label=f"{name}, {label}")
            print(f"falling, {name}, {label}:", *(f"{r:.2f} {m:.2f};" for r, m in zip(rates, measured, strict=True)))  # fmt: skip  # noqa: E501
    falling.axvline(0.7, color="k", linewidth=0.8)
    falling.invert_xaxis()
    falling.set_xlabel("ρ: factor of losses from epoch to epoch")
    falling.set_ylabel("correlation with loss, 30 epochs, B = 16")
    falling.set_title("Falling losses (vertical line: ρ = α)")
    spreads = np.array([0.1, 0.5, 1, 1.5, 2, 2.5])
    for alpha, colour, name in ((0.7, "C0", "BLS"), (None, "C2", "KalmanBLS")):
        found = [
            correlations(*[np.tile(np.exp(s * normal[0]), (EPOCHS, 1))] * 2, size, alpha, 2)
            for s in spreads
        ]
        tails.plot(spreads, [each[1][-1] for each in found], f"{colour}o-", label=f"{name}, ranks")
        tails.plot(spreads, [each[0][-1] for each in found], f"{colour}s:", label=f"{name}, values")
        print(f"tails, {name}, ranks:", *(f"{s} {e[1][-1]:.2f};" for s, e in zip(spreads, found, strict=True)))  # fmt: skip  # noqa: E501
    tails.set_xlabel("σ of log-normal losses")
    tails.set_title("Heavy tails")
    visits, large = np.arange(1, EPOCHS + 1), 128
    losses = 1 + 0.1 * np.tile(np.random.default_rng(1).normal(size=16384), (EPOCHS, 1))
    for alpha, colour, name in ((0.7, "C0", "BLS"), (None, "C2", "KalmanBLS")):
        measured = correlations(losses, losses, large, alpha, 1)[0]
        time.plot(visits, measured, f"{colour}o", markersize=3, label=name)
        print(f"time, {name}:", *(f"{n} {measured[n - 1]:.3f};" for n in (2, 6, 13, 23, 30)))
    time.plot(visits, static(averaged(0.7, visits), large), "C0", label="√(n_eff/(n_eff + B − 1))")
    time.plot(visits, np.sqrt(1 - filter_variance(large, EPOCHS)), "C2:", label="√(1 − P)")
    time.plot(visits, best(large, visits), "k--", label="limit for any score: √(n/B)")
    time.set_xlabel("visits of each sample")
    time.set_title("Constant excess, B = 128")
    for axes in (falling, tails, time):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def print_spectra(spectra: dict[str, tuple[Spectrum, Spectrum]]) -> None:
    print("\n| task | read from | own variance, ± 95% | lasting part of it | noise "
          "| own power below ¼ | noise, upper / lower half | signal/noise of a visit "
          "| signal/noise after α = 0.7 | correlation |")  # fmt: skip
    print("| --- | --- |" + " ---: |" * 8)
    for name, both in spectra.items():
        for found in both:
            fast = found.noise[65:].mean() / found.noise[:64].mean()
            source = "samples" if found.has_sample_losses else "batches"
            lasting = f"{found.lasting_variance:.3f}"
            print(f"| {name} | {source} | {found.signal_variance:.3f} ± "
                  f"{1.96 * found.signal_error:.3f} | {lasting} | {found.noise_variance:.2f} | "
                  f"{found.slow_share:.2f} | {fast:.2f} | {found.snr:.4f} | "
                  f"{found.filtered_snr:.3f} | {found.correlation:.2f} |")  # fmt: skip


def print_correlations(tables: dict[str, Any]) -> None:
    print("\n| task | B | visits | for a constant excess | predicted | BLS | BLS, ranks "
          "| KalmanBLS, ranks | √(1 − P) |")  # fmt: skip
    print("| --- |" + " ---: |" * 8)
    for name, found in tables.items():
        for size, each in found.items():
            for visits in (5, 10, 30):
                cells = [
                    static(averaged(0.7, np.array(float(visits))), size),
                    each["predicted"][visits - 1],
                    each["BLS"][0][visits - 1],
                    each["BLS"][1][visits - 1],
                    each["KalmanBLS"][1][visits - 1],
                    math.sqrt(1 - filter_variance(size, visits)[-1]),
                ]
                shown = " | ".join(f"{float(cell):.2f}" for cell in cells)
                print(f"| {name} | {size} | {visits} | {shown} |")


def print_alphas(name: str, losses: Numbers, true: Numbers) -> None:
    """Print the predicted correlations for other values of α."""
    for size in (16, 128):
        for visits in (5, 10, 30):
            cells = [f"{predicted(losses, true, size, a)[visits - 1]:.2f}" for a in ALPHAS]
            print(f"| {name} | {size} | {visits} | {' | '.join(cells)} |")


def print_losses(name: str, losses: Numbers, true: Numbers) -> None:
    """Print statistics of the per-sample losses."""
    spread = losses.std(1)
    top = np.sort(np.square(true - true.mean(1, keepdims=True)), 1)[:, ::-1]
    heavy = top[:, : true.shape[1] // 100].sum(1) / top.sum(1)
    # rank correlation of a training loss with the true one of the same epoch
    last = spearmanr(losses[-1], true[-1]).statistic
    print(f"{name}: mean loss {', '.join(f'{losses[e].mean():.4f}' for e in (0, 4, 9, 19, 29))}; "
          f"factor of spread per epoch {(spread[-1] / spread[5]) ** (1 / 24):.2f} from 6 to 30; "
          f"share of the top 1% in the variance {heavy[4]:.2f} {heavy[9]:.2f} {heavy[-1]:.2f}; "
          f"rank correlation of true and training loss {last:.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs/theory"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--fidelity", type=Path, help="results of fidelity.py")
    given = parser.parse_args()
    torch.set_num_threads(1)
    spectra: dict[str, tuple[Spectrum, Spectrum]] = {}
    tables: dict[str, Any] = {}
    for name in NAMES:
        folder = given.runs / name
        record(load(name, given.root).first(SAMPLES[name], 0), folder)
        recording, true = read_recording(folder), np.load(folder / "true.npy").astype(np.float64)
        spectra[name] = spectrum(recording), spectrum(as_served(recording))
        losses = as_table(recording)
        print_losses(name, losses, true)
        print_alphas(name, losses, true)
        tables[name] = {
            size: {
                "predicted": predicted(losses, true, size, 0.7),
                "BLS": correlations(losses, true, size, 0.7),
                "KalmanBLS": correlations(losses, true, size, None),
            }
            for size in BATCH_SIZES
        }
    print_spectra(spectra)
    print_correlations(tables)
    lines = given.fidelity.read_text().splitlines() if given.fidelity else []
    draw_spectra(given.out / "spectra.png", spectra)
    draw_visits(given.out / "visits.png", tables)
    draw_batch_sizes(given.out / "batch-sizes.png", tables, [json.loads(line) for line in lines])
    draw_conditions(given.out / "conditions.png")


if __name__ == "__main__":
    main()
