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
COUNTED = ("passed", "failed", "skipped", "error", "xfailed")
# nothing of the project's own settings: its tests need more than that machine has
COMMAND = ("-m", "pytest", "-m", "gpu", "-q", "-ra", "tests/gpu")


def work(session: Session) -> None:
    """Run the tests, and keep how many passed, and all that they printed."""
    device = session.device.type
    environment = os.environ | {
        "DYNAPRUNE_TEST_DEVICE": device,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    arguments = [sys.executable, *COMMAND] + (["-k", "test_steps"] if session.toy else [])
    try:
        ended = subprocess.run(
            arguments,
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
    counts = {name: _count(printed, name) for name in COUNTED}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", printed, flags=re.MULTILINE)
    session.results.add({"status": status, **counts, "not_passed": failed})


def _text(printed: Any) -> str:
    return printed.decode(errors="replace") if isinstance(printed, bytes) else printed or ""


def _count(printed: str, name: str) -> int:
    found = re.findall(rf"(\d+) {name}s?\b", printed)
    return int(found[-1]) if found else 0


def table(records: list[dict[str, Any]]) -> str:
    """Return how many tests passed, of each time that they ran."""
    rows = [["card", *COUNTED]]
    rows += [[each["card"], *(str(each[name]) for name in COUNTED)] for each in records]
    return aligned(rows)
