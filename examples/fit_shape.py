"""A shape as a network from places to the distance to its surface: where do visits help most?

    python examples/fit_shape.py [--epochs 160] [--folder .]

The shape is a hollow box in a ring. Trains the network in four ways with the same number of
visits, half of those of full training, and prints the accuracy of each at new points. Writes
`fit_shape.png`: a slice of the fitted distances, of their errors, and of the visits near it.
Takes less than a minute on two cores.
Needs matplotlib: `pip install '.[demo]'` in the clone.
"""

import argparse
from pathlib import Path

import torch
from matplotlib import pyplot
from torch import nn

from dynaprune import InfoBatch, NoPrune, RandomPrune
from dynaprune.methods import LossProportional

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=160, help="of full training")
parser.add_argument("--folder", type=Path, default=Path())
arguments = parser.parse_args()

BATCH, RATE = 1024, 0.02
torch.set_num_threads(1)  # more threads do not speed up a model this small


def distance(places):
    """Return the signed distance to the surface, below 0 inside: shape (B, 1)."""
    beyond = places.abs() - torch.tensor([0.5, 0.35, 0.25])
    box = beyond.clamp(min=0).norm(dim=1) + beyond.amax(1).clamp(max=0) - 0.05
    hollow = torch.maximum(box, 0.3 - places.norm(dim=1))
    from_axis = places[:, :2].norm(dim=1) - 0.75
    ring = torch.stack([from_axis, places[:, 2]]).norm(dim=0) - 0.08
    return torch.minimum(hollow, ring)[:, None]


generator = torch.Generator().manual_seed(0)
points, new_points = (torch.rand(16_384, 3, generator=generator) * 2 - 1 for _ in range(2))
distances, new_distances = distance(points), distance(new_points)
frequencies = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)) * 3


def waves(places):
    """Return sines and cosines of places, by which a network can fit details: shape (B, 128)."""
    return torch.cat([(places @ frequencies).sin(), (places @ frequencies).cos()], dim=1)


inputs = waves(points)


def fit(train):
    """Return the fitted network, and the number of visits of each point."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(model.parameters())
    steps = train.num_epochs * len(train.batches(BATCH))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    visits = torch.zeros(len(points))
    for _ in range(train.num_epochs):
        for indices in train.batches(BATCH):
            losses = (model(inputs[indices]) - distances[indices]).square().mean(1)
            loss = train.update(losses)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            visits[indices] += 1
    return model.requires_grad_(False), visits


ways = {
    "fewer epochs": NoPrune(points, arguments.epochs // 2),
    "random points": RandomPrune(points, arguments.epochs, saving=0.5),
    "InfoBatch": InfoBatch(points, arguments.epochs, saving=0.5, weighting="equal"),
    "LossProportional": LossProportional(points, arguments.epochs, saving=0.5),
}
for name, train in ways.items():
    model, visits = fit(train)
    error = (model(waves(new_points)) - new_distances).square().mean() / new_distances.var()
    print(f"{name}: {-10 * error.log10():.2f} dB with {visits.sum():,.0f} visits")

axis = torch.linspace(-1, 1, 128)
slice_points = torch.cartesian_prod(axis, axis, torch.zeros(1))
fitted, true = (
    found.reshape(128, 128).T for found in (model(waves(slice_points)), distance(slice_points))
)
near = points[:, 2].abs() < 0.1
figure, axes = pyplot.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
extent = {"extent": (-1, 1, -1, 1), "origin": "lower"}
panels = {
    "fitted distance": axes[0].imshow(fitted, cmap="RdBu", vmin=-0.5, vmax=0.5, **extent),
    "error": axes[1].imshow((fitted - true).abs(), cmap="magma", **extent),
    "visits": axes[2].scatter(*points[near, :2].T, c=visits[near], s=4),
}
axes[0].contour(axis, axis, true, levels=[0], colors="black")
for place, (title, shown) in zip(axes, panels.items(), strict=True):
    place.set(title=title, xticks=[], yticks=[], aspect="equal")
    figure.colorbar(shown, ax=place, shrink=0.8)
arguments.folder.mkdir(parents=True, exist_ok=True)
figure.savefig(arguments.folder / "fit_shape.png", dpi=100)
