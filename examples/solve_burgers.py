"""Burgers' equation, solved by a network that fits the equation itself: a physics-informed network.

    python examples/solve_burgers.py [--epochs 200] [--folder .]

u_t + u·u_x = ν·u_xx with ν = 0.03/π, u(x, 0) = −sin πx and u(±1, t) = 0: a shock forms at x = 0.
The solution is odd in x, so the network needs to learn x from 0 to 1 only.
Trains the network in four ways with the same number of visits, half of those of full training, and
prints the relative error of each against a spectral solver. Writes `solve_burgers.png`: the
solution, its errors, and how often each point was visited. Takes about a minute on two cores.
Needs SciPy and matplotlib: `pip install '.[demo]'` in the clone.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot
from scipy.integrate import solve_ivp
from torch import nn

from dynaprune import InfoBatch, NoPrune, RandomPrune
from dynaprune.methods import LossProportional

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=200, help="of full training")
parser.add_argument("--folder", type=Path, default=Path())
arguments = parser.parse_args()

VISCOSITY, BATCH, RATE = 0.03 / math.pi, 256, 0.01
torch.set_num_threads(1)  # more threads do not speed up a model this small
generator = torch.Generator().manual_seed(0)
points = torch.rand(4096, 2, generator=generator)  # x and t, from 0 to 1


def reference(num_waves=1024):
    """Return x from 0 to 1, t and the solution at them, by a Fourier spectral method."""
    x, t = np.linspace(-1, 1, num_waves, endpoint=False), np.linspace(0, 1, 101)
    waves = np.pi * np.arange(num_waves // 2 + 1)
    resolved, half = waves < waves[-1] * 2 / 3, num_waves // 2

    def change(_, u):
        flux = 0.5j * waves * np.fft.rfft(u * u) * resolved
        return np.fft.irfft(-flux - VISCOSITY * waves**2 * np.fft.rfft(u))

    solved = solve_ivp(change, (0, 1), -np.sin(np.pi * x), t_eval=t, rtol=1e-6, atol=1e-8)
    return [torch.tensor(found, dtype=torch.float32) for found in (x[half:], t, solved.y[half:])]


def with_derivatives(network, points):
    """Return values, and first and second derivatives by x and t, from layer to layer."""
    value, first = points, torch.eye(2)[:, None, :].expand(-1, len(points), -1)
    second = torch.zeros_like(first)
    for layer in network:
        if isinstance(layer, nn.Linear):
            value, first, second = layer(value), first @ layer.weight.T, second @ layer.weight.T
        else:
            value = value.tanh()
            slope = 1 - value.square()
            first, second = slope * first, slope * (second - 2 * value * first.square())
    return value[:, 0], first[..., 0], second[..., 0]


def solution(value, points):
    """Return u from the network's value, so that it is right at t = 0, x = 0 and x = 1."""
    x, t = points.T
    return -(math.pi * x).sin() + t * x * (1 - x) * value


def residual(network, points):
    """Return by how much the equation is missed: shape (B,)."""
    x, t = points.T
    value, (by_x, by_t), (by_xx, _) = with_derivatives(network, points)
    edge, slope = x * (1 - x), 1 - 2 * x
    u = solution(value, points)
    u_t = edge * (value + t * by_t)
    u_x = -math.pi * (math.pi * x).cos() + t * (edge * by_x + slope * value)
    u_xx = math.pi**2 * (math.pi * x).sin() + t * (edge * by_xx + 2 * slope * by_x - 2 * value)
    return u_t + u * u_x - VISCOSITY * u_xx


def fit(train):
    """Return the trained network, and the number of visits of each point."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()
    )
    network.append(nn.Linear(64, 1))
    optimizer = torch.optim.Adam(network.parameters())
    steps = train.num_epochs * len(train.batches(BATCH))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    visits = torch.zeros(len(points))
    for _ in range(train.num_epochs):
        for indices in train.batches(BATCH):
            loss = train.update(residual(network, points[indices]).square())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            visits[indices] += 1
    return network.requires_grad_(False), visits


x, t, known = reference()
grid = torch.cartesian_prod(x, t)
ways = {
    "fewer epochs": NoPrune(points, arguments.epochs // 2),
    "random points": RandomPrune(points, arguments.epochs, saving=0.5),
    "InfoBatch": InfoBatch(points, arguments.epochs, saving=0.5, weighting="equal"),
    "LossProportional": LossProportional(points, arguments.epochs, saving=0.5),
}
for name, train in ways.items():
    network, visits = fit(train)
    found = solution(network(grid)[:, 0], grid).reshape(known.shape)
    error = (found - known).norm() / known.norm()
    print(f"{name}: relative error {error:.2e} with {visits.sum():,.0f} visits")

figure, axes = pyplot.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
panels = {
    "solution": axes[0].pcolormesh(t, x, found, cmap="RdBu"),
    "error": axes[1].pcolormesh(t, x, (found - known).abs(), cmap="magma"),
    "visits": axes[2].scatter(points[:, 1], points[:, 0], c=visits, s=4),
}
for place, (title, shown) in zip(axes, panels.items(), strict=True):
    place.set(title=title, xlabel="t", ylabel="x")
    figure.colorbar(shown, ax=place)
arguments.folder.mkdir(parents=True, exist_ok=True)
figure.savefig(arguments.folder / "solve_burgers.png", dpi=100)
