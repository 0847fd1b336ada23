"""docs/troubleshooting.md and guides: every message that they quote is one of the package."""

from __future__ import annotations

import ast
import re

import pytest
from repository import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
GUIDES = [(ROOT / "docs" / name).read_text() for name in ("many-gpus.md", "streams.md")]


def quotes_of(page: str) -> list[str]:
    return re.findall(r"```text\n(.*?)\n *```", page, flags=re.DOTALL)


QUOTES = [quote for page in [PAGE, *GUIDES] for quote in quotes_of(page)]

ANY = "\0"
"""What a message has in place of a value."""

SHORTEST = 12
"""A shorter quote could be in a message by chance."""


def messages_of(code: str) -> list[str]:
    """Return the texts in a file, with `ANY` for each value in them."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else ANY for part in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"%(\.\d+)?[sdfg]", ANY, node.value).replace("%%", "%"))
    return [" ".join(each.split()) for each in found]


MESSAGES = [
    message
    for path in (ROOT / "src").rglob("*.py")
    for message in messages_of(path.read_text(encoding="utf-8"))
]


def is_message(quote: str) -> bool:
    """Return whether a quote, with "…" for values, is a part of one message."""
    parts = [re.escape(part) for part in " ".join(quote.split()).split("…")]
    pattern = re.compile(f"[^{ANY}]*{ANY}[^{ANY}]*".join(parts))
    return any(pattern.search(message) for message in MESSAGES)


def test_messages_with_values_are_found():
    (message,) = messages_of("raise ValueError(f'give {count} or ' 'more')")[:1]
    assert message == f"give {ANY} or more"
    assert f"{ANY}% of {ANY}" in messages_of("logger.warning('%.0f%% of %s', 1, 2)")
    assert not is_message("the state belongs to another run: its … is …, and here it is …")


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_message_exists(quote):
    assert max(len(part) for part in quote.split("…")) >= SHORTEST
    assert is_message(quote)


def test_all_messages_are_quoted_as_such():
    assert len(quotes_of(PAGE)) >= 30
    assert all(len(quotes_of(page)) >= 1 for page in GUIDES)
    assert sum(page.count("```text") for page in [PAGE, *GUIDES]) == len(QUOTES)
