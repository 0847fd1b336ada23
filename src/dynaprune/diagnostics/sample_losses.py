"""Per-sample losses, computed by the user's own loss function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.indexed import fetch
from ..utils.devices import to_device
from ..utils.rng import restored_random_state, seed_all


def losses_of(
    dataset: Any,
    indices: NDArray[np.int64],
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Any],
    collate_fn: Callable[[list[Any]], Any],
    device: torch.device,
    seeds: list[int],
) -> NDArray[np.float64]:
    """Return the losses of samples, each in a batch of its own: shape (n,).

    The model is in evaluation mode, and gradients are off. Before each loss the global generators
    are seeded equally, so that all samples get the same random draws; with several seeds, losses
    are means over them. Afterwards all modes and generators are as before.

    Raises:
        TypeError: `loss_fn` returns no number.
        ValueError: it returns several.
    """
    devices = {device, *(parameter.device for parameter in model.parameters())}
    losses = np.zeros((len(seeds), indices.size))
    with restored_random_state(devices), evaluated(model), torch.no_grad():
        for number, index in enumerate(indices.tolist()):
            for repeat, seed in enumerate(seeds):
                seed_all(seed, devices)
                batch = to_device(collate_fn(list(fetch(dataset, [index]))), device)
                losses[repeat, number] = _number(loss_fn(model, batch))
    means: NDArray[np.float64] = losses.mean(axis=0)
    return means


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Set a model to evaluation mode, and restore the mode of each part when the block is left."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(modes[0][1])  # parts may react to train(), for example split merged weights
        for module, mode in modes:
            module.training = mode


def _number(loss: Any) -> float:
    """Return a loss as a number."""
    wanted = "loss_fn(model, batch) must return the batch's loss, a tensor of shape () or a number"
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise ValueError(
            f"{wanted}, but a tensor of shape {tuple(loss.shape)} was returned for a batch of one "
            "sample: take its mean"
        )
    loss = loss.detach() if isinstance(loss, Tensor) else loss
    try:
        return float(loss)
    except (TypeError, ValueError):
        raise TypeError(
            f"{wanted}, but a {type(loss).__name__} was returned: return only the loss"
        ) from None
