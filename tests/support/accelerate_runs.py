"""What tests of Accelerate share: loops over a loader that it has prepared, and a fresh state."""

from __future__ import annotations

import pytest
from accelerate import Accelerator
from helpers import mean_loss


@pytest.fixture(autouse=True)
def _fresh_state():
    yield
    Accelerator(cpu=True).free_memory()
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def run(train, loader, epochs=4, stop_after=None):
    served = []
    for epoch in range(train.epoch, epochs):
        length, before = len(loader), len(served)
        for batch in loader:
            train.update(mean_loss(batch))
            served.append((epoch, batch.tolist()))
            if len(served) == stop_after:
                return served
        assert len(served) - before == length
    return served


def gathered(accelerator, train, loader, epochs):
    """Train, and return what gather_for_metrics makes of each epoch, with its plan."""
    found = []
    for _ in range(epochs):
        plan = sorted(train.begin_epoch().plan.order.tolist())
        samples = []
        for batch in loader:
            samples += accelerator.gather_for_metrics(batch).tolist()
            train.update(mean_loss(batch))
        found.append((plan, sorted(samples)))
    return found
