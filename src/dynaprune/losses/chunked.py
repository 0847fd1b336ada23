"""Sub-batch losses: a criterion's mean losses of several slices of a batch instead of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.validation import check_integer
from .chunk_sizes import slice_size
from .splitting import AmbiguousShapes, Lists, batch_size_of, cut
from .unreduced import means_at_once


def chunked(
    criterion: Callable[..., Tensor], chunks: int, *, lists: Lists | None = None
) -> Chunked:
    """Return a criterion that is applied to slices of a batch and returns their mean losses.

        criterion = chunked(nn.CrossEntropyLoss(), chunks=8)
        ...
        loss = train.update(criterion(model(images), labels))

    Scores get more precise the fewer samples share one loss. `chunks` selects a point between one
    loss per batch (`chunks=1`) and one loss per sample (`chunks` equal to the batch size). A
    criterion is a function of outputs and targets, so it is called on slices of both, while the
    model runs only once. `update` turns the losses into one weighted loss, which is also less
    biased than mean loss times mean weight; with all weights 1 it is the mean loss of the batch.

    The losses of torch that are plain means, such as `CrossEntropyLoss` without class weights, are
    called once, with `reduction="none"`: the means are the same up to rounding.

    Do not use it for losses that compare samples with each other, such as contrastive ones: on a
    slice they are different losses. A criterion may divide by something other than the number of
    samples, such as tokens or labels that are not `ignore_index`. Then the mean of each slice is
    correct, but `update` weights slices by samples, so their sum is not exactly the mean of the
    batch; and a slice without any such label has no mean (NaN), which makes the loss of the batch
    NaN.

    Arguments:
        criterion: takes outputs, targets and any further arguments, and returns their mean loss, a
            single number: an `nn.Module` or any function.
        chunks: C, the number of slices, at least 1. Slices have ⌈B/C⌉ samples, the last one may
            have fewer, as with `torch.chunk`; so there may be fewer than C.
        lists: whether lists and tuples hold "parts" or "samples", if shapes do not determine
            it; see `Chunked`.

    Raises:
        TypeError: `criterion` is not callable, or `chunks` is no integer.
        ValueError: `chunks` is below 1, `lists` is another word, or `criterion` is one of torch's
            with a reduction other than the mean.
    Example:
        >>> import torch
        >>> from dynaprune import chunked
        >>> criterion = chunked(torch.nn.MSELoss(), chunks=2)
        >>> criterion(torch.tensor([0.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 0.0]))
        tensor([2., 9.])
    """
    return Chunked(criterion, chunks, lists=lists)


class Chunked(nn.Module):
    """A criterion that returns the mean losses of slices; created by `chunked`.

    It is a module, so that the parameters of the criterion, if any, are found, moved and saved.

    It splits its arguments by these rules:

    - **Tensors** and NumPy arrays are split along their first dimension.
    - **Mappings, dataclasses and named tuples**: their values are split; the type is kept.
    - **Lists and tuples** hold either parts, such as `(logits, auxiliary_logits)`; each part is
      split, or B samples, such as the boxes of each image, which are distributed over the slices.
      They hold parts if all tensors in them have B as first dimension, and samples if they have B
      elements. If both are true, or if neither tensors outside of lists nor these rules determine
      B, an error is raised unless `lists` is given.
    - Anything else is passed to each call unchanged: tensors without dimensions, numbers, strings,
      `None`, other objects. Bind arguments that only look like part of a batch, such as a tensor of
      class weights, to the criterion: `functools.partial(criterion, weight=weight)`.

    Arguments:
        criterion: see `chunked`.
        chunks: see `chunked`.
        lists: "parts" or "samples": what lists and tuples hold, if shapes do not determine it.

    Attributes:
        criterion: the criterion that is called on slices.
        chunks: C, the number of slices of a batch.
        lists: what lists and tuples hold, if shapes do not determine it.
    """

    def __init__(
        self, criterion: Callable[..., Tensor], chunks: int, *, lists: Lists | None = None
    ) -> None:
        super().__init__()
        if not callable(criterion):
            raise TypeError(
                "criterion must be a function or a module that returns a mean loss, but a "
                f"{type(criterion).__name__} was given"
            )
        if lists not in ("parts", "samples", None):
            raise ValueError(f'lists must be "parts" or "samples", but {lists!r} was given')
        _check_reduction(criterion)
        self.criterion = criterion
        self.chunks = check_integer("chunks", chunks, minimum=1)
        self.lists = lists
        self._has_cut = False  # whether an earlier batch was split without ambiguity

    def forward(self, *arguments: Any, **keywords: Any) -> Tensor:
        """Return the mean loss of each slice: shape (C',), C' ≤ C, in the criterion's type.

        Arguments:
            arguments: the criterion's arguments: outputs, targets and any others.
            keywords: its keyword arguments.

        Raises:
            RuntimeError: the batch size is not determined, or the arguments do not agree on it; or
                the criterion returned something other than a single number.
        """
        at_once = None if keywords else means_at_once(self.criterion, arguments, self.chunks)
        if at_once is not None:
            if not self._has_cut:
                self._has_cut = True
            return at_once
        given: dict[Any, Any] = {**dict(enumerate(arguments)), **keywords}
        try:
            batch_size = batch_size_of(given, self.lists)
            size = slice_size(batch_size, self.chunks)
            slices = cut(given, batch_size, size, self.lists) if size < batch_size else []
        except AmbiguousShapes:
            if not self._has_cut:
                raise
            # so this is an epoch's last batch, which happens to be as short as a list in it
            batch_size, size, slices = 1, 1, []
        if not slices:
            return _single_number(self.criterion(*arguments, **keywords), size).reshape(1)
        self._has_cut = True
        means = []
        for start, each in enumerate(slices):
            positional = [each.pop(place) for place in range(len(arguments))]
            mean = self.criterion(*positional, **each)
            means.append(_single_number(mean, min(size, batch_size - start * size)))
        return torch.stack(means)

    def extra_repr(self) -> str:
        """Return the number of slices, for `repr`."""
        return f"chunks={self.chunks}"


def _check_reduction(criterion: Any) -> None:
    """Check that a criterion of torch returns a mean; others may use `reduction` differently.

    Raises:
        ValueError: it has another reduction.
    """
    reduction = getattr(criterion, "reduction", None)
    if type(criterion).__module__ == "torch.nn.modules.loss" and reduction in ("none", "sum"):
        raise ValueError(
            f"chunked() expects a criterion that returns the mean loss of a slice, but this "
            f"{type(criterion).__name__} was made with reduction={reduction!r}: leave it out"
        )


def _single_number(mean: Any, samples: int) -> Tensor:
    """Return a mean loss with shape ().

    Raises:
        RuntimeError: it is not a tensor with one element.
    """
    if isinstance(mean, Tensor) and mean.is_floating_point() and mean.numel() == 1:
        return mean.reshape(())
    if isinstance(mean, Tensor):
        given = f"{mean.dtype} of shape {tuple(mean.shape)}"
    else:
        given = f"a {type(mean).__name__}"
    raise RuntimeError(
        "chunked() expects a criterion that returns the mean loss of a slice, a tensor with one "
        f"element, but for {samples} samples it returned {given}. Use a criterion without "
        'reduction="none"; if it returns several losses, return only the one to call backward on. '
        "Per-sample losses need no chunked(): pass them to update() directly"
    )
