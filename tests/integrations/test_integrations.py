"""Frameworks are imported only on use, and an error names the extra of one that is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = [
    "accelerate",
    "lightning",
    "sentence_transformers",
    "timm",
    "transformers",
    "trl",
    "ultralytics",
]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_the_core_imports_none_of_them():
    code = f"import dynaprune, sys; assert not set(sys.modules) & set({FRAMEWORKS})"
    assert python(code).returncode == 0


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_one_that_is_missing(name):
    hidden = f"import sys; sys.modules[{name!r}] = None; "
    done = python(f"{hidden}import dynaprune.integrations.{name}")
    message = f"ImportError: this needs the package '{name}', which is not installed: "
    assert f"{message}pip install 'dynaprune[{name.replace('_', '-')}]'" in done.stderr
