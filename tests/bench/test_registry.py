"""Where the benchmark finds tasks: in the package, in the zoo of a clone, in a user's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_commands import TASK_FILE, run_command
from repository import ROOT

from dynaprune.bench import registry
from dynaprune.bench.results import Results

ZOO = ROOT / "benchmarks" / "zoo"
DEMO = {"digits-cnn", "mnist5k-cnn", "cifar10-cnn"}


def names_in_list(options: str = "", *paths: Path) -> set[str]:
    result = run_command(f"bench list --json {options}", *paths)
    assert result.exit_code == 0, result.output
    return {json.loads(line)["name"] for line in result.output.splitlines()}


def words_of(command: str, *paths: Path) -> str:
    """Return what a command prints that goes wrong."""
    result = run_command(command, *paths)
    assert result.exit_code == 2
    return " ".join(result.output.split())


def write_task(file: Path, name: str, text: str = TASK_FILE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace('"mine"', f'"{name}"'))


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A package that is not imported from a clone."""
    monkeypatch.setattr(registry, "CLONE", tmp_path / "lib")


def test_a_clone_shows_its_zoo():
    shown = names_in_list()
    assert shown > {*DEMO, "sst2-lstm"}
    assert names_in_list("--tasks {}", ZOO) == shown


def test_an_installed_package_has_the_tasks_of_the_demo_and_finds_the_zoo(installed):
    assert names_in_list() == DEMO
    assert names_in_list("--tasks {}", ZOO) > {*DEMO, "sst2-lstm"}
    where = "the tasks of the zoo are in a clone of the repository: --tasks benchmarks/zoo"
    assert where in words_of("bench run sst2-lstm")
    assert where in words_of("bench run --preset paper-cifar")
    command = "bench run --preset paper-cifar --tasks {}"
    assert "'cifar10' needs root" in words_of(command, ZOO)


def test_where_the_zoo_is_is_said_only_to_those_who_lack_it():
    assert "clone" not in words_of("bench run sst2-lsmt")


def test_a_folder_of_task_files(tmp_path):
    folder = tmp_path / "mine too"
    write_task(folder / "one.py", "one")
    write_task(folder / "two.py", "two", TASK_FILE.replace("nn.Linear(1, 1)", "make_net()"))
    with (folder / "two.py").open("a") as file:
        file.write("\n\nfrom nets_beside_two import make_net\n")
    (folder / "nets_beside_two.py").write_text(
        "from torch import nn\n\ndef make_net():\n    return nn.Linear(1, 1)\n"
    )
    assert names_in_list("--tasks {}", folder) == {*DEMO, "one", "two"}
    command = "bench run two --tasks {} --methods random --budgets 0.3 --seeds 1 --out {}"
    result = run_command(command, folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {line["task"] for line in Results(tmp_path / "out").lines} == {"two"}
    assert "Did you mean two?" in words_of("bench run twoo --tasks {}", folder)


def test_a_package_of_tasks_and_presets(tmp_path):
    folder = tmp_path / "kit_of_mine"
    (folder / "tasks").mkdir(parents=True)
    (folder / "nets.py").write_text("from torch import nn\nNet = nn.Linear\n")
    text = "from kit_of_mine.nets import Net\n" + TASK_FILE.replace("nn.Linear(", "Net(")
    write_task(folder / "tasks" / "small.py", "small", text)
    write_task(folder / "presets" / "at_full_size.py", "large", text)
    assert names_in_list("--tasks {}", folder) == {*DEMO, "small"}
    command = "bench run small --preset at-full-size --tasks {} --methods full --seeds 1 --out {}"
    result = run_command(command, folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert [line["task"] for line in Results(tmp_path / "out").lines] == ["small", "large"]
    wrong = words_of("bench run --preset x --tasks {}", folder)
    assert "--preset must be one of at-full-size, but it is 'x'" in wrong


def test_a_folder_that_is_none(tmp_path):
    assert "there is no folder" in words_of("bench list --tasks {}", tmp_path / "nowhere")
    (tmp_path / "notes.py").write_text("x = 1\n")
    found = words_of("bench list --tasks {}", tmp_path)
    assert "has a class that inherits from dynaprune.bench.Task" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TASK_FILE.replace('"mine"', '"digits-cnn"'), "but two are called 'digits-cnn'"),
        (TASK_FILE.replace("0.01, False", "-1, False"), "a margin that is a number above 0"),
        (TASK_FILE.replace("metric, margin,", "unit, leeway,"), "the attributes metric, margin"),
    ],
)
def test_a_task_of_a_folder_is_checked(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    assert message in words_of("bench list --tasks {}", tmp_path)
