"""Memory and time of a call, for the benchmarks in this folder."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path


def memory(name: str) -> int:
    """Return `VmRSS` of this process, or `VmHWM`, its highest value so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise SystemExit("this needs a system with /proc/self/status")


def peak_of(call: Callable[[], object]) -> tuple[float, int]:
    """Return the duration of a call in seconds, and the peak of resident memory during it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    call()
    return time.perf_counter() - started, memory("VmHWM")


def traced_peak_of(call: Callable[[], object]) -> int:
    """Return the peak of the memory that NumPy and Python, but not torch, request in a call."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
