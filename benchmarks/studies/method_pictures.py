"""The pictures of docs/methods.md: which samples each method keeps in which epoch.

    python benchmarks/studies/method_pictures.py

Each method runs on the same synthetic losses, for some seconds in all. They fall as those of a
training do: fast for most samples, slowly for some, and not at all for the last tenth, as if their
labels were wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from dynaprune import PrunedDataset, methods

PICTURES = Path(__file__).parents[2] / "docs" / "images" / "methods"

SAMPLES = 1200
EPOCHS = 40
BATCH_SIZE = 20
UNTRAINED = 2.3  # the loss of a guess among ten classes
ROWS = 40

SETTINGS: dict[str, dict[str, Any]] = {
    "InfoBatch": {"saving": 0.3},
    "SeTa": {"window_scale": 0.4},
    "SkipConverged": {},
    "TrimmedLoss": {"trim": 0.1},
    "RePB": {"saving": 0.3},
    "EpsilonGreedy": {"saving": 0.3},
    "UCB": {"saving": 0.3},
    "OrderDP": {"saving": 0.3},
    "SelectiveBackprop": {"saving": 0.3},
    "LossProportional": {"saving": 0.3},
    "RandomPrune": {"saving": 0.3},
    "StaticPrune": {"saving": 0.3},
    "NoPrune": {},
}


def half_lives() -> Tensor:
    """Return the epochs in which each sample's loss halves: shape (N,), from easy to hard."""
    shares = torch.linspace(0, 1, SAMPLES)
    return torch.where(shares < 0.9, 40 ** (shares / 0.9), torch.inf)


def losses_at(progress: float, generator: torch.Generator) -> Tensor:
    """Return the losses of all samples after `progress` epochs: shape (N,)."""
    noise = torch.randn(SAMPLES, generator=generator).mul(0.2).exp()
    return UNTRAINED * 0.5 ** (progress / half_lives()) * noise


def weights_of(name: str, **settings: Any) -> NDArray[np.float32]:
    """Train with a method, and return the weight of each sample in each epoch, 0 if skipped.

    Arguments:
        name: the name of the method's class.
        settings: its arguments.

    Returns:
        Shape (N, E), samples from easy to hard.
    """
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(1))
    noise = torch.Generator().manual_seed(2)
    train: PrunedDataset = getattr(methods, name)(order, EPOCHS, **settings)
    weights = torch.zeros(SAMPLES, EPOCHS)
    for epoch in range(EPOCHS):
        kept = train.next_selection()
        weights[order[kept.indices], epoch] = 1.0 if kept.weights is None else kept.weights
        for indices in train.batches(BATCH_SIZE):
            losses = losses_at(train.progress, noise)
            train.update(losses[order[indices]])
    return weights.numpy()


def draw(weights: NDArray[np.float32], title: str) -> Figure:
    """Return the picture of some samples, one row each: coloured in the epochs that keep it."""
    rows = weights[SAMPLES // ROWS // 2 :: SAMPLES // ROWS]
    figure = Figure(figsize=(4, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        np.ma.masked_equal(rows, 0),
        cmap=LinearSegmentedColormap.from_list("weights", ["#5b84e0", "#e0852b"]),
        norm=Normalize(1, 2, clip=True),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    # one grey that can be read on white and on the dark background
    grey = "#7d8590"
    axes.set_xlabel("epoch")
    axes.set_yticks([0, ROWS - 1], ["easy", "hard"])
    axes.set_title(title, color=grey, fontsize=12)
    axes.tick_params(colors=grey, labelsize=12, length=0)
    axes.xaxis.label.set(color=grey, fontsize=12)
    for spine in axes.spines.values():
        spine.set(color=grey, alpha=0.4)
    return figure


def title_of(name: str, weights: NDArray[np.float32]) -> str:
    """Return what a picture says above it: the settings, and the share of visits that was made."""
    settings = ", ".join(f"{key}={value}" for key, value in SETTINGS[name].items())
    return f"{settings or 'defaults'}: {(weights > 0).mean():.0%} of visits"


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, settings in SETTINGS.items():
        weights = weights_of(name, **settings)
        figure = draw(weights, title_of(name, weights))
        figure.savefig(
            PICTURES / f"{name.lower()}.png",
            dpi=150,
            transparent=True,
            metadata={"Software": None},
            pil_kwargs={"optimize": True},
        )


if __name__ == "__main__":
    main()
