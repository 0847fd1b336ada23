"""An image as a network from coordinates to colours: where do visits help most?

    python examples/fit_image.py [--epochs 160] [--folder .]

Trains the network on all pixels in each epoch, and in four ways with half of these visits, and
prints the accuracy of each. Writes `fit_image.png`: the fitted image, its errors, and how often
each pixel was visited. Takes less than a minute on two cores.
Needs scikit-learn for the image: `pip install '.[demo]'` in the clone.
"""

import argparse
from pathlib import Path

import torch
from matplotlib import pyplot
from sklearn.datasets import load_sample_image
from torch import nn

from dynaprune import InfoBatch, NoPrune, RandomPrune
from dynaprune.methods import LossProportional

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=160, help="of full training")
parser.add_argument("--folder", type=Path, default=Path())
arguments = parser.parse_args()

SIZE, BATCH, RATE = 128, 1024, 0.02
torch.set_num_threads(1)  # more threads do not speed up a model this small
pixels = torch.tensor(load_sample_image("flower.jpg")[21:405, 128:512]) / 255
colours = pixels.reshape(SIZE, 3, SIZE, 3, 3).mean((1, 3)).reshape(-1, 3)
axis = torch.linspace(-1, 1, SIZE)
points = torch.cartesian_prod(axis, axis)
# sines and cosines of coordinates, by which a network can fit details
phases = points @ (torch.randn(2, 64, generator=torch.Generator().manual_seed(0)) * 25)
inputs = torch.cat([phases.sin(), phases.cos()], dim=1)


def fit(train):
    """Return the fitted colours, and the number of visits of each pixel."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
    )
    optimizer = torch.optim.Adam(model.parameters())
    steps = train.num_epochs * len(train.batches(BATCH))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    visits = torch.zeros(len(points))
    for _ in range(train.num_epochs):
        for indices in train.batches(BATCH):
            losses = (model(inputs[indices]) - colours[indices]).square().mean(1)
            loss = train.update(losses)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            visits[indices] += 1
    with torch.no_grad():
        return model(inputs), visits


ways = {
    "full training": NoPrune(points, arguments.epochs),
    "fewer epochs": NoPrune(points, max(1, arguments.epochs // 2)),
    "random pixels": RandomPrune(points, arguments.epochs, saving=0.5),
    "InfoBatch": InfoBatch(points, arguments.epochs, saving=0.5, weighting="equal"),
    "LossProportional": LossProportional(points, arguments.epochs, saving=0.5),
}
for name, train in ways.items():
    fitted, visits = fit(train)
    errors = (fitted - colours).square().mean(1)
    print(f"{name}: {-10 * errors.mean().log10():.2f} dB with {visits.sum():,.0f} visits")

figure, axes = pyplot.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
panels = {
    "fitted": (fitted.clamp(0, 1).reshape(SIZE, SIZE, 3), None),
    "error": (errors.sqrt().reshape(SIZE, SIZE), "magma"),
    "visits": (visits.reshape(SIZE, SIZE), "viridis"),
}
for place, (title, (values, colour_map)) in zip(axes, panels.items(), strict=True):
    shown = place.imshow(values, cmap=colour_map)
    place.set(title=title, xticks=[], yticks=[])
    if colour_map is not None:
        figure.colorbar(shown, ax=place, shrink=0.8)
arguments.folder.mkdir(parents=True, exist_ok=True)
figure.savefig(arguments.folder / "fit_image.png", dpi=100)
