"""Optimizers and schedules of the benchmark, by their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench_commands import TASK_FILE, run_command
from image_folders import write_tree
from torch import nn
from zoo.presets.paper_cifar import PaperCifar

from dynaprune.bench.lars import LARS
from dynaprune.bench.recipe import Recipe, one_cycle
from dynaprune.bench.results import Results


def test_one_cycle_goes_up_and_then_to_zero():
    shares = [one_cycle(progress) for progress in np.linspace(0, 1, 101)]
    assert shares[0] == pytest.approx(0.05)
    assert np.argmax(shares) == 20
    assert max(shares) == pytest.approx(1)
    assert shares[-1] == pytest.approx(0)
    assert np.all(np.diff(shares[:21]) > 0)
    assert np.all(np.diff(shares[20:]) < 0)


def test_an_optimizer_that_there_is_not():
    with pytest.raises(ValueError, match="optimizer must be sgd, adamw or lars, but 'adam' was"):
        Recipe(epochs=1, batch_size=1, learning_rate=0.1, optimizer="adam")
    model = nn.Linear(1, 1)
    Recipe(epochs=1, batch_size=1, learning_rate=0.1, momentum=0.0).make_optimizer(model)


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
    assert [line["variant"] for line in lines] == ["full", "bls-infobatch"]
    assert lines[0]["recipe"]["optimizer"] == "lars"
