"""Does with the library what a sequence of actions says, and compares it with the model."""

from __future__ import annotations

import copy
import io
from collections import Counter
from typing import Any

import pytest
import torch
from helpers import Numbers
from loop_model import ALPHA, LENGTH, SIZE, Kept, Model, Plan, Run, make_loader
from torch import Tensor

from dynaprune import BLS, PrunedDataset
from dynaprune.utils.rng import epoch_generator

SLOTS = 3  # iterators that may be alive at the same time


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
        if model.resumed and not model.has_begun_here():
            # a state may be from an epoch whose samples were all trained on by another iterator
            return model.plan is not None and not model.due(model.plan)
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
