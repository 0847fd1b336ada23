"""What `update` does to a loss: check its shape, rescale it, and nothing that reads its value."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor


class _Scorer(Protocol):
    needs_loss_vector: ClassVar[bool]


def check_loss(loss: Tensor, batch_size: int, score: _Scorer) -> None:
    """Check that a loss is a mean loss, or a vector with one loss a sample where that is needed.

    Raises:
        RuntimeError: it is no tensor, not of a float type, or of another shape.
    """
    if (
        isinstance(loss, Tensor)
        and loss.dim() == 0
        and loss.is_floating_point()
        and not score.needs_loss_vector
    ):
        return  # the usual case, first because it is asked in every step
    if not isinstance(loss, Tensor):
        raise RuntimeError(
            f"update() wants the loss as a tensor, but a {type(loss).__name__} was given: pass "
            "what the criterion returned, not loss.item()"
        )
    if not loss.is_floating_point():
        raise RuntimeError(f"update() wants a loss of a float type, but {loss.dtype} was given")
    is_vector = loss.shape == (batch_size,)
    is_mean = loss.shape in ((), (1,))
    if is_vector or (is_mean and (batch_size == 1 or not score.needs_loss_vector)):
        return
    name = type(score).__name__
    given = f"a loss of shape {tuple(loss.shape)} was given for a batch of {batch_size}"
    if is_mean:
        raise RuntimeError(
            f"{given}, but {name} scores by per-sample losses, of shape ({batch_size},). Use a "
            'criterion with reduction="none", or score by mean losses: BLS(...).proxy()'
        )
    means = "" if score.needs_loss_vector else "a mean loss of shape () or (1,), or "
    raise RuntimeError(
        f"{given}, but update() wants {means}one loss a sample, of shape ({batch_size},). Average "
        "a loss over its other dimensions first, such as loss.flatten(1).mean(1)"
    )


def check_scaled(loss: Tensor) -> None:
    """Check a loss that is rescaled and not scored: it must be a single number.

    Raises:
        RuntimeError: it is no tensor, not of a float type, or of another shape.
    """
    if not isinstance(loss, Tensor) or not loss.is_floating_point() or loss.numel() != 1:
        given = (
            f"{loss.dtype} of shape {tuple(loss.shape)}"
            if isinstance(loss, Tensor)
            else f"a {type(loss).__name__}"
        )
        raise RuntimeError(
            f"update(loss, mean_loss=...) wants a loss of a float type and shape (), but {given} "
            "was given"
        )


def scale(loss: Tensor, weight: float | Tensor) -> Tensor:
    """Return the loss times its weight, averaged if it is a vector: shape (), its type kept.

    Arguments:
        loss: a mean loss of shape () or (1,), or a loss vector of shape (B,).
        weight: a number, a tensor of shape (), or one weight a sample, of shape (B,).
    """
    if isinstance(weight, Tensor):
        # float32 weights with a float16 loss are multiplied and averaged in float32
        weight = weight.to(loss.device, non_blocking=True)
        return (loss * weight).mean().to(loss.dtype)
    if weight != 1.0:
        loss = loss * weight
    return loss if loss.dim() == 0 else loss.mean()
