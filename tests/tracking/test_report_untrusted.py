"""Samples, labels and names that a page shows as what they are, whatever they are."""

from __future__ import annotations

import base64
import io
import time
import tracemalloc

import numpy as np
import pytest
import torch
from helpers import bls
from markupsafe import Markup
from PIL import Image
from report_pages import Page
from torch.utils.data import Dataset

from dynaprune import NoPrune
from dynaprune.tracking.report.sample_view import label_of, show

pytestmark = pytest.mark.usefixtures("drawn_here")

EVIL = "<script>alert(1)</script>"


class Html(str):
    """A text that says it is HTML."""

    def __html__(self):
        return str(self)

    def __str__(self):
        return self

    def __getitem__(self, part):
        return Html(super().__getitem__(part))


class Samples(Dataset):
    """Samples that are made by a function of their index."""

    def __init__(self, make, **attributes):
        self.make = make
        vars(self).update(attributes)

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return self.make(index)


def page_of(tmp_path, dataset, **options):
    """Return the page of a run whose dataset has shown nothing while it was trained."""
    train = bls(NoPrune, 12)
    train.dataset = dataset
    train.record(tmp_path / "run")
    train.begin_epoch()
    train.update(torch.tensor(1.0), indices=torch.arange(12))
    train.end_epoch()
    return Page(train.report(tmp_path / "page.html", **options).read_text())


@pytest.mark.parametrize("kind", [Markup, Html])
def test_texts_that_say_they_are_html(tmp_path, kind):
    dataset = Samples(lambda index: (kind(EVIL), index % 2), classes=[kind(EVIL), kind(EVIL)])
    dataset.targets = [index % 2 for index in range(12)]
    page = page_of(tmp_path, dataset)
    assert len(page.all("script")) == 4 + 2  # four charts, the library, and what draws them
    assert page.text.count(EVIL) == 18 + 18 + 2  # samples, their labels, classes


@pytest.mark.parametrize("kind", [Markup, Html])
def test_what_is_shown_is_a_plain_text(kind):
    for sample in (kind(EVIL), (kind(EVIL), 1), {"text": kind(EVIL)}, [kind(EVIL) * 100]):
        found, content = show(sample)
        assert found == "text"
        assert type(content) is str
    assert type(show({"a": 1}, lambda sample: kind("b"))[1]) is str
    assert type(label_of(("a", kind("b")), None)) is str
    assert type(label_of({"label": 0}, [kind("b")])) is str


class Unspeakable:
    """An object of which nothing can be said."""

    def __repr__(self):
        raise ZeroDivisionError("no")

    __str__ = __repr__


class UnspeakableError(Exception):
    """An error that cannot even say what it is."""

    def __str__(self):
        raise ZeroDivisionError("no")


def fail(error):
    raise error


class Endless(list):
    """A list that holds itself."""

    def __init__(self):
        super().__init__([self, self])


BROKEN = {
    "IndexError": lambda: fail(IndexError("it is gone")),
    "UnspeakableError": lambda: fail(UnspeakableError()),
    "ZeroDivisionError": Unspeakable,
    "ValueError": lambda: Image.new("1", (20_000, 20_000)),
    "MemoryError": lambda: fail(MemoryError()),
    "DecompressionBombError": lambda: fail(Image.DecompressionBombError("too large")),
}


@pytest.mark.parametrize("error", BROKEN)
def test_one_sample_that_cannot_be_shown(tmp_path, error):
    """The others are on the page, and it is, with the name of its error."""

    def make(index):
        return BROKEN[error]() if index == 3 else (f"sample {index}.", 1)

    text = page_of(tmp_path, Samples(make)).text
    assert f"cannot be shown: {error}" in text
    assert [f"sample {index}." in text for index in range(12)] == [n != 3 for n in range(12)]


def test_a_strange_mode(tmp_path):
    """There is no way from it to the colours of a screen."""
    text = page_of(tmp_path, Samples(lambda index: (Image.new("La", (20, 20)), 0))).text
    assert text.count("cannot be shown: ValueError: ") == 18


def test_a_view_that_fails(tmp_path):
    dataset = Samples(lambda index: f"sample {index}.")
    text = page_of(tmp_path, dataset, view=lambda sample: [][0] if "3" in sample else sample).text
    assert "cannot be shown: IndexError: list index out of range" in text
    assert "sample 4." in text


def test_what_is_stopped_is_stopped(tmp_path):
    dataset = Samples(lambda index: fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        page_of(tmp_path, dataset)
    assert not (tmp_path / "page.html").exists()


def test_names_that_cannot_be_said(tmp_path):
    dataset = Samples(lambda index: (f"sample {index}.", index % 2))
    dataset.targets, dataset.classes = [index % 2 for index in range(12)], [Unspeakable(), "dog"]
    text = page_of(tmp_path, dataset).text
    assert text.count("cannot be shown: ZeroDivisionError") == 1 + 9  # its row, its samples
    assert "sample 1." in text

    class Raising(Samples):
        @property
        def classes(self):
            raise OSError("no file of classes")

    assert "sample 1." in page_of(tmp_path / "other", Raising(dataset.make)).text


def test_lists_of_lists_of_the_same(tmp_path):
    nested = [[1.0, None]]
    for _ in range(40):
        nested = [nested] * 8
    for sample in (nested, Endless(), {"a": nested}):
        started = time.perf_counter()
        kind, content = show(sample)
        assert kind == "other"
        assert len(content) <= 280
        assert time.perf_counter() - started < 5


def saved(picture, kind, **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return Image.open(io.BytesIO(content.getvalue()))


def picture_in(content):
    """Return the picture in a data URI."""
    return Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2])))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_thumbnails_are_pixels_alone(kind):
    profile, noise = np.random.default_rng(0).bytes(2**20), np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    pixels = noise.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    picture = saved(Image.fromarray(pixels), kind, icc_profile=profile, exif=exif.tobytes())
    picture.info |= {"dpi": (300, 300), "comment": b"c" * 2**20, "transparency": (1, 2, 3)}
    found, content = show((picture, 1))
    assert found == "image"
    assert len(content) < 60_000  # 96 × 96 pixels of 3 bytes, as base64, are 37 thousand
    shown = picture_in(content)
    shown.load()
    assert shown.info == {}
    assert shown.mode == "RGB"
    assert shown.size == (96, 96)


@pytest.mark.parametrize("shape", [(3, 6000, 6000), (6000, 6000), (8000, 8000, 1)])
def test_a_large_array_is_not_copied(shape):
    sample = np.zeros(shape, np.uint8)
    is_along_last = shape[-1] > 4
    ramp = np.linspace(0, 200, max(shape)).astype(np.uint8)
    sample[:] = ramp if is_along_last else ramp[:, None, None]
    tracemalloc.start()
    kind, content = show((sample, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kind == "image"
    assert peak < 24 * 2**20
    shown = Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2]))).convert("L")
    found = np.asarray(shown)
    along = found[48] if is_along_last else found[:, 48]
    assert along.astype(int) == pytest.approx(np.linspace(0, 200, 96), abs=4)


def test_a_long_sound_is_not_copied():
    sound = np.zeros(30_000_000, np.int16)
    sound[15_000_000] = -32768
    tracemalloc.start()
    kind, content = show((sound, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kind == "sound"
    assert peak < 2**20
    heights = [float(point.partition(",")[2]) for point in content.split()]
    assert max(heights) == 39  # the loudest is as far from the middle as there is room
    assert min(heights) == 20


def test_sounds_that_are_not_finite_are_none():
    sound = np.zeros(1000, np.float32)
    sound[500] = np.nan
    assert show((sound, 1))[0] == "other"


@pytest.mark.parametrize(
    "target",
    [[[0, 0, 3, 3], [1, 1]], [torch.zeros(2), torch.zeros(3)], [np.zeros(2), np.zeros((3, 3))]],
    ids=["polygons", "tensors", "arrays"],
)
def test_a_picture_beside_targets_of_several_lengths(target):
    sample = (torch.zeros(3, 20, 20), target)
    assert label_of(sample, None) == ""
    assert show(sample)[0] == "image"


@pytest.mark.filterwarnings("error")
def test_numbers_whose_difference_is_infinite():
    sound = np.zeros(1200)
    sound[10], sound[1190] = 1e308, -1e308
    kind, points = show(sound)
    assert kind == "sound"
    assert {float(each.partition(",")[2]) for each in points.split()} == {1, 20, 39}
    picture = np.full((8, 8), -1e308)
    picture[:, 4:] = 1e308
    thumbnail = picture_in(show(picture)[1])
    assert thumbnail.getpixel((0, 0)) == (0, 0, 0)
    assert thumbnail.getpixel((95, 0)) == (255, 255, 255)


def test_a_tensor_that_is_negated_when_it_is_read():
    """The imaginary part of what is conjugated has a bit that says so, and numbers of its own."""
    picture = torch.zeros(8, 8, dtype=torch.complex64)
    picture[:, 4:] = 1j
    thumbnail = picture_in(show(picture.conj().imag)[1])
    assert thumbnail.getpixel((0, 0)) == (255, 255, 255)
    assert thumbnail.getpixel((95, 0)) == (0, 0, 0)
