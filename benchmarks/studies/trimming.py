"""What trimming wrong labels gains, by reading, beside full training and removal: the table.

    B="dynaprune bench run cifar10-unpooled --data-root DATA --out benchmarks/results/trimming"
    M=fewer-epochs,random,trimmed,fine-slices-trimmed,slices-trimmed,kalman-trimmed,removal
    M=$M,trimmed-auto,fine-slices-trimmed-auto,slices-trimmed-auto,kalman-trimmed-auto
    $B --regime human-labels-worse --budgets 0.27 --methods $M
    $B --regime human-labels-random --budgets 0.115 --methods $M
    $B --regime human-labels-aggregate --budgets 0.06 --methods $M
    $B --methods trimmed-auto,fine-slices-trimmed-auto,slices-trimmed-auto,kalman-trimmed-auto
    python benchmarks/studies/trimming.py --fill docs/wrong-labels.md

The network memorizes wrong labels, as large ones do. A budget is what trimming as many samples as
are wrong saves, by `budget_of`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kept_runs import RESULTS, fill_page

from dynaprune.bench.comparison import Row
from dynaprune.bench.results import Results
from dynaprune.bench.sections import sections_of
from dynaprune.bench.statistics import Mean
from dynaprune.bench.variants import BASELINES

FOLDER = RESULTS / "trimming"


def table(results: Results) -> str:
    """Return a table in Markdown: a row for each regime, variant and budget, with 95% intervals."""
    against = ("full", *BASELINES)
    rows = [
        f"| labels | variant | seeds | visits saved % | accuracy % | − {' | − '.join(against)} |",
        f"| --- | --- | ---: | ---: | ---: |{' ---: |' * len(against)}",
    ]
    for section in sections_of(results):
        rows += [f"| {section.regime} | {_cells(row)} |" for row in section.rows]
    return "\n".join(rows)


def _cells(row: Row) -> str:
    differences: list[Mean | None] = [row.against_full, *(row.against.get(b) for b in BASELINES)]
    return " | ".join(
        [
            row.variant,
            str(row.seeds),
            f"{100 * row.visits_saved.value:.1f}",
            row.quality.percent(),
            *("" if each is None else each.percent(sign=True) for each in differences),
        ]
    )


def main() -> None:
    """Print the table, or update the page that shows it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fill", type=Path, help="a page whose table is to be updated")
    given = parser.parse_args()
    found = table(Results(FOLDER))
    if given.fill is None:
        print(found)
    else:
        fill_page(given.fill, {"trimming": f"{found}\n"})


if __name__ == "__main__":
    main()
