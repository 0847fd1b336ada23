"""The result of an audit as a table for the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from ..diagnostics.audit_result import Audit


def findings_table(found: Audit, title: str) -> Table:
    """Return the result of an audit as a table, without its advice."""
    table = Table(title=escape(title), show_header=False)
    table.add_column()
    table.add_column()
    for name, value in found.rows():
        table.add_row(name, escape(value))
    return table
