"""The suspects of a run, from the command line."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
import torch
from helpers import Numbers, bls
from report_pages import Page
from streams import bls_stream
from typer.testing import CliRunner

from dynaprune import DataLoader, InfoBatch, NoPrune, SampleLoss, save_checkpoint
from dynaprune.cli.app import app
from dynaprune.cli.suspects import suspects_table
from dynaprune.cli.terminal import Console
from dynaprune.tracking.review.sources import ledger_of_recording, ledger_of_state

WRONG = [3, 14, 25, 36]
"""The samples whose losses are high."""


BARS = str.maketrans("│┃", "  ")


def run_command(*arguments):
    result = CliRunner().invoke(app, ["suspects", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.translate(BARS).split())


def loss_of(indices):
    """Losses that differ between all samples, and are much higher for some."""
    is_wrong = torch.isin(indices, torch.tensor(WRONG))
    return 0.5 + 0.01 * indices.float().sin() + 0.5 * is_wrong


def trained(folder, count=40, dataset=None):
    """Train by loss vectors, record it, and save a checkpoint."""
    train = SampleLoss(NoPrune(dataset or Numbers(count), num_epochs=3)).proxy()
    train.record(folder / "run")
    for _ in range(3):
        for indices in train.batches(8):
            train.update(loss_of(indices))
    save_checkpoint(folder / "checkpoint.pt", train=train)
    return train


CODE = """
class Words(list):
    classes = ["bad", "good"]
    targets = [number % 2 for number in range({count})]
    samples = [(f"data/{{number}}.txt", 0) for number in range({count})]

def make():
    return Words((f"text {{number}}.", number % 2) for number in range({count}))

def make_columns():
    from datasets import Dataset
    return Dataset.from_dict({{"name": [f"n{{i}}" for i in range({count})], "label": [0, 1] * 20}})

def fail():
    raise ZeroDivisionError("in the user's file")
"""


@pytest.fixture
def run(tmp_path):
    trained(tmp_path)
    (tmp_path / "train.py").write_text(CODE.format(count=40))
    return tmp_path


@pytest.mark.parametrize("source", ["run", "checkpoint.pt"])
def test_the_table_in_the_terminal(run, source):
    code, text = run_command(run / source, "--top", 4)
    assert code == 0
    assert "the 4 most suspicious of 40 samples" in text
    assert "index label quality mean excess visits" in text
    code, text = run_command(run / source, "--data", f"{run}/train.py:make", "--top", 4)
    assert "data/14.txt bad" in text
    assert "data/25.txt good" in text
    assert run_command(run / source)[1].startswith("the 20 most suspicious of 40 samples")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("source", ["run", "checkpoint.pt"])
def test_a_table_in_a_file(run, source):
    code, text = run_command(run / source, "--out", run / "s.csv")
    assert code == 0
    assert text.endswith("wrote " + str(run / "s.csv"))
    rows = rows_of(run / "s.csv")
    assert len(rows) == 40
    assert {int(row["index"]) for row in rows[:4]} == set(WRONG)
    assert list(rows[0]) == [
        *("index", "label_quality", "mean_excess", "score"),
        *("visits", "skipped", "last_epoch"),
    ]
    assert all(
        (row["visits"], row["skipped"], row["last_epoch"]) == ("3", "0", "2") for row in rows
    )
    excess = [float(row["mean_excess"]) for row in rows]
    assert excess == sorted(excess, reverse=True)
    with_data = ("--data", f"{run}/train.py:make", "--top", 3)
    run_command(run / source, "--out", run / "s.csv", *with_data)
    rows = rows_of(run / "s.csv")
    assert [row["id"] for row in rows] == [f"data/{row['index']}.txt" for row in rows]
    assert [row["label"] for row in rows] == [
        ["bad", "good"][int(row["index"]) % 2] for row in rows
    ]


def test_the_same_in_all_places(run):
    """The table in a file has the numbers of `to_frame`, and ranks as `suspects` does."""
    pandas = pytest.importorskip("pandas")
    train = trained(run / "again")
    frame = train.to_frame()
    run_command(run / "again" / "checkpoint.pt", "--out", run / "s.parquet")
    found = pandas.read_parquet(run / "s.parquet").set_index("index")
    assert found.index.tolist() == train.suspects().tolist()
    for name in found.columns:
        assert found[name].to_numpy() == pytest.approx(frame.loc[found.index, name].to_numpy())
    states = ledger_of_recording(run / "again" / "run"), ledger_of_state(train.state_dict())
    assert np.array_equal(states[0].mean_excess, states[1].mean_excess)
    assert (states[0].method, states[0].dataset) == ("NoPrune", "Numbers")
    assert (states[1].method, states[1].dataset) == ("NoPrune", "Numbers")


def test_a_page(run):
    page = run / "suspects.html"
    code, _ = run_command(run / "run", "--data", f"{run}/train.py:make", "--out", page, "--top", 4)
    assert code == 0
    data = json.loads(Page(page.read_text()).scripts["data"])
    assert {card["index"] for card in data["cards"]} == set(WRONG)
    assert data["choices"] == ["bad", "good"]
    card = data["cards"][0]
    assert (card["content"], card["id"]) == (f"text {card['index']}.", f"data/{card['index']}.txt")


LABELS_ELSEWHERE = """
class Named:
    {attribute} = [number % 2 for number in range(40)]

    def __len__(self):
        return 40

    def __getitem__(self, number):
        return f"text {{number}}.", number % 2

def make():
    return Named()
"""


@pytest.mark.parametrize(("attribute", "is_known"), [("y", False), ("labels", True)])
def test_labels_that_are_not_known(run, attribute, is_known):
    (run / "named.py").write_text(LABELS_ELSEWHERE.format(attribute=attribute))
    page = run / "suspects.html"
    code, text = run_command(run / "run", "--data", f"{run}/named.py:make", "--out", page)
    hint = "The labels are not known. Give the dataset an attribute `labels` or `targets` with one"
    shown = " ".join(Page(page.read_text()).text.split())
    assert code == 0
    assert (hint not in text) == (hint not in shown) == is_known
    missing = "Typical samples and classes to choose from are missing. The labels are not known."
    assert (missing not in shown) == is_known
    data = json.loads(Page(page.read_text()).scripts["data"])
    assert data["choices"] == (["0", "1"] if is_known else [])
    assert bool(data["typical"]) == is_known
    # without a dataset there is nothing to mend
    assert hint not in run_command(run / "run")[1]


def test_names_in_a_column(run):
    pytest.importorskip("datasets")
    place = f"{run}/train.py:make_columns"
    run_command(run / "run", "--data", place, "--ids", "name", "--out", run / "s.csv", "--top", 2)
    rows = rows_of(run / "s.csv")
    assert [row["id"] for row in rows] == [f"n{row['index']}" for row in rows]
    code, text = run_command(run / "run", "--data", place, "--ids", "path")
    assert code == 2
    assert "ids='path' must be 'auto' or a column" in text


def test_a_stream(tmp_path):
    train = bls_stream(InfoBatch, 20)
    train.record(tmp_path / "run")
    for _ in range(2):
        for batch in DataLoader(train, batch_size=1):
            train.update(batch.float().mean())
    assert run_command(tmp_path / "run", "--out", tmp_path / "s.csv")[0] == 0
    fingerprints = [int(row["fingerprint"]) for row in rows_of(tmp_path / "s.csv")]
    assert sorted(fingerprints) == train.to_frame().index.tolist()
    (tmp_path / "train.py").write_text(CODE.format(count=20))
    page = ("--data", f"{tmp_path}/train.py:make", "--out", tmp_path / "s.html")
    code, text = run_command(tmp_path / "run", *page)
    assert code == 2
    assert "samples of a stream cannot be looked up" in text


def test_several_states(run):
    train = trained(run / "other")
    save_checkpoint(run / "two.pt", a=train.state_dict(), b={"train": train.state_dict()}, c=3)
    code, text = run_command(run / "two.pt")
    assert code == 2
    assert "holds several states: give one of them, --state NAME of a, b.train" in text
    assert run_command(run / "two.pt", "--state", "b.train")[0] == 0
    code, text = run_command(run / "two.pt", "--state", "c")
    assert code == 2
    assert "holds no state 'c': give --state NAME of a, b.train" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--out", "s.txt"], r"--out must end in .html (a page to decide on), .csv or"),
        (["run", "--out", "s.html"], "a page shows the samples: give --data FILE.py:FUNCTION"),
        (["run", "--data", "train.py:none"], "has no function none"),
        (["run", "--data", "train.py:none"], "none, which must return the dataset that was"),
        (["none"], "there is no checkpoint"),
        (["model.pt"], "holds no state of a pruned dataset"),
        (["untracked.pt"], "call train.track_samples(), or train.record(directory), before"),
        (["untrained.pt"], "no sample stands out, because all have the same mean excess"),
        (["damaged.pt"], "the mean excess of a sample must be finite"),
        (["empty"], "there is no recording in"),
        (["run", "--data", "few.py:make"], "the one that was trained on, with 40 samples, but it"),
        (["run", "--out", "none/s.csv"], "there is no folder none for s.csv: make it first"),
        (["run", "--ids", "name"], "give --data FILE.py:FUNCTION"),
    ],
)
def test_what_is_refused(run, monkeypatch, arguments, message):
    monkeypatch.chdir(run)
    (run / "few.py").write_text(CODE.format(count=39))
    (run / "empty").mkdir()
    save_checkpoint("model.pt", model=torch.nn.Linear(2, 2))
    save_checkpoint("untracked.pt", train=bls(NoPrune, 40))
    untrained = bls(NoPrune, 40)
    untrained.track_samples()
    save_checkpoint("untrained.pt", train=untrained)
    state = torch.load("checkpoint.pt", weights_only=True)
    state["train"]["score"]["mean_excess"]["values"][3] = float("nan")
    save_checkpoint("damaged.pt", **state)
    code, text = run_command(*arguments)
    assert code == 2
    assert message in text
    assert not (run / "s.html").exists()


def test_errors_in_the_users_file_keep_their_traceback(run):
    with pytest.raises(ZeroDivisionError, match="in the user's file"):
        run_command(run / "run", "--data", f"{run}/train.py:fail")


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_parquet_needs_an_extra(run, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    code, text = run_command(run / "run", "--out", run / "s.parquet")
    assert code == 2
    assert missing in text
    assert "dynaprune[export]" in text
    assert not (run / "s.parquet").exists()
    assert run_command(run / "run", "--out", run / "s.csv")[0] == 0


def test_names_cannot_control_the_terminal(capsys):
    columns = {"index": np.arange(1), "id": ["\x1b[31m[red]x"], "label_quality": np.zeros(1)}
    Console(width=80).print(suspects_table(columns, 1, 1))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"\x1b[31m[red]x" in printed
