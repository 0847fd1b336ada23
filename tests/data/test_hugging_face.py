"""Hugging Face datasets as people use them: formats, transforms, workers, parts, mixtures."""

from __future__ import annotations

import copy

import datasets
import numpy as np
import pytest
import torch
from helpers import mean_loss

from dynaprune import BLS, DataLoader, InfoBatch, PrunedIterableDataset, RandomPrune
from dynaprune.data.labels import labels_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

ROWS = 40


def rows(prefix="row", count=ROWS):
    return datasets.Dataset.from_dict(
        {
            "x": [float(number) for number in range(count)],
            "label": [number % 3 for number in range(count)],
            "name": [f"{prefix}-{number}" for number in range(count)],
        }
    )


def doubled(batch):
    """A transform, as `set_transform` takes it: it returns what the model needs, and no more."""
    return {"x": [torch.tensor(2 * each) for each in batch["x"]]}


def epochs_of(dataset, count=3, **options):
    """Train some epochs; return the pruned dataset, and the values that each epoch has served."""
    train = BLS(RandomPrune(dataset, num_epochs=count, saving=0.5)).proxy()
    loader = DataLoader(train, batch_size=8, **options)
    served = []
    for _ in range(count):
        served.append([])
        for batch in loader:
            train.update(mean_loss(batch["x"].float()))
            served[-1] += batch["x"].tolist()
    return train, served


def check(served, values):
    """Each epoch serves half of the values, each once."""
    for each in served:
        assert len(each) == len(set(each)) == len(values) // 2
        assert set(each) <= set(values)
    assert set(served[0]) != set(served[1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [None, "torch", "numpy"])
def test_with_format(kind, workers):
    _, served = epochs_of(rows().with_format(kind), num_workers=workers)
    check(served, range(ROWS))


def test_with_transform():
    _, served = epochs_of(rows().with_transform(doubled))
    check(served, range(0, 2 * ROWS, 2))


def test_a_transform_that_is_set_after_wrapping():
    dataset = rows()
    train = BLS(InfoBatch(dataset, num_epochs=2)).proxy()
    loader = DataLoader(train, batch_size=ROWS)
    (batch,) = loader
    assert sorted(batch["x"].tolist()) == list(range(ROWS))
    dataset.set_transform(doubled)
    (batch,) = loader
    assert sorted(batch["x"].tolist()) == list(range(0, 2 * ROWS, 2))
    train.dataset.reset_format()
    assert train[1]["x"] == 1.0


def test_map_with_workers_and_filter(tmp_path):
    mapped = rows().map(
        lambda row: {"x": row["x"] + 1}, num_proc=2, cache_file_name=str(tmp_path / "mapped.arrow")
    )
    kept = mapped.filter(lambda row: row["x"] > 10, cache_file_name=str(tmp_path / "kept.arrow"))
    _, served = epochs_of(kept)
    check(served, range(11, ROWS + 1))


def test_parts_are_taken_before_wrapping():
    part = rows().shuffle(seed=0).select(range(20))
    train, served = epochs_of(part)
    check(served, part["x"][:])
    assert len(train.scores) == 20
    with pytest.raises(AttributeError, match=r"its dataset has: use .dataset.map"):
        train.map(doubled)


def test_a_mixture_has_one_sample_per_row():
    """A row that the mixture repeats is as many samples, and each has its own score."""
    few = rows("few", 5)
    mixture = datasets.interleave_datasets([rows(), few], stopping_strategy="all_exhausted")
    assert len(mixture) == 80
    train, served = epochs_of(mixture)
    assert [len(each) for each in served] == [40, 40, 40]
    assert len(train.scores) == 80
    with pytest.raises(ValueError, match="ids must be unique, but 'few-0' was given twice"):
        train.to_frame(ids="name")


def hide_columns(dataset):
    return dataset.with_format("torch", columns=["x"])


def as_tensors(dataset):
    return dataset.with_format("torch")


def with_transform(dataset):
    return dataset.with_transform(doubled)


@pytest.mark.parametrize("formatted", [as_tensors, hide_columns, with_transform])
def test_a_column_names_samples_whatever_the_format(formatted):
    train, _ = epochs_of(formatted(rows().select(range(10, 40))))
    assert train.to_frame(ids="name").index.tolist() == [f"row-{n}" for n in range(10, 40)]


def test_labels_are_read_without_a_transform():
    calls = []

    def decode(batch):
        calls.append(len(batch["x"]))
        return batch

    dataset = rows().with_transform(decode)
    train = BLS(InfoBatch(dataset, num_epochs=2)).proxy()
    assert np.array_equal(labels_of(train.dataset), np.arange(ROWS) % 3)
    assert calls == []


def stream(dataset, **options):
    kept = PrunedIterableDataset(dataset, key="name", decode=lambda row: row["x"], **options)
    return BLS(InfoBatch(kept, num_epochs=4)).proxy()


def served_by(train, epochs, loader=None):
    loader = loader or DataLoader(train, batch_size=8)
    served = []
    for _ in range(epochs):
        served.append([])
        for batch in loader:
            train.update(mean_loss(batch.float()))
            served[-1] += batch.tolist()
    return served


def test_a_mixture_of_streams():
    other = rows("other").map(lambda row: {"x": row["x"] + 100}).to_iterable_dataset()
    mixture = datasets.interleave_datasets([rows().to_iterable_dataset(), other])
    served = served_by(train := stream(mixture), 3)
    assert sorted(served[0]) == sorted(row["x"] for row in mixture)
    assert len(train) == len(served[0]) > 70
    assert len(served[1]) == len(set(served[1])) < 70


def test_a_mixture_of_streams_that_repeats_rows_is_warned_of(caplog):
    few = rows("few", 5).to_iterable_dataset()
    mixture = datasets.interleave_datasets(
        [rows().to_iterable_dataset(), few], stopping_strategy="all_exhausted"
    )
    visits = len(list(mixture))
    served_by(train := stream(mixture), 2)
    assert len(train) == 45  # keys
    assert f"of {visits} sample visits {visits - 45} were of a key that had come" in caplog.text


def shuffled():
    return rows().to_iterable_dataset(num_shards=2).shuffle(seed=3, buffer_size=10)


def test_a_stream_resumes_from_the_state_of_the_pruned_dataset():
    train, epochs = stream(shuffled()), []
    for epoch in range(2):
        epochs.append([])
        for number, batch in enumerate(DataLoader(train, batch_size=8)):
            train.update(mean_loss(batch.float()))
            epochs[-1] += batch.tolist()
            if (epoch, number) == (1, 1):
                state, before = copy.deepcopy(train.state_dict()), list(epochs[-1])
    resumed = stream(shuffled())
    resumed.load_state_dict(state)
    (rest,) = served_by(resumed, 1)
    assert 0 < len(rest) < len(epochs[1])
    assert sorted(before + rest) == sorted(epochs[1])


def test_an_iterable_dataset_is_told_how_to_be_pruned():
    with pytest.raises(TypeError, match=r"give PrunedIterableDataset\(stream, key=\.\.\.\)"):
        InfoBatch(rows().to_iterable_dataset(), num_epochs=3)
