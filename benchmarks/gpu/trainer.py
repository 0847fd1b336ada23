"""A training step as one CUDA graph, and runs of such steps over a pruned data set.

A step of a small network is a hundred kernels of some microseconds, which Python starts more slowly
than a GPU works them off. So each step is captured once, forward and backward pass, optimizer and
augmentation, and then replayed. All that it reads has a fixed place: the batch's indices, weights,
labels, the learning rate. On a CPU the same function is called as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from data import Data, augmented
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dynaprune import PrunedDataset, chunked

SLICES = 8
WARM_UPS = 3  # before a capture, as PyTorch's manual asks for; cuDNN chooses its kernels in them

Reads = Literal["mean", "slices", "samples", "hardest"]
"""What `update` gets of a batch: its mean loss, the means of 8 slices, or the loss of each sample.

"hardest" is a control that needs no scores: of each batch, after a forward pass, only the samples
with the highest losses are trained on.
"""


@dataclass(frozen=True)
class Rule:
    """How parameters are updated.

    Attributes:
        weight_decay: L2.
        trust: η of LARS; `None` for SGD with Nesterov's momentum.
    """

    weight_decay: float = 5e-4
    trust: float | None = None


class Parameters:
    """All parameters of a model in one vector, and their gradients in another.

    The model's own become views of them, with channels last, so that an update of all is a few
    kernels.

    Arguments:
        model: on its device.
        rule: how they are updated.
    """

    def __init__(self, model: nn.Module, rule: Rule) -> None:
        own = list(model.parameters())
        total, device = sum(each.numel() for each in own), own[0].device
        self.rule = rule
        self.values, self.gradients, self.gathered = torch.zeros(3, total, device=device).unbind()
        lengths = torch.tensor([each.numel() for each in own], device=device)
        self._owners = torch.repeat_interleave(torch.arange(len(own), device=device), lengths)
        start = 0
        for each in own:
            end = start + each.numel()
            values = _view(self.values[start:end], each.shape)
            values.copy_(each.detach())
            each.data = values
            each.grad = _view(self.gradients[start:end], each.shape)
            start = end
        self._own = own

    @torch.no_grad()
    def update(self, rate: Tensor, momentum: Tensor) -> None:
        """Make a step, and forget the gradients.

        Arguments:
            rate: the learning rate, of shape ().
            momentum: likewise.
        """
        slope = self.gradients + self.rule.weight_decay * self.values
        self.gathered.mul_(momentum).add_(slope)
        if self.rule.trust is None:
            self.values.sub_(rate * (slope + momentum * self.gathered))
        else:
            self.values.sub_(rate * self._ratios(self.rule.trust)[self._owners] * self.gathered)
        self.gradients.zero_()

    def _ratios(self, trust: float) -> Tensor:
        """Return η·‖w‖ / (‖g‖ + λ·‖w‖) of each parameter, or 1; see `LARS`."""
        sizes = torch.stack(torch._foreach_norm([each.detach() for each in self._own]))
        slopes = torch.stack(
            torch._foreach_norm([each.grad for each in self._own if each.grad is not None])
        )
        ratios = trust * sizes / (slopes + self.rule.weight_decay * sizes)
        return torch.where((sizes > 0) & (slopes > 0), ratios, 1.0)


def _view(part: Tensor, shape: torch.Size) -> Tensor:
    """Return a view of a part of a vector; of four dimensions, with channels last in memory."""
    if len(shape) != 4:
        return part.view(shape)
    out, channels, height, width = shape
    return part.view(out, height, width, channels).permute(0, 3, 1, 2)


class Trainer:
    """A model on a device, and its training step.

    Arguments:
        make_model: makes a model with new random weights.
        data: on the device.
        batch_size: B, samples a step.
        rule: how parameters are updated.
        smoothing: of labels, in [0, 1).

    Attributes:
        model: what is trained.
        labels: int64, shape (N,): of the training set; may be written to.
    """

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        data: Data,
        batch_size: int,
        rule: Rule,
        smoothing: float = 0.0,
    ) -> None:
        self.device, self.batch_size = data.train.device, batch_size
        self.model = make_model().to(self.device)
        self.labels = data.labels.clone()
        self._make_model, self._data = make_model, data
        self._parameters = Parameters(self.model, rule)
        self._smoothing = smoothing
        self._sliced = chunked(nn.CrossEntropyLoss(label_smoothing=smoothing), SLICES)
        with torch.device(self.device):
            self._indices = torch.arange(batch_size)
            self._weights = torch.ones(len(data.labels))
            self._rate, self._momentum = torch.zeros(()), torch.zeros(())
        self._programs: dict[tuple[Reads, int], Callable[[], Tensor]] = {}

    def prepare(self, reads: Reads, kept: int) -> None:
        """Capture the step, unless that was done. The model's weights change."""
        if (reads, kept) not in self._programs:
            self._programs[reads, kept] = self._captured(lambda: self._work(reads, kept))

    def reset(self, seed: int) -> None:
        """Give the model new weights, which depend on the seed alone."""
        torch.manual_seed(seed)
        fresh = self._make_model()
        with torch.no_grad():
            for own, new in zip(self.model.parameters(), fresh.parameters(), strict=True):
                own.copy_(new)
            for own, new in zip(self.model.buffers(), fresh.buffers(), strict=True):
                own.copy_(new)
        self._parameters.gradients.zero_()
        self._parameters.gathered.zero_()
        self.model.train()

    def weigh(self, weights: Tensor) -> None:
        """Set the weights of all samples: float32, shape (N,)."""
        self._weights.copy_(weights)

    def step(
        self, reads: Reads, kept: int, indices: Tensor, rate: float, momentum: float
    ) -> Tensor:
        """Train on a batch.

        Arguments:
            reads: what to return.
            kept: of "hardest", how many samples of a batch are trained on.
            indices: the samples, int64 of shape (B,).
            rate: the learning rate.
            momentum: likewise.

        Returns:
            What `update` is to get, before weights; the next step overwrites it.
        """
        self._indices.copy_(indices)
        self._rate.fill_(rate)
        self._momentum.fill_(momentum)
        return self._programs[reads, kept]()

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the share of the test images whose class the model says, in evaluation mode."""
        self.model.eval()
        images = self._data.test.permute(0, 3, 1, 2).split(2000)
        found = torch.cat([self._logits(each).argmax(1) for each in images])
        self.model.train()
        return float((found == self._data.test_labels).float().mean())

    def _logits(self, images: Tensor) -> Tensor:
        is_half = images.dtype == torch.bfloat16
        # no cache: each weight is read once a step, and a graph must not find one from before
        with torch.autocast(images.device.type, torch.bfloat16, is_half, cache_enabled=False):
            return torch.as_tensor(self.model(images)).float()

    def _losses(self, images: Tensor, labels: Tensor) -> Tensor:
        logits = self._logits(images)
        return cross_entropy(logits, labels, reduction="none", label_smoothing=self._smoothing)

    def _work(self, reads: Reads, kept: int) -> Tensor:
        """Make a step from what lies in the fixed places."""
        images, labels = augmented(self._data.train, self._indices), self.labels[self._indices]
        weights = self._weights[self._indices]
        if reads == "hardest":
            with torch.no_grad():
                found = self._losses(images, labels)
            hardest = found.topk(kept).indices
            measured = found.mean()
            loss = self._losses(images[hardest], labels[hardest]).mean()
        else:
            if reads == "slices":
                losses = torch.as_tensor(self._sliced(self._logits(images), labels))
            else:
                losses = self._losses(images, labels)
            losses = losses.mean().reshape(1) if reads == "mean" else losses
            # each loss times the mean weight of its samples
            loss = (losses * weights.view(len(losses), -1).mean(1)).mean()
            measured = losses.detach()
        loss.backward()
        self._parameters.update(self._rate, self._momentum)
        return measured

    def _captured(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Return what replays a function as a CUDA graph; on a CPU, the function."""
        if self.device.type != "cuda":
            return work
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            measured = work()

        def replay() -> Tensor:
            graph.replay()
            return measured

        return replay


Rates = Callable[[float], tuple[float, float]]
"""The learning rate and the momentum at a run's progress, in [0, 1]."""


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        accuracy: on the test images, after the last epoch.
        visits: samples that were trained on, each as often as it was.
        steps: how many.
        seconds: of the wall clock, without the test.
    """

    accuracy: float
    visits: int
    steps: int
    seconds: float


def train_run(
    trainer: Trainer,
    train: PrunedDataset,
    rates: Rates,
    seed: int,
    reads: Reads = "mean",
    kept: int = 0,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Train on a pruned data set and judge the model.

    Arguments:
        trainer: trains it, from new weights on.
        train: decides which of the trainer's data an epoch serves.
        rates: by the run's progress, which follows sample visits.
        seed: fixes weights and augmentation.
        reads: what `update` gets.
        kept: of "hardest", how many samples of a batch are trained on.
        on_epoch: called with the number of each epoch that has ended; its time counts.
    """
    trainer.prepare(reads, kept)
    trainer.reset(seed)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    started, steps = time.perf_counter(), 0
    for epoch in range(train.num_epochs):
        trainer.weigh(train.weights)
        for indices in train.batches(trainer.batch_size, device=trainer.device, drop_last=True):
            now = rates(train.progress / train.num_epochs)
            train.update(trainer.step(reads, kept, indices, *now))
            steps += 1
        on_epoch(epoch)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    visits = steps * (kept if reads == "hardest" else trainer.batch_size)
    return Trained(trainer.accuracy(), visits, steps, seconds)
