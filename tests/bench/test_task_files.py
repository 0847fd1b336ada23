"""Tasks in a user's own file: what they may hold, and what is said of their errors."""

from __future__ import annotations

import pytest
from bench_commands import TASK_FILE, run_command, run_file
from typer.testing import CliRunner

from dynaprune.bench.results import Results
from dynaprune.cli.app import app


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
    assert [(line["variant"], line["budget"]) for line in lines] == [
        ("full", 0),
        ("bls-infobatch", 0.2),
    ]


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


def test_older_results_name_the_variant_otherwise(tmp_path):
    assert run_file(tmp_path, TASK_FILE).exit_code == 0
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text().replace('"variant": "full"', '"way": "full"'))
    assert [line["variant"] for line in Results(tmp_path).lines] == ["full"]
    assert "all 1 runs are already in" in run_file(tmp_path, TASK_FILE).output


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
