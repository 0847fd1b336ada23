"""How well wrong labels are found: from one training, by several readings, and from five.

    python benchmarks/studies/find_wrong_labels.py --root DATA   # continues where it stopped
    python benchmarks/studies/find_wrong_labels.py --tables      # prints the results so far

The losses of all visits are kept in runs/, so that another ranking needs no training.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from kept_runs import RESULTS, Runs
from noisy_sets import NOISY_SETS
from rankings import RANKINGS, Trainings

from dynaprune.bench.ranking import auroc, precision
from dynaprune.bench.statistics import mean_of

FOLDER = RESULTS / "find-wrong-labels"
VISITS = Path("runs/find-wrong-labels")


def run(name: str, ranking: str, root: Path, seed: int) -> dict[str, Any]:
    """Rank the samples of a set, and return how well that finds its wrong labels."""
    noisy = NOISY_SETS[name](root, seed)
    ranked = RANKINGS[ranking](Trainings(noisy, seed, VISITS / slug(name)))
    is_wrong = noisy.is_wrong.numpy()
    return {
        "wrong": float(is_wrong.mean()),
        "auroc": auroc(ranked.scores, is_wrong),
        "precision": precision(ranked.scores, is_wrong),
        "processor seconds": ranked.seconds,
    }


def slug(name: str) -> str:
    """Return a name as part of a file's."""
    return "-".join(re.findall(r"\w+", name.lower()))


def table(results: list[dict[str, Any]]) -> str:
    """Return a table in Markdown: a row for each set and ranking, with 95% intervals."""
    rows = [
        "| labels | wrong % | found by | seeds | AUROC | precision % | seconds |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for name in NOISY_SETS:
        for ranking in RANKINGS:
            runs = [r for r in results if (r["set"], r["ranking"]) == (name, ranking)]
            if not runs:
                continue
            means = {
                key: mean_of([run[key] for run in runs])
                for key in ("wrong", "auroc", "precision", "processor seconds")
            }
            cells = [
                name,
                f"{100 * means['wrong'].value:.0f}",
                ranking,
                str(len(runs)),
                means["auroc"].text(),
                means["precision"].percent(),
                f"{means['processor seconds'].value:.0f}",
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Rank, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of data sets")
    parser.add_argument("--sets", nargs="+", choices=NOISY_SETS, default=list(NOISY_SETS))
    parser.add_argument("--rankings", nargs="+", choices=RANKINGS, default=list(RANKINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", action="store_true", help="train nothing")
    given = parser.parse_args()
    if not given.tables:
        if given.root is None:
            parser.error("--root is needed to train")
        torch.set_num_threads(1)
        for seed in range(given.seeds):
            for name in given.sets:
                runs = Runs(FOLDER / f"{slug(name)}.jsonl")
                for ranking in given.rankings:
                    key = {"set": name, "ranking": ranking, "seed": seed}
                    runs.do(key, run, name, ranking, given.root, seed)
    print(table([r for path in sorted(FOLDER.glob("*.jsonl")) for r in Runs(path).results]))


if __name__ == "__main__":
    main()
