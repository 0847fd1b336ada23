"""Data sets of the benchmark, in the layouts that users have them in."""

from __future__ import annotations

import io
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from zoo.augmentation import holed, mirrored, shifted
from zoo.datasets.cells import load_cells
from zoo.datasets.characters import load_characters
from zoo.datasets.scenes import load_scenes
from zoo.datasets.sentences import load_sentences
from zoo.datasets.series import load_series
from zoo.datasets.spoken import load_spoken
from zoo.datasets.tables import SEGMENTS, load_table
from zoo.datasets.words import LETTERS, render_words
from zoo.datasets.yolo_layout import write_cells

XML = """<annotation><size><width>16</width><height>48</height></size>
<object><name>{name}</name><bndbox><xmin>8</xmin><ymin>12</ymin><xmax>16</xmax>
<ymax>24</ymax></bndbox></object></annotation>"""


def png(colour, size=(16, 48), mode="RGB"):
    content = io.BytesIO()
    Image.new(mode, size, colour).save(content, "PNG")
    return content.getvalue()


def clip(frequency):
    samples = (8000 * np.sin(np.arange(4000) * frequency)).astype(np.int16)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    return content.getvalue()


FILES = {
    "free-spoken-digits.zip": {
        "recordings/0_ann_0.wav": clip(0.1),
        "recordings/0_ann_5.wav": clip(0.1),
        "recordings/7_bob_17.wav": clip(0.8),
    },
    "camvid-240x180.zip": {
        **{f"{split}/{stem}.png": png((255, 0, 0)) for split in ("train", "test") for stem in "ab"},
        **{
            f"{split}annot/{stem}.png": png(number, mode="L")
            for split in ("train", "test")
            for number, stem in enumerate("ab", start=3)
        },
    },
    "bccd.zip": {
        "BCCD/ImageSets/Main/trainval.txt": b"one\ntwo\n",
        "BCCD/ImageSets/Main/test.txt": b"two\n",
        **{f"BCCD/JPEGImages/{stem}.jpg": png((0, 255, 0)) for stem in ("one", "two")},
        "BCCD/Annotations/one.xml": XML.format(name="WBC").encode(),
        "BCCD/Annotations/two.xml": XML.format(name="Platelets").encode(),
    },
}


@pytest.fixture(params=["folder of zips", "zip", "zip with a top", "folder of folders", "folder"])
def place(request, tmp_path):
    """Return a function from a data set's zip to where a user may have it."""

    def make(name: str) -> Path:
        if "zip" in request.param:
            top = "inner/" if "top" in request.param else ""
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                for each, content in FILES[name].items():
                    archive.writestr(top + each, content)
            return tmp_path if request.param == "folder of zips" else tmp_path / name
        folder = tmp_path / Path(name).stem
        for each, content in FILES[name].items():
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            (folder / each).write_bytes(content)
        return tmp_path if request.param == "folder of folders" else folder

    return make


def test_spoken_digits(place):
    found = load_spoken(place("free-spoken-digits.zip"))
    assert found.train.tensors[1].tolist() == [0, 7]
    assert found.test.tensors[1].tolist() == [0]
    assert found.speakers.tolist() == [0, 1]  # Ann, Bob
    assert found.test_speakers.tolist() == [0]
    pictures = found.train.tensors[0]
    assert pictures.shape == (2, 32, 32)
    loudest = pictures.float().mean(2).argmax(1)
    # of 32 bands up to π radians a sample
    assert loudest.tolist() == pytest.approx([0.1 / np.pi * 32, 0.8 / np.pi * 32], abs=1)


def test_scenes(place):
    train, test = load_scenes(place("camvid-240x180.zip"), (8, 24))
    images, masks = train.tensors
    assert images.shape == (2, 3, 24, 8)
    assert images[0, :, 3, 5].tolist() == [255, 0, 0]
    assert [masks[0].unique().tolist(), masks[1].unique().tolist()] == [[3], [4]]
    assert len(test) == 2


def test_cells(place):
    train, test = load_cells(place("bccd.zip"), (8, 24))
    assert train.images.shape == (2, 3, 24, 8)
    assert [labels.tolist() for labels in train.labels] == [[1], [2]]
    assert train.boxes[0].tolist() == [[0.5, 0.25, 1.0, 0.5]]
    assert [labels.tolist() for labels in test.labels] == [[2]]


def test_cells_as_ultralytics_reads_them(place, tmp_path):
    description = write_cells(place("bccd.zip"), tmp_path / "cells").read_text()
    assert "names:\n  0: RBC\n  1: WBC\n  2: Platelets\n" in description
    folder = tmp_path / "cells"
    labels = sorted((folder / "labels" / "trainval").iterdir())
    pictures = sorted((folder / "images" / "trainval").iterdir())
    assert [path.stem for path in labels] == [path.stem for path in pictures]
    # class, centre (12, 18) and size (8, 12) of 16 × 48
    assert labels[0].read_text() == "1 0.750000 0.375000 0.500000 0.250000"
    assert [path.read_text()[0] for path in labels] == ["1", "2"]
    assert len(list((folder / "labels" / "test").iterdir())) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_sentences(tmp_path, inside):
    folder = tmp_path / "sst2"
    folder.mkdir()
    (folder / "train.tsv").write_text("Good , good film\t1\nbad film .\t0\n")
    (folder / "test.tsv").write_text("film film unheard\t1\n")
    found = load_sentences(folder if inside else tmp_path, max_words=4)
    # words that come twice: "good", "film"; all others are 1
    assert found.num_words == 4
    good, film = found.train[0, 0], found.train[0, 3]
    assert {int(good), int(film)} == {2, 3}
    assert found.train.tolist() == [[good, 1, good, film], [1, film, 1, 0]]
    assert found.test.tolist() == [[film, film, 1, 0]]
    assert found.train_labels.tolist() == [1, 0]


def test_sentences_as_glue_has_them(tmp_path):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    (folder / "train.tsv").write_text("sentence\tlabel\ngood good \t1\nbad bad \t0\n")
    (folder / "dev.tsv").write_text("sentence\tlabel\nbad good \t0\n")
    (folder / "test.tsv").write_text("index\tsentence\n0\tno labels here\n")
    found = load_sentences(tmp_path, max_words=2)
    good, bad = found.train[0, 0], found.train[1, 0]
    assert found.train_labels.tolist() == [1, 0]
    assert found.test.tolist() == [[bad, good]]
    assert found.test_labels.tolist() == [0]


def test_sentences_that_are_none(tmp_path):
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "train.tsv").write_text("good\t1\nno label\n")
    with pytest.raises(ValueError, match=r"line 2 of .*train.tsv must be a sentence, a tab and 0"):
        load_sentences(tmp_path)


def test_characters(tmp_path):
    (tmp_path / "tinyshakespeare.txt").write_text("abca")
    letters, count = load_characters(tmp_path)
    assert (letters.tolist(), count) == ([0, 1, 2, 0], 3)


@pytest.mark.parametrize(
    ("load", "name"),
    [
        (load_spoken, "Free Spoken Digits"),
        (lambda root: load_scenes(root, (8, 8)), "CamVid"),
        (lambda root: load_cells(root, (8, 8)), "BCCD"),
        (load_sentences, "SST-2"),
        (load_characters, "Tiny Shakespeare"),
    ],
)
def test_data_that_are_not_there(tmp_path, load, name):
    with pytest.raises(ValueError, match=f"{name} needs a folder of data sets, --data-root DIR"):
        load(None)
    with pytest.raises(FileNotFoundError, match=f"no {name} in .*looked for"):
        load(tmp_path)


def test_words():
    words = render_words(50, seed=3)
    assert words.images.shape == (50, 1, 16, 64)
    assert (words.lengths == (words.letters > 0).sum(1)).all()
    assert 3 <= words.lengths.min() <= words.lengths.max() == 5
    assert words.letters.max() <= len(LETTERS)
    assert torch.equal(words.images, render_words(50, seed=3).images)
    assert not torch.equal(words.letters, render_words(50, seed=4).letters)


@pytest.mark.parametrize(
    ("name", "samples", "columns"),
    [
        ("medical-visits", 20190, 9),
        ("affairs", 6366, 8),
        ("breast-cancer", 569, 30),
        ("image-segments", 2310, 18),
    ],
)
def test_tables(name, samples, columns):
    train, test = load_table(name)
    assert len(train) + len(test) == samples
    assert len(test) == round(samples / 4)
    inputs, targets = train.tensors
    assert inputs.shape[1] == columns
    assert inputs.mean(0).abs().max() < 1e-4
    assert (inputs.std(0) - 1).abs().max() < 1e-3
    if name == "breast-cancer":
        assert set(targets.tolist()) == {0, 1}
    elif name == "image-segments":
        both = torch.cat([targets, test.tensors[1]])
        assert both.bincount().tolist() == [330] * len(SEGMENTS)
    else:
        assert targets.std() == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="the table must be medical-visits, affairs, breast"):
        load_table("x")


@pytest.mark.parametrize(("name", "channels"), [("temperatures", 5), ("carbon-dioxide", 3)])
def test_series(name, channels):
    train, test = load_series(name, past=24, future=6)
    past, future = train.tensors
    assert past.shape[1:] == (24, channels)
    assert future.shape[1:] == (6,)
    assert torch.equal(past[30, :6, 0], future[6])  # 24 later
    assert len(test) > 100
    assert past[:, 0, 0].mean() == pytest.approx(0, abs=0.2)
    with pytest.raises(ValueError, match="the series must be temperatures or carbon-dioxide"):
        load_series("x", 1, 1)


def test_augmentation():
    torch.manual_seed(0)
    images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(200, 2, 1, 1)
    moved = shifted(images, 2, "constant")
    assert moved.dtype == torch.uint8
    seen = set()
    for image in moved:
        assert torch.equal(image[0], image[1])
        # which pixel of the original is in the middle
        row, column = divmod(int(image[0, 4, 4]), 8)
        seen.add((row - 4, column - 4))
        assert int(image[0, 3, 3]) == int(image[0, 4, 4]) - 9
    assert seen == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}
    share = (mirrored(images)[:, 0, 0, 0] == 7).float().mean()
    assert 0.35 < share < 0.65
    holes = (holed(images + 1, 3) == 0).sum((2, 3))
    assert holes.unique().tolist() == [9]
    reflected = shifted(images, 1, "reflect")
    assert int(reflected[:, 0, 0, 0].max()) == 9  # moved down and right: row 1, column 1
