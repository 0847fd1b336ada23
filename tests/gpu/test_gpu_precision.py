"""Mixed precision: what is scored is the loss as it was, in float32."""

from __future__ import annotations

import logging

import pytest
import torch
from gpu_runs import Task, bls_scores, pruned
from helpers import Numbers
from torch import nn
from torch.nn import functional

from dynaprune import BLS, InfoBatch, SampleLoss

LENGTH = 256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(device, dtype):
    """`update` within autocast and before `scaler.scale`, over epochs with weights."""
    task, train, told = Task(device, LENGTH), pruned(LENGTH), []
    scaler = torch.amp.GradScaler(device.type, init_scale=1024.0, enabled=dtype == torch.float16)
    for _ in range(4):
        losses, weights = [], train.weights
        for indices in train.batches(16, device=device, drop_last=True):
            with torch.autocast(device.type, dtype=dtype):
                outputs = task.model(task.x[indices])
                assert outputs.dtype == dtype
                loss = task.criterion(outputs, task.y[indices])
                scaled = train.update(loss)
            task.optimizer.zero_grad()
            scaler.scale(scaled).backward()
            scaler.step(task.optimizer)
            scaler.update()
            plain = functional.cross_entropy(outputs.detach().float(), task.y[indices])
            expected = float(plain) * float(weights[indices.cpu()].mean())
            assert float(scaled.detach()) == pytest.approx(expected, rel=1e-2)
            losses.append((indices, plain))
        told += [(indices.tolist(), float(loss)) for indices, loss in losses]
        torch.testing.assert_close(train.scores, bls_scores(LENGTH, told), rtol=1e-2, atol=1e-3)
    assert weights.max() > 1
    assert sum(loss for _, loss in told[-4:]) < sum(loss for _, loss in told[:4])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_whose_sum_is_out_of_range(device, dtype):
    """256 losses of 1000, where float16 ends at 65504: their mean is in range."""
    train = SampleLoss(InfoBatch(Numbers(LENGTH), 10)).proxy()
    every = (torch.arange(LENGTH) % 64 + 1000).to(dtype)  # bfloat16 rounds them
    for _ in range(2):
        weights = train.weights
        for indices in train.batches(LENGTH, device=device):
            samples = indices.cpu()
            scaled = train.update(every.to(device)[indices])
            assert scaled.dtype == dtype
            expected = (every[samples].double() * weights[samples].double()).mean()
            assert float(scaled) == pytest.approx(float(expected), rel=1e-2)
        assert train.scores.tolist() == every.float().tolist()
    assert weights.max() > 1


def test_an_overflow_is_left_out(device, caplog):
    """The step is skipped by the scaler, and its loss by the scores, which a warning says."""
    task, train, told = Task(device, LENGTH), pruned(LENGTH), []
    scaler = torch.amp.GradScaler(device.type, init_scale=1024.0)
    for number, indices in enumerate(train.batches(16, device=device)):
        before = [each.detach().clone() for each in task.model.parameters()]
        with torch.autocast(device.type, dtype=torch.float16):
            loss = task.loss(indices)
            if number == 5:
                loss = loss * float("inf")
            scaled = train.update(loss)
        task.optimizer.zero_grad()
        scaler.scale(scaled).backward()
        scaler.step(task.optimizer)
        scaler.update()
        pairs = zip(before, task.model.parameters(), strict=True)
        is_same = all(torch.equal(old, new.detach()) for old, new in pairs)
        assert is_same == (number == 5)
        if number == 5:
            left_out = indices.tolist()
        else:
            told.append((indices.tolist(), float(loss.detach())))
    with caplog.at_level(logging.WARNING, logger="dynaprune"):
        train.end_epoch()
    assert "1 losses were not finite and were left out of scoring" in caplog.text
    torch.testing.assert_close(train.scores, bls_scores(LENGTH, told), rtol=1e-3, atol=1e-4)
    assert train.scores.isfinite().all()
    assert train.scores[left_out].unique().numel() == 1  # the start, which all had alike


def crops(images, indices, size):
    """Return a window of each image, at places that are drawn on its device."""
    count, channels, side = indices.numel(), *images.shape[1:3]
    starts = torch.randint(0, side - size + 1, (2, count, 1), device=images.device)
    rows, columns = starts + torch.arange(size, device=images.device)
    picked = images[indices[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    cropped = picked.permute(0, 3, 1, 2)
    assert cropped.shape == (count, channels, size, size)
    return cropped.contiguous(memory_format=torch.channels_last)


def test_images_on_the_device(device):
    """As a benchmark goes: bytes on the device, crops of them, half precision, channels last."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (LENGTH,), generator=generator)
    noise = torch.randint(0, 64, (LENGTH, 3, 12, 12), generator=generator)
    images = (noise + 48 * labels[:, None, None, None]).to(torch.uint8).to(device)
    labels = labels.to(device)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    ).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    train, means = BLS(InfoBatch(Numbers(LENGTH), 10)).proxy(), []
    for _ in range(8):
        for indices in train.batches(32, device=device):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                outputs = model(crops(images, indices, 8) / 255)
                loss = train.update(functional.cross_entropy(outputs, labels[indices]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        means.append(train.mean_loss)
    assert means[-1] < 0.7 * means[0]
    assert train.scores.isfinite().all()
    assert train.scores.std() > 0
    assert train.summary().share_saved > 0.1
