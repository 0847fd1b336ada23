"""Comparing scores with the true losses of some samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import default_collate

from ..data.hardest import is_hardest
from ..data.labels import check_labels, class_sizes
from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..utils.validation import check_integer
from .audit_result import Audit
from .estimates import rank_correlation, ratio_of_means
from .learned import learned_share
from .mislabeled import wrong_share
from .sample_losses import losses_of


def audit(
    train: PrunedDataset,
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Any],
    *,
    num_samples: int = 1000,
    labels: Any = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    repeats: int = 1,
) -> Audit:
    """Measure the true losses of some samples, and compare the scores and the method with them.

    Samples are drawn uniformly, and the loss of each is computed in a batch of its own, in
    evaluation mode and without gradients. Nothing is trained: `train`, the modes of the model's
    parts and the global random generators are unchanged afterwards. It uses the current scores,
    even in the middle of an epoch. With several ranks, each may call it alone, and all get the same
    result; a `DistributedDataParallel` is unwrapped, so that no rank waits for the others.

    The generators of torch (on the CPU and on CUDA devices), NumPy and Python are seeded equally
    for each sample, so that a loss that draws random numbers, such as the noise of a diffusion
    model, draws the same ones for all samples.

    Arguments:
        train: the pruned dataset.
        model: the model that is trained.
        loss_fn: called as `loss_fn(model, batch)` with a batch of one sample, it returns its loss,
            of shape () or (1,).
        num_samples: how many samples to measure, at least 1; all, if there are fewer. With 1,000
            samples the rank correlation is known to ±0.06.
        labels: the class of each sample, shape (N,), to find rare classes; by default those that
            the dataset provides: `targets`, `labels`, the second tensor of a `TensorDataset`.
        collate_fn: makes a batch of a list of one sample; by default torch's.
        device: the device of the batch; by default that of the model's first parameter.
        seed: fixes the samples and all random draws, at least 0.
        repeats: how many losses, with different draws, are averaged per sample, at least 1.

    Raises:
        TypeError: `train` is no pruned dataset, an argument is of another type, or `loss_fn`
            returns no number.
        ValueError: a number is too small, `labels` are of another number of samples, or `loss_fn`
            returns several numbers.
        RuntimeError: the dataset is a stream, or no loss is finite.

    Source: the questions are those of the Batch Loss Score, arXiv:2604.04681, which correlates
    scores with per-sample losses.

    Example:
        >>> import torch
        >>> from dynaprune import DataLoader, InfoBatch, audit
        >>> train = InfoBatch(torch.linspace(0, 1, 200)[:, None], num_epochs=10)
        >>> model = torch.nn.Identity()
        >>> for batch in DataLoader(train, batch_size=20):
        ...     loss = train.update(model(batch)[:, 0])  # the sample itself is the loss
        >>> found = audit(train, model, lambda model, batch: model(batch).mean(), num_samples=50)
        >>> found.correlation.value
        1.0
        >>> found.kept_share  # half of those below the mean are skipped
        0.75
        >>> print(found.advice[1])
        The scores order the samples by their losses, 1.00 (95% interval 1.00 to 1.00).
    """
    started = time.perf_counter()
    check_audited(train, model, loss_fn)
    count = min(len(train), check_integer("num_samples", num_samples, minimum=1))
    seed = check_integer("seed", seed, minimum=0)
    repeats = check_integer("repeats", repeats, minimum=1)
    known = check_labels(labels, train.dataset, len(train))
    random = np.random.default_rng(seed)
    indices = np.sort(random.choice(len(train), count, replace=False, shuffle=False))
    if isinstance(model, DistributedDataParallel):
        model = model.module
    losses = losses_of(
        train.dataset,
        indices,
        model,
        loss_fn,
        default_collate if collate_fn is None else collate_fn,
        _device_of(model) if device is None else torch.device(device),
        np.random.SeedSequence(seed).generate_state(repeats).tolist(),
    )
    is_finite = np.isfinite(losses)
    if not is_finite.any():
        raise RuntimeError(
            f"none of the losses of {count:,} samples is finite, so there is nothing to compare: "
            "does loss_fn(model, batch) work with a batch of one sample in evaluation mode?"
        )
    indices, losses = indices[is_finite], losses[is_finite]
    coming = train.next_selection()
    is_skipped, planned_epoch = _skipped(train, coming)
    score = train.epochs.latest_score()
    scores = score.values().numpy()
    precision, base_rate = _precision(scores, indices, losses)
    hardest = is_hardest(losses, None if known is None else known[indices])
    return Audit(
        num_samples=losses.size,
        left_out=count - losses.size,
        correlation=rank_correlation(scores[indices].astype(np.float64), losses),
        reliability=train.reliability,
        precision=precision,
        base_rate=base_rate,
        kept_share=coming.indices.numel() / len(train),
        saved_share=train.summary().share_saved,
        skipped_loss_ratio=ratio_of_means(losses, is_skipped[indices], seed),
        planned_epoch=planned_epoch,
        class_sizes=class_sizes(known),
        hardest=int(hardest.sum()),
        hardest_kept=_share_kept(is_skipped[indices][hardest]),
        would_keep=1 - float(is_skipped.mean()),
        learned_share=learned_share(losses),
        outlier_share=wrong_share(losses),
        skips_highest=train.skips_highest,
        method=type(train).__name__,
        score=type(score).__name__,
        saving=vars(train).get("saving"),
        samples_a_loss=score.samples_a_loss,
        indices=indices,
        losses=losses,
        seconds=time.perf_counter() - started,
    )


def check_audited(train: Any, model: Any, loss_fn: Any) -> None:
    """Check the arguments of an audit.

    Raises:
        TypeError: an argument is of another type.
        RuntimeError: the dataset is a stream.
    """
    for name, value, kind in (("train", train, PrunedDataset), ("model", model, nn.Module)):
        if not isinstance(value, kind):
            raise TypeError(
                f"{name} must be a {kind.__name__}, but a {type(value).__name__} was given: call "
                "audit(train, model, loss_fn)"
            )
    if not callable(loss_fn):
        raise TypeError(
            "loss_fn must be a function, called as loss_fn(model, batch), but a "
            f"{type(loss_fn).__name__} was given"
        )
    train.epochs.source.require_indices(
        type(train).__name__,
        "audit() was called",
        "read train.reliability, which is estimated from the batches alone",
    )


def _device_of(model: nn.Module) -> torch.device:
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def _skipped(train: PrunedDataset, coming: Selection) -> tuple[NDArray[np.bool_], int]:
    """Return which samples an epoch would skip, shape (N,), and which epoch that is.

    Arguments:
        coming: the selection of the coming epoch, which is used if it skips anything.
    """
    epochs, last = train.epochs, train.num_epochs - 1
    now = epochs.number + (1 if epochs.progress.visits > 0 else 0)
    epoch, selection = now, coming
    for other in (train.num_epochs // 2, last, min(1, last)):
        if selection.indices.numel() < len(train):
            break
        epoch, selection = other, train.next_selection(other)
    is_skipped = np.ones(len(train), dtype=np.bool_)
    is_skipped[selection.indices.numpy()] = False
    return is_skipped, epoch


def _share_kept(is_skipped: NDArray[np.bool_]) -> float:
    return 1 - float(is_skipped.mean()) if is_skipped.size else math.nan


def _precision(
    scores: NDArray[np.float32], indices: NDArray[np.int64], losses: NDArray[np.float64]
) -> tuple[float, float]:
    """Return `Audit.precision` and `Audit.base_rate`."""
    mean = min(float(scores.mean(dtype=np.float64)), float(scores.max()))  # equal scores may round
    is_low = losses < min(float(losses.mean()), float(losses.max()))
    scores_low = scores[indices] < mean
    precision = float(is_low[scores_low].mean()) if scores_low.any() else math.nan
    return precision, float(is_low.mean())
