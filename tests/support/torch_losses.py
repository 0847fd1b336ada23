"""The losses of torch at work on one batch, and the same, slice by slice."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH = 13


def drawn(*shape: int) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.double
    )


def labels(*shape: int, classes: int = 5) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape) * 7 % classes


def shares(*shape: int) -> Tensor:
    return drawn(*shape).softmax(1)


def signs(*shape: int) -> Tensor:
    return 1.0 - 2 * labels(*shape, classes=2).double()


def some_ignored(*shape: int, index: int = -100) -> Tensor:
    """Labels; a third of them is ignored, and all of samples 3 and 4."""
    result = labels(*shape)
    result.view(-1)[::3] = index
    result[3:5] = index
    return result


def several_labels() -> Tensor:
    """Up to five labels a sample, a −1 behind the last one."""
    result = torch.stack(
        [torch.randperm(5, generator=torch.Generator().manual_seed(i)) for i in range(BATCH)]
    )
    result[torch.arange(BATCH), torch.arange(BATCH) % 4 + 1] = -1
    return result


SCORES, IMAGES = drawn(BATCH, 5), drawn(BATCH, 5, 3, 2)

CASES: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "cross entropy": (nn.CrossEntropyLoss(), (SCORES, labels(BATCH))),
    "smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), (SCORES, labels(BATCH))),
    "ignored": (nn.CrossEntropyLoss(), (SCORES, some_ignored(BATCH))),
    "ignored 2": (nn.CrossEntropyLoss(ignore_index=2), (SCORES, labels(BATCH))),
    "ignored, smoothing": (
        nn.CrossEntropyLoss(label_smoothing=0.1),
        (SCORES, some_ignored(BATCH)),
    ),
    "probabilities": (nn.CrossEntropyLoss(label_smoothing=0.1), (SCORES, shares(BATCH, 5))),
    "images": (nn.CrossEntropyLoss(), (IMAGES, labels(BATCH, 3, 2))),
    "images, ignored": (
        nn.CrossEntropyLoss(ignore_index=255),
        (IMAGES, some_ignored(BATCH, 3, 2, index=255)),
    ),
    "images, probabilities": (nn.CrossEntropyLoss(), (IMAGES, shares(BATCH, 5, 3, 2))),
    "nll": (nn.NLLLoss(), (SCORES.log_softmax(1), labels(BATCH))),
    "nll, ignored": (nn.NLLLoss(ignore_index=1), (IMAGES.log_softmax(1), labels(BATCH, 3, 2))),
    "mse": (nn.MSELoss(), (SCORES, drawn(BATCH, 5) + 1)),
    "mse, one dimension": (nn.MSELoss(), (drawn(BATCH), signs(BATCH))),
    "l1": (nn.L1Loss(), (IMAGES, signs(BATCH, 5, 3, 2))),
    "smooth l1": (nn.SmoothL1Loss(beta=0.5), (SCORES, signs(BATCH, 5))),
    "huber": (nn.HuberLoss(delta=0.5), (SCORES, signs(BATCH, 5))),
    "soft margin": (nn.SoftMarginLoss(), (SCORES, signs(BATCH, 5))),
    "hinge": (nn.HingeEmbeddingLoss(margin=0.7), (SCORES, signs(BATCH, 5))),
    "poisson": (nn.PoissonNLLLoss(full=True), (SCORES, labels(BATCH, 5).double())),
    "poisson, no log": (
        nn.PoissonNLLLoss(log_input=False, eps=0.1),
        (SCORES.exp(), labels(BATCH, 5).double()),
    ),
    "gaussian": (nn.GaussianNLLLoss(full=True), (SCORES, signs(BATCH, 5), shares(BATCH, 5))),
    "kl": (nn.KLDivLoss(reduction="batchmean"), (SCORES.log_softmax(1), shares(BATCH, 5))),
    "kl, logs": (
        nn.KLDivLoss(reduction="batchmean", log_target=True),
        (IMAGES.log_softmax(1), shares(BATCH, 5, 3, 2).log()),
    ),
    "bce": (nn.BCELoss(), (SCORES.sigmoid(), shares(BATCH, 5))),
    "bce, weight": (
        nn.BCELoss(weight=torch.arange(5.0).double()),
        (SCORES.sigmoid(), shares(BATCH, 5)),
    ),
    "logits": (nn.BCEWithLogitsLoss(), (drawn(BATCH), labels(BATCH, classes=2).double())),
    "logits, weights": (
        nn.BCEWithLogitsLoss(
            weight=torch.arange(5.0).double(), pos_weight=torch.arange(5.0).double()[None]
        ),
        (SCORES, shares(BATCH, 5)),
    ),
    "margins": (nn.MultiMarginLoss(margin=0.7), (SCORES, labels(BATCH))),
    "margins, weights": (
        nn.MultiMarginLoss(p=2, weight=torch.arange(5.0).double()),
        (SCORES, labels(BATCH)),
    ),
    "label margins": (nn.MultiLabelMarginLoss(), (SCORES, several_labels())),
    "label soft margins": (
        nn.MultiLabelSoftMarginLoss(weight=torch.arange(5.0).double()),
        (SCORES, shares(BATCH, 5)),
    ),
    "cosine": (
        nn.CosineEmbeddingLoss(margin=0.1),
        (SCORES, drawn(BATCH, 5) + 1, signs(BATCH)),
    ),
    "ranking": (
        nn.MarginRankingLoss(margin=0.1),
        (drawn(BATCH), drawn(BATCH) + signs(BATCH), signs(BATCH)),
    ),
    "triplets": (
        nn.TripletMarginLoss(swap=True),
        (SCORES, SCORES + signs(BATCH, 5), SCORES.flip(0)),
    ),
    "functions": (F.cross_entropy, (SCORES, labels(BATCH))),
    "partial": (
        partial(F.cross_entropy, label_smoothing=0.2, ignore_index=1, reduction="mean"),
        (SCORES, labels(BATCH)),
    ),
    "partial, mse": (partial(F.mse_loss), (SCORES, signs(BATCH, 5))),
}


def parts_of(tensors: tuple[Any, ...], chunks: int) -> list[list[Any]]:
    columns = [
        [each] * len(SCORES.chunk(chunks)) if each.dim() == 0 else each.chunk(chunks)
        for each in tensors
    ]
    return [list(part) for part in zip(*columns, strict=True)]


def by_slices(criterion: Any, chunks: int, tensors: tuple[Any, ...]) -> Tensor:
    return torch.stack([criterion(*part) for part in parts_of(tensors, chunks)])
