"""All the runs behind docs/evidence.md, several at a time.

    python benchmarks/evidence.py run --root DATA     # goes on where it stopped
    python benchmarks/evidence.py left --root DATA    # how much of that there is still to do
    python benchmarks/evidence.py fill                # docs/evidence.md, from what there is

They are those of `dynaprune bench run`, with a process a core. What is run first is a seed of
everything, so that all tables fill at the same pace.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS

from dynaprune.bench.registry import built_in
from dynaprune.bench.report import draw_all
from dynaprune.bench.results import Results
from dynaprune.bench.runner import Planned, make_run, plan_runs, warm_up
from dynaprune.bench.sections import Section, sections_of
from dynaprune.bench.tables import about, matrix, overview, scale_of, scoreboard
from dynaprune.bench.task import Task
from dynaprune.bench.ways import BASELINES, FULL, WAYS

FOLDER = RESULTS / "bench"
PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"
PICTURES = PAGE.parent / "images" / "evidence"

BUDGETS = (0.2, 0.3, 0.4, 0.5)
EVERY_BUDGET = (FULL, *BASELINES, "bls-infobatch")
BELOW_HALF = (0.2, 0.3, 0.4)  # at 50% InfoBatch draws from all samples, whatever their scores
ENDS = (0.2, 0.5)

CHANGED = ("redundant", "long-tailed", "trivial", "wrong-labels")
LONGER = ("brief", "saturated")
IN_REGIMES = ("digits-cnn", "sst2-lstm")
SAVED_THERE = (0.2, 0.4)
BY_REGIME = (
    FULL,
    *BASELINES,
    "infobatch",
    "bls-infobatch",
    "slices-infobatch",
    "skip-converged",
    "slices-skip-converged",
    "slices-trimmed",
)


@dataclass(frozen=True)
class Stage:
    """Runs of a task in a regime.

    Attributes:
        task: its name.
        regime: likewise.
        ways: of training.
        budgets: shares of visits to save.
    """

    task: str
    regime: str
    ways: tuple[str, ...]
    budgets: tuple[float, ...]


def stages() -> list[Stage]:
    """Return what is run, once for each seed."""
    found = []
    for task in built_in():
        found.append(Stage(task, "as-is", EVERY_BUDGET, BUDGETS))
        found.append(Stage(task, "as-is", ("infobatch",), BELOW_HALF))
        found.append(Stage(task, "as-is", ("kalman-infobatch",), (0.2, 0.4)))
        found.append(Stage(task, "as-is", ("seta", "bls-seta"), ENDS))
    for task in IN_REGIMES:
        found += [Stage(task, regime, BY_REGIME, SAVED_THERE) for regime in (*CHANGED, *LONGER)]
    return found


def planned(root: Path, results: Results, seeds: int) -> Iterator[Planned]:
    """Yield the runs that are missing."""
    asked: set[str] = set()
    for seed in range(seeds):
        for stage in stages():
            task = loaded(stage.task, root)
            plan = plan_runs(
                task, stage.regime, stage.ways, stage.budgets, [seed], type(task).recipe
            )
            for run in plan.runs:
                if run.key not in results and repr(run.key) not in asked:
                    asked.add(repr(run.key))
                    yield run


@cache
def loaded(name: str, root: Path) -> Task:
    """Return a task with its data."""
    torch.set_num_threads(1)
    task = built_in()[name]()
    task.load(root)
    return task


@cache
def warm(name: str, root: Path) -> Task:
    """Return a task with its data, after a first step: the first one in a process is slow."""
    task = loaded(name, root)
    warm_up(task, task.recipe)
    return task


def work(root: Path, run: Planned) -> dict[str, Any]:
    """Make a run, in a process of its own."""
    return make_run(warm(run.key.task, root), run)


def run_missing(root: Path, results: Results, seeds: int, processes: int) -> None:
    """Make the runs that are missing, and keep each as it comes."""
    coming = planned(root, results, seeds)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        running: dict[Future[dict[str, Any]], Planned] = {}
        while True:
            for run in islice(coming, processes + 1 - len(running)):
                running[pool.submit(work, root, run)] = run
            if not running:
                return
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(ended).key
                line = results.add(key, ended.result())
                print(
                    f"seed {key.seed}  {key.task}  {key.regime}  {key.way} {key.budget:.0%}: "
                    f"{line['quality']:.4g} in {line['seconds']:.1f} s",
                    flush=True,
                )


def fill(results: Results) -> None:
    """Bring the tables and pictures of docs/evidence.md up to date."""
    sections = sections_of(results)
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    pictures = draw_all(sections, PICTURES)
    as_is = [section for section in sections if section.regime == "as-is"]
    parts = {
        "seeds": seeds_line(sections),
        "overview": overview(as_is).partition("\n\n")[2],
        "together": scoreboard(as_is),
        "seconds": seconds_table(as_is),
        "regimes": regimes_table(sections),
        "tasks": "\n".join(
            f"### {section.title}\n\n{about(section)}\n{matrix(section)}\n"
            f"![{section.task['metric']} against sample visits: {section.title}]"
            f"({PICTURES.relative_to(PAGE.parent)}/{picture})\n"
            for section, picture in zip(sections, pictures, strict=True)
        ),
    }
    text = PAGE.read_text(encoding="utf-8")
    for name, part in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}{part}{end}{after}"
    PAGE.write_text(text, encoding="utf-8")


def seeds_line(sections: list[Section]) -> str:
    """Return how many runs and seeds there are."""
    seeds = [row.seeds for section in sections for row in section.rows]
    runs = sum(len(section.lines) for section in sections)
    settings = sum(section.regime != "as-is" for section in sections)
    return (
        f"{runs:,} runs of {len(sections) - settings} tasks and {settings} settings, "
        f"{min(seeds)} to {max(seeds)} seeds each.\n"
    )


def seconds_table(sections: list[Section]) -> str:
    """Return the table of wall-clock saved where half of the visits are."""
    ways = [way for way in WAYS if way in (*BASELINES, "infobatch", "bls-infobatch", "bls-seta")]
    lines = [
        f"| task | full training, s | {' | '.join(ways)} |",
        f"| --- | ---: |{' ---: |' * len(ways)}",
    ]
    for section in sections:
        saved = {r.way: r.seconds_saved for r in section.rows if r.budget == max(BUDGETS)}
        spent = [line["seconds"] for line in section.lines if line["way"] == FULL]
        cells = ["" if (s := saved.get(w)) is None else f"{100 * s.value:.0f}%" for w in ways]
        full = f"{np.median(spent):.1f}" if spent else ""
        lines.append(f"| {section.title} | {full} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def regimes_table(sections: list[Section]) -> str:
    """Return, for each kind of waste, how ways compare where 40% of the visits are saved."""
    lines = [
        "| setting | full training | − full: fewer epochs | random | the best with scores | "
        "which | − fewer epochs | − random |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for section in sections:
        if section.task["name"] not in IN_REGIMES:
            continue
        scale, digits = scale_of(section)
        rows = {row.way: row for row in section.rows if row.budget == max(SAVED_THERE)}
        full = next(row for row in section.rows if row.way == FULL)
        scored = [row for way, row in rows.items() if way not in BASELINES and row.against_full]
        if not scored or any(baseline not in rows for baseline in BASELINES):
            continue
        best = max(scored, key=lambda row: row.against_full.value if row.against_full else 0)
        shown = [rows[b].against_full for b in BASELINES] + [best.against_full]
        against = [best.against.get(baseline) for baseline in BASELINES]
        cells = ["" if m is None else m.text(scale, digits, sign=True) for m in (*shown, *against)]
        cells.insert(3, best.way)
        lines.append(
            f"| {section.title} | {full.quality.text(scale, digits)} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "left", "fill"))
    parser.add_argument("--root", type=Path, help="folder that holds data sets")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    results = Results(given.out)
    if given.what == "fill":
        fill(results)
    elif given.root is None:
        parser.error("name the folder that holds data sets: --root")
    elif given.what == "run":
        run_missing(given.root, results, given.seeds, given.processes)
    else:
        missing = sum(1 for _ in planned(given.root, results, given.seeds))
        print(f"{len(results.lines)} runs are made, {missing} are missing")


if __name__ == "__main__":
    main()
