"""Data sets of shards, by LitData and MosaicML Streaming, as streams of positions."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import mean_loss

from dynaprune import BLS, DataLoader, InfoBatch, PrunedIterableDataset

LENGTH = 60


def with_litdata(folder):
    litdata = pytest.importorskip("litdata")
    cache = pytest.importorskip("litdata.streaming.cache").Cache(str(folder), chunk_size=7)
    for number in range(LENGTH):
        cache[number] = {"number": number}
    cache.done()
    cache.merge()
    return litdata.StreamingDataset(str(folder))


def with_mosaicml(folder):
    streaming = pytest.importorskip("streaming")
    with streaming.MDSWriter(out=str(folder), columns={"number": "int"}, size_limit=150) as writer:
        for number in range(LENGTH):
            writer.write({"number": number})
    return streaming.StreamingDataset(local=str(folder), batch_size=1)


class Counting:
    """Notes which samples are read, in this process."""

    def __init__(self, dataset):
        self.dataset, self.read = dataset, []

    def __getitem__(self, position):
        self.read.append(position)
        return self.dataset[position]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("write", [with_litdata, with_mosaicml])
def test_positions_are_keys(write, workers, tmp_path):
    dataset = write(tmp_path)
    assert len(dataset) == LENGTH
    assert len(list(tmp_path.iterdir())) > 5  # several shards, and an index
    counting = Counting(dataset)
    stream = PrunedIterableDataset(
        range(len(dataset)), key=int, decode=counting.__getitem__, shuffle=20
    )
    train = BLS(InfoBatch(stream, num_epochs=4)).proxy()
    loader = DataLoader(train, batch_size=6, num_workers=workers)
    scores, epochs = torch.empty(0), []
    for _ in range(4):
        epochs.append([])
        for batch in loader:
            numbers = batch["number"]
            loss = mean_loss(numbers)
            scores = scores if len(scores) else torch.full((LENGTH,), float(loss))
            scores[numbers] = 0.7 * scores[numbers] + 0.3 * loss
            train.update(loss)
            epochs[-1] += numbers.tolist()
    assert sorted(epochs[0]) == list(range(LENGTH))
    assert len(epochs[1]) < LENGTH
    torch.testing.assert_close(train.scores[train.numbers_of(range(LENGTH))], scores)
    if workers == 0:  # skipped samples are not read
        assert counting.read == list(itertools.chain(*epochs))
