"""LARS: SGD whose layers each have a learning rate of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling.

    The step of a parameter w with gradient g is scaled by η·‖w‖ / (‖g‖ + λ·‖w‖), so that it is in
    proportion to w; where one of both norms is zero, it is not scaled.

    Source: You, Gitman & Ginsburg, "Large Batch Training of Convolutional Networks",
    arXiv:1708.03888. As in the published code of InfoBatch, the momentum gathers gradients, and the
    rate of a step is that of its own time; in algorithm 1 it gathers scaled steps.

    Arguments:
        params: the parameters.
        lr: the learning rate.
        momentum: of the step.
        weight_decay: λ.
        trust: η.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        trust: float = 0.001,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step; the closure, if there is one, computes the loss anew and returns it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)
        return loss

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        decay = group["weight_decay"]
        size, slope = parameter.norm(), gradient.norm()
        ratio = group["trust"] * size / (slope + decay * size)
        ratio = torch.where((size > 0) & (slope > 0), ratio, 1.0)
        state = self.state[parameter]
        gathered = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
        gathered.mul_(group["momentum"]).add_(gradient + decay * parameter)
        parameter.sub_(group["lr"] * ratio * gathered)
