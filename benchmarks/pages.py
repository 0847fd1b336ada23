"""Makes tables of results, and updates the generated parts of pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
NOTHING = "There are no runs yet.\n"


def markdown_table(rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Return a table: rows of cells, the head first; all columns but `names` are numbers."""
    head, *rest = rows
    rule = ["---"] * names + ["---:"] * (len(head) - names)
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rest))


def fill_page(page: Path, parts: Mapping[str, str]) -> None:
    """Update all parts that a page has places for: `<!-- NAME -->`, text, `<!-- /NAME -->`."""
    text = page.read_text(encoding="utf-8")
    page.write_text(with_parts(text, parts), encoding="utf-8")


def with_parts(text: str, parts: Mapping[str, str]) -> str:
    """Return a page's text with all of the parts that it has places for."""
    for name, part in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start in text:
            before, _, rest = text.partition(start)
            _, _, after = rest.partition(end)
            text = f"{before}{start}{part}{end}{after}"
    return text
