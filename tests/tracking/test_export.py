"""What is known of each sample, as a table, and of a run, from its checkpoint."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from helpers import Numbers, bls
from streams import bls_stream
from typer.testing import CliRunner

from dynaprune import BLS, DataLoader, InfoBatch, KalmanBLS, NoPrune, save_checkpoint
from dynaprune.cli.app import app
from dynaprune.tracking import read_verdicts

pandas = pytest.importorskip("pandas")


def train_on(train, epochs):
    for _ in range(epochs):
        for batch in DataLoader(train, batch_size=10, sampler=train.sampler):
            train.update(batch.float().mean())


def test_the_frame(tmp_path):
    train = KalmanBLS(InfoBatch(Numbers(60), num_epochs=6, prune_ratio=0.5)).proxy()
    train.record(tmp_path)
    train_on(train, 3)
    frame = train.to_frame()
    assert list(frame.columns) == [
        "mean_excess",
        "label_quality",
        "score",
        "error",
        "visits",
        "skipped",
        "last_epoch",
        "next_weight",
    ]
    order = frame["label_quality"].sort_values(kind="stable").index
    assert frame["mean_excess"][order].is_monotonic_decreasing
    assert frame["label_quality"].between(0, 1).all()
    is_served_last = set(frame.index[frame["last_epoch"] == 2])
    assert len(is_served_last) == len(frame) - (frame["last_epoch"] < 2).sum() > 0
    assert frame["last_epoch"].between(0, 2).all()
    assert frame.index.name == "index"
    assert frame.index.tolist() == list(range(60))
    assert np.array_equal(frame["score"], train.scores.numpy())
    assert frame["visits"].sum() == train.summary().visits_made
    assert (frame["visits"] + frame["skipped"] == 3).all()
    coming = train.next_selection()
    assert set(frame.index[frame["next_weight"] > 0]) == set(coming.indices.tolist())
    assert frame["next_weight"].sum() == pytest.approx(60)
    frame.loc[:, "score"] = 0.0  # it is a copy
    assert train.scores.abs().sum() > 0


def test_a_frame_by_ids_goes_to_parquet_and_back(tmp_path):
    pytest.importorskip("pyarrow")
    train = bls(NoPrune, 30)
    train_on(train, 1)
    names = [f"image-{number}.png" for number in range(30)]
    frame = train.to_frame(ids=names)
    assert list(frame.columns) == ["score", "next_weight"]
    frame.to_parquet(tmp_path / "samples.parquet")
    again = pandas.read_parquet(tmp_path / "samples.parquet")
    assert again.index.name == "id"
    assert again.loc["image-7.png", "score"] == pytest.approx(float(train.scores[7]))
    with pytest.raises(
        ValueError, match="ids must have one entry per sample, 30 in total, but 29 were given"
    ):
        train.to_frame(ids=names[1:])
    with pytest.raises(ValueError, match=r"ids must be unique, but 'image-0.png' was given twice"):
        train.to_frame(ids=[*names[:-1], "image-0.png"])


class Files(Numbers):
    """Samples that know their files, and their labels."""

    def __init__(self, length):
        super().__init__(length)
        self.samples = [(f"data/{number}.png", number % 2) for number in range(length)]
        self.root = "data"


def test_a_frame_by_the_names_of_files():
    train = NoPrune(Files(30), num_epochs=2)
    train_on(train, 1)
    assert train.to_frame(ids="auto").index.tolist() == [f"{number}.png" for number in range(30)]
    assert train.to_frame(ids="auto").index.name == "id"
    twice = NoPrune(torch.utils.data.Subset(Files(30), [3, 4, 3]), num_epochs=2)
    with pytest.raises(ValueError, match=r"ids must be unique, but '3.png' was given twice"):
        twice.to_frame(ids="auto")
    with pytest.raises(ValueError, match="ids='auto' takes the paths of files"):
        bls(NoPrune, 30).to_frame(ids="auto")
    stream = bls_stream(InfoBatch, 20)
    with pytest.raises(ValueError, match="ids of a stream must be its keys, as a list, but 'auto'"):
        stream.to_frame(ids="auto")


def test_a_frame_by_a_column():
    datasets = pytest.importorskip("datasets")
    columns = {"name": ["x", "y", "z"], "value": [1.0, 2.0, 3.0]}
    train = NoPrune(datasets.Dataset.from_dict(columns), num_epochs=2)
    assert train.to_frame(ids="name").index.tolist() == ["x", "y", "z"]
    with pytest.raises(ValueError, match=r"ids='names' must be 'auto' or a column .*name, value"):
        train.to_frame(ids="names")


def test_a_frame_with_verdicts(tmp_path):
    path = tmp_path / "verdicts.csv"
    path.write_text("index,verdict,new_label\n4,wrong,dog\n2,right,\n1,wrong,\n0,skip,\n")
    verdicts = read_verdicts(path)
    names = ["a", "b", "c", "d", "e"]
    frame = bls(NoPrune, 5).to_frame(ids=names, verdicts=verdicts)
    assert frame.index.tolist() == names
    assert frame["verdict"].tolist() == ["", "wrong", "right", "", "wrong"]
    assert frame["new_label"].tolist() == ["", "", "", "", "dog"]
    with pytest.raises(ValueError, match="a dataset with at least 5, but this one has 4"):
        bls(NoPrune, 4).to_frame(verdicts=verdicts)
    with pytest.raises(ValueError, match="verdicts are on samples by their index, but those of a"):
        bls_stream(InfoBatch, 20).to_frame(verdicts=verdicts)


def test_a_frame_of_a_stream(tmp_path):
    train = bls_stream(InfoBatch, 20)
    train.record(tmp_path)
    for _ in range(2):
        for batch in DataLoader(train, batch_size=1):
            train.update(batch.float().mean())
    frame = train.to_frame()
    assert frame.index.name == "fingerprint"
    assert len(frame) == 20
    wanted = train.to_frame(ids=["sample 19", "never", "sample 0"])
    assert wanted.index.tolist() == ["sample 19", "sample 0"]
    assert wanted.loc["sample 19", "score"] == frame["score"].max()
    assert wanted.loc["sample 0", "score"] == frame["score"].min()


def test_what_is_still_due_was_not_skipped(tmp_path):
    train = bls(NoPrune, 40)
    train.record(tmp_path)
    for step, batch in enumerate(DataLoader(train, batch_size=10)):
        train.update(batch.float().mean())
        if step == 1:
            frame = train.to_frame()
            assert set(frame["visits"]) == set(frame["skipped"]) == {0}
    assert set(train.to_frame()["visits"]) == {1}


def test_pandas_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pandas.*\[export\]"):
        bls(NoPrune, 4).to_frame()


def inspect(path):
    result = CliRunner().invoke(app, ["inspect", str(path)])
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


def test_a_checkpoint_is_inspected(tmp_path):
    train = BLS(InfoBatch(Numbers(60), num_epochs=6, saving=0.4, seed=3)).proxy()
    train.record(tmp_path / "run")
    train_on(train, 2)
    model = torch.nn.Linear(1000, 100)
    save_checkpoint(tmp_path / "all.pt", train=train, model=model)
    code, text = inspect(tmp_path / "all.pt")
    assert code == 0
    assert "InfoBatch, seed 3" in text
    assert "Numbers, 60 samples" in text
    assert "next epoch 2 (between epochs)" in text
    assert "2 epochs, 72 sample visits made and 48 avoided (40.0% saved)" in text
    visits = train.to_frame()["visits"]
    assert f"in 2 epochs each sample {visits.min()} to {visits.max()} times, 60.0%" in text
    lowest, highest = float(train.scores.min()), float(train.scores.max())
    assert f"{lowest:.4g}, " in text
    assert f", {highest:.4g}" in text
    assert "model 2 0.4" in text


def test_states_are_found_wherever_they_are(tmp_path):
    train = bls(NoPrune, 40)
    loader = DataLoader(train, batch_size=8)
    for batch in loader:
        train.update(batch.float().mean())
        state = train.state_dict()
        break
    torch.save({"callbacks": {"pruning": {"train": state}}}, tmp_path / "deep.ckpt")
    code, text = inspect(tmp_path / "deep.ckpt")
    assert code == 0
    assert "callbacks.pruning.train" in text
    assert "in epoch 0, 8 visits into it" in text
    assert "not counted: train.record(directory) does" in text
    torch.save([train.state_dict()], tmp_path / "list.pt")
    torch.save({"sets": [train.state_dict(), 3]}, tmp_path / "list.pt")
    assert "sets.0" in inspect(tmp_path / "list.pt")[1]
    stream = bls_stream(NoPrune, 20)
    stream.record(tmp_path / "stream")
    save_checkpoint(tmp_path / "stream.pt", train=stream)
    assert "no sample is known yet" in inspect(tmp_path / "stream.pt")[1]
    torch.save(train.state_dict(), tmp_path / "alone.pt")
    assert inspect(tmp_path / "alone.pt")[0] == 0


def test_what_cannot_be_inspected(tmp_path):
    code, text = inspect(tmp_path / "nothing.pt")
    assert code == 2
    assert "there is no checkpoint" in text
    (tmp_path / "text.pt").write_text("hello")
    code, text = inspect(tmp_path / "text.pt")
    assert code == 2
    assert "cut short or damaged" in text
    torch.save({"model": torch.zeros(3)}, tmp_path / "model.pt")
    code, text = inspect(tmp_path / "model.pt")
    assert code == 2
    assert "holds no state of a pruned dataset" in text
