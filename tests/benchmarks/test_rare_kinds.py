"""The study of rare kinds."""

from __future__ import annotations

import math

import pytest

from dynaprune.bench.results import Results


def line(variant, seed, quality, worst, rate=0.1, budget=0.4, visits=60):
    return {
        "task": "mnist5k-cnn",
        "variant": variant,
        "seed": seed,
        "quality": quality,
        "other_metrics": {"worst kinds": worst},
        "recipe": {"learning_rate": rate},
        "budget": 0.0 if variant == "full" else budget,
        "visits": visits,
        "full_visits": 100,
    }


@pytest.fixture
def lines():
    searches = [line("random", seed, 0.7, 0.5, rate=0.3) for seed in (100, 101)]
    searches += [line("random", 100, 0.9, 0.5), line("random", 101, math.nan, 0.5)]
    searches += [line("full", seed, 0.9, 0.5) for seed in (100, 101)]
    compared = [line("full", seed, 0.9 + seed / 100, 0.6, visits=100) for seed in range(3)]
    compared += [
        line("random", seed, 0.88 + seed / 100, 0.5 - seed / 100, rate=0.3) for seed in range(3)
    ]
    return [*searches, *compared, line("random", 0, 0.1, 0.1)]  # at another rate


def test_the_rate_is_the_best_one_on_other_seeds(study, lines):
    rare_kinds = study("rare_kinds")
    assert rare_kinds.best_rate(lines, "mnist5k-cnn", "random") == 0.3  # the other diverged
    found = rare_kinds.metrics(lines, "mnist5k-cnn", "random", 0.4)
    assert [found[seed]["quality"] for seed in range(3)] == pytest.approx([0.88, 0.89, 0.9])


def test_the_table(study, lines):
    *_, full, random = study("rare_kinds").table(lines, "mnist5k-cnn", 0.4).splitlines()
    cells = [cell.strip() for cell in random.strip("|").split("|")]
    # Student's t of two degrees of freedom: 4.303 · 0.01 / √3
    assert cells == [
        *("random", "0.3", "40", "89.0 ± 2.5", "-2.0 ± 0.0", "", ""),
        *("49.0 ± 2.5", "-11.0 ± 2.5", "3"),
    ]
    assert full.startswith("| full | 0.1 | 0 | 91.0 ± 2.5 |  |")


def test_it_searches_compares_and_goes_on(study, lines, tmp_path, monkeypatch):
    rare_kinds = study("rare_kinds")
    made = []

    def run_all(task, plan, results):
        for planned in plan:
            if planned.key in results:
                continue
            key = planned.key
            made.append(key)
            rate = key.recipe["learning_rate"]
            found = {"quality": rate, "visits": 1, "full_visits": 1, "seconds": 0.0, "about": {}}
            yield planned, results.add(key, {**found, "other_metrics": {"worst kinds": 0.0}})

    monkeypatch.setattr(rare_kinds, "run_all", run_all)
    both, shares = ["full", "random"], [0.4, 0.2, 0.6]
    for expected in (2 * 3 * 2 + 2 * 20 + 2 * 20, 0):
        made.clear()
        rare_kinds.train(None, "mnist5k-cnn", both, shares, Results(tmp_path))
        assert len(made) == expected
    compared = [line for line in Results(tmp_path).lines if line["seed"] < 100]
    assert [line["quality"] for line in compared] == pytest.approx([0.3] * 80)


def test_gains_are_over_random_pruning_with_the_same_share(study, lines):
    rare_kinds = study("rare_kinds")
    variant, saved, gain = "infobatch", 0.6, 0.03
    search = [line(variant, seed, 0.8, 0.5, rate=0.1) for seed in (100, 101)]
    runs = [
        line(name, seed, quality + seed / 100, 0.5, rate, budget)
        for seed in range(3)
        for name, quality, rate, budget in (
            ("random", 0.7, 0.3, saved),
            (variant, 0.7 + gain, 0.1, saved),
            (variant, 0.5, 0.1, 0.4),
        )
    ]
    rows = rare_kinds.gains([*lines, *search, *runs]).splitlines()
    assert "| 60% | infobatch | +3.0 ± 0.0 |" in rows


def test_the_parts_of_the_page(study, lines, tmp_path):
    rare_kinds = study("rare_kinds")
    page = tmp_path / "page.md"
    page.write_text("<!-- rare-kinds-20 -->\n<!-- /rare-kinds-20 -->\n")
    parts = rare_kinds.parts([*lines, line("random", 0, 0.85, 0.5, rate=0.3, budget=0.2)])
    assert parts["rare-kinds-details"].startswith("### mnist5k-cnn\n\n| variant | rate |")
    first = "| saved | variant | mnist5k-cnn |", "| --- | --- | ---: |", "| 20% | fewer-epochs |  |"
    assert tuple(parts["rare-kinds-gains"].splitlines()[:3]) == first
    heads, _, row = parts["rare-kinds"].splitlines()
    assert (heads, row) == ("| variant | mnist5k-cnn |", "| random | -2.0 ± 0.0 |")
    assert parts["rare-kinds-worst"].splitlines()[2] == "| random | -11.0 ± 2.5 |"
    many = [
        line(variant, seed, 0.9 - less, 0.5, rate)
        for seed in range(5)
        for variant, less, rate in (("full", 0.0, 0.1), ("random", 0.02 + seed / 1e3, 0.3))
    ]
    searched = [each for each in lines if each["seed"] >= 100]
    row = rare_kinds.parts([*searched, *many])["rare-kinds"].splitlines()[2]
    assert row == "| random | -2.2 ± 0.2, loses |"
    rare_kinds.fill_page(page, parts)
    _, heads, _, row, _ = page.read_text().splitlines()
    assert (heads, row) == ("| variant | mnist5k-cnn |", "| random | -5.0 |")
