"""How well wrong labels are found: from one training, by several readings, and from five.

    python benchmarks/studies/find_wrong_labels.py --root DATA   # continues where it stopped
    python benchmarks/studies/find_wrong_labels.py --tables      # prints the results so far
    python benchmarks/studies/find_wrong_labels.py --fill docs/wrong-labels.md

The losses of all visits are kept in runs/, so that another ranking needs no training.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kept_runs import RESULTS, Runs, fill_page, markdown_table
from noisy_sets import NOISY_SETS
from rankings import RANKINGS, Trainings

from dynaprune.bench.ranking import auroc, precision
from dynaprune.bench.statistics import Mean, mean_of

FOLDER = RESULTS / "find-wrong-labels"
REFERENCE = "ledger, true losses"
VISITS = Path("runs/find-wrong-labels")


HEADINGS = {
    "ledger, true losses": "losses of samples",
    "ledger, slices of 4": "slices of 4",
    "ledger, slices of 8": "of 8",
    "recording, slices of 4": "of 4, recorded",
    "recording, slices of 8": "of 8, recorded",
    "ledger, one number a batch of 16": "batches of 16",
    "ledger, one number a batch of 64": "of 64",
    "last loss": "last loss",
    "mean of losses": "mean loss",
    "mean of margins (AUM)": "AUM",
    "five trainings (cleanlab)": "five trainings",
}
"""What tables call the rankings."""


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


MEASURES: dict[str, Callable[[Mean], str]] = {
    "auroc": Mean.text,
    "auroc minus reference": lambda mean: mean.text(sign=True),
    "precision": Mean.percent,
    "processor seconds": lambda mean: f"{mean.value:.0f}",
}
"""What a table shows of results, with 95% intervals."""


def compared(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results with `auroc minus reference`, paired by set and seed.

    Results without a partner that is ranked by `REFERENCE` are left out. So is the reference.
    """
    partners = {(r["set"], r["seed"]): r["auroc"] for r in results if r["ranking"] == REFERENCE}
    return [
        {**r, "auroc minus reference": r["auroc"] - partners[r["set"], r["seed"]]}
        for r in results
        if r["ranking"] != REFERENCE and (r["set"], r["seed"]) in partners
    ]


def table(results: list[dict[str, Any]], measure: str) -> str:
    """Return a table in Markdown: a row for each set, a column for each ranking.

    Arguments:
        results: from `run` or `compared`, with their keys. A cell without an interval is from a
            single seed.
        measure: one of `MEASURES`.
    """
    names = [name for name in NOISY_SETS if any(r["set"] == name for r in results)]
    columns = ["labels", "wrong %", "seeds", *(HEADINGS[ranking] for ranking in RANKINGS)]
    rows = [columns]
    for name in names:
        runs = [r for r in results if r["set"] == name]
        found = {
            ranking: [r[measure] for r in runs if r["ranking"] == ranking] for ranking in RANKINGS
        }
        seeds = sorted({len(values) for values in found.values() if values})
        rows.append(
            [
                name,
                f"{100 * mean_of([r['wrong'] for r in runs]).value:.0f}",
                " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
                *(MEASURES[measure](mean_of(each)) if each else "" for each in found.values()),
            ]
        )
    return markdown_table(rows)


def main() -> None:
    """Rank, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of data sets")
    parser.add_argument("--sets", nargs="+", choices=NOISY_SETS, default=list(NOISY_SETS))
    parser.add_argument("--rankings", nargs="+", choices=RANKINGS, default=list(RANKINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", action="store_true", help="train nothing")
    parser.add_argument("--fill", type=Path, help="a page whose tables are to be updated")
    given = parser.parse_args()
    if not given.tables and given.fill is None:
        if given.root is None:
            parser.error("--root is needed to train")
        torch.set_num_threads(1)
        for seed in range(given.seeds):
            for name in given.sets:
                runs = Runs(FOLDER / f"{slug(name)}.jsonl")
                for ranking in given.rankings:
                    key = {"set": name, "ranking": ranking, "seed": seed}
                    runs.do(key, run, name, ranking, given.root, seed)
    results = [r for path in sorted(FOLDER.glob("*.jsonl")) for r in Runs(path).results]
    if given.fill is not None:
        fill_page(given.fill, {"auroc": table(results, "auroc")})
        return
    for measure in MEASURES:
        shown = compared(results) if "reference" in measure else results
        print(f"\n{measure}\n\n{table(shown, measure)}")


if __name__ == "__main__":
    main()
