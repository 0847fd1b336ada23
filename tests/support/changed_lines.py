"""A framework's own example, as its package brings it, and how many lines dynaprune changes."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from importlib.metadata import metadata

from repository import ROOT


def readme_example(package, number=0):
    """Return the Python code in the description of an installed package: block `number`."""
    described = metadata(package)
    text = described.get_payload() or described["Description"]
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[number]


def edited(code, edits):
    """Replace each text by another one; each must be there once."""
    for old, new in edits.items():
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


def count(before, after):
    """Return how many lines of `before` change, and how many `after` has in addition.

    Empty lines do not count.
    """
    before, after = ([line for line in each.splitlines() if line] for each in (before, after))
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = sum(end - start for kind, start, end, *_ in blocks if kind != "equal")
    return changed, len(after) - len(before)


def documented(framework):
    """Return the version and the two numbers of a framework in docs/frameworks.md."""
    page = (ROOT / "docs" / "frameworks.md").read_text()
    (row,) = re.findall(rf"^\| {framework} ([\d.]+) \|.*\| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    return row[0], (int(row[1]), int(row[2]))


def is_documented(framework, package, before, after):
    """Check that the page has the numbers of these lines, and the version they come from."""
    version, numbers = documented(framework)
    assert metadata(package)["Version"].startswith(version)
    assert numbers == count(before, after)
