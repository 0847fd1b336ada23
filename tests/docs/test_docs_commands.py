"""The commands that README and docs/ show. `test_wheel.py` runs them."""

from __future__ import annotations

from documented_commands import WHOLE, command_in, needs_arguments, shown_on_pages


def test_each_command_is_shown():
    assert {command_in(text) for text in WHOLE} == needs_arguments().keys()


def test_what_is_only_mentioned_exists():
    names = {*needs_arguments(), *(name.partition(" ")[0] for name in needs_arguments())}
    assert set(shown_on_pages()) - set(WHOLE) <= names
