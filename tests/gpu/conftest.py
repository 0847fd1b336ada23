"""Checks of what a GPU alone can show, by `pytest -m gpu tests/gpu`: see `device`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

VARIABLE = "DYNAPRUNE_TEST_DEVICE"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            # torch warns of much on a GPU that is not ours to mend; what is said of our code is
            item.add_marker(pytest.mark.filterwarnings("default", "error:::dynaprune"))


@pytest.fixture
def device() -> torch.device:
    """The device of `DYNAPRUNE_TEST_DEVICE`, or else a GPU, or else the CPU.

    A test that runs on a CPU as well shows there that it is right itself.
    """
    default = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(os.environ.get(VARIABLE, default))
    if chosen.type == "cuda":
        torch.cuda.synchronize()  # what a test before has left is done
        chosen = torch.device("cuda", torch.cuda.current_device())
    return chosen


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """The device, if it is one of CUDA; else the test is skipped."""
    if device.type != "cuda":
        pytest.skip(f"shows what only a GPU does, and runs on device {str(device)!r}")
    return device
