"""The cards of docs/methods.md, against the package."""

from __future__ import annotations

import re

from repository import ROOT

from dynaprune import methods

PAGE = (ROOT / "docs" / "methods.md").read_text()


def test_every_method_has_a_card():
    cards = re.findall(r"^## (\w+)$", PAGE, flags=re.MULTILINE)
    assert sorted(cards) == sorted(methods.__all__)
    for card in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        for part in ("**Use it**", "**Try**", "**Costs and saves.**"):
            assert part in card, card.split()[0]


def test_every_card_has_its_picture():
    folder = ROOT / "docs" / "images" / "methods"
    cards = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    for card in cards:
        ((shown, described),) = re.findall(r'<img src="(.+?)" width="400" alt="(.+?)">', card)
        assert shown == f"images/methods/{card.split()[0].lower()}.png"
        assert len(described) > 20
        assert (ROOT / "docs" / shown).stat().st_size <= 30_000
    assert len(list(folder.iterdir())) == len(cards)


def test_links_lead_to_cards():
    table = re.findall(r"^\| \[(\w+)\]\(#(\w+)\)", PAGE, flags=re.MULTILINE)
    assert sorted(name for name, _ in table) == sorted(methods.__all__)
    assert all(name.lower() == anchor for name, anchor in table)
