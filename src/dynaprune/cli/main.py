"""The `dynaprune` command."""

from __future__ import annotations

import sys

from ..utils.optional_imports import require

EXTRAS = {"demo": "demo", "report": "report", "spectrum": "spectrum"}
"""Subcommands that need more than `cli`, and the extra that brings all of it."""


def main() -> None:
    """Run the command; if a package that all subcommands need is missing, name its extra."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    extra = EXTRAS.get(command, "cli")
    try:
        for module in ("typer", "rich"):
            require(module, extra)
    except ImportError as error:
        sys.exit(f"dynaprune: {error}")
    from .app import app

    app()
