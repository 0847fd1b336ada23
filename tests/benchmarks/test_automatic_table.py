"""The automatic budget, and its runs at other shares of the loss."""

from __future__ import annotations

import pytest
from evidence_sections import RECIPE, section

from dynaprune.methods import _budget


def auto(saved=0.2, **costs):
    """Return what `section` takes for automatic variants, by their difference to full training."""
    return {(f"{name.replace('_', '-')}-auto", 0.0): (cost, saved) for name, cost in costs.items()}


def run(seed, quality, recipe=RECIPE):
    """Return a result of RandomPrune on the task "easy"."""
    line = {"task": "easy", "recipe": recipe, "variant": "random-auto", "budget": 0.0, "seed": seed}
    return line | {"quality": quality, "visits": 70, "full_visits": 100, "seconds": 1.0}


@pytest.fixture
def table(evidence):
    return evidence("automatic_table").automatic_table


def cells_of(text):
    assert len({line.count("|") for line in text.splitlines()}) == 1
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]


def test_what_each_variant_saves_and_costs_and_where_at_worst(table):
    brief = [section("easy", auto(random=0.0)), section("hard", auto(0.4, random=-1.0))]
    assert cells_of(table(brief, {})) == [
        ["5", "random-auto", "30", "-1.0 ± 12.7", "", "1 / 1 of 2", "hard -2.0"]
    ]


def test_the_difference_to_a_random_choice_under_the_same_rule(table):
    costs = auto(random=-0.5, bls_infobatch=-0.25)
    brief = [section(name, costs) for name in ("easy", "hard")]
    _, row = cells_of(table(brief, {}))
    assert row[1:5] == ["bls-infobatch-auto", "20", "-0.5 ± 0.0", "+0.5 ± 0.0"]


def test_few_seeds_give_no_verdict(table):
    brief = [section(name, auto(random=0.0), seeds=range(3)) for name in ("easy", "hard")]
    assert cells_of(table(brief, {}))[0][5] == "– of 2"


def test_other_shares_of_the_loss_are_rows_of_their_own(table):
    own = [section(name, auto(random=0.0)) for name in ("easy", "hard")]
    more = [section(name, auto(0.35, random=-0.5)) for name in ("easy", "hard")]
    rows = cells_of(table(own, {0.1: more, 0.01: []}))
    assert [row[:4] for row in rows] == [
        ["10", "random-auto", "35", "-1.0 ± 0.0"],
        ["5", "random-auto", "20", "+0.0 ± 0.0"],
    ]


def test_runs_at_another_share_are_compared_with_the_full_trainings_of_the_evidence(
    evidence, tmp_path
):
    loss_shares = evidence("loss_shares")
    results = loss_shares.Results(tmp_path)
    results.lines += [
        run(0, 6.0),
        run(1, 7.0),
        run(1, 99.0, recipe={"epochs": 6}),  # of another length
    ]
    found = loss_shares.at_share([section("easy", auto(random=5.0)), section("hard", {})], results)
    assert [each.title for each in found] == ["easy"]
    (row,) = [row for row in found[0].rows if row.variant == "random-auto"]
    # full trainings have 7 and 8
    assert (row.seeds, row.against_full.value, row.visits_saved.value) == (
        2,
        -1.0,
        pytest.approx(0.3),
    )


def test_a_run_has_the_given_share_of_the_loss(evidence, tmp_path, monkeypatch):
    loss_shares = evidence("loss_shares")
    seen = []
    real = _budget.share_of_learned
    monkeypatch.setattr(
        _budget, "share_of_learned", lambda *given: seen.append(given[1]) or real(*given)
    )
    monkeypatch.setitem(loss_shares.SETTINGS, 0.1, loss_shares.Setting(("random-auto",), range(1)))
    results = loss_shares.Results(tmp_path)
    loss_shares.train("tumours-mlp", "brief", 0.1, None, results)
    assert set(seen) == {0.1}
    assert [line["variant"] for line in results.lines] == ["random-auto"]
    assert _budget.LOSS_SHARE == 0.05
