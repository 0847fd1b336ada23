"""Statistics of the benchmark: intervals, and tests that can say no."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dynaprune.bench.comparison import compare, lossless_budget
from dynaprune.bench.scoreboard import score_ways
from dynaprune.bench.signs import shown_by
from dynaprune.bench.statistics import Verdict, judge, mean_of


def test_mean_and_interval():
    values = [0.9, 0.92, 0.95, 0.91, 0.94]
    mean = mean_of(values)
    interval = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert mean.value == pytest.approx(np.mean(values))
    assert mean.value - mean.half_width == pytest.approx(interval[0])
    assert mean.percent() == "92.4 ± 2.6"
    assert mean.percent(sign=True) == "+92.4 ± 2.6"
    assert math.isnan(mean_of([0.5]).half_width)
    assert mean_of([0.5]).percent() == "50.0"


def test_lossless_is_a_test_of_noninferiority():
    random = np.random.default_rng(0)
    for _ in range(200):
        differences = random.normal(-0.003, 0.004, size=random.integers(5, 12))
        # by hand: Student's t of the mean's distance from the margin
        t = (differences.mean() + 0.005) / (differences.std(ddof=1) / math.sqrt(len(differences)))
        bound = stats.t.ppf(0.95, len(differences) - 1)
        expected = Verdict.LOSSLESS if t > bound else Verdict.LOSES if t < -bound else None
        assert judge(differences.tolist(), 0.005) is (expected or Verdict.UNDECIDED)


def test_a_true_loss_at_the_margin_is_called_lossless_once_in_twenty():
    random = np.random.default_rng(1)
    trials = [judge(random.normal(-0.005, 0.01, 5).tolist(), 0.005) for _ in range(1000)]
    # binomial: 50 ± 7 of 1000 are expected of each kind
    assert 22 < trials.count(Verdict.LOSSLESS) < 78
    assert 22 < trials.count(Verdict.LOSES) < 78


def test_four_seeds_decide_nothing():
    assert judge([0.1] * 4, 0.005) is Verdict.UNDECIDED
    assert judge([0.0] * 5, 0.005) is Verdict.LOSSLESS  # nothing was pruned, say
    assert judge([-0.1] * 5, 0.005) is Verdict.LOSES


@pytest.mark.parametrize("quality", [math.nan, -math.inf])
def test_a_training_that_has_diverged_is_a_loss(quality):
    assert judge([0.0, 0.0, 0.001, 0.0, quality], 0.005) is Verdict.LOSES


def line(way, budget, seed, quality, visits, seconds=10.0):
    return {
        "way": way,
        "budget": budget,
        "seed": seed,
        "quality": quality,
        "visits": visits,
        "full_visits": 1000,
        "seconds": seconds,
    }


def of_seeds(way, budget, qualities, visits):
    return [line(way, budget, seed, each, visits) for seed, each in enumerate(qualities)]


def test_a_diverged_full_training_says_nothing_of_others():
    lines = of_seeds("full", 0.0, [0.9] * 5 + [math.nan], 1000)
    lines += of_seeds("random", 0.2, [0.95, 0.951, 0.949, 0.95, 0.95, 0.95], 800)
    rows = {row.way: row for row in compare(lines, 0.005, higher_is_better=True)}
    assert rows["full"].diverged == 1
    assert rows["random"].verdict is Verdict.LOSSLESS
    assert rows["random"].compared == 5


def test_a_way_that_diverges_loses_everywhere():
    lines = of_seeds("full", 0.0, [0.9, 0.91, 0.9, 0.9, 0.9], 1000)
    lines += of_seeds("random", 0.2, [0.89, 0.9, 0.9, 0.89, 0.9], 800)
    lines += of_seeds("infobatch", 0.2, [math.nan] * 5, 800)
    lines += of_seeds("seta", 0.2, [math.nan, math.nan, 0.99, 0.98, 0.99], 800)
    rows = {row.way: row for row in compare(lines, 0.005, higher_is_better=True)}
    for way in ("infobatch", "seta"):
        assert rows[way].verdict is Verdict.LOSES
        assert not rows[way].is_better("random")
        assert rows[way].is_worse("random")
    scores = {score.way: score for score in score_ways([(0.005, list(rows.values()))])}
    assert scores["infobatch"].verdicts[Verdict.LOSES] == 1
    assert scores["infobatch"].against_full is None
    assert scores["seta"].against["random"].better == 0


def test_few_seeds_are_neither_better_nor_worse():
    lines = of_seeds("full", 0.0, [0.9, 0.91], 1000)
    lines += of_seeds("random", 0.2, [0.8, 0.81], 800) + of_seeds("seta", 0.2, [0.9, 0.91], 800)
    rows = {row.way: row for row in compare(lines, 0.005, higher_is_better=True)}
    assert rows["seta"].against["random"].is_above_zero
    assert not rows["seta"].is_better("random")


def test_seconds_are_compared_on_one_machine():
    lines = [line("full", 0.0, 0, 0.9, 1000, 10.0), line("random", 0.2, 0, 0.9, 800, 1.0)]
    for each, name in zip(lines, "ab", strict=True):
        each["machine"] = {"processor": name}
    rows = {row.way: row for row in compare(lines, 0.005, higher_is_better=True)}
    assert rows["random"].seconds_saved is None


def test_differences_are_paired_by_seed():
    lines = []
    for seed, base in enumerate((0.9, 0.8, 0.7)):
        lines.append(line("full", 0.0, seed, base, 1000, 10.0 + seed))
        lines.append(line("infobatch", 0.2, seed, base + 0.01 * seed, 800, 5.0 + seed / 2))
    rows = {row.way: row for row in compare(lines, 0.005, higher_is_better=True)}
    assert rows["full"].against_full is None
    expected = mean_of([0.0, 0.01, 0.02])
    assert rows["infobatch"].against_full.value == pytest.approx(expected.value)
    assert rows["infobatch"].against_full.half_width == pytest.approx(expected.half_width)
    assert rows["infobatch"].visits_saved.value == pytest.approx(0.2)
    assert rows["infobatch"].seconds_saved.value == pytest.approx(0.5)
    assert rows["infobatch"].seconds_saved.half_width == pytest.approx(0, abs=1e-12)
    worse = {row.way: row for row in compare(lines, 0.005, higher_is_better=False)}
    assert worse["infobatch"].against_full.value == pytest.approx(-0.01)


def test_baselines_are_compared_at_the_same_number_of_visits():
    lines = []
    for seed in range(2):
        lines += [
            line("full", 0.0, seed, 0.9, 1000),
            line("random", 0.2, seed, 0.8, 800),
            line("random", 0.4, seed, 0.6, 600),
            line("skip-converged", 0.0, seed, 0.75, 700),  # saves what it likes
            line("kalman-repb", 0.0, seed, 0.5, 300),  # more than any baseline
        ]
    rows = {(row.way, row.budget): row for row in compare(lines, 0.005, higher_is_better=True)}
    assert rows["skip-converged", 0.0].against["random"].value == pytest.approx(0.05)
    assert rows["kalman-repb", 0.0].against == {}
    assert rows["random", 0.2].against == {}


def test_the_largest_lossless_budget_has_no_loss_before_it():
    lines = []
    for seed in range(5):
        lines.append(line("full", 0.0, seed, 0.9, 1000))
        for budget, quality in ((0.2, 0.9), (0.3, 0.8), (0.4, 0.9)):
            lines.append(line("bls-seta", budget, seed, quality, round(1000 * (1 - budget))))
    rows = compare(lines, 0.005, higher_is_better=True)
    assert lossless_budget(rows, "bls-seta").budget == 0.2
    assert lossless_budget(rows, "random") is None


def looked_at(epochs, quality, **more):
    return {"signs": {"epochs": epochs, "quality": quality, **more}}


def test_signs_are_means_over_seeds_from_halfway_on():
    lines = [
        looked_at(
            [2, 4, 6, 8], [0.1, 0.5, 0.6, 0.8], learned=[0, 0.2, 0, 1], mean_loss=[9, 4, 3, 1]
        ),
        looked_at(
            [2, 4, 6, 8], [0.1, 0.4, 0.6, 0.5], learned=[0, 0.4, 0, 1], mean_loss=[9, 2, 3, 1]
        ),
        {"quality": 0.5},
    ]
    found = shown_by(lines, higher_is_better=True)
    assert (found.learned, found.rise, found.fall) == pytest.approx((0.3, 0.2, 0.625))
    assert shown_by(lines, higher_is_better=False).rise == pytest.approx(-0.2)


def test_signs_of_short_trainings_and_of_tasks_without_losses():
    found = shown_by([looked_at([1, 3, 4], [0.1, 0.2, 0.6])], higher_is_better=True)
    assert found.rise == pytest.approx(0.4)
    assert math.isnan(found.learned)
    assert math.isnan(found.fall)
    assert shown_by([looked_at([1], [0.1])], higher_is_better=True) is None
    assert (
        shown_by([{"signs": {"epochs": [1, 2], "learned": [0, 1]}}], higher_is_better=True) is None
    )
    assert shown_by([], higher_is_better=True) is None
    unknown = looked_at([1, 2], [0.1, 0.6], learned=[None, 0.5], mean_loss=[None, 1.0])
    assert math.isnan(shown_by([unknown], higher_is_better=True).learned)
