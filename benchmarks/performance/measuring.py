"""Memory and time of a call, for the benchmarks beside it."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path


def memory(name: str) -> int:
    """Return `VmRSS`, or `VmHWM`, its highest value so far, of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise SystemExit("this needs a system with /proc/self/status")


def peak_of(call: Callable[[], object]) -> tuple[float, int]:
    """Return the seconds that a call takes, and the peak of resident memory in it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    call()
    return time.perf_counter() - started, memory("VmHWM")


def traced_peak_of(call: Callable[[], object]) -> int:
    """Return the peak of what NumPy and Python have asked for in a call; torch does not say so."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
