"""What a report says in words: each finding where there is a reason, and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from report_pages import Images, Page, train_on
from streams import bls_stream

from dynaprune import BLS, InfoBatch, NoPrune
from dynaprune.tracking.recording import LEVELS, RecordedEpoch, RecordedSamples
from dynaprune.tracking.report.classes import ClassRow, by_class
from dynaprune.tracking.report.hints import hint_for_classes, hint_for_samples
from dynaprune.tracking.report.run import RecordedRun
from dynaprune.tracking.report.verdicts import (
    on_classes,
    on_hardest,
    on_losses,
    on_missing_epochs,
    on_rates,
    on_reliability,
    on_saving,
    verdicts_of,
)

NAN = math.nan


def epoch(number, **facts):
    """An epoch of 100 samples, half of them served, in which nothing is wrong."""
    given = {
        "number": number,
        "num_samples": 100,
        "kept": 50,
        "visits": 50,
        "seconds": 1.0,
        "planning_seconds": 0.0,
        "recording_seconds": 0.0,
        "losses_left_out": 0,
        "mean_loss": 0.5,
        "curve_visits": [25, 50],
        "curve_losses": [0.6, 0.4],
        "curve_rates": [0.1, 0.1],
        "quantiles": np.linspace(0, 1, len(LEVELS)).tolist(),
        "reliability": 1.0,
        "counted_epochs": number + 1,
    }
    return RecordedEpoch(**{**given, **facts})


def run_of(*epochs, method="InfoBatch", **settings):
    scores = np.linspace(0, 1, 100, dtype=np.float32)
    visits = np.full(100, len(epochs), np.int32)
    samples = RecordedSamples(scores, visits, len(epochs), visits - 1, scores, None)
    return RecordedRun({"method": method, "settings": settings}, list(epochs), samples)


def texts(verdicts):
    return " ".join(f"{each.kind}: {each.found} {each.advice}" for each in verdicts)


def test_a_run_without_faults():
    kinds = [each.kind for each in verdicts_of(run_of(epoch(0), epoch(1)), [])]
    assert kinds == ["good", "good"]


def test_problems_come_first():
    run = run_of(epoch(0), epoch(2, losses_left_out=1, reliability=NAN, curve_rates=[NAN, 0.1]))
    kinds = [each.kind for each in verdicts_of(run, [])]
    assert kinds == ["problem", "good", "note", "note", "note"]


def with_reliability(value, batches, method="InfoBatch"):
    """A run whose last reliability is from so many batches."""
    first = epoch(0, reliability=NAN, curve_visits=list(range(99)))
    return run_of(
        first, epoch(1, reliability=value, curve_visits=list(range(batches))), method=method
    )


@pytest.mark.parametrize(
    ("reliability", "batches", "method", "expected"),
    [
        # the interval is twice 1/√n, with n = 100, 16, and at most 400
        (
            0.21,
            100,
            "InfoBatch",
            "good: Scores order samples better than chance: reliability 0.21 ± 0.20.",
        ),
        (
            0.19,
            100,
            "InfoBatch",
            "problem: The reliability of the scores is 0.19 ± 0.20, near 0: the",
        ),
        (
            -0.3,
            100,
            "InfoBatch",
            "problem: The reliability of the scores is -0.30 ± 0.20, below 0: the",
        ),
        (
            0.49,
            16,
            "InfoBatch",
            "note: The reliability of the scores, 0.49 ± 0.50, is from too few",
        ),
        (0.51, 16, "InfoBatch", "good:"),
        (
            0.09,
            900,
            "InfoBatch",
            "problem: The reliability of the scores is 0.09 ± 0.10, near 0: the",
        ),
        (
            0.12,
            900,
            "InfoBatch",
            "note: Scores order samples only slightly better than chance: reliability 0.12 ± 0.10.",
        ),
        (0.12, 900, "RandomPrune", "good: Scores order samples better than chance"),
        (
            0.02,
            100,
            "RandomPrune",
            "note: The reliability of the scores is 0.02 ± 0.20, near 0: they",
        ),
    ],
)
def test_reliability(reliability, batches, method, expected):
    said = texts(on_reliability(with_reliability(reliability, batches, method)))
    assert said.startswith(expected)
    is_poor = expected.startswith("problem") or "slightly" in expected
    assert ("chunked(criterion, chunks=8)" in said) == is_poor


def test_scores_of_noise_are_seldom_called_good():
    """An interval of two standard errors leaves out 0, on the high side, in one of 44 runs."""
    called_good = 0
    for seed in range(20):
        train = BLS(InfoBatch(range(800), num_epochs=7, saving=0.3, seed=seed)).proxy()
        generator = torch.Generator().manual_seed(seed)
        known = []
        for number in range(6):
            batches = list(train.batches(32))
            for indices in batches:
                train.update(torch.rand((), generator=generator), indices=indices)
            train.end_epoch()
            known.append(epoch(number, reliability=train.reliability, curve_visits=batches))
        kinds = [each.kind for each in on_reliability(run_of(*known))]
        called_good += kinds == ["good"]
    assert called_good <= 3


def test_the_last_known_reliability_counts():
    run = run_of(epoch(0, reliability=0.0), epoch(1, reliability=2.0), epoch(2, reliability=NAN))
    assert "2.00 ± 1.00" in texts(on_reliability(run))
    assert on_reliability(run_of(epoch(0, reliability=NAN))) == []


def test_the_share_of_visits_that_was_avoided():
    run = run_of(epoch(0), epoch(1, kept=75, visits=75))
    assert "good: 37.5% of the sample visits" in texts(on_saving(run))
    assert "compare" in texts(on_saving(run))


FULL = {"kept": 100, "visits": 100}
EQUAL = {"quantiles": [0.5] * len(LEVELS)}


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (run_of(epoch(0, **FULL), method="NoPrune"), "NoPrune serves every sample"),
        (run_of(epoch(0, **FULL), epoch(1, **FULL), saving=0.0), "was given is 0"),
        (run_of(epoch(0, **FULL), epoch(1, **FULL), prune_ratio=0), "was given is 0"),
        (run_of(epoch(0, **FULL), epoch(1, **FULL), saving=None, prune_ratio=0), "is 0"),
        (run_of(epoch(0, **FULL, mean_loss=NAN)), "No loss was finite"),
        (run_of(epoch(0, **FULL, **EQUAL), epoch(1, **FULL, **EQUAL)), "All scores are equal"),
        (run_of(epoch(0, **FULL)), "Only one epoch was recorded"),
        (run_of(epoch(0, **FULL), epoch(1, **FULL), saving="auto"), "saving='auto' skips"),
        (run_of(epoch(0, **FULL), epoch(1, **FULL), method="SkipConverged"), "had converged"),
        (run_of(epoch(0, **FULL), epoch(1, **FULL)), "The method kept every sample"),
    ],
)
def test_why_nothing_was_skipped(run, reason):
    (verdict,) = on_saving(run)
    assert verdict.found == "Nothing was skipped."
    assert reason in verdict.advice


def test_losses_that_are_not_finite():
    assert on_losses(run_of(epoch(0))) == []
    some = run_of(epoch(0), epoch(1, losses_left_out=2), epoch(2), epoch(3, losses_left_out=1))
    assert "problem: 3 losses were not finite, in epochs 1 and 3." in texts(on_losses(some))
    assert "diverged" not in texts(on_losses(some))
    one = run_of(epoch(0, losses_left_out=1))
    assert "1 loss was not finite, in epoch 0." in texts(on_losses(one))
    all_of_them = run_of(epoch(0), epoch(1, losses_left_out=9, mean_loss=NAN))
    assert "training has diverged" in texts(on_losses(all_of_them))
    many = run_of(*(epoch(number, losses_left_out=1) for number in range(9)))
    assert "in epochs 0, 1, 2, 3, 4 and more." in texts(on_losses(many))


def test_the_hardest_tenth_of_a_class():
    run = run_of(epoch(0), epoch(1))  # mean losses rise with the number of the sample
    labels = np.repeat([0, 1], [30, 70])
    run.samples.visits[27:30] = 1  # the hardest three of the first class, half as often
    run.samples.visits[30:93] = 1  # all but the hardest seven of the second one
    rows = {row.name: row for row in by_class(run, labels, None)}
    assert rows["0"].hardest_served == 0.5
    assert rows["1"].hardest_served == 2.0
    few = by_class(run, np.repeat([0, 1], [9, 91]), None)
    assert [math.isnan(row.hardest_served) for row in sorted(few, key=lambda row: row.name)] == [
        True,
        False,
    ]


def test_a_class_that_is_starved():
    rows = [ClassRow("cat", 10, 0.2, 0.1, True, 1.0), ClassRow("dog", 90, 0.533, 0.5, False, 1.0)]
    said = texts(on_classes(rows, 0.5))
    assert "problem: 1 class was served less than 80% as often as the average of 50.0%" in said
    assert "cat (20.0%)." in said
    assert "dog" not in said
    assert on_classes(rows[1:], 0.5) == []


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (1.3, "note: The hardest tenth of each class was served 1.30 times as often as the rest."),
        (0.5, "was served 0.50 times as often as the rest: visits have moved away from it."),
        (1.02, ""),
        (NAN, ""),
    ],
)
def test_visits_that_moved_to_the_hardest(ratio, expected):
    rows = [ClassRow("cat", 100, 0.5, 0.1, False, ratio), ClassRow("few", 3, 0.5, 0.1, False, NAN)]
    said = texts(on_hardest(run_of(epoch(0), epoch(1)), rows))
    assert said.startswith(expected) if ratio > 1 else expected in said
    assert bool(said) == bool(expected)
    # nothing was chosen by score, or nothing was skipped
    assert on_hardest(run_of(epoch(0), method="RandomPrune"), rows) == []
    assert on_hardest(run_of(epoch(0, kept=100, visits=100)), rows) == []


def test_epochs_that_were_not_recorded():
    assert on_missing_epochs(run_of(epoch(0), epoch(1))) == []
    late = texts(on_missing_epochs(run_of(epoch(3), epoch(5))))
    assert "The recording lacks epochs 0 to 2 and 4:" in late
    assert "lacks epoch 1:" in texts(on_missing_epochs(run_of(epoch(0), epoch(2))))
    # numbers of a foreign recording can be large, and are not counted one by one
    assert "1 to 9007199254740989:" in texts(on_missing_epochs(run_of(epoch(0), epoch(2**53 - 2))))


def test_a_gap_in_the_learning_rate_is_a_resume():
    assert on_rates(run_of(epoch(0), epoch(1))) == []
    said = texts(on_rates(run_of(epoch(0), epoch(1, curve_rates=[NAN, 0.1]))))
    assert "note: The learning rate has a gap in epoch 1: the run was resumed there." in said
    partly = texts(on_rates(run_of(epoch(0), epoch(1, curve_rates=[]))))
    assert "is not known in epoch 1." in partly
    # there is a hint in place of the figure then
    assert on_rates(run_of(epoch(0, curve_rates=[]), epoch(1, curve_rates=[NAN, NAN]))) == []


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (None, {"is_stream": True, "has_dataset": False}, "stream"),
        (None, {"is_stream": False, "has_dataset": False}, "--data FILE.py:FUNCTION"),
        (None, {"is_stream": False, "has_dataset": True}, "labels=labels"),
        (np.arange(60.0), {"is_stream": False, "has_dataset": True}, "values rather than classes"),
    ],
)
def test_hints_for_classes(labels, given, expected):
    assert expected in hint_for_classes(labels, **given)
    assert hint_for_classes(np.arange(60) % 3, is_stream=False, has_dataset=True) == ""


def test_a_dataset_that_does_not_provide_its_labels():
    hint = hint_for_classes(None, is_stream=False, has_dataset=True)
    assert "Give the dataset an attribute `labels` or `targets` with one label per sample" in hint


@pytest.mark.usefixtures("drawn_here")
@pytest.mark.parametrize("labels", [None, [number % 4 for number in range(40)]])
def test_the_hardest_are_of_each_class_if_labels_are_known(tmp_path, labels):
    train = BLS(NoPrune(range(40), num_epochs=2)).proxy()
    train.record(tmp_path / "run")
    train_on(train, 2, lambda batch: batch.float().mean())
    text = page_of(train, tmp_path / "page.html", labels=labels)
    is_known = labels is not None
    assert ("Hardest of each class" in text) == is_known
    assert ("over the whole run, as many of each class. Look here" in text) == is_known
    assert ("Hardest The highest losses over the whole run. Look here" in text) != is_known


def test_hints_for_samples():
    assert "stream" in hint_for_samples(60, is_stream=True, has_dataset=False)
    assert "--data FILE.py:FUNCTION" in hint_for_samples(60, is_stream=False, has_dataset=False)
    assert "One sample" in hint_for_samples(1, is_stream=False, has_dataset=True)
    assert hint_for_samples(60, is_stream=False, has_dataset=True) == ""


def page_of(train, path, **options):
    return " ".join(Page(train.report(path, **options).read_text()).text.split())


@pytest.mark.usefixtures("drawn_here")
def test_a_page_has_a_hint_for_all_that_it_lacks(tmp_path):
    train = BLS(NoPrune(range(40), num_epochs=2)).proxy()
    train.record(tmp_path / "run")
    train_on(train, 1, lambda batch: torch.tensor(NAN))
    text = page_of(train, tmp_path / "page.html")
    for part in (
        "NoPrune serves every sample",
        "5 losses were not finite, in epoch 0. No loss of the last epoch was finite",
        "Training loss No loss was finite.",
        "Learning rate It was not recorded. Pass the optimizer",
        "Reliability of the scores It is not known.",
        "By class The dataset does not provide its labels",
    ):
        assert part in text, part


@pytest.mark.usefixtures("drawn_here")
def test_a_page_of_a_whole_run_has_no_hint(tmp_path):
    train = BLS(InfoBatch(Images(60), num_epochs=4, saving=0.3)).proxy()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    train.record(tmp_path / "run", optimizer=optimizer)
    train_on(train, 4, optimizer=optimizer)
    page = Page(train.report(tmp_path / "page.html").read_text())
    assert [each for each in page.all("section") if each.get("class") == "hint"] == []
    share = train.summary().share_saved
    assert f"{share:.1%} of the sample visits of full epochs were avoided" in page.text


@pytest.mark.usefixtures("drawn_here")
def test_a_page_of_a_stream(tmp_path):
    train = bls_stream(InfoBatch, 40)
    train.record(tmp_path)
    train_on(train, 3, lambda batch: batch.float().mean())
    assert page_of(train, tmp_path / "page.html").count("samples of a stream cannot be") == 2
