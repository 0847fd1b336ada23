"""Checks and measures on a GPU that is there for some minutes; goes on where its results stop.

    python benchmarks/gpu/pack.py --root DATA     # once, where the data are: .gpu/, 18 MB
    PYTHONPATH=src python benchmarks/gpu/run.py --minutes 9      # where the GPU is
    PYTHONPATH=src python benchmarks/gpu/run.py --stage cifar10,noisy --minutes 5,3 --out OUT

It needs torch, NumPy, Pillow and pytest, and no network. A stage runs until its minutes are over,
and leaves what it did not use to the next one. A run that would not end in time is not begun. What
is new is appended to OUT, JSON lines in a file a stage, with card and versions; what is there, or
in benchmarks/results/gpu/, is not made again.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

import checks
import cifar10
import cost
import fits
import noisy
import paper
import rates
import torch
from pack import FOLDER
from session import Results, Session, context_of

KEPT = Path(__file__).parents[1] / "results" / "gpu"

STAGES = {
    "checks": checks,
    "cost": cost,
    "rates": rates,
    "cifar10": cifar10,
    "noisy": noisy,
    "fits": fits,
    "paper": paper,
}
SHARES = {"checks": 1, "cost": 1, "rates": 0.25, "cifar10": 4, "noisy": 2, "fits": 2, "paper": 4}
"""How minutes are divided among the stages that run, where they are not said for each."""


def minutes_of(given: str, stages: list[str]) -> list[float]:
    """Return the minutes of each stage, from one number for all or one for each.

    Raises:
        ValueError: it is neither.
    """
    numbers = [float(each) for each in given.split(",")]
    if len(numbers) == 1:
        total = sum(SHARES[stage] for stage in stages)
        return [numbers[0] * SHARES[stage] / total for stage in stages]
    if len(numbers) != len(stages):
        raise ValueError(f"{len(stages)} stages, but {len(numbers)} numbers of minutes were given")
    return numbers


def main() -> None:
    """Run the stages that the command line names."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stage", default=",".join(STAGES), help="which ones, by comma")
    parser.add_argument("--minutes", default="10", help="of all stages, or of each, by comma")
    parser.add_argument("--out", type=Path, default=KEPT, help="folder of new results")
    parser.add_argument("--data", type=Path, default=FOLDER, help="what pack.py has made")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="all lines, at the smallest sizes")
    given = parser.parse_args()
    chosen = given.stage.split(",")
    unknown = [stage for stage in chosen if stage not in STAGES]
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}: there are {', '.join(STAGES)}")
    try:
        minutes = minutes_of(given.minutes, chosen)
    except ValueError as error:
        parser.error(f"--minutes: {error}")
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here: --device cpu --toy tries all stages without one")
    pairs = sorted(zip(chosen, minutes, strict=True), key=lambda pair: list(STAGES).index(pair[0]))
    deadline = started
    folders = [given.out] if given.toy else [KEPT, given.out]
    has_failed = False
    for stage, its in pairs:
        deadline += 60 * its
        results = Results(stage, folders, context_of(device, given.toy))
        session = Session(device, given.toy, results, deadline, given.data)
        began = time.monotonic()
        try:
            STAGES[stage].work(session)
        except Exception:  # the machine's minutes are few: the other stages go on
            traceback.print_exc()
            has_failed = True
        print(f"\n{stage}: {time.monotonic() - began:.1f} s", flush=True)
        print(STAGES[stage].table(results.records), flush=True)
    sys.exit(1 if has_failed else 0)


if __name__ == "__main__":
    main()
