"""How samples and labels of all kinds are shown on a page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from helpers import Numbers, bls
from PIL import Image
from report_pages import EVIL, Images, train_on
from torch.utils.data import Subset, TensorDataset

from dynaprune import NoPrune
from dynaprune.data.labels import class_names, labels_of
from dynaprune.tracking.report.sample_view import label_of, show

pytestmark = pytest.mark.usefixtures("drawn_here")


TEXT = "not <b>bold</b> & " + "long " * 100


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        ((torch.rand(3, 20, 10), 1), "image"),
        ((torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8), 1), "image"),
        (torch.rand(28, 28), "image"),
        ({"image": np.zeros((20, 10, 3), np.uint8), "label": 1}, "image"),
        ((Image.new("RGB", (200, 50)), 1), "image"),
        ({"label": 1, "sentence": TEXT}, "text"),
        ((TEXT, 1), "text"),
        ((torch.randn(1, 8000), 1), "sound"),
        ({"audio": {"array": np.zeros(8000), "sampling_rate": 8000}, "label": 2}, "sound"),
        ((torch.randn(13), 1.0), "other"),
        ((torch.zeros(64, dtype=torch.int64), 1), "other"),
        (7, "other"),
    ],
)
def test_what_is_shown_of_a_sample(sample, kind):
    found, content = show(sample)
    assert found == kind
    if kind == "image":
        picture = Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2])))
        assert max(picture.size) == 96
    if kind == "text":
        assert len(content) == 280
        assert content.startswith("not <b>bold")
    if kind == "sound":
        points = [tuple(map(float, point.split(","))) for point in content.split()]
        assert len(points) == 240
        assert all(0 <= x < 120 and 0 < y < 40 for x, y in points)


def test_what_one_wants_shown():
    assert show((torch.zeros(5, dtype=torch.int64), 1), lambda pair: "five words") == (
        "text",
        "five words",
    )


def test_labels():
    pairs = TensorDataset(torch.zeros(6, 2), torch.tensor([3, 1, 2, 3, 1, 0]))
    assert labels_of(pairs).tolist() == [3, 1, 2, 3, 1, 0]
    assert labels_of(Subset(pairs, [5, 0])).tolist() == [0, 3]
    assert labels_of(TensorDataset(torch.zeros(6, 2), torch.rand(6))) is None
    assert labels_of(TensorDataset(torch.zeros(6, 2))) is None
    assert labels_of(Numbers(4)) is None
    assert labels_of(Images(4)).tolist() == [1, 0, 0, 1]
    assert class_names(Subset(Images(4), [0])) == Images.classes
    assert label_of(Images(4)[0], Images.classes) == EVIL
    assert label_of({"x": 1, "label": torch.tensor(1)}, None) == "1"
    assert label_of((torch.rand(3, 8, 8), torch.rand(4)), None) == ""


def test_columns_of_hugging_face():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["bad", "good"])
    )
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    assert labels_of(data).tolist() == [1, 0]
    assert list(class_names(data)) == ["bad", "good"]
    assert label_of(data[0], class_names(data)) == "good"
    assert show(data[0]) == ("text", "a")


@pytest.mark.parametrize(
    "sample",
    [
        None,
        torch.empty(0, 5),
        torch.empty(5, 0),
        torch.eye(6).to_sparse(),
        torch.randn(6, 6, dtype=torch.complex64).conj(),
        torch.empty(6, 6, device="meta"),
        Image.new("RGB", (0, 0)),
        {f"key {number}": "x" * 1000 for number in range(2)} | {"image": None},
        {number: number for number in range(10_000)},
        np.array(["a", "b"]),
        b"bytes",
    ],
)
def test_odd_samples_are_shown_somehow(sample):
    kind, content = show(sample)
    assert kind in ("other", "text")
    assert len(content) <= 280


def test_pictures_of_many_bits_keep_their_contrast():
    ramp = np.linspace(0, 60_000, 96 * 96).reshape(96, 96)
    for picture in (
        Image.fromarray(ramp.astype(np.uint16)),
        Image.fromarray((ramp / 60_000).astype(np.float32)),
    ):
        _, content = show({"name": "file.png", "image": picture})
        shown = Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2]))).convert("L")
        assert len(np.unique(np.asarray(shown))) > 200


@pytest.mark.parametrize(
    "labels",
    [[None, "a"] * 10, torch.rand(20, requires_grad=True), [[1, 2], [3]] * 10, ["\ud800"] * 20],
)
def test_odd_labels(tmp_path, labels):
    train = bls(NoPrune, 20)
    train.record(tmp_path)
    train_on(train, 1, lambda batch: batch.float().mean())
    assert train.report(tmp_path / "report.html", labels=labels).exists()


def test_odd_labels_of_a_dataset_are_none():
    values = [torch.rand(4, dtype=torch.bfloat16), torch.rand(4, requires_grad=True)]
    for each in values:
        assert labels_of(TensorDataset(torch.zeros(4), each)) is None

    ragged = Numbers(2)
    ragged.targets = [[1, 2], [3]]
    assert labels_of(ragged) is None
