"""The checks and the rescaling of a loss in `update`; nothing here reads its value."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .chunk_sizes import can_be_cut, num_slices, slice_size
from .dtypes import sum_dtype


class _Scorer(Protocol):
    needs_loss_vector: ClassVar[bool]


def check_loss(loss: Tensor, batch_size: int, score: _Scorer, rows: int = 0) -> None:
    """Check that a loss is a mean loss, if the score accepts one, or the mean losses of slices.

    A per-sample loss vector is the case of slices of one sample.

    Arguments:
        loss: the loss.
        batch_size: the number of samples that the loader has fetched for the batch.
        score: the score that reads the loss.
        rows: the length of the batch's first tensor, 0 if unknown.

    Raises:
        RuntimeError: it is no tensor, not of a float type, or of another shape; or the batch has
            lost samples, so that it is unknown which samples the losses belong to.
    """
    if isinstance(loss, Tensor) and loss.is_floating_point():
        # the usual cases, first because they are checked in every step
        if loss.dim() == 0 and not score.needs_loss_vector:
            return
        if loss.dim() == 1 and loss.numel() == batch_size:
            return
    if not isinstance(loss, Tensor):
        raise RuntimeError(
            f"update() expects the loss as a tensor, but a {type(loss).__name__} was given: pass "
            "what the criterion returned, not loss.item()"
        )
    if not loss.is_floating_point():
        raise RuntimeError(f"update() expects a loss of a float type, but {loss.dtype} was given")
    is_mean = loss.shape in ((), (1,))
    if is_mean and (batch_size == 1 or not score.needs_loss_vector):
        return
    if loss.dim() == 1 and 1 < loss.numel() < batch_size and loss.numel() == rows:
        raise RuntimeError(
            f"{rows} losses were given for a batch: the loader has fetched {batch_size} "
            f"samples and yielded {rows}, so samples are missing, and it is unknown which samples "
            "the losses belong to. If collate_fn drops samples, let it return the indices of those "
            "that it keeps: give the loader train.with_indices() and call update(loss, "
            "indices=indices)"
        )
    if not is_mean and loss.dim() == 1 and can_be_cut(batch_size, loss.numel()):
        return
    name = type(score).__name__
    given = f"a loss of shape {tuple(loss.shape)} was given for a batch of {batch_size}"
    if is_mean:
        raise RuntimeError(
            f"{given}, but {name} scores by per-sample losses, of shape ({batch_size},). Use a "
            'criterion with reduction="none", or the means of slices, chunked(criterion, chunks), '
            "or score by mean losses: BLS(...).proxy()"
        )
    means = "" if score.needs_loss_vector else "a mean loss of shape () or (1,), or "
    advice = "Average a loss over its other dimensions first, such as loss.flatten(1).mean(1)"
    if loss.dim() == 1 and 1 < loss.numel() < batch_size:
        size = slice_size(batch_size, loss.numel())
        fewer, more = num_slices(batch_size, loss.numel()), slice_size(batch_size, size - 1)
        advice = (
            "The means of slices are accepted too, if all slices have one size except for a "
            f"smaller last one, as chunked(criterion, chunks) and torch.chunk make them: "
            f"{batch_size} samples make {fewer} or {more} such slices, but not {loss.numel()}"
        )
    raise RuntimeError(
        f"{given}, but update() expects {means}one loss per sample, of shape ({batch_size},). "
        f"{advice}"
    )


def check_scaled(loss: Tensor) -> None:
    """Check a loss that is rescaled but not scored: it must be a single number.

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
            f"update(loss, mean_loss=...) expects a loss of a float type and shape (), but {given} "
            "was given"
        )


def scale(loss: Tensor, weight: float | Tensor) -> Tensor:
    """Return a mean loss times its weight: shape (), in the dtype of the loss.

    Arguments:
        loss: of shape () or (1,).
        weight: the mean weight of the batch, a number or a tensor of shape ().
    """
    if isinstance(weight, Tensor):
        # float32 weights with a float16 loss are multiplied in float32
        weight = weight if weight.device == loss.device else _on_device_of(loss, weight)
        return (loss * weight).reshape(()).to(loss.dtype)
    if weight != 1.0:
        loss = loss * weight
    return loss if loss.dim() == 0 else loss.mean()


def scale_slices(
    losses: Tensor, weights: float | NDArray[np.floating[Any]] | Tensor, batch_size: int
) -> Tensor:
    """Return the sum of n_c·w_c·L_c / B over the slices c of a batch: shape (), dtype kept.

    n_c is the number of samples of slice c and w_c their mean weight. Each slice's loss is
    multiplied by the weights of its own samples, which is more accurate than one mean loss times
    one mean weight; with one slice per sample it is exact.

    Arguments:
        losses: shape (C,): L_c, the mean loss of each slice, C ≥ 2.
        weights: one weight per sample, of shape (B,), or 1.0 if all are 1.
        batch_size: B.
    """
    dtype, count = losses.dtype, losses.numel()
    wide = sum_dtype(dtype)
    size = slice_size(batch_size, count)
    missing = count * size - batch_size  # how many samples the last slice is short of
    if isinstance(weights, float):
        if missing == 0:
            return losses.mean(dtype=wide).to(dtype)
        shares = torch.full((count,), size / batch_size, dtype=wide, device=losses.device)
        shares[-1:].fill_((size - missing) / batch_size)
    elif isinstance(weights, np.ndarray):
        if wide is torch.float64:
            weights = weights.astype(np.float64)
        if size > 1:
            weights = np.add.reduceat(weights, np.arange(0, batch_size, size))
        # NumPy 1 would make float64 of float32 by an int that is large
        shares = torch.from_numpy(weights / float(batch_size))
        if not losses.is_cpu:
            shares = _on_device_of(losses, shares)
    else:
        shares = weights.to(wide) / batch_size
        if size > 1:
            shares = torch.nn.functional.pad(shares, (0, missing)).view(count, size).sum(1)
        shares = _on_device_of(losses, shares)
    if wide is dtype:
        return losses.dot(shares)
    return losses.to(wide).dot(shares).to(dtype)


def _on_device_of(loss: Tensor, weights: Tensor) -> Tensor:
    """Return weights on the device of a loss. Only a copy to the host synchronizes."""
    return weights.to(loss.device, non_blocking=loss.device.type != "cpu")
