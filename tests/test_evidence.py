"""Tables of docs/evidence.md that are no part of the package."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dynaprune.bench.comparison import compare
from dynaprune.bench.sections import Section

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def tables(monkeypatch):
    """Return what imports a file of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def scores(tables):
    return tables("evidence_scores")


@pytest.fixture
def rates(tables):
    return tables("evidence_rates")


@pytest.fixture
def unasked(tables):
    return tables("evidence_unasked")


def section(title, margin, higher_is_better, qualities):
    """Return results at 20% saved, where `qualities` has a list over seeds for each way."""
    lines = [
        {"way": way, "budget": 0.2, "seed": seed, "quality": quality}
        for way, found in qualities.items()
        for seed, quality in enumerate(found)
    ]
    task = {"margin": margin, "higher_is_better": higher_is_better}
    return Section(task, "as-is", {}, [], lines, title)


def test_one_score_against_another(scores):
    true, other = [0.90, 0.91, 0.92, 0.93, 0.94], [0.93, 0.94, 0.95, 0.96, 0.97001]
    table = scores.scores_table(
        [
            section("gains", 0.01, True, {"infobatch": true, "bls-infobatch": other}),
            section("loses", 0.03, False, {"infobatch": true, "bls-infobatch": other}),
            section("no losses", 0.03, True, {"bls-infobatch": other}),
            section("others", 0.02, True, {"seta": true[:2], "bls-seta": [0.92, float("nan")]}),
        ]
    ).splitlines()
    assert [line.split(" | ")[:3] for line in table[2:]] == [
        ["| bls-infobatch", "infobatch", "20"],
        ["| bls-seta", "seta", "20"],
    ]
    # differences of 3 margins and of -1: 1.0 ± 25.4, where 12.7 is the quantile of t with 1 degree
    assert table[2].endswith("| 20 | 2 | +1.0 ± 25.4 | gains | loses |")
    assert table[3].endswith("| 20 | 1 | +1.0 | – | – |")


def test_differences_go_by_seed(scores):
    made = section("any", 0.5, False, {"infobatch": [3.0, 1.0], "bls-infobatch": [2.0, 1.5, 9.0]})
    assert scores.differences(made, "bls-infobatch", "infobatch", 0.2) == [2.0, -1.0]
    assert scores.differences(made, "bls-infobatch", "infobatch", 0.3) == []


def line(way, budget, seed, quality, rate=0.1):
    recipe = {"learning_rate": rate}
    return {
        "task": "mnist5k-ddpm",
        "way": way,
        "budget": budget,
        "seed": seed,
        "quality": quality,
        "recipe": recipe,
    }


def test_other_rates_are_held_against_the_own_one(rates):
    lines = [
        *(line("full", 0.0, seed, 3.0 + seed) for seed in (0, 1)),
        *(line("random", 0.5, seed, 4.0 + seed) for seed in (0, 1)),
        line("random", 0.4, 0, 9.0),
        line("bls-infobatch", 0.5, 1, 3.5),
    ]
    others = [
        line("random", 0.5, 0, 2.75, rate=0.1 * 1.5),
        line("random", 0.5, 1, float("nan"), rate=0.2),
        line("full", 0.0, 1, 3.0, rate=0.2),
        dict(line("full", 0.0, 1, 0.0, rate=0.2), task="mnist5k-vae"),
    ]
    task = {"name": "mnist5k-ddpm", "higher_is_better": False, "in_percent": False, "margin": 0.1}
    shown = Section(task, "as-is", {"learning_rate": 0.1}, [], lines, "mnist5k-ddpm")
    other = Section({**task, "name": "digits-cnn"}, "as-is", {}, [], [], "digits-cnn")
    heads, _, *rows = rates.rates_table([shown, other], others).splitlines()
    assert [cell.strip() for cell in heads.split("|")[1:-1]] == [
        "task",
        "infobatch",
        "random",
        "random, 1.5 × the rate",
        "random, 2 × the rate",
        "full, 1.5 × the rate",
        "full, 2 × the rate",
    ]
    assert rows == [
        "| mnist5k-ddpm | +0.50 | -1.00 ± 0.00 | +0.25 | diverged |  | +1.00 |",
    ]


def test_what_is_saved_unasked_is_held_against_a_share_of_each_task(unasked):
    def made(title, margin, higher_is_better, qualities):
        lines = [
            {"way": way, "budget": budget, "seed": seed, "quality": quality}
            | {"visits": visits, "full_visits": 100, "seconds": 1.0}
            for way, budget, visits, found in qualities
            for seed, quality in enumerate(found)
        ]
        task = {"margin": margin, "higher_is_better": higher_is_better}
        rows = compare(lines, margin, higher_is_better)
        return Section(task, "as-is", {}, rows, lines, title)

    table = unasked.unasked_table(
        [
            made(
                "learned",
                0.5,
                True,
                [
                    ("full", 0.0, 100, [4.0, 5.0]),
                    ("random", 0.2, 80, [3.0, 4.0]),  # -2 margins
                    ("random", 0.4, 60, [0.0, 0.0]),
                    ("skip-converged", 0.0, 70, [4.0, 4.5]),  # -0.5 margins, 30% saved
                ],
            ),
            made(
                "of errors",
                0.1,
                False,
                [
                    ("full", 0.0, 100, [1.0, 1.0]),
                    ("random", 0.2, 80, [1.5, 1.3]),  # -4 margins
                    ("seta", 0.2, 80, [2.0, 2.0]),  # -10 margins
                    ("skip-converged", 0.0, 96, [1.1, 1.0]),  # -0.5 margins, 4% saved
                ],
            ),
            made(
                "without it",
                0.1,
                True,
                [("full", 0.0, 100, [1.0, 1.0]), ("random", 0.2, 80, [0.0, 0.0])],
            ),
        ]
    ).splitlines()
    # of two tasks a half-width is 12.706 times half their difference: 12.7 where that is 2
    assert table[2:] == [
        "| skip-converged | 2 | 17.0 | -0.5 ± 0.0 |  |",
        "| random | 2 | 20.0 | -3.0 ± 12.7 | +2.5 ± 12.7 |",
        "| seta | 1 | 20.0 | -10.0 | +9.5 |",
    ]
