"""Random sequences of all that a loop can do, against a plain model of what is documented.

The model is dictionaries and lists. Of the library it takes what `select` returned, and which
samples a batch holds, which the batch tells by itself.
"""

from __future__ import annotations

import copy
import io
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from helpers import Numbers, bls, mean_loss
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Sampler

from dynaprune import BLS, DataLoader, InfoBatch, PrunedDataset, Selection
from dynaprune.tracking.recording.reader import read_epochs
from dynaprune.utils.rng import epoch_generator

LENGTH, SIZE, ALPHA = 11, 3, 0.7
SLOTS = 3  # iterators that may be alive at the same time


class Kept(PrunedDataset):
    """Skips some of the lower scores, and weighs what is left: all depends on what is scored."""

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        draws = torch.rand(LENGTH, generator=generator)
        is_kept = (scores >= scores.mean()) | (draws < 0.6)
        indices = is_kept.nonzero().flatten()
        return Selection(indices, 1 + draws[indices])


class Repeating(Sampler[list[int]]):
    """Batches in which each sample comes twice, one after the other."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return -(-2 * len(self.sampler) // SIZE)

    def __iter__(self) -> Any:
        order = [sample for each in self.sampler for sample in (each, each)]
        for start in range(0, len(order), SIZE):
            yield order[start : start + SIZE]


class Dropping(Sampler[list[int]]):
    """Every second batch only."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return math.ceil(math.ceil(len(self.sampler) / SIZE) / 2)

    def __iter__(self) -> Any:
        order = list(self.sampler)
        for start in range(0, len(order), 2 * SIZE):
            yield order[start : start + SIZE]


def make_loader(train: PrunedDataset, kind: str) -> DataLoader:
    if kind == "repeating":
        return DataLoader(train, batch_sampler=Repeating(train.sampler))
    if kind == "dropping":
        return DataLoader(train, batch_sampler=Dropping(train.sampler))
    return DataLoader(train, batch_size=SIZE, drop_last=kind == "drop_last")


@dataclass(frozen=True)
class Plan:
    """What an epoch serves, by the scores that it was planned with."""

    epoch: int
    weights: tuple[tuple[int, float], ...]  # of the samples that are kept

    @property
    def samples(self) -> set[int]:
        return {sample for sample, _ in self.weights}

    def mean_weight(self, batch: list[int]) -> float:
        weights = dict(self.weights)
        return sum(weights[sample] for sample in batch) / len(batch)


@dataclass
class Run:
    """An iterator over the loader, as the model sees it."""

    plan: Plan
    due: set[int]
    generation: int  # how often a state had been loaded when it began
    waiting: list[list[int]] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    batches: int = 0
    is_open: bool = True
    is_over: bool = False
    has_skipped: bool = False  # a batch, since its last update
    is_ahead: bool = False  # whether a batch was updated while later ones waited
    is_at_end: bool = False  # and has yielded all
    is_left: bool = False  # another has yielded a batch since then


@dataclass
class Model:
    """The epoch in progress, and what came before it."""

    kind: str
    number: int = 0
    start: dict[int, float] = field(default_factory=dict)  # scores, once there was a batch
    first: float | None = None
    steps: list[tuple[list[int], float]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)  # samples of steps before a state was loaded
    visits: int = 0  # of epochs before
    mean_loss: float = math.nan
    plan: Plan | None = None
    trained: Run | None = None
    last: Run | None = None  # the one that yielded a batch last

    def scores(self) -> dict[int, float]:
        """s ← α·s + (1−α)·L for the samples of each batch, from the first batch's loss on."""
        scores = dict(self.start)
        if not scores and self.steps:
            scores = dict.fromkeys(range(LENGTH), self.steps[0][1])
        for samples, loss in self.steps:
            for sample in set(samples):
                scores[sample] = ALPHA * scores[sample] + (1 - ALPHA) * loss
        return scores or dict.fromkeys(range(LENGTH), 0.0)

    def visits_now(self) -> int:
        return sum(len(samples) for samples, _ in self.steps)

    def is_over(self) -> bool:
        run = self.trained
        if run is None or not self.has_begun_here():
            return False
        return not run.is_open or run.is_left

    def has_begun_here(self) -> bool:
        return self.visits_now() > len(self.resumed)

    def end(self, plan: Plan | None) -> None:
        visits = self.visits_now()
        self.mean_loss = sum(loss * len(samples) for samples, loss in self.steps) / visits
        self.start, self.visits = self.scores(), self.visits + visits
        self.number, self.steps, self.resumed, self.plan = self.number + 1, [], [], plan
        self.trained = None

    def batches_of(self, count: int) -> int:
        """Return how many batches so many samples make."""
        if self.kind == "repeating":
            return -(-2 * count // SIZE)
        if self.kind == "drop_last":
            return count // SIZE
        batches = -(-count // SIZE)
        return -(-batches // 2) if self.kind == "dropping" else batches

    def due(self, plan: Plan) -> set[int]:
        """Return what is still to be served of the epoch in progress."""
        times = 2 if self.kind == "repeating" else 1
        visits = Counter(self.resumed)
        return {sample for sample in plan.samples if visits[sample] < times}


class Driver:
    """Does the same to the library and to the model, and compares them."""

    def __init__(self, kind: str, looks: bool) -> None:
        self.kind, self.looks = kind, looks
        self.train = self.make()
        self.loader = make_loader(self.train, kind)
        self.model = Model(kind)
        self.generation = 0
        self.iterators: list[Any] = [None] * SLOTS
        self.held: list[list[Tensor]] = [[] for _ in range(SLOTS)]
        self.runs: list[Run | None] = [None] * SLOTS
        self.saved: list[tuple[bytes, Model]] = []

    @staticmethod
    def make() -> PrunedDataset:
        train: PrunedDataset = BLS(Kept(Numbers(LENGTH), 50), alpha=ALPHA).proxy()
        return train

    # What the model needs to know

    def planned(self, epoch: int) -> Plan:
        """Return the plan by the scores as they are, from a method of its own."""
        scores = self.model.scores()
        fresh = self.make()
        selection = fresh.select(
            torch.tensor([scores[sample] for sample in range(LENGTH)]),
            epoch,
            epoch_generator(fresh.seed, epoch),
        )
        assert selection.weights is not None
        pairs = zip(selection.indices.tolist(), selection.weights.tolist(), strict=True)
        return Plan(epoch, tuple(pairs))

    def coming(self) -> Plan:
        """Return the plan of the epoch that is served or about to be."""
        model = self.model
        if model.is_over():
            return self.planned(model.number + 1)
        return model.plan or self.planned(model.number)

    # What a loop does

    def iterate(self, slot: int) -> None:
        self.drop(slot)
        self.iterators[slot] = iter(self.loader)

    def drop(self, slot: int) -> None:
        run = self.runs[slot]
        self.held[slot].clear()
        self.iterators[slot] = None
        if run is not None:
            self.close(run)
        self.runs[slot] = None

    def close(self, run: Run) -> None:
        if not run.is_at_end:  # else nobody knows whether the rest is still to come
            run.is_open = False
            run.waiting.clear()

    def fetch(self, slot: int, keeps: bool) -> None:
        """Ask for the next batch; the loop may still hold those before."""
        if self.iterators[slot] is None:
            self.iterate(slot)
        if not keeps:
            self.held[slot].clear()
        is_first = self.runs[slot] is None
        batch = next(self.iterators[slot], None)
        if is_first:
            self.runs[slot] = self.begun()
        run = self.runs[slot]
        assert run is not None
        if batch is None:
            expected = self.model.batches_of(len(run.due))
            assert run.batches == expected
            self.end_of(run)
            self.iterators[slot] = None
            if run.is_ahead and run.waiting:
                run.is_at_end = True
            else:
                self.drop(slot)
            return
        samples = batch.tolist()
        assert set(samples) <= run.due
        run.has_skipped |= bool(run.waiting)
        if not keeps:
            run.waiting.clear()
        run.waiting.append(samples)
        run.served += samples
        run.batches += 1
        assert max(Counter(run.served).values()) <= (2 if self.kind == "repeating" else 1)
        self.held[slot].append(batch)
        self.model.last = run
        for other in [*self.runs, self.model.trained]:
            if other is not None and other is not run:
                other.is_left = other.is_at_end

    def begun(self) -> Run:
        """Return what an iterator serves that is asked for its first batch now."""
        model = self.model
        if model.is_over():
            model.end(None)
        if model.has_begun_here():
            plan = self.planned(model.number + 1)
            return Run(plan, plan.samples, self.generation)
        if model.plan is None:
            model.plan = self.planned(model.number)
        return Run(model.plan, model.due(model.plan), self.generation)

    def end_of(self, run: Run) -> None:
        """An iterator is at its end."""
        model = self.model
        if run.batches == 0 and run.plan == model.plan and not model.has_begun_here():
            if model.resumed:  # what was left made no batch
                model.end(None)
            else:
                model.number, model.plan = model.number + 1, None

    def update(self, slot: int, way: str) -> None:
        """Train on the last batch of an iterator, or on one before it that is said."""
        run, held = self.runs[slot], self.held[slot]
        if run is None or not held:
            return
        if way == "default":
            place = len(held) - 1
            if (
                run is not self.model.last
            ):  # of the last batch that was yielded, unless that is told
                return
            if not run.waiting and any(each.waiting for each in self.runs if each is not None):
                return  # twice for one batch: it could be about another one
        else:
            place = 0
        batch = held[place]
        samples = batch.tolist()
        loss = batch.float().mul(0.37).sin().add(1.5).mean() + len(self.model.steps) * 0.01
        arguments: dict[str, Any] = {}
        if way == "batch":
            arguments["batch"] = batch
        elif way == "indices":
            of = [each for each in self.runs if each is not None and samples in each.waiting]
            if of != [run] or run.generation != self.generation:
                return  # else the samples are known, but not which iterator's they are
            arguments["indices"] = batch
        before = self.essence() if self.looks else None
        allowed = self.judge(run, samples, way)
        try:
            scaled = self.train.update(loss, **arguments)
        except RuntimeError:
            if allowed == "counts":
                raise
            assert before is None or self.essence() == before
            return
        assert allowed != "is refused"
        expected = float(loss) * run.plan.mean_weight(samples)
        assert float(scaled) == pytest.approx(expected, rel=1e-5)
        self.count(run, samples, float(loss))
        if way == "batch":
            held.pop(0)

    def waiting(self, slot: int) -> list[list[int]]:
        run = self.runs[slot]
        return [] if run is None else run.waiting

    def judge(self, run: Run, samples: list[int], way: str) -> str:
        """Return what an update has to do: "counts", "is refused" or "may be refused"."""
        model = self.model
        if run.generation != self.generation or samples not in run.waiting:
            return "is refused"
        is_next = run.plan.epoch == model.number + 1 and model.has_begun_here()
        if run.plan != (model.plan or self.planned(model.number)) and not is_next:
            return "is refused"
        if model.plan is None:  # the same one, but it was made for a look
            return "may be refused"
        if way != "default":
            return "counts"
        waiting = [each for each in self.runs if each is not None and each.waiting]
        if len(waiting) > 1 or run.has_skipped:
            return "may be refused"
        return "counts"

    def count(self, run: Run, samples: list[int], loss: float) -> None:
        model = self.model
        model.plan = model.plan or self.planned(model.number)
        if run.plan != model.plan:
            model.end(run.plan)
        model.steps.append((samples, loss))
        model.trained = run
        run.is_ahead |= samples != run.waiting[-1]
        run.waiting = run.waiting[run.waiting.index(samples) + 1 :]
        run.has_skipped = bool(run.waiting)
        if run.is_at_end and not run.waiting:
            run.is_open = run.is_at_end = False

    # What else there is

    def end_epoch(self) -> None:
        self.train.end_epoch()
        if self.model.steps:
            self.model.end(None)

    def save(self) -> None:
        file = io.BytesIO()
        torch.save(self.train.state_dict(), file)
        model = copy.deepcopy(self.model)
        if self.nothing_is_due():
            model.end(None)
        self.saved.append((file.getvalue(), model))

    def load(self, place: int, is_fresh: bool) -> None:
        if not self.saved:
            return
        content, model = self.saved[place % len(self.saved)]
        state = torch.load(io.BytesIO(content), weights_only=True)
        if is_fresh:
            for slot in range(SLOTS):
                self.drop(slot)
            self.train = self.make()
            self.loader = make_loader(self.train, self.kind)
        self.train.load_state_dict(state)
        self.generation += 1
        last, self.model = self.model.last, copy.deepcopy(model)
        self.model.last = last
        self.model.resumed = [sample for samples, _ in model.steps for sample in samples]
        self.model.trained = None
        if not self.model.steps:
            self.model.plan = None

    def nothing_is_due(self) -> bool:
        """Whether all of the epoch was trained on or skipped."""
        model, run = self.model, self.model.trained
        if not model.has_begun_here() or run is None:
            return False
        at_end = run.batches == model.batches_of(len(run.due)) and not run.waiting
        return at_end or not run.is_open

    # What is compared

    def essence(self) -> Any:
        state = self.train.state_dict()
        progress = state["progress"]
        return (
            state["epoch"],
            state["score"]["values"].tolist(),
            progress["indices"].tolist(),
            progress["losses"].tolist(),
        )

    def compare(self) -> None:
        train, model = self.train, self.model
        scores = model.scores()
        assert train.scores.tolist() == pytest.approx([scores[i] for i in range(LENGTH)], rel=1e-5)
        number = model.number + model.is_over()
        assert train.epoch == number
        assert number <= train.progress <= number + 1
        assert train.summary().visits_made == model.visits + model.visits_now()
        run = model.trained
        if model.is_over() or self.nothing_is_due():
            visits = model.visits_now()
            mean = sum(loss * len(samples) for samples, loss in model.steps) / visits
            assert train.mean_loss == pytest.approx(mean, rel=1e-5)
        else:
            assert train.mean_loss == pytest.approx(model.mean_loss, rel=1e-5, nan_ok=True)
        is_counted = self.kind in ("plain", "drop_last") and not model.is_over()
        if run is not None and run.is_open and is_counted:
            done = len(model.resumed) + len(run.served) - len((run.waiting or [[]])[-1])
            count = len(run.due)
            count -= count % SIZE if self.kind == "drop_last" else 0
            if self.nothing_is_due():
                assert train.progress == number + 1
            else:
                expected = number + done / (len(model.resumed) + count)
                assert train.progress == pytest.approx(expected)
        plan = self.coming()
        weights = dict.fromkeys(range(LENGTH), 1.0) | dict(plan.weights)
        assert train.weights.tolist() == pytest.approx([weights[i] for i in range(LENGTH)])
        due = plan.samples if model.is_over() or plan != model.plan else model.due(plan)
        assert len(self.loader) == model.batches_of(len(due))
        if model.is_over():  # what was read has gone on to the next epoch
            model.end(plan)
        model.plan = model.plan or plan


ACTION = st.tuples(
    st.sampled_from(
        ["fetch"] * 6
        + ["hold"]
        + ["update"] * 6
        + ["update batch", "update indices", "iterate", "drop", "look"]
        + ["end epoch", "save", "load", "load fresh", "read", "train", "train"]
        + ["epoch", "epoch", "epoch ahead"]
    ),
    st.integers(0, SLOTS - 1),
)


def run_sequence(kind: str, looks: bool, actions: list[tuple[str, int]]) -> None:
    driver = Driver(kind, looks)
    for name, number in actions:
        if name in ("fetch", "hold"):
            driver.fetch(number, name == "hold")
        elif name == "update":
            driver.update(number, "default")
        elif name.startswith("update"):
            driver.update(number, name.split()[1])
            run = driver.runs[number]
            if run is not None and run.is_ahead:
                # what it still holds may be updated or not: "epoch ahead" goes on, others leave
                driver.drop(number)
        elif name == "iterate":
            driver.iterate(number)
        elif name == "drop":
            driver.drop(number)
        elif name == "look":
            driver.iterate(number)
            driver.fetch(number, False)
            driver.drop(number)
        elif name == "end epoch":
            driver.end_epoch()
        elif name == "save":
            driver.save()
        elif name.startswith("load"):
            driver.load(number, name == "load fresh")
        elif name == "read":
            driver.compare()
        elif name == "train":
            driver.fetch(number, False)
            driver.update(number, "default")
        elif name == "epoch":
            driver.fetch(number, False)
            while driver.iterators[number] is not None:
                driver.update(number, "default")
                driver.fetch(number, False)
        elif name == "epoch ahead":
            driver.drop(number)
            driver.fetch(number, True)
            while driver.iterators[number] is not None:
                driver.fetch(number, True)
                driver.update(number, "batch")
            while driver.held[number] and driver.held[number][0].tolist() in driver.waiting(number):
                driver.update(number, "batch")
        if looks:
            driver.compare()
    driver.compare()


SEQUENCES = given(
    st.sampled_from(["plain", "drop_last", "repeating", "dropping"]),
    st.booleans(),
    st.lists(ACTION, min_size=5, max_size=40),
)


@SEQUENCES
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_sequences(kind, looks, actions):
    run_sequence(kind, looks, actions)


@pytest.mark.long
@SEQUENCES
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_sequences(kind, looks, actions):
    run_sequence(kind, looks, actions)


# What such sequences have found


def training(length=60):
    train = bls(InfoBatch, length)
    return train, DataLoader(train, batch_size=5)


def fetched(iterator):
    return next(iterator)


def step(train, iterator):
    batch = next(iterator)
    train.update(mean_loss(batch))
    return batch


def test_a_loop_of_the_next_epoch_from_before_a_state_was_loaded():
    """It must not end the epoch that the state is in the middle of."""
    train, loader = training()
    batches = iter(loader)
    step(train, batches)
    state = train.state_dict()
    for batch in batches:
        train.update(mean_loss(batch))
    old = iter(loader)
    step(train, old)
    train.load_state_dict(state)
    new = iter(loader)
    step(train, new)
    batch = next(old)
    with pytest.raises(RuntimeError, match=r"before load_state_dict\(\) was called"):
        train.update(mean_loss(batch), batch=batch)
    assert (train.epoch, train.summary().visits_made) == (0, 10)


def test_a_batch_of_an_epoch_that_was_ended_is_not_taken_for_that_of_a_look():
    train, loader = training()
    batches = iter(loader)
    step(train, batches)
    look = iter(loader)
    kept = next(look)
    train.end_epoch()
    batch = next(batches)
    with pytest.raises(RuntimeError, match="several iterators"):
        train.update(mean_loss(batch))
    assert kept is not None
    assert train.summary().visits_made == 5


def test_a_run_that_was_taken_for_a_look_and_goes_on():
    train, loader = training()
    one = iter(loader)
    held = next(one)
    other = iter(loader)
    first = next(other)
    train.update(mean_loss(first))  # of the last batch, in a run's first step
    assert held is not None
    third = iter(loader)
    kept = next(third)
    batch = next(one)
    with pytest.raises(RuntimeError, match="several iterators"):
        train.update(mean_loss(batch))
    train.update(mean_loss(batch), batch=batch)
    assert kept is not None
    del third, kept
    step(train, one)  # said once, it is known


def test_after_a_batch_that_was_said_those_before_it_wait_no_longer():
    train, loader = training()
    batches = iter(loader)
    fetched(batches)
    batch = fetched(batches)
    train.update(mean_loss(batch), batch=batch)
    del batch
    train.update(mean_loss(fetched(batches)))
    assert train.summary().visits_made == 10


def test_batches_of_ones_own_sampler_in_an_epoch_that_is_begun_while_another_is_open():
    train = bls(Kept, LENGTH)
    loader = DataLoader(train, batch_sampler=Repeating(train.sampler))
    first = iter(loader)
    step(train, first)
    second = iter(loader)
    step(train, second)
    assert train.epoch == 1
    visits = 2 * int(train.weights.ne(1).sum())  # Kept weighs all that it keeps
    assert visits < 2 * LENGTH - SIZE
    assert train.progress == pytest.approx(1 + 1 / math.ceil(visits / SIZE))
    for batch in second:
        train.update(mean_loss(batch))
    assert train.progress == 2


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("way", ["batch", "indices", "indices of a copy"])
@pytest.mark.parametrize("records", [False, True])
def test_a_loop_that_fetches_ahead_updates_its_last_batches_after_the_loader_has_ended(
    depth, way, records, tmp_path
):
    train, loader = training()
    if records:
        train.record(tmp_path)
    visits = 0
    for epoch in range(3):
        waiting, served = deque(), []

        def update(batch, served=served):
            assert train.epoch == epoch  # noqa: B023
            given = {"batch": batch} if way == "batch" else {"indices": batch}
            train.update(mean_loss(batch), **given)
            served += batch.tolist()

        for batch in loader:
            waiting.append(batch.clone() if way == "indices of a copy" else batch)
            del batch
            if len(waiting) > depth:
                update(waiting.popleft())
        while waiting:
            update(waiting.popleft())
        assert len(served) == len(set(served))
        visits += len(served)
        assert train.summary().visits_made == visits
        assert (train.epoch, train.progress) == (epoch + 1, epoch + 1)
    if records:
        assert sum(each.visits for each in read_epochs(tmp_path)) == visits


def test_two_iterators_that_are_planned_by_the_same_scores_serve_one_epoch():
    train, loader = training()
    first = iter(loader)
    step(train, first)
    one = iter(loader)
    batch = next(one)
    next(first)  # skipped: nothing that is known has changed
    other = iter(loader)
    kept = next(other)
    train.update(mean_loss(kept), batch=kept)
    train.update(mean_loss(batch), batch=batch)
    assert train.epoch == 1


def test_an_epoch_that_was_planned_before_the_one_before_was_trained_on():
    train, loader = training()
    first = iter(loader)
    step(train, first)
    one = iter(loader)
    batch = next(one)
    step_said(train, first)
    other = iter(loader)
    step_said(train, other)
    with pytest.raises(RuntimeError, match="another loop has trained more of that"):
        train.update(mean_loss(batch), batch=batch)


def step_said(train, iterator):
    batch = next(iterator)
    train.update(mean_loss(batch), batch=batch)
