"""Sub-batch losses: a criterion's mean losses of several slices of a batch, in place of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.validation import check_integer
from .chunk_sizes import slice_size
from .splitting import Lists, Undecided, batch_size_of, cut
from .unreduced import means_at_once


def chunked(
    criterion: Callable[..., Tensor], chunks: int, *, lists: Lists | None = None
) -> Chunked:
    """Return what calls a criterion on slices of a batch and returns their mean losses.

        criterion = chunked(nn.CrossEntropyLoss(), chunks=8)
        ...
        loss = train.update(criterion(model(images), labels))

    A score learns more of its samples the fewer share a number. Between one number a batch
    (`chunks=1`) and one a sample (`chunks` of the batch size) a criterion gives as many as it is
    asked for: it is a function of outputs and targets, so it is called on slices of both, and the
    model runs once. The weighted loss that `update` makes of them is less biased, too, than mean
    times mean; with all weights 1 it is the mean loss of the batch.

    The losses of torch that are plain means, such as `CrossEntropyLoss` without class weights, are
    called once, without their reduction: that gives the same means, but for rounding.

    Not for losses that compare samples with each other, such as contrastive ones: on a slice they
    are other losses. A criterion that divides by something else than the number of samples, as by
    tokens or by the labels that `ignore_index` leaves, gives means of slices that are each right;
    but `update` weights them by samples, so their sum is not quite the mean of the whole batch, and
    a slice without any such label has no mean (NaN), nor has its batch then.

    Arguments:
        criterion: takes outputs, targets and whatever else, and returns their mean loss, a single
            number: an `nn.Module` or any function.
        chunks: C, how many slices, at least 1. They have ⌈B/C⌉ samples, the last one may have
            fewer, as `torch.chunk` cuts them; so there may be fewer than C.
        lists: what lists and tuples are where shapes do not tell; see `Chunked`.

    Raises:
        TypeError: `criterion` cannot be called, or `chunks` is no integer.
        ValueError: `chunks` is below 1, `lists` is another word, or `criterion` is one of torch's
            that returns no mean.

    Example:
        >>> import torch
        >>> from dynaprune import chunked
        >>> criterion = chunked(torch.nn.MSELoss(), chunks=2)
        >>> criterion(torch.tensor([0.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 0.0]))
        tensor([2., 9.])
    """
    return Chunked(criterion, chunks, lists=lists)


class Chunked(nn.Module):
    """A criterion that returns the mean losses of slices; `chunked` makes it.

    It is a module, so that the parameters of a criterion that has some are found, moved and saved.

    It cuts what it is called with:

    - **Tensors** and NumPy arrays along their first dimension.
    - **Mappings, dataclasses and named tuples**: what is in them; their type is kept.
    - **Lists and tuples** are either parts, such as `(logits, auxiliary_logits)`, whose elements
      are cut, or B samples, such as the boxes of each image, of which each slice gets some. They
      are parts if all tensors in them have B for their first dimension, and samples if they have B
      elements. Where both is so, and where neither tensors outside of lists nor these rules tell
      what B is, that is an error, unless `lists` says which it is.
    - Anything else goes to each call as it is: tensors without dimensions, numbers, strings,
      `None`, other objects. What is not of a batch but looks like it, such as a tensor of class
      weights, is bound to the criterion: `functools.partial(criterion, weight=weight)`.

    Arguments:
        criterion: see `chunked`.
        chunks: see `chunked`.
        lists: "parts" or "samples": what lists and tuples are where shapes do not tell.

    Attributes:
        criterion: what is called on slices.
        chunks: C, how many slices a batch is cut into.
        lists: what lists and tuples are where shapes do not tell.
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
        self._has_cut = False  # whether a batch was told to be cut

    def forward(self, *arguments: Any, **keywords: Any) -> Tensor:
        """Return the mean loss of each slice: shape (C',), C' ≤ C, in the criterion's type.

        Arguments:
            arguments: what the criterion takes: outputs, targets and whatever else.
            keywords: likewise.

        Raises:
            RuntimeError: nothing tells the batch size, or not everything agrees with it; or the
                criterion returned something else than a single number.
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
        except Undecided:
            if not self._has_cut:
                raise
            # others were told: this is an epoch's last batch, as short as a list in it is
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
        """Say how many slices there are."""
        return f"chunks={self.chunks}"


def _check_reduction(criterion: Any) -> None:
    """Check that a criterion of torch returns a mean; those of others may use the word otherwise.

    Raises:
        ValueError: it does not.
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
        RuntimeError: it is something else.
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
