"""The `dynaprune` command."""

from __future__ import annotations

import sys

from ..utils.optional_imports import require


def main() -> None:
    """Run the command; without the packages that all commands need, say which extra brings them."""
    try:
        for module in ("typer", "rich"):
            require(module, "cli")
    except ImportError as error:
        sys.exit(f"dynaprune: {error}")
    from .app import app

    app()
