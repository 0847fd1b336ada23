"""The loss of a micro-batch: the mean that is scored, and the weighted one that is minimized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ._divisor import are_close, is_divided_by


@dataclass(frozen=True)
class Labels:
    """The labels of a micro-batch.

    Attributes:
        number: shape (): the number of labels, without ignored ones.
        elements: the number of labels, with ignored ones.
    """

    number: Tensor
    elements: int


class MeanLoss:
    """Computes the mean loss of each micro-batch over its own labels.

    The Trainer may divide losses by the number of labels of all accumulated micro-batches and all
    processes (`num_items_in_batch`). Whether the model's loss does so is found once per run, in the
    graph of a loss.

    Arguments:
        trainer: the Trainer.

    Attributes:
        is_normalised: whether losses are divided by `num_items_in_batch`; `None` while unknown.
    """

    def __init__(self, trainer: Any) -> None:
        self.is_normalised: bool | None = None
        self._trainer = trainer

    def count_labels(self, inputs: Any, num_items: Any) -> Labels | None:
        """Return the number of labels of a micro-batch, if `of` needs it.

        It is needed if the loss may be divided by the labels of other micro-batches, too. Inputs
        that the Trainer cannot count, such as a list of dictionaries, are not counted here either.

        Arguments:
            inputs: the micro-batch.
            num_items: the number of labels of all accumulated micro-batches, if known.
        """
        trainer = self._trainer
        alone = trainer.current_gradient_accumulation_steps == 1 and trainer.args.world_size == 1
        if num_items is None or alone or not isinstance(inputs, Mapping):
            return None
        labels = inputs.get("shift_labels", inputs.get("labels"))
        shifts = getattr(trainer, "_loss_shifts_labels", False) and "shift_labels" not in inputs
        try:
            counted = labels[..., 1:] if shifts else labels
            return Labels(counted.ne(-100).sum(), counted.numel())
        except (TypeError, AttributeError):
            return None

    def of(self, loss: Tensor, labels: Labels | None, num_items: Any) -> Tensor:
        """Return the mean loss of a micro-batch over its own labels, detached.

        Arguments:
            loss: shape (): the Trainer's loss.
            labels: what `count_labels` returned before the loss was computed.
            num_items: the number of labels of all accumulated micro-batches, if known.
        """
        trainer = self._trainer
        mean = loss.detach()
        counts = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
        if num_items is not None and counts and trainer.args.average_tokens_across_devices:
            mean = mean / trainer.accelerator.num_processes  # the Trainer has multiplied by it
        if labels is None:
            return mean
        total = torch.as_tensor(num_items, device=mean.device).flatten()[0]
        if self.is_normalised is None and not are_close(float(labels.number), float(total)):
            self.is_normalised = is_divided_by(loss, float(total), labels.elements)
        return mean * total / labels.number.to(mean.device) if self.is_normalised else mean


def with_gradient_of(loss: Tensor, weighted: Tensor) -> Tensor:
    """Return a loss that is logged as `loss` and minimized as `weighted`.

    Arguments:
        loss: shape (): the loss before weights.
        weighted: shape (): the loss after weights.
    """
    if weighted is loss:
        return loss
    result: Tensor = _ValueAndGradient.apply(  # type: ignore[no-untyped-call]
        loss.detach(), weighted
    )
    return result


class _ValueAndGradient(torch.autograd.Function):
    """The value of one loss and the gradient of another."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, weighted: Tensor) -> Tensor:
        """Return the loss; the gradient goes to `weighted`."""
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        """Pass the gradient on to the weighted loss."""
        return None, gradient
