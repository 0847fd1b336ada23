"""Streams of other libraries: Hugging Face datasets and webdataset."""

from __future__ import annotations

import io
import tarfile
from collections import Counter

import datasets
import numpy as np
import pytest
import torch
import webdataset
from helpers import mean_loss

from dynaprune import BLS, DataLoader, InfoBatch, PrunedIterableDataset

pytestmark = [
    pytest.mark.long,
    # both libraries, with NumPy and Python of today
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def train_on(stream, epochs=4, **arguments):
    train = BLS(InfoBatch(stream, 10)).proxy()
    loader = DataLoader(train, batch_size=8, **arguments)
    served = []
    for _ in range(epochs):
        served.append([])
        for batch in loader:
            train.update(mean_loss(batch))
            served[-1] += batch.tolist()
    return train, served


def check_passes(train, served):
    assert sorted(served[0]) == list(range(100))
    assert len(train) == 100
    for samples in served[1:]:
        assert len(set(samples)) == len(samples) < 90


def rows(num_shards):
    table = datasets.Dataset.from_dict({"id": list(range(100)), "label": list(range(100))})
    return table.to_iterable_dataset(num_shards=num_shards)


def test_hugging_face_of_one_shard_is_divided_here():
    stream = PrunedIterableDataset(rows(1), key="id", decode=lambda row: row["label"])
    check_passes(*train_on(stream))


@pytest.mark.parametrize("persistent_workers", [False, True])
def test_hugging_face_of_several_shards_divides_itself(persistent_workers):
    stream = PrunedIterableDataset(
        rows(4).shuffle(seed=1, buffer_size=30),
        key="id",
        decode=lambda row: row["label"],
        splits_itself=True,
    )
    train, served = train_on(stream, num_workers=2, persistent_workers=persistent_workers)
    check_passes(train, served)
    both = set(served[1]) & set(served[2])
    assert [i for i in served[1] if i in both] != [i for i in served[2] if i in both]


def test_hugging_face_that_divides_itself_must_be_said_to():
    stream = PrunedIterableDataset(rows(4), key="id", decode=lambda row: row["label"])
    with pytest.raises(RuntimeError, match="splits_itself=True"):
        train_on(stream, num_workers=2)


@pytest.fixture
def shards(tmp_path):
    """Four tar files of 25 samples, as webdataset has them: a number, and an array of bytes."""
    for shard in range(4):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for number in range(25 * shard, 25 * shard + 25):
                content = io.BytesIO()
                np.save(content, np.full(3, number))
                member = tarfile.TarInfo(f"{number:04}.npy")
                member.size = content.tell()
                content.seek(0)
                tar.addfile(member, content)
    return f"{tmp_path}/{{0..3}}.tar"


@pytest.mark.parametrize("workers", [0, 2])
def test_webdataset(shards, workers):
    decoded = Counter()

    def decode(stored):
        decoded["calls"] += 1
        return torch.tensor(int(np.load(io.BytesIO(stored["npy"]))[0]))

    pipeline = webdataset.WebDataset(shards, shardshuffle=4, seed=0).shuffle(20)
    stream = PrunedIterableDataset(pipeline, key="__key__", decode=decode, splits_itself=True)
    train, served = train_on(stream, num_workers=workers)
    check_passes(train, served)
    if workers == 0:
        assert decoded["calls"] == sum(map(len, served))
