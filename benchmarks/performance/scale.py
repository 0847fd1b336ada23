"""What dynaprune costs from ten thousand samples to a hundred million: the tables of docs/scale.md.

    python benchmarks/performance/scale.py --save runs/scale.json

Every number comes from a process of its own, because memory is measured: bytes a sample above what
the process had with a thousand samples, resident between epochs, and at the peak of folding an
epoch's losses and planning the next. RSS is what the system gives the process; tracemalloc counts
what NumPy and Python ask for, without torch. Times are medians over epochs.

Beside each stands plain textbook code in the same run: scores on the host, `np.random.choice` and a
shuffled Python list (InfoBatch); scikit-learn's KMeans with one start (SeTa); a set of keys
(streams). Where that would take minutes it is left out.

With `--save`, results are written as they come, and a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring import memory, peak_of, traced_peak_of
from overhead import scores_of, textbook_infobatch, textbook_seta
from rich.console import Console
from rich.table import Table
from torch import distributed, multiprocessing

from dynaprune import BLS, InfoBatch, PrunedDataset, PrunedIterableDataset, SeTa, Sharded
from dynaprune.data.keys import fingerprint

BATCHES = 50_000
"""At most as many batches make an epoch: a step's cost is in the tables of overhead.py."""

METHODS: dict[str, Callable[..., PrunedDataset]] = {"InfoBatch": InfoBatch, "SeTa": SeTa}


def train_epoch(train: PrunedDataset, generator: torch.Generator) -> None:
    """Make the updates of an epoch whose plan has been made."""
    share = train.epochs.begun.last
    assert share is not None
    order = share.order
    batch = max(128, -(-len(order) // BATCHES))
    losses = torch.empty(-(-len(order) // batch)).exponential_(generator=generator)
    for number in range(len(losses)):  # views of all at once would take more than what is measured
        train.update(losses[number], indices=order[number * batch : (number + 1) * batch])


def measure_epochs(train: PrunedDataset, base: int, epochs: int = 4) -> dict[str, float]:
    """Return what folding and planning cost, by the second epoch and those after it."""
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


def measure_ours(samples: int, method: str, dtype: str) -> dict[str, float]:
    def make(size: int) -> PrunedDataset:
        score = BLS(METHODS[method](range(size), 100), dtype=getattr(torch, dtype))
        train: PrunedDataset = score.proxy()
        return train

    measure_epochs(make(1000), 0)  # what is imported, and made, once
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
    """Return what handing out indices costs, beside a list of them."""
    train: PrunedDataset = BLS(InfoBatch(range(samples), 100)).proxy()
    served = iter(train.sampler)
    share = train.epochs.begun.last
    assert share is not None
    ours = traced_peak_of(lambda: deque(served, maxlen=0))
    return {"ours": ours, "list": traced_peak_of(share.order.tolist)}


def measure_ranks(samples: int, ranks: int, sharded: bool) -> dict[str, float]:
    """Return what an epoch costs each of several ranks on this machine: the first one's numbers."""
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
    found["peak"] *= len(train) / samples  # of a sample of the whole dataset, on this rank
    found["resident"] *= len(train) / samples
    found["sent"] = max(sent)
    found["batches"] = -(-samples // ranks // max(128, -(-samples // ranks // BATCHES)))
    if rank == 0:
        (Path(folder) / "result").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()


class Keys:
    """A stream that costs nothing to read: the keys of so many samples, as strings."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Any:
        return (f"shard/{number:09}.jpg" for number in range(self.samples))


def itself(stored: str) -> str:
    return stored


def measure_stream(samples: int) -> dict[str, float]:
    """Return what a pass costs beside reading the keys, by a set and by our table of keys."""
    from dynaprune.loading.stream_worker import PassPlan, serve
    from dynaprune.training.batch import Batch

    stream = PrunedIterableDataset(Keys(samples), key=itself)
    read = min(samples, 1_000_000)
    part = PrunedIterableDataset(Keys(read), key=itself)
    started = time.perf_counter()
    for _ in part.stored(0):
        pass
    reading = (time.perf_counter() - started) / read

    base = memory("VmRSS")
    train: PrunedDataset = BLS(InfoBatch(stream, 100)).proxy()
    hashes = torch.from_numpy(
        np.fromiter((fingerprint(key) for key in stream.stored(0)), np.int64, samples)
    )
    folds, plans = [], []
    batch = max(128, -(-samples // BATCHES))
    for epoch in range(3):
        planned, _ = peak_of(train.begin_epoch)
        plan = train.epochs.plan
        assert plan is not None
        known = plan.keys.fingerprints if plan.keys is not None else np.empty(0)
        kept = hashes if epoch == 0 else torch.from_numpy(known[plan.order.numpy()])
        kept = kept[torch.randperm(len(kept))]
        losses = torch.empty(-(-len(kept) // batch)).exponential_()
        for number in range(len(losses)):
            keys = kept[number * batch : (number + 1) * batch].numpy()
            train.epochs.report(plan, Batch(keys, 1.0, None, (), 0), losses[number], None)
        folded, peak = peak_of(train.end_epoch)
        folds.append(folded)
        plans.append(planned)
    del hashes, kept, known, keys
    train.begin_epoch()
    plan = train.epochs.plan
    assert plan is not None
    assert plan.keys is not None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else it is what the allocator keeps of the keys' sorting
    resident = memory("VmRSS")
    pass_plan = PassPlan(
        epoch=2,
        seed=0,
        keys=plan.keys.fingerprints,
        weights=plan.weight_of_each(),
        served=np.empty(0, np.int64),
        rank=0,
        world_size=1,
        batch_size=batch,
        drop_last=False,
        avoids_lone=False,
    )
    started = time.perf_counter()
    for _ in serve(part, pass_plan, 0, 1):
        pass
    ours = (time.perf_counter() - started) / read

    before = memory("VmRSS")
    skipped = set(Keys(samples))
    as_set = memory("VmRSS") - before
    started = time.perf_counter()
    for key in part.stored(0):
        if key not in skipped:
            raise AssertionError
    theirs = (time.perf_counter() - started) / read
    return {
        "first_fold": folds[0],
        "fold": median(folds[1:]),
        "plan": median(plans[1:]),
        "resident": (resident - base) / samples,
        "peak": (peak - base) / samples,
        "decide": ours - reading,
        "set": theirs - reading,
        "set_bytes": as_set / samples,
    }


MEASURES: dict[str, Callable[..., dict[str, float]]] = {
    "ours": measure_ours,
    "textbook": measure_textbook,
    "sampler": measure_sampler,
    "ranks": measure_ranks,
    "stream": measure_stream,
}


class Results:
    """What was measured so far, in a file if there is one."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.found: dict[str, dict[str, float]] = {}
        if file is not None and file.exists():
            self.found = json.loads(file.read_text())

    def of(self, what: str, **arguments: Any) -> dict[str, float]:
        """Measure in a process of its own, unless that has been done."""
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
    """Return bytes a sample, but of so few samples that they do not show beside 40 MB of chunks."""
    return f"{size:,.1f}" if samples >= 10_000_000 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--samples", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7, 1e8], metavar="N"
    )
    parser.add_argument("--textbook", type=float, default=1e7, help="its largest number of samples")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rank-samples", type=float, default=1e7)
    parser.add_argument("--save", type=Path, help="JSON file of results; goes on with those in it")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        what, arguments = json.loads(options.one)
        print(json.dumps(MEASURES[what](**arguments)))
        return
    results, console = Results(options.save), Console(width=130)
    sizes = [int(each) for each in options.samples]

    table = Table(title=f"Fold and plan; bytes are a sample's; torch {torch.__version__}")
    for name in ("method", "samples", "fold\nms", "plan\nms", "ns a\nsample", "resident"):
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
    for method, dtype in (("InfoBatch", "float32"), ("InfoBatch", "float16"), ("SeTa", "float32")):
        for size in sizes:
            ours = results.of("ours", samples=size, method=method, dtype=dtype)
            cells = [method + (", half" if dtype == "float16" else ""), f"{size:,}"]
            cells += [ms(ours["fold"]), ms(ours["plan"])]
            cells += [f"{(ours['fold'] + ours['plan']) / size * 1e9:.0f}"]
            cells += [a_sample(ours[each], size) for each in ("resident", "peak", "traced")]
            most = options.textbook if method == "InfoBatch" else options.textbook / 3
            if size <= most and dtype == "float32":
                theirs = results.of("textbook", samples=size, method=method)
                cells += [ms(theirs["plan"]), f"{theirs['plan'] / ours['plan']:.1f}×"]
                cells += [a_sample(theirs["peak"], size)]
                traced = theirs["traced"]
                cells += [a_sample(traced, size) if traced == traced else ""]
            table.add_row(*cells)
    console.print(table)

    table = Table(title="Handing out an epoch's indices, as Python integers: peak, traced")
    for name in ("samples", "dynaprune MiB", "list MiB", "ratio"):
        table.add_column(name, justify="right")
    for size in [each for each in sizes if each <= options.textbook]:
        found = results.of("sampler", samples=size)
        mib = [found[each] / 2**20 for each in ("ours", "list")]
        table.add_row(f"{size:,}", *(f"{each:,.1f}" for each in mib), f"{mib[1] / mib[0]:.1f}×")
    console.print(table)

    table = Table(title="Several ranks on this machine, on the first: bytes are a sample's")
    for name in ("ranks", "samples", "each knows", "fold, exchange ms", "plan ms", "resident"):
        table.add_column(name, justify="right")
    for name in ("peak RSS", "sent a batch"):
        table.add_column(name, justify="right")
    size = int(options.rank_samples)
    for ranks in options.ranks:
        for sharded in (False, True):
            found = results.of("ranks", samples=size, ranks=ranks, sharded=sharded)
            sent = found["sent"] / (1 if sharded else found["batches"])
            table.add_row(
                str(ranks),
                f"{size:,}",
                "its own" if sharded else "all",
                ms(found["fold"]),
                ms(found["plan"]),
                f"{found['resident']:.1f}",
                f"{found['peak']:.1f}",
                f"{sent:.0f} an epoch" if sharded else f"{sent:.1f}",
            )
    console.print(table)

    table = Table(title="Streams: a sample's decision, beside a set of its keys; bytes a sample's")
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
