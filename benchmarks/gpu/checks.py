"""Stage `checks`: the tests that need a GPU, `pytest -m gpu`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from session import Session, aligned

ROOT = Path(__file__).parents[2]
COUNTED = ("passed", "failed", "skipped", "error")
COMMAND = (
    *("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--durations=10"),
    # the project's settings have one of pytest-timeout, which may be missing there
    *("-W", "ignore::pytest.PytestConfigWarning"),
)
GROUPS = ("not compiled", "compiled")  # what is compiled takes longest, and comes last


def work(session: Session) -> None:
    """Run the tests, and keep how many passed, and which did not."""
    # where minutes are few, what has not yet passed anywhere comes first
    groups = sorted(GROUPS, key=lambda group: session.results.has(group=group, status=0))
    for group in GROUPS[:1] if session.toy else groups:
        if session.left() > 0:
            tests = "tests/gpu/test_gpu_indices.py" if session.toy else "tests/gpu"
            session.results.add({"group": group, **ran(tests, group, session)})


def ran(tests: str, group: str, session: Session) -> dict[str, Any]:
    """Run a group of tests, print what they print, and return what came of them."""
    environment = os.environ | {
        "DYNAPRUNE_TEST_DEVICE": session.device.type,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    try:
        ended = subprocess.run(
            [sys.executable, *COMMAND, "-k", group, tests],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=max(1.0, session.left()),
        )
        printed, status = ended.stdout + ended.stderr, ended.returncode
    except subprocess.TimeoutExpired as stopped:
        printed, status = f"{_text(stopped.stdout)}{_text(stopped.stderr)}\ntoo long", -1
    print(printed, flush=True)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", printed, flags=re.MULTILINE)
    counts = {name: _count(printed, name) for name in COUNTED}
    return {"status": status, **counts, "not_passed": failed}


def _text(printed: Any) -> str:
    return printed.decode(errors="replace") if isinstance(printed, bytes) else printed or ""


def _count(printed: str, name: str) -> int:
    found = re.findall(rf"(\d+) {name}s?\b", printed)
    return int(found[-1]) if found else 0


def table(records: list[dict[str, Any]]) -> str:
    """Return how many tests passed, of each time that they ran."""
    rows = [["card, tests", *COUNTED]]
    for each in records:
        rows.append([f"{each['card']}, {each['group']}", *(str(each[name]) for name in COUNTED)])
    return aligned(rows)
