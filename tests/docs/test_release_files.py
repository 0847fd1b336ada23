"""What a release says of itself: its version, how to cite it, and what an issue asks for."""

from __future__ import annotations

import re

import pytest
import yaml
from repository import ROOT

import dynaprune

TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_all_files_have_the_same_version():
    (project,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M).group(1)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert project == newest == cited == dynaprune.__version__


def test_the_citation_has_what_its_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "MIT"
    assert all(citation[name] for name in ("title", "message", "authors"))
    # the sources are those that the code names
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    papers = re.findall(r"arXiv:[\d.]+\d", citation["message"])
    assert len(papers) == 3
    assert [paper for paper in papers if paper not in code] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_one_of_a_form(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert all(form[name] for name in ("name", "description", "body"))
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)
    # what it asks for exists
    text = path.read_text()
    for name in re.findall(r"docs/\S+\.md", text):
        assert (ROOT / name).exists()
    for name in re.findall(r"train\.(\w+)", text):
        assert hasattr(dynaprune.PrunedDataset, name)
