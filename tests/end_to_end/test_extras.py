"""Each command and each optional part, with nothing installed but the extra that it names."""

from __future__ import annotations

import re
import shlex

import pytest
from bench_commands import TASK_FILE
from packages import extras_of_the_project, python_with, run_python
from repository import ROOT
from user_commands import TRAINING, check, run_commands

ZOO = shlex.quote(str(ROOT / "benchmarks" / "zoo"))

INSPECT = "inspect checkpoint.pt"
AUDIT = "audit train.py:make --checkpoint checkpoint.pt --num-samples 20"
REPORT = "report run --data train.py:make_dataset"
SPECTRUM = "spectrum run"
SUSPECTS = "suspects run --out suspects.csv"
REVIEW = "suspects run --data train.py:make_dataset --out suspects.html"
DEMO = "demo --seeds 1 --epochs 1"
LIST = "bench list"
RUN_OWN = "bench run mine.py --methods random --budgets 0.3 --seeds 1"
RUN_OURS = (
    f"bench run temperatures-lstm --tasks {ZOO} --methods random --budgets 0.3 --seeds 1 --epochs 1"
)
BENCH_REPORT = "bench report runs/bench"

COMMANDS_OF = {
    "cli": ["--version", "--help", AUDIT, INSPECT, SUSPECTS, LIST, RUN_OWN],
    "report": [AUDIT, REPORT, REVIEW],
    "spectrum": [SPECTRUM],
    "demo": [DEMO],
    "bench": [RUN_OURS, BENCH_REPORT],
}
"""By extra, the commands that need no more than that."""

IN_ANOTHER_ENVIRONMENT = {"timm", "ultralytics", "vision-tests"}
"""Extras that bring torchvision, which `make test-vision` tries in an environment of its own."""

FROM_THE_WHEEL = {"all"}
"""Extras that `test_wheel.py` tries, with the commands of all pages."""

CODE_OF = {
    "export": "train.to_frame().to_parquet('samples.parquet')",
    "progress": """
from dynaprune.tracking.progress_bar import progress

for batch in progress(DataLoader(train, batch_size=8)):
    train.update(loss_fn(model, batch))
""",
    "tensorboard": """
from dynaprune.tracking.loggers import TensorBoardLogger

TensorBoardLogger("events").log({"visits": 3.0}, 0)
""",
    "wandb": "from dynaprune.tracking.loggers import WandbLogger; WandbLogger()",
    "mlflow": "from dynaprune.tracking.loggers import MLflowLogger; MLflowLogger()",
    "accelerate": "import dynaprune.integrations.accelerate",
    "lightning": "import dynaprune.integrations.lightning",
    "transformers": "import dynaprune.integrations.transformers",
    "trl": "import dynaprune.integrations.trl",
    "sentence-transformers": "import dynaprune.integrations.sentence_transformers",
}
"""By extra, code that needs no more than that, after a training."""


@pytest.fixture
def python(request, tmp_path):
    """An interpreter with the extra that a test is given."""
    return python_with([request.param], tmp_path / "venv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a user's files, where a training was recorded by what the core brings."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "train.py").write_text(TRAINING)
    (folder / "mine.py").write_text(TASK_FILE)
    python = python_with([], folder / "core")
    check(run_python(python, "train.py", cwd=folder))
    return folder


@pytest.mark.parametrize(("python", "commands"), COMMANDS_OF.items(), indirect=["python"])
def test_a_command_needs_no_more_than_its_extra(python, commands, folder):
    printed = run_commands(python, commands, folder)
    assert list(printed) == commands
    assert {command: text for command, text in printed.items() if not text.endswith(" 0")} == {}


@pytest.mark.parametrize("python", ["cli"], indirect=True)
def test_a_command_without_its_extra_names_it(python, folder, tmp_path):
    results = shlex.quote(str(tmp_path / "results"))
    names = {
        REPORT: "report",
        SPECTRUM: "spectrum",
        f"{DEMO} --out {shlex.quote(str(tmp_path / 'demo'))}": "demo",
        f"{RUN_OURS} --out {results}": "bench",
        f"bench report {results}": "bench",
    }
    run_commands(python, [f"{RUN_OWN} --out {results}"], folder)
    printed = run_commands(python, list(names), folder)
    for command, extra in names.items():
        assert printed[command].endswith(f"pip install 'dynaprune[{extra}]' 2"), printed[command]
    assert not (tmp_path / "demo").exists()  # nothing was trained that cannot be shown


def test_the_core_alone_names_the_extra_of_the_rest(folder):
    python = folder / "core" / "bin" / "python"
    done = run_python(python, "-m", "dynaprune", "--version", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == (
        "dynaprune: this needs the package 'typer', which is not installed: "
        "pip install 'dynaprune[cli]'\n"
    )
    needing = {
        "train.report('page.html')": "report",
        "train.review('page.html')": "report",
        "train.to_frame()": "export",
        "next(progress(DataLoader(train, batch_size=8)))": "progress",
        "TensorBoardLogger('events')": "tensorboard",
        "WandbLogger()": "wandb",
        "MLflowLogger()": "mlflow",
        "import_module('dynaprune.integrations.accelerate')": "accelerate",
        "import_module('dynaprune.integrations.lightning')": "lightning",
        "import_module('dynaprune.integrations.transformers')": "transformers",
    }
    code = f"""
from importlib import import_module

from dynaprune.tracking.loggers import MLflowLogger, TensorBoardLogger, WandbLogger
from dynaprune.tracking.progress_bar import progress
from train import DataLoader, trained

train, _ = trained()
for text in {list(needing)}:
    try:
        eval(text)
    except ImportError as error:
        print(str(error).rpartition("pip install ")[2])
    else:
        print(text, "needed nothing")
"""
    printed = check(run_python(python, "-c", code, cwd=folder)).splitlines()
    assert printed == [f"'dynaprune[{extra}]'" for extra in needing.values()]


@pytest.mark.long
@pytest.mark.parametrize(("python", "code"), CODE_OF.items(), indirect=["python"])
def test_a_part_needs_no_more_than_its_extra(python, code, folder):
    begin = "from train import DataLoader, loss_fn, trained\ntrain, model = trained()\n"
    check(run_python(python, "-c", begin + code, cwd=folder))


@pytest.mark.long
def test_the_tutorial_needs_no_more_than_it_says(tmp_path):
    page = (ROOT / "docs" / "tutorial.md").read_text()
    (extras,) = re.findall(r"pip install '\.\[(.*?)\]'", page)
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    python = python_with(extras.split(","), tmp_path / "venv")
    assert "of the test digits are read" in check(run_python(python, "-c", code, cwd=tmp_path))


def test_readme_names_every_extra_and_no_other():
    readme = (ROOT / "README.md").read_text()
    install = readme.partition("## Install")[2].partition("\n## ")[0]
    extras = extras_of_the_project().keys() - {"dev", "docs", "vision-tests"}
    for text in (install, (ROOT / "docs" / "install.md").read_text()):
        assert [extra for extra in extras if not re.search(rf"\b{extra}\b", text)] == []
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    for page in pages:
        for named in re.findall(r"pip\s+install\s+'(?:\.|dynaprune)\[(.*?)\]'", page.read_text()):
            assert set(named.split(",")) <= extras, page


def test_the_page_on_installing_names_the_pinned_torch():
    (pinned,) = re.findall(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    page = (ROOT / "docs" / "install.md").read_text()
    assert set(re.findall(r"\btorch (\d+\.\d+\.\d+)", page)) == {pinned}


def test_every_extra_is_tried_here():
    tried = COMMANDS_OF.keys() | CODE_OF.keys() | IN_ANOTHER_ENVIRONMENT | FROM_THE_WHEEL
    assert tried == extras_of_the_project().keys() - {"dev", "docs"}
