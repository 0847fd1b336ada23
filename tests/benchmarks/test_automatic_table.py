"""The automatic budget, and its runs at other shares of the loss."""

from __future__ import annotations

import pytest

from dynaprune.bench.comparison import compare
from dynaprune.bench.sections import Section
from dynaprune.methods import _budget

MARGIN = 0.5
RECIPE = {"epochs": 3}


def run(variant, seed, quality, saved=0.0, recipe=RECIPE, task="easy"):
    line = {"task": task, "recipe": recipe, "variant": variant, "budget": 0.0, "seed": seed}
    return line | {
        "quality": quality,
        "visits": 100 * (1 - saved),
        "full_visits": 100,
        "seconds": 1.0,
    }


def section(name, costs, saved=0.2, seeds=5):
    """Return results with the difference of each variant to full training."""
    lines = [
        run(variant, seed, 7.0 + seed + cost, saved * (variant != "full"), task=name)
        for variant, cost in {"full": 0.0, **costs}.items()
        for seed in range(seeds)
    ]
    task = {"name": name, "margin": MARGIN, "higher_is_better": True}
    return Section(task, "as-is", RECIPE, compare(lines, MARGIN, True), lines, name)


@pytest.fixture
def table(evidence):
    return evidence("automatic_table").automatic_table


def cells_of(text):
    assert len({line.count("|") for line in text.splitlines()}) == 1
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]


def test_what_each_variant_saves_and_costs_and_where_at_worst(table):
    brief = [section("easy", {"random-auto": 0.0}), section("hard", {"random-auto": -1.0}, 0.4)]
    assert cells_of(table(brief, {})) == [
        ["5", "random-auto", "30", "-1.0 ± 12.7", "", "1 / 1 of 2", "hard -2.0"]
    ]


def test_the_difference_to_a_random_choice_under_the_same_rule(table):
    costs = {"random-auto": -0.5, "bls-infobatch-auto": -0.25}
    brief = [section(name, costs) for name in ("easy", "hard")]
    _, row = cells_of(table(brief, {}))
    assert row[1:5] == ["bls-infobatch-auto", "20", "-0.5 ± 0.0", "+0.5 ± 0.0"]


def test_few_seeds_give_no_verdict(table):
    brief = [section(name, {"random-auto": 0.0}, seeds=3) for name in ("easy", "hard")]
    assert cells_of(table(brief, {}))[0][5] == "– of 2"


def test_other_shares_of_the_loss_are_rows_of_their_own(table):
    own = [section(name, {"random-auto": 0.0}) for name in ("easy", "hard")]
    more = [section(name, {"random-auto": -0.5}, 0.35) for name in ("easy", "hard")]
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
        run("random-auto", 0, 6.0, 0.3),
        run("random-auto", 1, 7.0, 0.3),
        run("random-auto", 1, 99.0, 0.3, recipe={"epochs": 6}),  # of another length
    ]
    found = loss_shares.at_share(
        [section("easy", {"random-auto": 5.0}), section("hard", {})], results
    )
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
