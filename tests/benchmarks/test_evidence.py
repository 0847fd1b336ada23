"""Tables of docs/evidence.md that are no part of the package."""

from __future__ import annotations

import pytest
from repository import ROOT

from dynaprune.bench.comparison import compare
from dynaprune.bench.sections import Section


@pytest.fixture
def scores(evidence):
    return evidence("scores_table")


@pytest.fixture
def rates(evidence):
    return evidence("rates_table")


@pytest.fixture
def unasked(evidence):
    return evidence("unasked_table")


def section(title, margin, higher_is_better, qualities):
    """Return results at 20% saved, where `qualities` has a list over seeds for each variant."""
    lines = [
        {"variant": variant, "budget": 0.2, "seed": seed, "quality": quality}
        for variant, found in qualities.items()
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


def line(variant, budget, seed, quality, rate=0.1):
    recipe = {"learning_rate": rate}
    return {
        "task": "mnist5k-ddpm",
        "variant": variant,
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
            {"variant": variant, "budget": budget, "seed": seed, "quality": quality}
            | {"visits": visits, "full_visits": 100, "seconds": 1.0}
            for variant, budget, visits, found in qualities
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


def gpu_record(variant, saved, seed, accuracy, visits, **more):
    facts = {"card": "a card", "torch": "2.11", "seconds": visits / 1000, "epochs": 10}
    run = {"way": variant, "saved": saved, "seed": seed, "accuracy": accuracy, "visits": visits}
    return facts | run | more


def test_ways_on_a_gpu_against_full_training_and_baselines(evidence):
    gpu = evidence("gpu_tables")
    records = []
    for seed in range(5):
        level = 0.90 + 0.001 * seed
        records += [
            gpu_record("full", 0.0, seed, level, 1000),
            gpu_record("fewer-epochs", 0.3, seed, level - 0.01, 700),
            gpu_record("random", 0.3, seed, level - 0.02 - 0.0001 * (seed % 2), 700),
            gpu_record("infobatch", 0.3, seed, level + 0.001 + 0.0001 * (seed % 2), 700),
            gpu_record("hardest-of-batch", 0.3, seed, level - 0.03, 700),
        ]
    # without full training of the same seed nothing can be said
    records.append(gpu_record("random", 0.3, 5, 0.5, 700))
    lines = {
        line.split(" | ")[0]: line.split(" | ") for line in gpu.cifar10_table(records).split("\n")
    }
    assert lines["| full"][1:3] == ["0.0", "90.20 ± 0.20"]
    variant = lines["| infobatch"]
    assert variant[1] == "30.0"
    assert variant[3].startswith("+0.10 ± ")
    assert variant[4].startswith("+1.10 ± ")  # against fewer epochs
    assert variant[5].startswith("+2.11 ± ")  # against random
    assert variant[6].startswith("30")
    assert variant[7:] == ["**lossless**", "5 |"]
    assert lines["| hardest-of-batch"][3].startswith("-3.00 ± ")
    assert lines["| hardest-of-batch"][7:] == ["**loses**", "5 |"]
    assert lines["| random"][8] == "5 |"


def test_what_was_found_of_labels_on_a_gpu(evidence):
    gpu = evidence("gpu_tables")
    found = {"auroc": [0.5, 0.6, 0.7, 0.8], "precision": [0.1, 0.2, 0.3, 0.4]}
    nothing = {"auroc": [], "precision": []}
    more = {"labels": "worse", "wrong": 0.4}
    records = [
        gpu_record("full", 0.0, 0, 0.70, 1000, **more, **found),
        gpu_record("full", 0.0, 1, 0.72, 1000, **more, **found),
        gpu_record("random", 0.2, 0, 0.69, 800, **more, **nothing),
        gpu_record("random", 0.2, 1, 0.71, 800, **more, **nothing),
    ]
    _, _, full, random = gpu.noisy_table(records).splitlines()
    assert full.startswith("| worse (40% wrong) | full | 2 | 0.0 | 71.00 ± ")
    assert full.endswith(" |  | 0.50 / 0.60 / 0.70 / 0.80 | 0.10 / 0.20 / 0.30 / 0.40 |")
    assert random.startswith("| worse (40% wrong) | random | 2 | 20.0 | 70.00 ± ")
    assert random.endswith(" | -1.00 ± 0.00 |  |  |")


def test_checks_on_a_gpu(evidence):
    gpu = evidence("gpu_tables")
    counts = {"passed": 10, "failed": 1, "error": 2, "skipped": 3, "status": 1}
    nothing = {"passed": 0, "failed": 0, "error": 0, "skipped": 0, "status": -1}
    records = [
        {"card": "a card", "group": "compiled", **counts},
        {"card": "a card", "group": "not compiled", **nothing},
        {"card": "a card", "group": "compiled", **counts, "passed": 11},  # a later run
        {"card": "a card", "group": "compiled", **nothing},
    ]
    assert gpu.checks_table(records).splitlines()[2:] == [
        "| a card | compiled | 11 | 3 | 3 |",
        "| a card | not compiled | out of time |  |  |",
    ]


def test_costs_on_a_gpu(evidence):
    gpu = evidence("gpu_tables")
    records = [
        {"part": "update", "what": "mean loss", "numbers": {"update µs": 42.9355, "kernels": 0.0}},
        {"part": "loop", "what": "mlp", "numbers": {"ours µs": 1034.18, "ratio": 1.06864}},
        {"part": "update", "what": "slices", "numbers": {"kernels": 4.06}},
    ]
    assert gpu.cost_table(records).splitlines() == [
        "| the calls of a step alone | update µs | kernels |",
        "| --- | ---: | ---: |",
        "| mean loss | 42.9 | 0 |",
        "| slices |  | 4.06 |",
        "",
        "| a whole training step | ours µs | ratio |",
        "| --- | ---: | ---: |",
        "| mlp | 1,034 | 1.07 |",
    ]


def test_parts_without_results_say_so(evidence, monkeypatch, tmp_path):
    gpu = evidence("gpu_tables")
    monkeypatch.setattr(gpu, "FOLDER", tmp_path)
    parts = gpu.gpu_parts()
    page = (ROOT / "docs" / "evidence" / "gpu.md").read_text(encoding="utf-8")
    assert set(parts) >= {"gpu-checks", "gpu-cost", "gpu-cifar10", "gpu-noisy", "gpu-paper"}
    for name, text in parts.items():
        assert text == "There are no runs yet.\n"
        assert f"<!-- {name} -->" in page


def test_the_page_is_that_of_the_results(evidence):
    gpu = evidence("gpu_tables")
    page = (ROOT / "docs" / "evidence" / "gpu.md").read_text(encoding="utf-8")
    for name, text in gpu.gpu_parts().items():
        part = page.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
        assert part == text, f"run `python benchmarks/evidence/evidence.py fill`: {name}"
