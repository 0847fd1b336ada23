"""The `dynaprune` command."""

from __future__ import annotations

import sys

from ..utils.optional_imports import require


def main() -> None:
    """Run the command; if a package that all subcommands need is missing, name its extra."""
    try:
        for module in ("typer", "rich"):
            require(module, "cli")
    except ImportError as error:
        sys.exit(f"dynaprune: {error}")
    from .app import app

    app()
