"""The page of suspects: what it holds, and what it refuses."""

from __future__ import annotations

import base64
import io
import json
import sys
import wave

import numpy as np
import pytest
import torch
from PIL import Image
from report_pages import Page
from suspects import EVIL, Pictures, ledger_of
from torch.utils.data import Subset

from dynaprune import NoPrune, SampleLoss
from dynaprune.tracking.review import Ledger, write_review
from dynaprune.tracking.review.sounds import MAX_SECONDS, playable


def data_of(path):
    """Return what the script of a page reads."""
    return json.loads(Page(path.read_text()).scripts["data"])


def review(tmp_path, dataset, ledger=None, **options):
    ledger = ledger or ledger_of(len(dataset))
    return data_of(write_review(ledger, tmp_path / "suspects.html", dataset, **options))


def test_the_most_suspicious_come_first(tmp_path):
    data = review(tmp_path, Pictures(), count=4)
    assert [card["index"] for card in data["cards"]] == [11, 10, 9, 8]
    assert [card["visits"] for card in data["cards"]] == [12, 11, 10, 9]
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = normal.cdf(-torch.linspace(-1, 2, 12)[[11, 10, 9, 8]])
    assert [card["quality"] for card in data["cards"]] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [card["label"] for card in data["cards"]] == ["dog", EVIL[:79] + "…", "cat", "dog"]
    assert data["choices"] == ["cat", EVIL[:79] + "…", "dog"]
    assert len(review(tmp_path, Pictures(), count=100)["cards"]) == 12


def test_equal_samples_come_in_order():
    excess = np.array([0, 1, 0, 1, 0], np.float32)
    ledger = Ledger(excess, excess, np.ones(5, np.int32), np.zeros(5, np.int32), 3)
    assert ledger.suspects().tolist() == [1, 3, 0, 2, 4]
    assert ledger.suspects(3).tolist() == [1, 3, 0]
    assert ledger.suspects(0).tolist() == []
    assert ledger.skipped.tolist() == [2] * 5
    assert ledger.label_quality[0] == 0.5
    with pytest.raises(ValueError, match="count"):
        ledger.suspects(-1)


@pytest.mark.parametrize("count", [0, 3])
def test_no_sample_stands_out(count):
    same, visits = np.zeros(count, np.float32), np.zeros(count, np.int32)
    ledger = Ledger(same, same, visits, visits, 0)
    with pytest.raises(RuntimeError, match="no sample stands out, because all have the same mean"):
        ledger.suspects()


def test_a_ledger_is_finite():
    excess, visits = np.array([0, np.nan], np.float32), np.ones(2, np.int32)
    with pytest.raises(RuntimeError, match="must be finite"):
        Ledger(excess, excess, visits, visits, 1)


def test_typical_samples_are_visited_and_of_the_class(tmp_path):
    ledger = ledger_of()
    ledger.visits[0] = 0
    data = review(tmp_path, Pictures(), ledger, count=2)  # of classes 2 and 1
    assert set(data["typical"]) == {"dog", EVIL[:79] + "…"}
    assert [len(samples) for samples in data["typical"].values()] == [3, 3]  # but the suspect
    data = review(tmp_path, Pictures(), ledger, count=3)
    thumbnails = [colour_of(sample["content"]) for sample in data["typical"]["cat"]]
    assert thumbnails == [60, 120]  # samples 3 and 6: not 0, without a visit, and not 9, a suspect


def colour_of(uri):
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return picture.getpixel((0, 0))[0]


def test_pictures_are_large_and_photos_are_small_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 600, 3), dtype=np.uint8)
    data = review(tmp_path, [(noise, 0)] * 3, count=1)
    (card,) = data["cards"]
    picture = Image.open(io.BytesIO(base64.b64decode(card["content"].partition(",")[2])))
    assert card["content"].startswith("data:image/jpeg;base64,")
    assert picture.size == (213, 320)
    assert review(tmp_path, Pictures())["cards"][0]["content"].startswith("data:image/png;base64,")


def test_labels_of_other_kinds(tmp_path):
    texts = [("good", "positive"), ("bad", "negative"), ("dull", "positive")]
    data = review(tmp_path, texts)
    assert [card["label"] for card in data["cards"]] == ["positive", "negative", "positive"]
    assert (data["choices"], data["typical"]) == ([], {})  # a list has no labels of all samples
    data = review(tmp_path, texts, labels=["positive", "negative", "positive"])
    assert data["choices"] == ["negative", "positive"]
    data = review(tmp_path, texts, labels=[0.1, 0.25, 0.3])  # values, not classes
    assert data["choices"] == []
    assert [card["label"] for card in data["cards"]] == ["0.3", "0.25", "0.1"]


def test_ids(tmp_path):
    files = Pictures()
    files.samples = [(f"data/{number}.png", 0) for number in range(12)]
    assert review(tmp_path, files)["cards"][0]["id"] == "data/11.png"
    assert review(tmp_path, files, ids="auto")["cards"][0]["id"] == "data/11.png"
    assert review(tmp_path, files, ids=range(100, 112))["cards"][0]["id"] == "111"
    assert review(tmp_path, Pictures())["cards"][0]["id"] == ""
    part = review(tmp_path, Subset(files, [3, 1, 2]), ledger_of(3))
    assert [card["id"] for card in part["cards"]] == ["data/2.png", "data/1.png", "data/3.png"]
    with pytest.raises(ValueError, match="ids='auto' takes the paths of files"):
        review(tmp_path, Pictures(), ids="auto")
    with pytest.raises(ValueError, match=r"one entry per sample, 12 in total, but 11 were given"):
        review(tmp_path, Pictures(), ids=range(11))


def test_a_sample_that_cannot_be_read(tmp_path):
    class Broken(Pictures):
        def __getitem__(self, index):
            if index % 2:
                raise OSError("no such file")
            return super().__getitem__(index)

    cards = review(tmp_path, Broken())["cards"]
    assert cards[0]["content"] == "cannot be shown: OSError: no such file"
    assert cards[0]["label"] == "dog"
    assert [card["kind"] for card in cards] == ["other", "image"] * 6


def test_other_datasets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="with 12 samples, but it has 11"):
        review(tmp_path, Pictures(11), ledger_of(12))
    with pytest.raises(TypeError, match="must be map-style.*a generator was given"):
        review(tmp_path, (each for each in ()), ledger_of(12))
    with pytest.raises(ValueError, match=r"samples of a stream cannot be looked up.*\.csv"):
        review(tmp_path, Pictures(), ledger_of(12, keys=np.arange(12)))
    with pytest.raises(ValueError, match="count"):
        review(tmp_path, Pictures(), count=0)
    with pytest.raises(ValueError, match="sampling_rate"):
        review(tmp_path, Pictures(), sampling_rate=1)
    with pytest.raises(ValueError, match=r"labels must be one per sample, shape \(12,\)"):
        review(tmp_path, Pictures(), labels=[1, 2])
    with pytest.raises(
        IsADirectoryError, match=r"give the path of the page, such as suspects.html"
    ):
        write_review(ledger_of(), tmp_path, Pictures())
    with pytest.raises(FileNotFoundError, match="there is no folder .*none"):
        write_review(ledger_of(), tmp_path / "none" / "suspects.html", Pictures())


@pytest.mark.parametrize("missing", ["jinja2", "PIL.Image"])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'dynaprune\[report\]'"):
        review(tmp_path, Pictures())


def sound_in(uri):
    assert uri.startswith("data:audio/wav;base64,")
    with wave.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as file:
        numbers = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), numbers


def test_sounds(tmp_path):
    tone = np.sin(np.arange(1000) * 0.1)
    sample = {"audio": {"array": tone, "sampling_rate": 8000}, "label": 1}
    card = review(tmp_path, [sample] * 2)["cards"][0]
    rate, numbers = sound_in(card["sound"])
    assert (rate, numbers.size) == (8000, 1000)
    assert numbers / 32_000 == pytest.approx(tone / np.abs(tone).max(), abs=1e-4)
    assert card["kind"] == "sound"
    assert review(tmp_path, [(tone, 0)] * 2)["cards"][0]["sound"] == ""  # of an unknown rate
    (card, _) = review(tmp_path, [(tone, 0)] * 2, sampling_rate=4000)["cards"]
    assert sound_in(card["sound"])[0] == 4000


def test_a_sound_of_a_high_rate_is_reduced():
    slow, fast = (np.sin(2 * np.pi * hertz * np.arange(96_000) / 48_000) for hertz in (200, 16_000))
    rate, numbers = sound_in(playable(slow + fast, 48_000))
    assert rate == 16_000
    expected = np.sin(2 * np.pi * 200 * (np.arange(32_000) * 3 + 1) / 48_000)
    assert np.corrcoef(numbers, expected)[0, 1] > 0.999  # what it cannot carry is removed
    assert sound_in(playable(np.ones(16_000 * 60), 16_000))[1].size == MAX_SECONDS * 16_000
    assert not sound_in(playable(np.zeros(100), 8000))[1].any()


def test_texts_that_mean_harm_end_no_element(tmp_path):
    texts = [(f"{EVIL} <!-- <script>", EVIL)] * 3
    path = write_review(ledger_of(3, method=EVIL), tmp_path / "s.html", texts, ids=[EVIL] * 3)
    page = Page(path.read_text())
    assert [each.get("id") for each in page.all("script")] == ["data", None]
    assert page.all("img") == []
    assert EVIL in page.text
    card = json.loads(page.scripts["data"])["cards"][0]
    assert card["content"] == f"{EVIL} <!-- <script>"
    assert card["id"] == EVIL


def test_random_numbers_are_left_as_they_were(tmp_path):
    class Augmented(Pictures):
        def __getitem__(self, index):
            return torch.rand(3, 8, 8), self.targets[index]

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    review(tmp_path, Augmented())
    assert torch.rand(1) == expected


@pytest.mark.parametrize("past", [0, 2])
def test_tracking_that_begins_late(tmp_path, caplog, past):
    train = SampleLoss(NoPrune(Pictures(), num_epochs=4)).proxy()
    for epoch in range(4):
        for place, indices in enumerate(train.batches(4)):
            if epoch == past and place == 1:  # the epoch in progress is tracked as a whole
                train.track_samples()
                train.track_samples()
            train.update(1 + 0.1 * indices.float())
    page = Page(train.review(tmp_path / "suspects.html").read_text())
    text = " ".join(page.text.split())
    if past == 0:
        assert caplog.text == ""
        assert "are the most suspicious: over the whole training with NoPrune, their" in text
    else:
        assert caplog.text.count("track_samples() was called in epoch 2, so suspects(), ") == 1
        assert "are the most suspicious: since epoch 2 with NoPrune, their losses" in text


def test_the_review_of_a_run(tmp_path):
    train = SampleLoss(NoPrune(Pictures(), num_epochs=3)).proxy()
    with pytest.raises(
        RuntimeError, match=r"call NoPrune.track_samples\(\), or record\(directory\),"
    ):
        train.review(tmp_path / "suspects.html")
    train.track_samples()
    with pytest.raises(RuntimeError, match="no sample stands out"):
        train.review(tmp_path / "suspects.html")
    for _ in range(3):
        for indices in train.batches(12):
            train.update(1 + 0.1 * indices.float() + 5.0 * (indices == 7))
    page = train.review(tmp_path / "suspects.html", 3, ids=[f"n{number}" for number in range(12)])
    cards = data_of(page)["cards"]
    assert [card["index"] for card in cards] == train.suspects(3).tolist() == [7, 11, 10]
    assert (cards[0]["id"], cards[0]["label"], cards[0]["visits"]) == ("n7", EVIL[:79] + "…", 3)
    assert "of Pictures" in Page(page.read_text()).text
    frame = train.to_frame()
    assert cards[0]["quality"] == pytest.approx(frame.loc[7, "label_quality"])
