"""Image sets that the benchmark trains on, in every layout they come in."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import torch
from image_folders import write_tree, write_zip

from dynaprune.bench.tasks.image_sets import ImageData, load_images


def check_cats_and_dogs(data: ImageData) -> None:
    assert (len(data.train), len(data.test_labels), data.num_classes) == (4, 4, 2)
    for i in range(4):
        image, label = data.train[i]
        assert image.dtype == torch.uint8
        assert image.shape == (3, 32, 32)
        assert image[:, 5, 7].tolist() == [[255, 0, 0], [0, 0, 255]][label]
    assert data.test_labels.tolist() == [0, 0, 1, 1]


def test_image_folder_tree(tmp_path):
    check_cats_and_dogs(load_images("cifar10", write_tree(tmp_path / "cifar")))


@pytest.mark.parametrize("top", ["", "cifar10/"])
def test_zip_of_an_image_folder_tree(tmp_path, top):
    path = write_zip(tmp_path, top)
    check_cats_and_dogs(load_images("cifar10", path))
    check_cats_and_dogs(load_images("cifar10", tmp_path))  # the folder that holds it


@pytest.mark.parametrize("parent", [True, False])
def test_torchvisions_layout(tmp_path, parent):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)
    everything = {}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = random.integers(0, 256, (3, 3072), dtype=np.uint8)
        labels = random.integers(0, 10, 3).tolist()
        with (folder / name).open("wb") as file:
            pickle.dump({"data": data, "labels": labels, "batch_label": name}, file, protocol=2)
        everything[name] = (data, labels)
    (folder / "batches.meta").write_bytes(b"")
    data = load_images("cifar10", tmp_path if parent else folder)
    assert (len(data.train), len(data.test_labels)) == (15, 3)
    image, label = data.train[4]  # the second of the second batch
    expected, labels = everything["data_batch_2"]
    assert label == labels[1]
    assert image[2, 31, 30] == expected[1][2 * 1024 + 31 * 32 + 30]
    assert data.test_images.flatten(1).tolist() == everything["test_batch"][0].tolist()


@pytest.mark.long
def test_the_published_cifar10_images(shared_data):
    with zipfile.ZipFile(shared_data / "cifar10-images.zip") as archive:
        names = archive.namelist()
    assert sum(name.startswith("train/") for name in names) == 50_000
    data = load_images("cifar10", shared_data)
    assert (len(data.train), len(data.test_labels), data.num_classes) == (50_000, 10_000, 10)
    assert data.train.tensors[0].shape == (50_000, 3, 32, 32)
    assert np.bincount(data.train.tensors[1]).tolist() == [5000] * 10
    assert 100 < data.train.tensors[0].float().mean() < 140


def test_digits():
    data = load_images("digits")
    assert (len(data.train), len(data.test_labels), data.num_classes) == (898, 899, 10)
    images = data.train.tensors[0]
    assert images.shape == (898, 1, 8, 8)
    assert (images.min(), images.max()) == (0, 255)
    again = load_images("digits")
    assert images.equal(again.train.tensors[0])


def test_mnist5k():
    data = load_images("mnist5k")
    assert (len(data.train), len(data.test_labels), data.num_classes) == (4000, 1000, 10)
    assert data.train.tensors[0].shape == (4000, 1, 28, 28)
    assert data.train.tensors[0].max() == 255
    assert np.bincount(data.test_labels).tolist() == [100] * 10


def test_data_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="data must be one of digits, mnist5k, cifar10, but 'x'"):
        load_images("x")
    with pytest.raises(ValueError, match="'cifar10' needs root"):
        load_images("cifar10")
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 in .* looked for folders train and"):
        load_images("cifar10", tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(FileNotFoundError, match="no images in .* for train and test: expected"):
        load_images("cifar10", tmp_path)


def test_classes_that_were_never_trained(tmp_path):
    tree = write_tree(tmp_path)
    (tree / "test" / "dog").rename(tree / "test" / "horse")
    with pytest.raises(ValueError, match="test images of classes without training images.*horse"):
        load_images("cifar10", tree)
