"""The benchmark's runs: what they train on, how many visits they make, and where they go on."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from bench_commands import TASK_FILE, Bright, run_command, run_file

from dynaprune import InfoBatch, NoPrune
from dynaprune.bench.drawn_scores import DrawnScores
from dynaprune.bench.fewer_epochs import FewerEpochs
from dynaprune.bench.recipe import Recipe
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.training import train_run
from dynaprune.bench.variants import DEFAULT, VARIANTS
from dynaprune.utils.devices import to_device


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
    variants = (*DEFAULT, "drawn-infobatch", "equal-infobatch", "slices-equal-infobatch")
    plan = plan_runs(bright, "as-is", variants, [0.25], range(2), bright.recipe)
    assert plan.left_out == []
    results = Results(tmp_path)
    lines = [found for _, found in run_all(bright, plan.runs, results)]
    assert [line["variant"] for line in lines] == 2 * [
        name for name in VARIANTS if name in variants
    ]
    visits = {line["variant"]: line["visits"] for line in lines}
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


def test_batches_keep_their_type():
    pair = namedtuple("pair", "inputs labels")
    moved = to_device(pair(torch.zeros(2), {"a": torch.ones(2)}), torch.device("cpu"))
    assert type(moved) is pair
    assert moved.labels["a"].tolist() == [1, 1]


def test_another_recipe_is_another_run(bright, tmp_path):
    one = plan_runs(bright, "as-is", [], [0.2], [0], bright.recipe)
    other = plan_runs(bright, "brief", [], [0.2], [0], bright.recipe)
    list(run_all(bright, one.runs, Results(tmp_path)))
    assert len(list(run_all(bright, other.runs, Results(tmp_path)))) == 1
    assert [line["recipe"]["epochs"] for line in Results(tmp_path).lines] == [8, 3]


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
