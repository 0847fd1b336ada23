"""What users get: the wheel, installed in a new environment, far from the checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import venv

import pytest
from bench_commands import TASK_FILE, run_command
from documented_commands import WHOLE, command_in
from packages import build_wheel, pip, python_with, run_python
from repository import ROOT
from shared import BESIDE_THE_CLONE, VARIABLE, find_shared_data
from user_commands import TRAINING, check, run_commands

pytestmark = pytest.mark.long

SHORT = {
    "audit": "--num-samples 20",
    "bench run": "--methods random --budgets 0.3 --seeds 1 --epochs 1",
    "demo": "--seeds 1 --epochs 1",
}
"""By command, options that shorten it. They come last, and so replace those on a page."""

ZOO = f"--tasks {shlex.quote(str(ROOT / 'benchmarks' / 'zoo'))}"

OTHERWISE = {
    "bench run --preset paper-cifar": "--help",  # it takes hours on a GPU
    "bench run digits-cnn spoken-digits-cnn --seeds 5 --out runs/bench --data-root DATA": ZOO,
}
"""By text on a page, what else it needs to run here."""

NAMES = re.compile(r"pip install 'dynaprune\[(.+)\]'(?: 2)?$")
"""The end of an error that names an extra, and the exit code of a command."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of a new environment with the core, in which fixtures install more."""
    folder = tmp_path_factory.mktemp("new") / "venv"
    venv.create(folder, symlinks=True, with_pip=True)
    install(folder / "bin" / "python", wheel)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def folder(python, tmp_path_factory):
    """A folder with all that the commands of pages read, from a training with the core."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "train.py").write_text(TRAINING)
    check(run_python(python, "train.py", cwd=folder))
    shutil.copytree(folder / "run", folder / "runs" / "mine")
    shutil.copy(folder / "checkpoint.pt", folder / "runs")
    for name in ("mine.py", "yourtask.py"):
        (folder / name).write_text(TASK_FILE)
    results = folder / "runs" / "bench"
    run = run_command("bench run {} --methods random --seeds 1 --out {}", folder / name, results)
    assert run.exit_code == 0, run.output
    return folder


@pytest.fixture(scope="module")
def with_core(python, folder):
    """What each command prints where there is only the core."""
    return run_commands(python, list(COMMANDS.values()), folder)


@pytest.fixture(scope="module")
def with_cli(with_core, wheel, python, folder, tmp_path_factory):
    """What each command prints after the extra is installed that the core names."""
    install(python, wheel, "[cli]")
    return run_commands(python, list(COMMANDS.values()), copied(folder, tmp_path_factory))


@pytest.fixture(scope="module")
def complete(with_cli, wheel, python):
    """The command, after `pip install 'dynaprune[all]'`."""
    install(python, wheel, "[all]")
    return python.with_name("dynaprune")


def install(python, wheel, extras=""):
    constraints = ROOT / "constraints.txt"
    pip(python, "install", "--constraint", constraints, f"dynaprune{extras} @ {wheel.as_uri()}")


def copied(folder, tmp_path_factory):
    return shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "user")


def as_run(text: str) -> str:
    """Return a command of a page, shortened, with the data sets that are here, if there are any."""
    data = os.environ.get(VARIABLE) or BESIDE_THE_CLONE
    shown = text.replace("DATA", shlex.quote(str(data)))
    return " ".join([shown, SHORT.get(command_in(text), ""), OTHERWISE.get(text, "")]).strip()


COMMANDS = {text: as_run(text) for text in WHOLE}
"""By text on a page, the command that runs here."""


def test_the_core_names_the_extra_of_the_command(with_core):
    assert list(with_core) == list(COMMANDS.values())
    for command, printed in with_core.items():
        name = command.split()[0]
        needs_more = name in ("demo", "report", "spectrum")
        assert extra_in(printed) == (name if needs_more else "cli"), command


def test_with_the_command_the_rest_names_its_extra(with_cli, folder, tmp_path_factory):
    """Where something is missing, the extra that is named is enough."""
    assert list(with_cli) == list(COMMANDS.values())
    lacking = {command: extra_in(text) for command, text in with_cli.items() if text[-2:] != " 0"}
    assert 0 < len(lacking) < len(with_cli)
    tried: dict[str, dict[str | None, str]] = {extra: {} for extra in lacking.values()}
    for command, extra in lacking.items():  # one text of each command: each takes seconds
        tried[extra].setdefault(command_in(command), command)
    for extra, commands in tried.items():
        python = python_with([extra], tmp_path_factory.mktemp(extra) / "venv")
        printed = run_commands(python, [*commands.values()], copied(folder, tmp_path_factory))
        assert {command: text for command, text in printed.items() if text[-2:] != " 0"} == {}


def extra_in(printed):
    found = NAMES.search(printed)
    assert found, printed
    assert "Traceback" not in printed
    return found.group(1)


@pytest.mark.parametrize("text", COMMANDS)
def test_all_is_enough_for_what_pages_show(text, complete, folder, tmp_path_factory):
    if "DATA" in text:
        find_shared_data(os.environ.get(VARIABLE))
    words = shlex.split(COMMANDS[text])
    check(run_python(complete, *words, cwd=copied(folder, tmp_path_factory)))
