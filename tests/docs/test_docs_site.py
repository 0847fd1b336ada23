"""The documentation as a site: it builds without warnings, and every link leads somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from browsers import launched
from repository import ROOT

pytestmark = pytest.mark.long


class Links(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        for name in ("href", "src"):
            if attributes.get(name):
                self.targets.append(attributes[name])
        for name in ("id", "name"):
            if attributes.get(name):
                self.anchors.add(attributes[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("zensical")
    folder = tmp_path_factory.mktemp("site")  # a copy: the builder writes beside its configuration
    for part in ("docs", "src"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "mkdocs.yml", folder)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stderr
    return folder / "site"


def test_every_page_is_in_the_navigation(site):
    """The builder does not say which pages nobody can find."""
    home = Links((site / "index.html").read_text("utf-8"))
    found = {unquote(target).partition("#")[0].removeprefix("./") for target in home.targets}
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    assert pages - found == {"404.html"}


def test_every_link_leads_somewhere(site):
    pages = {page: Links(page.read_text("utf-8")) for page in sorted(site.rglob("*.html"))}
    assert len(pages) > 18
    broken = []
    for page, links in pages.items():
        if page.name == "404.html":  # its links are those of a server's root
            continue
        for target in links.targets:
            if target.startswith(("http:", "https:", "data:", "javascript:", "mailto:")):
                continue
            path, _, anchor = unquote(target).partition("#")
            found = page if path == "" else (page.parent / path).resolve()
            if not found.exists() or (
                anchor and found in pages and anchor not in pages[found].anchors
            ):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


def test_every_public_name_is_in_the_reference(site):
    import dynaprune
    from dynaprune import methods

    anchors = set()
    for page in (site / "api").glob("*.html"):
        anchors |= Links(page.read_text("utf-8")).anchors
    missing = [name for name in dynaprune.__all__ if f"dynaprune.{name}" not in anchors]
    missing += [
        name
        for name in methods.__all__
        if anchors.isdisjoint({f"dynaprune.{name}", f"dynaprune.methods.{name}"})
    ]
    assert missing == []


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        for mark in ('src="http', "fonts.googleapis", 'rel="stylesheet" href="http'):
            assert mark not in text, page


@pytest.mark.parametrize(
    ("words", "page", "heading"),
    [
        ("hang", "troubleshooting.html", "Several ranks hang"),
        ("looks weighted", "troubleshooting.html", "The loss looks weighted"),
    ],
)
def test_search_works_from_a_folder(site, words, page, heading):
    with launched() as browser:
        opened, requests = browser.new_page(), []
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto((site / "index.html").as_uri())
        opened.click("button:visible:has-text('Search')")
        opened.locator("input[placeholder=Search]").fill(words)
        results = opened.locator(f"a[href^='file:'][href*='/{page}']")
        results.first.wait_for(timeout=60_000)
        found = {each.get_attribute("href"): each.inner_text() for each in results.all()}
        assert [url for url in requests if not url.startswith("file:")] == []
    assert any(heading in text for text in found.values())
