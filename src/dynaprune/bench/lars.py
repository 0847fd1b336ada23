"""LARS: SGD with a separate learning rate for each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling.

    The step of a parameter w with gradient g is scaled by η·‖w‖ / (‖g‖ + λ·‖w‖), so it is
    proportional to the norm of w. If either norm is zero, the step is not scaled.

    Source: You, Gitman & Ginsburg, "Large Batch Training of Convolutional Networks",
    arXiv:1708.03888. As in the published code of InfoBatch, the momentum buffer accumulates
    gradients, and the current rate scales the whole buffer; in the paper's algorithm 1 it
    accumulates scaled steps.

    Arguments:
        params: the parameters.
        lr: the learning rate.
        momentum: the momentum of the gradients.
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
        """Make a step; the closure, if given, recomputes the loss and returns it."""
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
        weight_norm, gradient_norm = parameter.norm(), gradient.norm()
        ratio = group["trust"] * weight_norm / (gradient_norm + decay * weight_norm)
        ratio = torch.where((weight_norm > 0) & (gradient_norm > 0), ratio, 1.0)
        state = self.state[parameter]
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
        buffer.mul_(group["momentum"]).add_(gradient + decay * parameter)
        parameter.sub_(group["lr"] * ratio * buffer)
