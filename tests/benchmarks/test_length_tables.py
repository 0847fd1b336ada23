"""Tables of brief trainings and those of full length, side by side."""

from __future__ import annotations

import pytest
from evidence_sections import section

from dynaprune.bench import Recipe
from dynaprune.bench.sections import sections_of


@pytest.fixture
def tables(evidence):
    return evidence("length_tables")


def all_variants(difference, saved=0.2):
    """Return such runs: with a budget of 50% everything costs twice as much."""
    with_budget = ("fewer-epochs", "random", "bls-infobatch", "bls-seta")
    return {
        **{(each, 0.3): (difference, 0.0) for each in with_budget},
        **{(each, 0.5): (2 * difference, 0.0) for each in with_budget},
        ("random-auto", 0.0): (difference / 2, saved),
    }


@pytest.fixture
def pairs(tables):
    brief = [section(name, all_variants(-1.2, 0.1)) for name in ("easy", "hard", "unknown")]
    full = [
        section("easy", all_variants(0.0)),
        section("hard", all_variants(-0.4, 0.3)),
        section("unknown", {("random", 0.3): (0.0, 0.0)}),  # not all variants have been run
        section("few", all_variants(0.0), seeds=range(4)),
    ]
    return tables.both_lengths(brief, full)


def cells_of(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_only_complete_results_are_compared(pairs):
    assert [(brief.title, full.title) for brief, full in pairs] == [("easy",) * 2, ("hard",) * 2]


def test_verdicts_and_costs_at_both_lengths(tables, pairs):
    rows = cells_of(tables.lengths_table(pairs))
    found = {(row[0], row[1]): row[2:] for row in rows[2:]}
    # brief: -1.2 of 0.5 is a loss of 2.4 margins on both tasks; full length: none, and 0.8 of one
    assert found["fewer-epochs", "30"] == [
        "0 / 2 of 2",
        "-2.4 ± 0.0",
        "2 / 0 of 2",
        "-0.4 ± 5.1",
        "+0.0 ± 0.0",
    ]
    # twice as much: 1.6 margins on one of the tasks
    assert found["bls-seta", "50"][2] == "1 / 1 of 2"
    # it has its own budget: 10% of brief trainings, 20 and 30% of full ones
    assert found["random-auto", "10, 25"][:3] == ["0 / 2 of 2", "-1.2 ± 0.0", "2 / 0 of 2"]


def test_variants_that_choose_alike_share_a_result(tables, pairs):
    rows = cells_of(tables.lengths_table(pairs))
    at_half = {row[0]: row[2:6] for row in rows if row[1] == "50"}
    assert at_half["infobatch"] == at_half["slices-infobatch"] == at_half["bls-infobatch"]
    below = {row[0]: row[2:] for row in rows if row[1] == "30"}
    assert below["bls-infobatch"][0] == "0 / 2 of 2"
    assert below["infobatch"] == [""] * 5  # there it was not run


def test_what_variants_with_their_own_budget_save_and_lose(tables, pairs):
    rows = [line for line in tables.own_budgets_tables(pairs).splitlines() if "±" in line]
    # neither task was trained with SkipConverged
    assert rows == [
        "| easy |  |  | 10 | -0.60 ± 0.00 ✗ |",
        "| hard |  |  | 10 | -0.60 ± 0.00 ✗ |",
        "| easy |  |  | 20 | +0.00 ± 0.00 ✓ |",
        "| hard |  |  | 30 | -0.20 ± 0.00 ✓ |",
    ]


def test_recipes_of_full_length(tables, evidence, pairs):
    search = evidence("length_search")
    recipe = Recipe(epochs=24, batch_size=8, learning_rate=0.05)
    step = search.Step(recipe, 0.44, 0.25, 2)
    found = {
        "easy": search.Found("easy", recipe, (step,), True, True, 4.2),
        "hard": search.Found("hard", recipe, (step,), False, True, 61.0),
    }
    assert tables.recipes_table(found, [brief for brief, _ in pairs]).splitlines()[2:] == [
        "| easy | image classification | 3 | 24 | 0.05 | +0.4 ± 0.2 | yes | 4 |",
        "| hard | image classification | 3 | 24 | 0.05 | +0.4 ± 0.2 | no | 61 |",
    ]


def test_a_picture_of_both_lengths(tables, pairs, tmp_path):
    tables.draw_lengths(pairs, tmp_path / "lengths.png")
    assert (tmp_path / "lengths.png").read_bytes().startswith(b"\x89PNG")


def test_the_pages_are_those_of_the_results(evidence):
    """`evidence.py fill` was run after the last results were added."""
    page, full_length = evidence("page"), evidence("full_length")
    recipes = full_length.FullLength.kept().recipes()
    results = full_length.Results
    sections = sections_of(results(full_length.RESULTS / "bench"))
    brief = page.shown_as_is(sections)
    longer = sections_of(results(full_length.RESULTS / full_length.EVIDENCE))
    parts = page.length_parts(brief, longer, recipes)
    kept = evidence("loss_shares").kept_results()
    parts["automatic"] = page.automatic_part(sections, longer, kept)
    texts = [each.read_text(encoding="utf-8") for each in page.PAGES]
    for name, part in parts.items():
        assert any(f"<!-- {name} -->\n{part}<!-- /{name} -->" in text for text in texts), name
