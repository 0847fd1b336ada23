"""The study of how well wrong labels are found."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from zoo.datasets.rule_labels import load_rule_labelled

from dynaprune.bench.ranking import auroc
from dynaprune.bench.recipe import Recipe
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.statistics import mean_of


def zeros():
    """Return a linear model without an opinion."""
    model = nn.Linear(2, 2)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


@pytest.fixture
def noisy(study):
    """Two groups of points; a fifth of the points have the label of the other group."""
    generator = torch.Generator().manual_seed(0)
    right = torch.arange(200) % 2
    inputs = torch.randn(200, 2, generator=generator) + 6 * right[:, None] - 3
    made = study("tasks").Task("points", inputs, right, inputs, right, zeros, learning_rate=0.1)
    return study("noisy_sets").NoisySet(*made.mislabelled(0.2), epochs=16)


def test_texts_with_labels_by_rules(tmp_path):
    folder = tmp_path / "weak-labels" / "trec"
    folder.mkdir(parents=True)
    texts = {
        "train": [("Who is he ?", 3, 0), ("How is she ?", 1, 2)],
        "dev": [("who knows", 2, -1)],
        "test": [("is ?", 0, 1)],
    }
    for part, rows in texts.items():
        content = [{"text": text, "label": true, "major": rule} for text, true, rule in rows]
        (folder / f"{part}.json").write_text(json.dumps(content))
    found = load_rule_labelled(tmp_path, "trec", max_words=3)
    assert found.labels.tolist() == [3, 1]
    assert found.by_rules.tolist() == [0, 2]
    assert found.test_labels.tolist() == [2, 0]
    # words that come twice: "is" and "?"; all others are 1
    assert found.num_words == 4
    known, question = int(found.train[0, 1]), int(found.test[1, 1])
    assert {known, question} == {2, 3}
    assert found.train.tolist() == [[1, known, 1], [1, known, 1]]
    assert found.test.tolist() == [[1, 1, 0], [known, question, 0]]


@pytest.mark.parametrize(
    ("name", "count", "share"), [("trec", 4585, 0.46), ("chemprot", 11061, 0.45)]
)
def test_the_published_labels_by_rules(shared_data, name, count, share):
    found = load_rule_labelled(shared_data, name)
    assert len(found.train) == count
    wrong = (found.labels != found.by_rules).float().mean().item()
    assert wrong == pytest.approx(share, abs=0.005)


def test_what_a_training_saw(study, noisy):
    visits = study("visits")
    model, found = visits.train(noisy.task, epochs=8, batch_size=64, seed=3)
    assert found.losses.shape == found.margins.shape == (8, 200)
    # with two classes the loss is log(1 + exp(−margin))
    np.testing.assert_allclose(found.losses, np.logaddexp(0, -found.margins), rtol=1e-4, atol=1e-5)
    assert found.losses[-1].mean() < found.losses[0].mean()
    assert found.accuracy > 0.95  # on right labels
    _, again = visits.train(noisy.task, epochs=8, batch_size=64, seed=3)
    assert np.array_equal(again.losses, found.losses)
    predicted = visits.probabilities(model, noisy.task.inputs)
    assert predicted.sum(1).numpy() == pytest.approx(np.ones(200), rel=1e-5)


def test_margins(study):
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0]])
    assert study("visits").margins_of(logits, torch.tensor([2, 0])).tolist() == [-1, 4]


def test_visits_are_kept(study, noisy, tmp_path):
    kept = study("visits").kept
    path = tmp_path / "a" / "3.npz"
    first = kept(path, noisy.task, 8, 64, 3)
    second = kept(path, None, 8, 64, 3)  # trains nothing
    assert np.array_equal(first.losses, second.losses)
    assert np.array_equal(first.margins, second.margins)
    assert (first.accuracy, first.seconds) == (second.accuracy, second.seconds)


def test_each_ranking_finds_wrong_labels(study, noisy, tmp_path):
    rankings = study("rankings")
    trainings = rankings.Trainings(noisy, 0, tmp_path)
    for name, rank in rankings.RANKINGS.items():
        found = rank(trainings)
        assert found.scores.shape == (200,)
        least = 0.6 if "one number" in name else 0.85 if "slices" in name else 0.98
        assert auroc(found.scores, noisy.is_wrong.numpy()) > least, name
        assert found.seconds > 0


def test_rankings_of_one_training_train_once(study, noisy, tmp_path, monkeypatch):
    rankings, visits = study("rankings"), study("visits")
    trainings = rankings.Trainings(noisy, 0, tmp_path)
    first = rankings.RANKINGS["last loss"](trainings)
    monkeypatch.setattr(visits, "train", None)
    last = rankings.RANKINGS["mean of losses"](trainings)
    assert last.seconds == first.seconds
    assert not np.array_equal(last.scores, first.scores)


def test_the_tables(study):
    study_of = study("find_wrong_labels")
    made = [
        ("last loss", 0, 0.6),
        ("last loss", 1, 0.7),
        ("mean of losses", 0, 0.5),
        ("ledger, true losses", 1, 0.75),
    ]
    results = [
        {
            "set": "TREC, by rules",
            "ranking": ranking,
            "seed": seed,
            "wrong": 0.46,
            "auroc": auroc,
            "precision": 0.5,
            "processor seconds": 3,
        }
        for ranking, seed, auroc in made
    ]

    def row(measure, results=results):
        head, _, *rows = (
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in study_of.table(results, measure).splitlines()
        )
        (found,) = rows
        return {name: cell for name, cell in zip(head, found, strict=True) if cell}

    # Student's t of one degree of freedom: 12.706 · 0.05
    about = {"labels": "TREC, by rules", "wrong %": "46", "seeds": "1 to 2"}
    names = ("losses of samples", "last loss", "mean loss")
    expected = {
        "auroc": ("0.750", "0.650 ± 0.635", "0.500"),
        "precision": ("50.0", "50.0 ± 0.0", "50.0"),
        "processor seconds": ("3", "3", "3"),
    }
    for measure, cells in expected.items():
        assert row(measure) == about | dict(zip(names, cells, strict=True))
    paired = study_of.compared(results)  # of seed 1 alone
    about["seeds"] = "1"
    assert row("auroc minus reference", paired) == about | {"last loss": "-0.050"}


def test_names_of_files(study):
    slug = study("find_wrong_labels").slug
    assert slug("CIFAR-10, 20% by chance") == "cifar-10-20-by-chance"
    names = [slug(name) for name in study("noisy_sets").NOISY_SETS]
    assert len(set(names)) == len(names)


def test_the_table_of_trimming(study, bright, tmp_path):
    recipe = Recipe(epochs=4, batch_size=8, learning_rate=0.05)
    plan = plan_runs(bright, "wrong-labels", ["random", "trimmed"], [0.25], [0, 1], recipe)
    results = Results(tmp_path)
    lines = [line for _, line in run_all(bright, plan.runs, results)]
    head, _, *rows = study("trimming").table(results).splitlines()
    assert [row.split(" | ")[1] for row in rows] == ["full", "random", "trimmed"]
    names, found = ([cell.strip() for cell in row.split("|")[1:-1]] for row in (head, rows[2]))
    cells = dict(zip(names, found, strict=True))
    quality = {(line["variant"], line["seed"]): line["quality"] for line in lines}
    assert cells["labels"] == "wrong-labels"
    assert cells["seeds"] == "2"
    assert cells["visits saved %"] == "25.0"
    assert cells["accuracy %"] == mean_of([quality["trimmed", s] for s in (0, 1)]).percent()
    for other in ("full", "random"):
        differences = [quality["trimmed", s] - quality[other, s] for s in (0, 1)]
        assert cells[f"− {other}"] == mean_of(differences).percent(sign=True)
    assert cells["− fewer-epochs"] == ""
