"""Drawing a page in a process of its own: a library that aborts there does not end a training.

The process is given what the page shows, and nothing that could run: texts and numbers as JSON, and
arrays. It is no process of `multiprocessing`, which would run the user's script again.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np

from ...utils.optional_imports import require
from ...utils.versions import versions
from ..recording import RecordedEpoch, RecordedSamples
from .charts import Figure, figures_of
from .classes import ClassRow
from .run import RecordedRun
from .sample_view import Shown

LIBRARIES = ("altair", "jinja2", "vl_convert")
"""What draws."""

CODE = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import main; main()"
"""What the process runs: it imports from where the one that asks does, and nothing before."""

END = b"</html>\n"

FEW = 2000
"""Letters, of what the process has complained of, that are shown."""


@dataclass(frozen=True)
class Page:
    """What is on a page.

    Attributes:
        run: the recorded run.
        classes: how they fared.
        skipped: the samples that were skipped most.
        served: those that were served most.
    """

    run: RecordedRun
    classes: list[ClassRow]
    skipped: list[Shown]
    served: list[Shown]

    def pack(self) -> bytes:
        """Return it as an npz file."""
        facts = {
            "facts": self.run.facts,
            "epochs": [epoch.to_json() for epoch in self.run.epochs],
            "counted": self.run.samples.epochs,
            "classes": [asdict(row) for row in self.classes],
            "skipped": [asdict(sample) for sample in self.skipped],
            "served": [asdict(sample) for sample in self.served],
        }
        content, samples = io.BytesIO(), self.run.samples
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        np.savez(content, facts=text, scores=samples.scores, visits=samples.visits)
        return content.getvalue()

    @classmethod
    def unpack(cls, file: IO[bytes]) -> Page:
        """Return what `pack` has packed."""
        with np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            samples = RecordedSamples(arrays["scores"], arrays["visits"], facts["counted"], None)
        epochs = [RecordedEpoch.from_json(epoch) for epoch in facts["epochs"]]
        return cls(
            RecordedRun(facts["facts"], epochs, samples),
            [ClassRow(**row) for row in facts["classes"]],
            [Shown(**sample) for sample in facts["skipped"]],
            [Shown(**sample) for sample in facts["served"]],
        )


def check_libraries() -> None:
    """Make sure that what draws is there; it is not imported here.

    Raises:
        ImportError: a package is not installed.
    """
    for name in LIBRARIES:
        if find_spec(name) is None:
            require(name, "report")


def draw(page: Page) -> bytes:
    """Return the page as HTML, drawn in a process of its own.

    Raises:
        ImportError: a package that draws is not installed.
        RuntimeError: the process has failed.
    """
    check_libraries()
    if not sys.executable or getattr(sys, "frozen", False):  # there is no Python to be started
        return render(page)
    root = str(Path(__file__).parents[3])
    path = [str(folder) for folder in sys.path]
    path += [] if root in path else [root]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *path],
        input=page.pack(),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0 or not done.stdout.endswith(END):
        said = done.stderr.decode("utf-8", "replace").strip()[-FEW:]
        raise RuntimeError(
            f"the page was not written: the process that draws it {_how_ended(done.returncode)}. "
            f"The recording is whole; `dynaprune report` makes a page of it at any time. It said:"
            f"\n{said or 'nothing'}"
        )
    return done.stdout


def _how_ended(code: int) -> str:
    if code >= 0:
        return f"has ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name} (exit code {code})"


def render(page: Page) -> bytes:
    """Return the page as HTML, drawn in this process. What it shows is escaped, but for ours.

    Raises:
        ImportError: a package that draws is not installed.
    """
    jinja = require("jinja2", "report")
    environment = jinja.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text: str = environment.from_string(_resource("page.html.jinja")).render(
        run=page.run,
        facts=page.run.facts,
        figures=figures_of(page.run),
        classes=page.classes,
        skipped=page.skipped,
        served=page.served,
        versions=versions(),
        style=_resource("page.css"),
        script=_resource("page.js"),
        library=require("vl_convert", "report").javascript_bundle(),
        spec_of=_as_script,
    )
    # half a pair of surrogates is no text
    return text.rstrip().encode("utf-8", "replace") + b"\n"


def _as_script(figure: Figure) -> str:
    """Return a chart as JSON that can stand in a script: nothing in it can end that."""
    return json.dumps(figure.spec, separators=(",", ":")).replace("<", "\\u003c")


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def main() -> None:
    """Draw what comes in, and write it out; what libraries print goes where errors go."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        out.write(render(Page.unpack(io.BytesIO(sys.stdin.buffer.read()))))
