"""The cost of dynaprune with 10⁴ to 10⁸ samples: the tables of docs/scale.md.

    python benchmarks/performance/scale.py --save runs/scale.json

Every number comes from a separate process, because memory is measured: bytes per sample, above the
memory of the process with a thousand samples, resident between epochs, and at the peak of updating
scores and planning the next epoch. RSS is the memory that the system gives the process; tracemalloc
counts the memory that NumPy and Python request, without torch. Times are medians over epochs.

The reference is textbook code in the same run: scores on the host, `np.random.choice` and a
shuffled Python list (InfoBatch); scikit-learn's KMeans with one start (SeTa); a set of keys
(streams). It is left out where it would take minutes.

With `--save`, results are written when they are finished, and the script continues where it
stopped.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measuring import memory, peak_of, traced_peak_of
from overhead import scores_of, textbook_infobatch, textbook_seta
from rich.console import Console
from rich.table import Table
from scale_streams import BATCHES, measure_stream
from torch import distributed, multiprocessing

from dynaprune import BLS, InfoBatch, PrunedDataset, SeTa, Sharded

METHODS: dict[str, Callable[..., PrunedDataset]] = {"InfoBatch": InfoBatch, "SeTa": SeTa}


def train_epoch(train: PrunedDataset, generator: torch.Generator) -> None:
    """Make all updates of the current epoch."""
    share = train.epochs.served_shares.last
    assert share is not None
    order = share.order
    batch = max(128, -(-len(order) // BATCHES))
    losses = torch.empty(-(-len(order) // batch)).exponential_(generator=generator)
    for number in range(len(losses)):  # one view at a time: all would take more than is measured
        train.update(losses[number], indices=order[number * batch : (number + 1) * batch])


def measure_epochs(train: PrunedDataset, base: int, epochs: int = 4) -> dict[str, float]:
    """Return the costs of updating scores and of planning, from the second epoch on."""
    generator = torch.Generator().manual_seed(0)
    size = len(train)
    folds, plans, residents, peaks = [], [], [], []
    for epoch in range(epochs):
        planned, plan_peak = peak_of(train.begin_epoch)
        train_epoch(train, generator)
        gc.collect()
        residents.append(memory("VmRSS"))
        folded, fold_peak = peak_of(train.end_epoch)
        if epoch > 0:
            plans.append(planned)
            folds.append(folded)
            peaks.append(max(plan_peak, fold_peak))
    train.begin_epoch()
    train_epoch(train, generator)

    def fold_and_plan() -> None:
        train.end_epoch()
        train.begin_epoch()

    traced = traced_peak_of(fold_and_plan)
    return {
        "fold": median(folds),
        "plan": median(plans),
        "resident": (median(residents) - base) / size,
        "peak": (max(peaks) - base) / size,
        "traced": traced / size,
    }


def measure_ours(samples: int, method: str) -> dict[str, float]:
    def make(size: int) -> PrunedDataset:
        train: PrunedDataset = BLS(METHODS[method](range(size), 100)).proxy()
        return train

    measure_epochs(make(1000), 0)  # so that imports and caches are not measured
    base = memory("VmRSS")
    return measure_epochs(make(samples), base)


def measure_textbook(samples: int, method: str) -> dict[str, float]:
    scores = scores_of(samples)
    base = memory("VmRSS") - 4 * samples
    plan: Callable[[], object] = partial(textbook_seta, scores, 1, 1)
    if method == "InfoBatch":
        plan = partial(textbook_infobatch, scores)
    planned, peak = peak_of(plan)
    traced = traced_peak_of(plan) / samples if samples <= 10_000_000 else float("nan")
    return {"plan": planned, "peak": (peak - base) / samples, "traced": traced}


def measure_sampler(samples: int) -> dict[str, float]:
    """Return the memory for yielding all indices, and that of a list of them."""
    train: PrunedDataset = BLS(InfoBatch(range(samples), 100)).proxy()
    served = iter(train.sampler)
    share = train.epochs.served_shares.last
    assert share is not None
    ours = traced_peak_of(lambda: deque(served, maxlen=0))
    return {"ours": ours, "list": traced_peak_of(share.order.tolist)}


def measure_ranks(samples: int, ranks: int, sharded: bool) -> dict[str, float]:
    """Return the costs of an epoch on the first of several ranks on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=_rank, args=(rank, ranks, samples, sharded, folder))
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        result: dict[str, float] = json.loads((Path(folder) / "result").read_text())
        return result


def _rank(rank: int, ranks: int, samples: int, sharded: bool, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks
    )
    sent: list[int] = []
    gather = distributed.all_gather

    def counted(gathered: Any, own: Any, group: Any = None) -> Any:
        sent.append(own.numel())
        return gather(gathered, own, group=group)

    distributed.all_gather = counted  # type: ignore[assignment]

    def make(size: int) -> PrunedDataset:
        dataset: Any = Sharded(range(size)) if sharded else range(size)
        train: PrunedDataset = BLS(InfoBatch(dataset, 100)).proxy()
        return train

    measure_epochs(make(1000 * ranks), 0)
    sent.clear()
    base = memory("VmRSS")
    train = make(samples)
    found = measure_epochs(train, base)
    found["peak"] *= len(train) / samples  # bytes on this rank per sample of the whole dataset
    found["resident"] *= len(train) / samples
    found["sent"] = max(sent)
    found["batches"] = -(-samples // ranks // max(128, -(-samples // ranks // BATCHES)))
    if rank == 0:
        (Path(folder) / "result").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()


MEASURES: dict[str, Callable[..., dict[str, float]]] = {
    "ours": measure_ours,
    "textbook": measure_textbook,
    "sampler": measure_sampler,
    "ranks": measure_ranks,
    "stream": measure_stream,
}


class Results:
    """The measurements so far, optionally kept in a file."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.found: dict[str, dict[str, float]] = {}
        if file is not None and file.exists():
            self.found = json.loads(file.read_text())

    def of(self, what: str, **arguments: Any) -> dict[str, float]:
        """Return a measurement, made in a separate process unless it exists."""
        name = json.dumps([what, arguments])
        if name not in self.found:
            done = subprocess.run(
                [sys.executable, __file__, "--one", name], stdout=subprocess.PIPE, check=True
            )
            self.found[name] = json.loads(done.stdout.splitlines()[-1])
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.write_text(json.dumps(self.found, indent=1))
        return self.found[name]


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def a_sample(size: float, samples: int) -> str:
    """Return bytes per sample, or nothing for few samples: chunks take a constant 40 MB."""
    return f"{size:,.1f}" if samples >= 10_000_000 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--samples", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7, 1e8], metavar="N"
    )
    parser.add_argument("--textbook", type=float, default=1e7, help="most samples for the textbook")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rank-samples", type=float, default=1e7)
    parser.add_argument("--save", type=Path, help="JSON file of results, to be continued")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        what, arguments = json.loads(options.one)
        print(json.dumps(MEASURES[what](**arguments)))
        return
    results, console = Results(options.save), Console(width=130)
    sizes = [int(each) for each in options.samples]

    table = Table(title=f"Fold and plan; bytes are per sample; torch {torch.__version__}")
    for name in ("method", "samples", "fold\nms", "plan\nms", "ns per\nsample", "resident"):
        table.add_column(name, justify="right")
    for name in (
        "peak\nRSS",
        "peak\ntraced",
        "textbook\nplan ms",
        "ratio",
        "its\nRSS",
        "its\ntraced",
    ):
        table.add_column(name, justify="right")
    for method in ("InfoBatch", "SeTa"):
        for size in sizes:
            ours = results.of("ours", samples=size, method=method)
            cells = [method, f"{size:,}"]
            cells += [ms(ours["fold"]), ms(ours["plan"])]
            cells += [f"{(ours['fold'] + ours['plan']) / size * 1e9:.0f}"]
            cells += [a_sample(ours[each], size) for each in ("resident", "peak", "traced")]
            most = options.textbook if method == "InfoBatch" else options.textbook / 3
            if size <= most:
                theirs = results.of("textbook", samples=size, method=method)
                cells += [ms(theirs["plan"]), f"{theirs['plan'] / ours['plan']:.1f}×"]
                cells += [a_sample(theirs["peak"], size)]
                traced = theirs["traced"]
                cells += [a_sample(traced, size) if traced == traced else ""]
            table.add_row(*cells)
    console.print(table)

    table = Table(title="Yielding an epoch's indices as Python integers: peak, traced")
    for name in ("samples", "dynaprune MiB", "list MiB", "ratio"):
        table.add_column(name, justify="right")
    for size in [each for each in sizes if each <= options.textbook]:
        found = results.of("sampler", samples=size)
        mib = [found[each] / 2**20 for each in ("ours", "list")]
        table.add_row(f"{size:,}", *(f"{each:,.1f}" for each in mib), f"{mib[1] / mib[0]:.1f}×")
    console.print(table)

    table = Table(title="The first of several ranks on this machine; bytes are per sample")
    for name in ("ranks", "samples", "each has", "fold, exchange ms", "plan ms", "resident"):
        table.add_column(name, justify="right")
    for name in ("peak RSS", "sent per batch"):
        table.add_column(name, justify="right")
    size = int(options.rank_samples)
    for ranks in options.ranks:
        for sharded in (False, True):
            found = results.of("ranks", samples=size, ranks=ranks, sharded=sharded)
            sent = found["sent"] / (1 if sharded else found["batches"])
            table.add_row(
                str(ranks),
                f"{size:,}",
                "its part" if sharded else "all",
                ms(found["fold"]),
                ms(found["plan"]),
                f"{found['resident']:.1f}",
                f"{found['peak']:.1f}",
                f"{sent:.0f} per epoch" if sharded else f"{sent:.1f}",
            )
    console.print(table)

    table = Table(title="Streams: time of a decision, and of a set of keys; bytes are per sample")
    for name in ("samples", "decide ns", "set ns", "resident", "set", "peak RSS", "first fold ms"):
        table.add_column(name, justify="right")
    for name in ("fold ms", "plan ms"):
        table.add_column(name, justify="right")
    for size in [each for each in sizes if each <= options.textbook]:
        found = results.of("stream", samples=size)
        table.add_row(
            f"{size:,}",
            f"{1e9 * found['decide']:,.0f}",
            f"{1e9 * found['set']:,.0f}",
            a_sample(found["resident"], size),
            a_sample(found["set_bytes"], size),
            a_sample(found["peak"], size),
            ms(found["first_fold"]),
            ms(found["fold"]),
            ms(found["plan"]),
        )
    console.print(table)


if __name__ == "__main__":
    main()
