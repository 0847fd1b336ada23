"""The benchmarks for a GPU: their parts, and all stages at toy size on the CPU."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from torch import nn

from dynaprune import BLS, InfoBatch, NoPrune, SampleLoss
from dynaprune.bench.lars import LARS

FOLDER = ROOT / "benchmarks" / "gpu"
STAGES = ("checks", "cost", "rates", "cifar10", "noisy", "fits", "paper")


@pytest.fixture
def part(monkeypatch):
    """Return what imports a file of the folder, which is on no path otherwise."""
    monkeypatch.syspath_prepend(str(FOLDER))
    own = {file.stem for file in FOLDER.glob("*.py")}
    for name in own & set(sys.modules):
        monkeypatch.delitem(sys.modules, name)
    yield importlib.import_module
    for name in own & set(sys.modules):
        del sys.modules[name]


def jpeg(shade):
    content = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, 255 - shade, shade // 2)).save(content, "JPEG")
    return content.getvalue()


def test_packed_images_are_in_the_order_of_the_labels(part, tmp_path):
    root = tmp_path / "data"
    (root / "cifar10n").mkdir(parents=True)
    labels = np.array([1, 0, 1, 1, 0])
    shades = [10, 60, 110, 160, 210]  # of the samples in order
    with zipfile.ZipFile(root / "cifar10-images.zip", "w") as archive:
        for label, name in enumerate(("aeroplane", "bird")):
            for place, sample in enumerate(np.flatnonzero(labels == label)):
                archive.writestr(f"train/{name}/{place:04}.jpg", jpeg(shades[sample]))
            archive.writestr(f"test/{name}/0000.jpg", jpeg(100 * label))
    human = {"clean_label": labels, "aggre_label": labels, "random_label1": 1 - labels}
    human["worse_label"] = np.zeros(5, dtype=np.int64)
    torch.save(human, root / "cifar10n" / "CIFAR-10_human.pt")

    part("pack").pack(root, tmp_path / "packed")
    data = part("data").load(tmp_path / "packed", torch.device("cpu"), torch.float32)

    assert data.labels.tolist() == labels.tolist()
    assert data.test_labels.tolist() == [0, 1]
    assert data.noisy["worse"].tolist() == [0] * 5
    assert data.noisy["random1"].tolist() == (1 - labels).tolist()
    assert data.train.shape == (5, 40, 40, 3)
    # normalised values ascend with the shade, which ascends with the sample's number
    red = data.train[:, 20, 20, 0]
    assert torch.equal(red, red.sort().values)
    assert red.unique().numel() == 5


def test_without_packed_data_it_is_said_what_to_do(part, tmp_path):
    with pytest.raises(SystemExit, match=r"pack\.py --root DATA"):
        part("data").load(tmp_path, torch.device("cpu"), torch.float32)


def test_augmented_images_are_crops_and_mirrored_ones(part):
    data = part("data")
    size = 32 + 2 * data.MARGIN
    padded = torch.arange(size * size * 3.0).reshape(1, size, size, 3).repeat(64, 1, 1, 1)
    torch.manual_seed(0)
    found = data.augmented(padded, torch.arange(64))
    assert found.shape == (64, 3, 32, 32)
    assert found.is_contiguous(memory_format=torch.channels_last)
    whole = padded[0].permute(2, 0, 1)
    crops = [
        whole[:, row : row + 32, column : column + 32] for row in range(9) for column in range(9)
    ]
    kinds = []
    for image in found:
        is_crop = any(torch.equal(image, crop) for crop in crops)
        is_mirrored = any(torch.equal(image.flip(-1), crop) for crop in crops)
        assert is_crop != is_mirrored
        kinds.append(is_mirrored)
    assert 16 < sum(kinds) < 48
    assert len({tuple(image[0, :2, :2].flatten().tolist()) for image in found}) > 32


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))


@pytest.mark.parametrize("trust", [None, 0.001])
def test_parameters_are_updated_as_optimizers_do(part, trust):
    """By torch's SGD with Nesterov's momentum and weight decay, and by our own LARS."""
    trainer = part("trainer")
    ours, theirs = model(), model()
    flat = trainer.Parameters(ours, trainer.Rule(weight_decay=0.01, trust=trust))
    optimizer = (
        torch.optim.SGD(theirs.parameters(), 0.1, 0.9, weight_decay=0.01, nesterov=True)
        if trust is None
        else LARS(theirs.parameters(), 0.1, 0.9, 0.01)
    )
    images = torch.randn(6, 3, 8, 8)
    for rate in (0.1, 0.3, 0.2):
        for each in (ours, theirs):
            each(images).square().mean().backward()
        flat.update(torch.tensor(rate), torch.tensor(0.9))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.detach(), other.detach())


def trainer_of(part, samples=96):
    data = part("data").toy(torch.device("cpu"), torch.float32, samples)
    network, trainer = part("network"), part("trainer")
    return trainer.Trainer(lambda: network.Network(4), data, 32, trainer.Rule())


@pytest.mark.parametrize("reads", ["mean", "slices", "samples"])
def test_a_step_weights_losses_as_update_does(part, reads):
    trainer = trainer_of(part)
    score = BLS if reads == "mean" else SampleLoss
    pruned = score(InfoBatch(range(96), 3, prune_ratio=0.7)).proxy()
    pruned.begin_epoch()
    losses = torch.arange(96.0)
    pruned.update(losses, indices=torch.arange(96))
    pruned.end_epoch()
    assert pruned.weights.unique().numel() == 2
    trainer.weigh(pruned.weights)
    trainer.prepare(reads, 0)
    trainer.reset(0)
    seen = []
    update = trainer._parameters.update
    trainer._parameters.update = lambda rate, momentum: (
        seen.append(trainer._parameters.gradients.clone()),
        update(rate, momentum),
    )
    indices = next(iter(pruned.batches(32)))
    torch.manual_seed(1)
    trainer.step(reads, 0, indices, 0.0, 0.0)

    trainer.reset(0)
    data = trainer._data
    torch.manual_seed(1)
    images, labels = part("data").augmented(data.train, indices), data.labels[indices]
    losses = nn.functional.cross_entropy(trainer.model(images), labels, reduction="none")
    size = {"mean": 32, "slices": 4, "samples": 1}[reads]
    parts = losses.view(-1, size).mean(1)
    expected = pruned.update(parts if reads != "mean" else parts[0])
    expected.backward()
    torch.testing.assert_close(seen[0], trainer._parameters.gradients)


def test_the_hardest_of_a_batch_are_trained_on(part):
    trainer = trainer_of(part)
    trainer.prepare("hardest", 8)
    trainer.reset(0)
    called = []
    losses = trainer._losses

    def noted(images, labels):
        found = losses(images, labels)
        called.append((images, labels, found.detach()))
        return found

    trainer._losses = noted
    trainer.step("hardest", 8, torch.arange(32), 0.0, 0.0)
    (images, labels, found), (kept_images, kept_labels, _) = called
    order = found.argsort(descending=True)[:8]
    assert torch.equal(kept_images, images[order])
    assert torch.equal(kept_labels, labels[order])


def test_a_run_learns_and_counts_its_visits(part):
    trainer = trainer_of(part, 192)
    run = part("trainer").train_run
    pruned = NoPrune(range(192), 12)
    trained = run(trainer, pruned, lambda progress: (0.05, 0.9), 0)
    assert trained.accuracy > 0.5  # by chance a tenth
    assert trained.visits == 12 * 192 == pruned.summary().visits_made
    again = run(trainer, NoPrune(range(192), 12), lambda progress: (0.05, 0.9), 0)
    assert again.accuracy == trained.accuracy  # nothing is left of the run before
    half = run(trainer, NoPrune(range(192), 2), lambda progress: (0.05, 0.9), 0, "hardest", 16)
    assert half.visits == 192


def test_runs_are_planned_in_pairs(part):
    cifar10 = part("cifar10")
    plan = list(cifar10.plan())
    assert len(plan) == len(set(plan))
    # two budgets of all ways, beside full training and what saves by itself
    assert len(plan) == 2 * 20 * (2 * len(cifar10.CHOICES) + 1 + len(cifar10.UNASKED))
    # a first answer at both lengths
    main = 2 * 3 * (2 * len(cifar10.MAIN) + 1)
    assert {(run.epochs, run.seed) for run in plan[:main]} == {
        (epochs, seed) for epochs in cifar10.LENGTHS for seed in range(3)
    }
    assert {run.way for run in plan[:main]} == {"full", *cifar10.MAIN}
    # then five seeds of the longer one, and what saves by itself
    first = main + 2 * (2 * len(cifar10.MAIN) + 1) + 5 * len(cifar10.UNASKED)
    assert {run.epochs for run in plan[main:first]} == {40}
    assert {run.way for run in plan[main:first]} == {"full", *cifar10.UNASKED, *cifar10.MAIN}
    # then five seeds of all methods at the shorter one
    rest = 5 * (2 * len(cifar10.CHOICES) + 1 + len(cifar10.UNASKED)) - main // 2
    assert {run.epochs for run in plan[first : first + rest]} == {10}
    assert {run.seed for run in plan[: first + rest]} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [("5", [1.0, 4.0]), ("2,3.5", [2.0, 3.5])],
)
def test_minutes_are_divided(part, minutes, expected):
    assert part("run").minutes_of(minutes, ["cost", "cifar10"]) == expected


def test_minutes_for_other_stages_are_refused(part):
    with pytest.raises(ValueError, match="2 stages, but 3 numbers"):
        part("run").minutes_of("1,2,3", ["cost", "cifar10"])


def run_stages(out, *arguments):
    return subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), "--out", str(out), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_said_what_to_do(tmp_path):
    ended = run_stages(tmp_path)
    assert ended.returncode == 2
    assert "torch finds no GPU here: --device cpu --toy" in ended.stderr


@pytest.mark.long
def test_all_stages_run_at_toy_size(tmp_path):
    toy = ("--device", "cpu", "--toy", "--minutes", "20")
    ended = run_stages(tmp_path, *toy)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = {
        stage: list(map(json.loads, (tmp_path / f"{stage}.jsonl").read_text().splitlines()))
        for stage in STAGES
    }
    for stage, its in lines.items():
        assert its, stage
        assert all(line["toy"] and line["torch"] == torch.__version__ for line in its)
        assert f"\n{stage}: " in ended.stdout
    assert lines["checks"][0]["status"] == 0
    assert lines["checks"][0]["passed"] > 0
    # what is there is not made again
    stages = STAGES[2:]
    ended = run_stages(tmp_path, *toy, "--stage", ",".join(stages))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for stage in stages:
        assert len((tmp_path / f"{stage}.jsonl").read_text().splitlines()) == len(lines[stage])


def test_fits_are_compared_at_the_best_rate(part):
    fits = part("fits")
    searched = [each for each in fits.plan([]) if each.target == "image"]
    assert len(searched) == len(fits.WAYS) * len(fits.RATES)  # nothing is compared before
    assert all(each.is_search for each in searched)
    records = [{"decibels": -abs(each.rate - fits.RATES[1]), **vars(each)} for each in searched]
    compared = [each for each in fits.plan(records) if not each.is_search]
    assert len(compared) == len(fits.WAYS) * len(fits.SEEDS)
    assert {(each.target, each.rate) for each in compared} == {("image", fits.RATES[1])}


@pytest.mark.parametrize("way", ["full", "fewer epochs", "random", "√loss + 0.3", "loss + 1"])
def test_a_fit_learns_with_the_visits_that_it_may_make(part, way):
    fits = part("fits")
    size = fits.Size(side=32, batch=128, width=32, epochs=20)
    run = fits.make(fits.Planned("field", way, 0.01, seed=0), size, torch.device("cpu"))
    share = 1.0 if way == "full" else 1 - fits.SAVED
    assert run["visits"] == share * size.side**2 * size.epochs
    assert run["decibels"] > 3  # 0 is that of the target's mean
