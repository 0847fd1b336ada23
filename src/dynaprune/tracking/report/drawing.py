"""Rendering the page in a separate process, so that a library that aborts does not end a training.

The process receives only data, no code: texts and numbers as JSON, and arrays. It does not use
`multiprocessing`, which would run the user's script again.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np

from ...utils.optional_imports import require
from ...utils.versions import versions
from ..recording import RecordedEpoch, RecordedSamples
from .charts import figures_of
from .classes import ClassRow
from .html import as_script, render_html, resource
from .run import RecordedRun
from .sample_view import SampleView
from .verdicts import verdicts_of

LIBRARIES = ("altair", "jinja2", "vl_convert")
"""The packages that render the page."""

CODE = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import main; main()"
"""The code of the process: it sets the import path of its parent before it imports anything."""

END = b"</html>\n"

MAX_STDERR = 2000
"""How many characters of the process's error output are shown."""


SAMPLE_ARRAYS = ("scores", "visits", "last_epochs", "mean_excess")
"""The arrays of `RecordedSamples` that a page is drawn from."""


@dataclass(frozen=True)
class Page:
    """The content of a page.

    Attributes:
        run: the recorded run.
        classes: how often each class was served.
        skipped: the samples that were skipped most.
        served: the samples that were served most.
        hardest: those with the highest losses of their class.
        no_classes: a hint in place of the table of classes; empty if there is one.
        no_samples: a hint in place of samples; empty if some are shown.
    """

    run: RecordedRun
    classes: list[ClassRow]
    skipped: list[SampleView]
    served: list[SampleView]
    hardest: list[SampleView]
    no_classes: str
    no_samples: str

    def pack(self) -> bytes:
        """Return the content as an npz file."""
        facts = {
            "facts": self.run.facts,
            "epochs": [epoch.to_json() for epoch in self.run.epochs],
            "counted": self.run.samples.epochs,
            "classes": [asdict(row) for row in self.classes],
            "skipped": [asdict(sample) for sample in self.skipped],
            "served": [asdict(sample) for sample in self.served],
            "hardest": [asdict(sample) for sample in self.hardest],
            "no_classes": self.no_classes,
            "no_samples": self.no_samples,
        }
        content, samples = io.BytesIO(), self.run.samples
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        np.savez(content, facts=text, **{name: getattr(samples, name) for name in SAMPLE_ARRAYS})
        return content.getvalue()

    @classmethod
    def unpack(cls, file: IO[bytes]) -> Page:
        """Return the content that `pack` has packed."""
        with np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            of_samples = {name: arrays[name] for name in SAMPLE_ARRAYS}
        samples = RecordedSamples(**of_samples, epochs=facts["counted"], keys=None)
        epochs = [RecordedEpoch.from_json(epoch) for epoch in facts["epochs"]]
        return cls(
            RecordedRun(facts["facts"], epochs, samples),
            [ClassRow(**row) for row in facts["classes"]],
            [SampleView(**sample) for sample in facts["skipped"]],
            [SampleView(**sample) for sample in facts["served"]],
            [SampleView(**sample) for sample in facts["hardest"]],
            facts["no_classes"],
            facts["no_samples"],
        )


def check_libraries() -> None:
    """Check that the packages that render the page are installed, without importing them.

    Raises:
        ImportError: a package is not installed.
    """
    for name in LIBRARIES:
        if find_spec(name) is None:
            require(name, "report")


def draw(page: Page) -> bytes:
    """Return the page as HTML, rendered in a separate process.

    Raises:
        ImportError: a package that renders the page is not installed.
        RuntimeError: the process has failed.
    """
    check_libraries()
    if not sys.executable or getattr(sys, "frozen", False):  # there is no Python to start
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
        output = done.stderr.decode("utf-8", "replace").strip()[-MAX_STDERR:]
        raise RuntimeError(
            "the page was not written: the process that renders it "
            f"{_how_ended(done.returncode)}. The recording is complete; `dynaprune report` can "
            f"write the page later. Error output of the process:\n{output or '(none)'}"
        )
    return done.stdout


def _how_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name} (exit code {code})"


def render(page: Page) -> bytes:
    """Return the page as HTML, rendered in this process; all content of the run is escaped.

    Raises:
        ImportError: a package that renders the page is not installed.
    """
    return render_html(
        resource(__package__, "page.html.jinja"),
        run=page.run,
        facts=page.run.facts,
        figures=figures_of(page.run),
        classes=page.classes,
        skipped=page.skipped,
        served=page.served,
        hardest=page.hardest,
        no_classes=page.no_classes,
        no_samples=page.no_samples,
        verdicts=verdicts_of(page.run, page.classes),
        versions=versions(),
        style=resource(__package__, "base.css") + resource(__package__, "page.css"),
        script=resource(__package__, "page.js"),
        library=require("vl_convert", "report").javascript_bundle(),
        spec_of=lambda figure: as_script(figure.spec),
    )


def main() -> None:
    """Render the page from standard input to standard output; other output goes to stderr."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        out.write(render(Page.unpack(io.BytesIO(sys.stdin.buffer.read()))))
