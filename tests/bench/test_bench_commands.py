"""`dynaprune bench`: the report, the list of tasks, and wrong use."""

from __future__ import annotations

import json

import pytest
from bench_commands import TASK_FILE, run_command, run_file
from PIL import Image
from typer.testing import CliRunner

from dynaprune.bench.report import write_report
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.cli.app import app


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


def test_a_report_of_unknown_variants(tmp_path):
    assert run_file(tmp_path, TASK_FILE).exit_code == 0
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text().replace('"variant": "full"', '"variant": "best"'))
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
