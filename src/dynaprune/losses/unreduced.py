"""The losses of torch whose slice means can all be computed by one call.

With `reduction="none"` they return the terms of their mean: one number per sample, or the same
number of terms for each sample. So the means of slices need one call per batch instead of one per
slice.

All others are called slice by slice, like the user's own criteria, because they

- divide by something else: `CrossEntropyLoss` and `NLLLoss` with class weights, by the sum of those
  weights; `CTCLoss`, by the lengths of targets;
- may compare samples with each other: `TripletMarginWithDistanceLoss`, by the user's distance;
- warn, but only when they reduce: `KLDivLoss` with `reduction="mean"`;
- are deprecated, or newer than the oldest torch that we support: `NLLLoss2d`,
  `LinearCrossEntropyLoss`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .chunk_sizes import slice_size
from .dtypes import sum_dtype

Settings: TypeAlias = Mapping[str, Any]
Fits: TypeAlias = Callable[[Sequence[Tensor], Settings], bool]


def _same_shape(tensors: Sequence[Tensor], settings: Settings) -> bool:
    """Whether all shapes are equal: broadcasting may mix samples, and torch warns about it."""
    shape = tensors[0].shape
    return all(each.shape == shape for each in tensors[1:])


def _same_shape_and_weight(tensors: Sequence[Tensor], settings: Settings) -> bool:
    return _same_shape(tensors, settings) and all(
        weight is None
        or weight.dim() < tensors[0].dim()  # so it has no batch dimension
        or (weight.dim() == tensors[0].dim() and weight.shape[0] == 1)
        for weight in (settings.get("weight"), settings.get("pos_weight"))
    )


def _rows(tensors: Sequence[Tensor], settings: Settings) -> bool:
    return tensors[0].dim() > 1 and _same_shape(tensors, settings)


def _pairs(tensors: Sequence[Tensor], settings: Settings) -> bool:
    first, second, target = tensors
    return first.dim() == 2 and second.shape == first.shape and target.shape == first.shape[:1]


def _one_label(tensors: Sequence[Tensor], settings: Settings) -> bool:
    scores, labels = tensors
    return scores.dim() == 2 and labels.shape == scores.shape[:1]


def _labels(tensors: Sequence[Tensor], settings: Settings) -> bool:
    """Whether targets are class indices, of each sample or of each position in it."""
    scores, labels = tensors
    if settings.get("weight") is not None or labels.dtype != torch.int64:
        return False
    if scores.dim() == 2:
        return labels.shape == scores.shape[:1]
    return scores.dim() > 2 and labels.shape == scores.shape[:1] + scores.shape[2:]


def _labels_or_probabilities(tensors: Sequence[Tensor], settings: Settings) -> bool:
    if _labels(tensors, settings):
        return True
    is_plain = settings.get("weight") is None and tensors[1].is_floating_point()
    return is_plain and _rows(tensors, settings)


@dataclass(frozen=True)
class Loss:
    """One of torch's losses.

    Attributes:
        module: the loss as a module.
        function: the loss as a function.
        settings: attributes of the module, and keywords of the function, except `reduction`.
        fits: whether the loss of these tensors and settings is a plain mean.
        tensors: the number of positional tensors.
        reduction: the reduction that makes it a plain mean.
    """

    module: type[nn.Module]
    function: Callable[..., Tensor]
    settings: tuple[str, ...]
    fits: Fits
    tensors: int = 2
    reduction: str = "mean"


LOSSES = (
    Loss(
        nn.CrossEntropyLoss,
        F.cross_entropy,
        ("weight", "ignore_index", "label_smoothing"),
        _labels_or_probabilities,
    ),
    Loss(nn.NLLLoss, F.nll_loss, ("weight", "ignore_index"), _labels),
    Loss(nn.MSELoss, F.mse_loss, (), _same_shape),
    Loss(nn.L1Loss, F.l1_loss, (), _same_shape),
    Loss(nn.SmoothL1Loss, F.smooth_l1_loss, ("beta",), _same_shape),
    Loss(nn.HuberLoss, F.huber_loss, ("delta",), _same_shape),
    Loss(nn.SoftMarginLoss, F.soft_margin_loss, (), _same_shape),
    Loss(nn.HingeEmbeddingLoss, F.hinge_embedding_loss, ("margin",), _same_shape),
    Loss(nn.PoissonNLLLoss, F.poisson_nll_loss, ("log_input", "full", "eps"), _same_shape),
    Loss(nn.GaussianNLLLoss, F.gaussian_nll_loss, ("full", "eps"), _same_shape, 3),
    Loss(nn.KLDivLoss, F.kl_div, ("log_target",), _same_shape, reduction="batchmean"),
    Loss(nn.BCELoss, F.binary_cross_entropy, ("weight",), _same_shape_and_weight),
    Loss(
        nn.BCEWithLogitsLoss,
        F.binary_cross_entropy_with_logits,
        ("weight", "pos_weight"),
        _same_shape_and_weight,
    ),
    Loss(nn.MultiMarginLoss, F.multi_margin_loss, ("p", "margin", "weight"), _one_label),
    Loss(nn.MultiLabelMarginLoss, F.multilabel_margin_loss, (), _rows),
    Loss(nn.MultiLabelSoftMarginLoss, F.multilabel_soft_margin_loss, ("weight",), _rows),
    Loss(nn.CosineEmbeddingLoss, F.cosine_embedding_loss, ("margin",), _pairs, 3),
    Loss(nn.MarginRankingLoss, F.margin_ranking_loss, ("margin",), _same_shape, 3),
    Loss(nn.TripletMarginLoss, F.triplet_margin_loss, ("margin", "p", "eps", "swap"), _rows, 3),
)

_BY_MODULE = {each.module: each for each in LOSSES}
_BY_FUNCTION = {each.function: each for each in LOSSES}


def means_at_once(
    criterion: Callable[..., Tensor], given: Sequence[Any], chunks: int
) -> Tensor | None:
    """Return the mean loss of each slice by one call, shape (C',); `None` if not possible.

    Arguments:
        criterion: see `chunked.chunked`.
        given: its arguments.
        chunks: C, the requested number of slices.
    """
    known = _known(criterion)
    if known is None:
        return None
    loss, settings = known
    if len(given) != loss.tensors or any(type(each) is not Tensor for each in given):
        return None
    first = given[0]
    if first.dim() == 0 or first.numel() == 0 or not first.is_floating_point():
        return None
    batch_size = first.shape[0]
    size = slice_size(batch_size, chunks)
    if size == batch_size or not loss.fits(given, settings):  # a single slice is a plain call
        return None
    losses = loss.function(*given, **settings, reduction="none")
    if "ignore_index" in loss.settings and not given[1].is_floating_point():
        return _means_of_counted(losses, given[1] != settings.get("ignore_index", -100), size)
    if loss.reduction == "batchmean":
        places = losses.numel() // batch_size  # per sample
        sums = [rows.sum(1) / (rows.shape[1] // places) for rows in _as_rows(losses, size)]
        return _joined(sums)
    return _means(losses, size)


def _known(criterion: Callable[..., Tensor]) -> tuple[Loss, dict[str, Any]] | None:
    """Return which of torch's losses a criterion is, and its settings without the reduction."""
    loss: Loss | None
    if isinstance(criterion, nn.Module):
        loss = _BY_MODULE.get(type(criterion))
        if loss is None or _is_altered(criterion, loss):
            return None
        settings = {name: getattr(criterion, name) for name in loss.settings}
        reduction = criterion.reduction
    else:
        function, settings = criterion, {}
        if type(criterion) is partial and not criterion.args:
            function, settings = criterion.func, dict(criterion.keywords)
        loss = _BY_FUNCTION.get(function) if type(function) is FunctionType else None
        reduction = settings.pop("reduction", "mean")
        if loss is None or not settings.keys() <= set(loss.settings):
            return None
    return (loss, settings) if reduction == loss.reduction else None


def _is_altered(module: nn.Module, loss: Loss) -> bool:
    """Whether calling a module does anything else than calling torch's function."""
    own = module.__dict__  # torch 2.6 cannot compile `vars`
    return bool(
        getattr(F, loss.function.__name__) is not loss.function  # third-party kernels replace it
        or "forward" in own
        or own.get("_compiled_call_impl") is not None
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _means(losses: Tensor, size: int) -> Tensor:
    """Return the mean of each slice of s samples; the last one may be smaller: shape (C',)."""
    if size == 1 and losses.dim() == 1:
        return losses
    return _joined([rows.mean(1) for rows in _as_rows(losses, size)])


def _means_of_counted(losses: Tensor, is_counted: Tensor, size: int) -> Tensor:
    """Return the mean of each slice over its counted elements, NaN where there are none.

    Elements that are not counted have a loss of 0. The number of counted elements stays on the
    device, so nothing synchronizes.
    """
    if size == 1 and losses.dim() == 1:
        return losses / is_counted
    dtype = losses.dtype
    wide = sum_dtype(dtype)
    sums = _joined([rows.sum(1, dtype=wide) for rows in _as_rows(losses, size)])
    counts = _joined([rows.sum(1, dtype=wide) for rows in _as_rows(is_counted, size)])
    means = sums / counts
    return means if wide is dtype else means.to(dtype)


def _as_rows(values: Tensor, size: int) -> list[Tensor]:
    """Return matrices with one slice per row; a shorter last slice is a matrix of its own."""
    count = values.shape[0] // size
    whole = count * size
    if whole == values.shape[0]:
        return [values.reshape(count, -1)]
    return [values[:whole].reshape(count, -1), values[whole:].reshape(1, -1)]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
