"""What fits.py fits: images, a shape, two differential equations and two surrogates.

Quality is in decibels: −10·log10 of the mean squared error, divided by the variance of the target
(for images, whose colours are from 0 to 1, by 1). It is measured without noise, and at other points
than those of the training set, except for images, where the training set is the image.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from fits_fields import hollow_box_on_ring
from fits_networks import relu_layers, tanh_network, wave_network, with_derivatives
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.interpolate import RegularGridInterpolator
from sklearn.datasets import load_sample_image, make_friedman1
from torch import Tensor, nn

NOISE = 0.05
"""The standard deviation of added noise, relative to that of the target."""


class Target(ABC):
    """Something to fit.

    Attributes:
        num_points: N, of the training set.
        epochs: of full training.
        batch: points per step.
        rates: the learning rates of Adam that are tried, the highest of one cycle.
    """

    num_points: int
    epochs: int
    batch: int
    rates: tuple[float, float, float]

    @abstractmethod
    def network(self) -> nn.Sequential:
        """Return a new network."""

    @abstractmethod
    def losses(self, network: nn.Sequential, indices: Tensor) -> Tensor:
        """Return the losses of training points: shape (B,)."""

    @abstractmethod
    def quality(self, network: nn.Sequential) -> float:
        """Return the quality in decibels."""


def decibels(errors: Tensor, unit: float) -> float:
    return -10 * math.log10(float(errors.square().mean()) / unit)


@dataclass
class Values(Target):
    """A function that is known at points.

    Attributes:
        make: makes a network.
        points: shape (N, d).
        targets: with noise, if there is any: shape (N, outputs).
        test_points: shape (M, d).
        test_targets: without noise: shape (M, outputs).
        unit: what squared errors are divided by.
    """

    make: Callable[[], nn.Sequential]
    points: Tensor
    targets: Tensor
    test_points: Tensor
    test_targets: Tensor
    unit: float
    epochs: int
    batch: int
    rates: tuple[float, float, float]

    def __post_init__(self) -> None:
        self.num_points = len(self.points)

    def network(self) -> nn.Sequential:
        return self.make()

    def losses(self, network: nn.Sequential, indices: Tensor) -> Tensor:
        return (network(self.points[indices]) - self.targets[indices]).square().mean(1)

    @torch.no_grad()
    def quality(self, network: nn.Sequential) -> float:
        return decibels(network(self.test_points) - self.test_targets, self.unit)


def noisy(targets: Tensor, share: float, seed: int = 0) -> Tensor:
    """Return targets with normal noise of a share of their standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    return targets + share * targets.std() * torch.randn(targets.shape, generator=generator)


def image(name: str, noise: float) -> Target:
    """Return a sample image of scikit-learn, 128 by 128."""
    pixels = torch.from_numpy(load_sample_image(name)[21:405, 128:512].copy()).double() / 255
    colours = pixels.reshape(128, 3, 128, 3, 3).mean((1, 3)).float().reshape(-1, 3)
    axis = (torch.arange(128) + 0.5) / 64 - 1
    points = torch.cartesian_prod(axis, axis)
    return Values(
        lambda: wave_network(2, 3, 4.0),
        points,
        noisy(colours, noise),
        points,
        colours,
        unit=1.0,
        epochs=200,
        batch=1024,
        rates=(0.01, 0.03, 0.1),
    )


def shape(noise: float) -> Target:
    """Return the signed distance to a hollow, rounded box on a ring, in a cube."""
    return _random_points(
        hollow_box_on_ring,
        lambda: wave_network(3, 1, 0.5),
        dimensions=3,
        noise=noise,
        epochs=200,
        rates=(0.003, 0.01, 0.03),
    )


def bumps(noise: float) -> Target:
    """Return a smooth function of two variables with eight sharp bumps."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.rand(8, 2, generator=generator) * 1.6 - 0.8
    heights = torch.rand(8, generator=generator) + 0.5

    def values(points: Tensor) -> Tensor:
        smooth = (2 * points[:, 0]).sin() + (3 * points[:, 1]).cos() * points[:, 0]
        sharp = (-torch.cdist(points, centres).square() / (2 * 0.04**2)).exp() @ heights
        return (smooth + sharp)[:, None]

    return _random_points(
        values,
        lambda: tanh_network(2),
        dimensions=2,
        noise=noise,
        epochs=200,
        rates=(0.003, 0.01, 0.03),
    )


def _random_points(
    function: Callable[[Tensor], Tensor],
    make: Callable[[], nn.Sequential],
    *,
    dimensions: int,
    noise: float,
    epochs: int,
    rates: tuple[float, float, float],
) -> Target:
    """Return a function that is known at random points of a cube."""
    generator = torch.Generator().manual_seed(1)
    points, test_points = (
        torch.rand(count, dimensions, generator=generator) * 2 - 1 for count in (16_384, 16_384)
    )
    targets, test_targets = function(points), function(test_points)
    unit = float(test_targets.var())
    return Values(
        make, points, noisy(targets, noise), test_points, test_targets, unit, epochs, 1024, rates
    )


def friedman(noise: float) -> Target:
    """Return scikit-learn's first function of Friedman, of five of ten variables."""
    found, values = make_friedman1(24_576, random_state=0)
    points = torch.from_numpy(found).float() * 2 - 1
    targets = torch.from_numpy(values).float()[:, None]
    targets = (targets - targets.mean()) / targets.std()
    known, new = slice(16_384), slice(16_384, None)
    return Values(
        lambda: nn.Sequential(*relu_layers(10, 1)),
        points[known],
        noisy(targets[known], noise),
        points[new],
        targets[new],
        unit=float(targets[new].var()),
        epochs=100,
        batch=1024,
        rates=(0.003, 0.01, 0.03),
    )


class Equation(Target):
    """A differential equation at random points of a square; the loss is its squared residual.

    The solution is a known part plus a part that vanishes at the boundary, times the network, so
    that boundary values hold without a loss.
    """

    num_points, batch, epochs = 4096, 256, 200
    rates = (0.003, 0.01, 0.03)
    points: Tensor
    reference: Tensor
    test_points: Tensor

    @abstractmethod
    def residuals(self, network: nn.Sequential, indices: Tensor) -> Tensor:
        """Return by how much the equation is missed: shape (B,)."""

    @abstractmethod
    def solution(self, values: Tensor, points: Tensor) -> Tensor:
        """Return the solution, given what the network returns for points: shape (M,)."""

    def network(self) -> nn.Sequential:
        return tanh_network(2)

    def losses(self, network: nn.Sequential, indices: Tensor) -> Tensor:
        return self.residuals(network, indices).square()

    @torch.no_grad()
    def quality(self, network: nn.Sequential) -> float:
        found = self.solution(network(self.test_points).squeeze(1), self.test_points)
        return decibels(found - self.reference, float(self.reference.var()))


class Burgers(Equation):
    """u_t + u·u_x = ν·u_xx for x and t in [0, 1], u = −sin πx at t = 0, ν = 0.03/π.

    The solution is odd in x, so this is one half of the well-known problem on [−1, 1], with three
    times its viscosity: with 4,096 points and as many steps as here, that one stays unsolved.
    """

    VISCOSITY = 0.03 / math.pi

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        self.points = torch.rand(self.num_points, 2, generator=generator)
        self.test_points = torch.rand(16_384, 2, generator=generator)
        x, t, values = burgers_solution(self.VISCOSITY)
        known = RegularGridInterpolator((t, x), values, method="cubic")
        asked = self.test_points.double().numpy()[:, ::-1]
        self.reference = torch.from_numpy(known(asked)).float()

    def solution(self, values: Tensor, points: Tensor) -> Tensor:
        x, t = points.T
        return -(math.pi * x).sin() + t * x * (1 - x) * values

    def residuals(self, network: nn.Sequential, indices: Tensor) -> Tensor:
        points = self.points[indices]
        x, t = points.T
        value, (by_x, by_t), (by_xx, _) = with_derivatives(network, points)
        edge, slope, wave = x * (1 - x), 1 - 2 * x, math.pi * x
        u = self.solution(value, points)
        u_t = edge * (value + t * by_t)
        u_x = -math.pi * wave.cos() + t * (edge * by_x + slope * value)
        u_xx = math.pi**2 * wave.sin() + t * (edge * by_xx + 2 * slope * by_x - 2 * value)
        return u_t + u * u_x - self.VISCOSITY * u_xx


def burgers_solution(
    viscosity: float, num_waves: int = 1024, num_times: int = 201
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return places, times and values on their grid, by a Fourier spectral method."""
    x = -1 + 2 * np.arange(num_waves) / num_waves
    waves = np.pi * np.arange(num_waves // 2 + 1)
    resolved = waves < waves[-1] * 2 / 3  # squares of higher ones would come back as lower ones

    def change(_: float, u: NDArray[np.float64]) -> NDArray[np.float64]:
        flux = 0.5j * waves * np.fft.rfft(u * u) * resolved
        return np.fft.irfft(-flux - viscosity * waves**2 * np.fft.rfft(u), num_waves)

    t = np.linspace(0, 1, num_times)
    solved = solve_ivp(change, (0, 1), -np.sin(np.pi * x), t_eval=t, rtol=1e-7, atol=1e-9)
    values = np.concatenate([solved.y, solved.y[:1]]).T
    return np.append(x, 1.0), t, values


class Helmholtz(Equation):
    """Δu + u = q on [−1, 1]², u = 0 at the boundary, with the solution sin πx · sin 4πy."""

    def __init__(self, noise: float) -> None:
        generator = torch.Generator().manual_seed(3)
        self.points = torch.rand(self.num_points, 2, generator=generator) * 2 - 1
        self.test_points = torch.rand(16_384, 2, generator=generator) * 2 - 1
        self.source = noisy((1 - 17 * math.pi**2) * self._exact(self.points), noise)
        self.reference = self._exact(self.test_points)

    @staticmethod
    def _exact(points: Tensor) -> Tensor:
        return (math.pi * points[:, 0]).sin() * (4 * math.pi * points[:, 1]).sin()

    def solution(self, values: Tensor, points: Tensor) -> Tensor:
        return (1 - points.square()).prod(1) * values

    def residuals(self, network: nn.Sequential, indices: Tensor) -> Tensor:
        points = self.points[indices]
        value, first, second = with_derivatives(network, points)
        along, edges = points.T, 1 - points.T.square()
        curved = edges * second - 4 * along * first - 2 * value
        laplacian = edges[1] * curved[0] + edges[0] * curved[1]
        # its scale is that of the source
        missed = laplacian + self.solution(value, points) - self.source[indices]
        return missed / (17 * math.pi**2)


TARGETS: dict[str, Callable[[], Target]] = {
    "image: flower": lambda: image("flower.jpg", 0),
    "image: flower, noise": lambda: image("flower.jpg", NOISE),
    "image: flower, 20% noise": lambda: image("flower.jpg", 4 * NOISE),
    "shape": lambda: shape(0),
    "shape, noise": lambda: shape(NOISE),
    "Burgers": Burgers,
    "Friedman": lambda: friedman(0),
    "bumps": lambda: bumps(0),
    "bumps, noise": lambda: bumps(NOISE),
    "image: temple": lambda: image("china.jpg", 0),
    "Helmholtz": lambda: Helmholtz(0),
    "Helmholtz, noise": lambda: Helmholtz(NOISE),
}
"""All targets, in the order in which they are trained."""
