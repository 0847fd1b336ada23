"""What README says, and where the links of all pages lead."""

from __future__ import annotations

import re

import pytest
from repository import ROOT

README = (ROOT / "README.md").read_text()
HOW_IT_WORKS = (ROOT / "docs" / "how-it-works.md").read_text()


def test_every_name_of_the_library_is_public():
    import dynaprune

    used = set(re.findall(r"`(\w+)\(dataset, num_epochs", HOW_IT_WORKS))
    assert used == {"InfoBatch", "SeTa", "RandomPrune", "NoPrune"}
    assert used <= set(dynaprune.__all__)


def test_defaults_in_the_table_of_methods():
    import dynaprune

    for name, arguments in re.findall(r"`(\w+)\(dataset, num_epochs(.*?)\)`", HOW_IT_WORKS):
        made = getattr(dynaprune, name)(range(9), 4)  # some defaults depend on other arguments
        for argument, value in re.findall(r"(\w+)=([\d.]+)", arguments):
            if argument != "saving":
                assert getattr(made, argument) == float(value), (name, argument)


def test_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_paths_in_the_map_exist():
    """CONTRIBUTING names files from the repository's root, the package, or a package in it."""
    places = [ROOT, ROOT / "src" / "dynaprune", *(ROOT / "src" / "dynaprune").iterdir()]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(
        r"`([\w./-]+(?:\.py|\.md|/))`", text.partition("## Where things are")[2]
    ):
        assert any((place / path).exists() for place in places), path


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)(.*?)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = page if path == "" else page.parent / path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors_of(found.read_text()), target


def anchors_of(text: str) -> set[str]:
    """Return what headings are linked by: words in lower case, with hyphens, without marks."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]|[⁰¹²³⁴⁵⁶⁷⁸⁹]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }
