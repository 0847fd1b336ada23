"""Threads and handlers of signals that read while a loop trains: it comes to the same."""

from __future__ import annotations

import io
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from helpers import Numbers, mean_loss
from streams import Stored, stream_of
from torch import Tensor

from dynaprune import BLS, DataLoader, InfoBatch, PrunedDataset
from dynaprune.data.keys import fingerprint
from dynaprune.tracking.recording.reader import read_epochs, read_recording

LENGTH, SIZE = 200, 3
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.timeout(60),
]


def indexed() -> Any:
    return Numbers(LENGTH)


def streamed() -> Any:
    return stream_of(Stored(LENGTH), num_samples=LENGTH)


class Training:
    """A run, and what it serves; sources of data are by index or by key."""

    def __init__(self, source: Callable[[], Any], workers: int = 0) -> None:
        self.source = source
        self.train: PrunedDataset = BLS(InfoBatch(source(), 20)).proxy()
        self.loader = DataLoader(self.train, batch_size=SIZE, num_workers=workers)
        self.served: list[list[list[int]]] = []
        self.results: list[float] = []

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            self.served.append([])
            for batch in self.loader:
                # before the update: a state may hold it from then on
                self.served[-1].append(batch.tolist())
                self.results.append(float(self.train.update(mean_loss(batch))))

    def outcome(self) -> tuple[Any, ...]:
        summary = self.train.summary()
        scores = self.train.scores.tolist()
        return self.served, self.results, scores, self.train.epoch, summary.visits_made

    def check_state(self, content: bytes) -> None:
        """It loads, and holds samples that were served in its epoch, each once, one after another.

        What follows it is the same as in the run that was not disturbed.
        """
        state = torch.load(io.BytesIO(content), weights_only=True)
        other = Training(self.source)
        other.train.load_state_dict(state)
        epoch, indices = state["epoch"], state["progress"]["indices"].tolist()
        steps = len(state["progress"]["losses"])
        batches = self.served[epoch][:steps] if epoch < len(self.served) else []
        samples = [sample for batch in batches for sample in batch]
        if other.train.is_stream:
            samples = [fingerprint(f"sample {sample}") for sample in samples]
        assert indices == samples
        if epoch < len(self.served):
            rest = [batch.tolist() for batch in other.loader]
            assert rest == self.served[epoch][steps:]


def undisturbed(source: Callable[[], Any], workers: int, epochs: int) -> tuple[Any, ...]:
    training = Training(source, workers)
    training.run(epochs)
    return training.outcome()


def content_of(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@contextmanager
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def readings(training: Training, states: list[bytes]) -> dict[str, list[Callable[[], object]]]:
    """Return what the threads call, a thread for each name."""
    train, loader = training.train, training.loader

    def check_scores() -> None:
        scores = train.scores
        assert isinstance(scores, Tensor)
        assert bool(scores.isfinite().all())

    lengths: list[Callable[[], object]] = [lambda: len(loader), lambda: train.weights]
    if not train.is_stream:
        lengths.append(lambda: len(train.sampler))
    return {
        "scores": [check_scores, lambda: train.reliability, train.next_selection],
        "lengths": lengths,
        "numbers": [
            lambda: train.progress,
            lambda: train.mean_loss,
            train.summary,
            lambda: repr(train),
            lambda: train.epoch,
        ],
        "states": [lambda: states.append(content_of(train.state_dict()))],
        "tables": [train.to_frame],
    }


@pytest.mark.parametrize("source", [indexed, streamed])
@pytest.mark.parametrize("workers", [0, 2])
def test_threads_that_read_change_nothing(source, workers):
    epochs = 4
    expected = undisturbed(source, workers, epochs)
    training, states = Training(source, workers), []
    training.run(1)  # a stream has no length before
    is_over, raised = threading.Event(), []

    def read(calls: list[Callable[[], object]]) -> None:
        while not is_over.is_set():
            for call in calls:
                try:
                    call()
                except Exception as error:
                    raised.append(error)
                    return

    threads = [
        threading.Thread(target=read, args=(calls,))
        for calls in readings(training, states).values()
    ]
    with switching_often():
        for thread in threads:
            thread.start()
        try:
            training.run(epochs - 1)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
    assert raised == []
    assert training.outcome() == expected
    assert states
    for content in random.Random(0).sample(states, min(30, len(states))):
        training.check_state(content)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs a signal of one's own")
@pytest.mark.parametrize("source", [indexed, streamed])
@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_a_handler_of_a_signal_that_saves(source, records, seed, tmp_path):
    """It comes in the middle of anything in the main thread, also of a state that is being made."""
    epochs = 12  # enough time for some signals, also on a busy machine
    expected = undisturbed(source, 0, epochs)
    training, states, draw = Training(source), [], random.Random(seed)
    if records:
        training.train.record(tmp_path)

    def save(number: int, frame: Any) -> None:
        states.append(training.train.state_dict())

    # not SIGALRM by a timer, which pytest-timeout takes
    before, is_over = signal.signal(signal.SIGUSR1, save), threading.Event()

    def send() -> None:
        while not is_over.wait(draw.uniform(1e-4, 3e-3)):
            signal.raise_signal(signal.SIGUSR1)  # its handler runs in the main thread

    sender = threading.Thread(target=send)
    sender.start()
    try:
        training.run(epochs)
    finally:
        is_over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert training.outcome() == expected
    assert len(states) > 3
    for state in draw.sample(states, min(40, len(states))):
        training.check_state(content_of(state))
    if records:
        numbers = [each.number for each in read_epochs(tmp_path)]
        assert numbers == list(range(epochs))
        visits = sum(each.indices.numel() for each in read_recording(tmp_path))
        assert visits == training.train.summary().visits_made
