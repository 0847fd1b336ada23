"""Fits: is it the choice of points that gains, or the scale of the loss?

    python benchmarks/studies/fits_scale.py           # trains; goes on where it stopped
    python benchmarks/studies/fits_scale.py --fill docs/evidence/fits.md

The first epoch of InfoBatch has no scores, so its weights are 1; later ones are N/kept, which is 2
at half of the visits. So the loss, and with Adam for some time the step, grows after the first
epoch. Here random points and LossProportional get the same growth, and InfoBatch a constant scale.
Rates are those of fits.py. It takes about 6 minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fits
import torch
from fits import EQUAL, FEWER, OWN, RANDOM, ROOT, SAVED
from kept_runs import RESULTS, Runs, fill_page, markdown_table
from torch import Tensor

from dynaprune import PrunedDataset

TARGETS = ("image: flower", "image: temple", "bumps", "Burgers")
COMPARED = ((RANDOM, "doubled"), (ROOT, "doubled"), (EQUAL, "constant"), (OWN, "constant"))


class Rescaled:
    """A pruned dataset that `fits.fit` can train, with another scale of the loss."""

    def __init__(self, train: PrunedDataset, scale: str) -> None:
        self.num_epochs, self._train, self._scale, self._epoch = train.num_epochs, train, scale, -1

    def batches(self, size: int) -> Iterator[Tensor]:
        self._epoch += 1
        yield from self._train.batches(size)

    def update(self, losses: Tensor) -> Tensor:
        weighted = self._train.update(losses)
        if self._scale == "constant":
            return losses.mean()
        return weighted if self._epoch == 0 else 2 * weighted


def run(key: dict[str, Any]) -> dict[str, Any]:
    """Train a target with another scale of the loss."""
    return fits.fit(key, Rescaled(fits.pruned(key), key["scale"]))


def table(scaled: Runs, runs: Runs) -> str:
    """Return what each gains at another scale, in decibels with 95% intervals."""
    bases = (RANDOM, FEWER, ROOT)
    rows = [["target", "way", "loss after the first epoch", *(f"− {base}" for base in bases)]]
    for target in TARGETS:
        for way, scale in COMPARED:
            wants = {"target": target, "way": way, "scale": scale}
            found = {
                each["seed"]: each["quality"]
                for each in scaled.results
                if wants.items() <= each.items()
            }
            others = (fits.qualities(runs, target, base, SAVED) for base in bases)
            gains = [fits.text(fits.difference(found, each)) for each in others]
            rows.append([target, way, scale, *gains])
    return markdown_table(rows, names=3)


def train(runs: Runs, scaled: Runs) -> None:
    """Make the missing runs, at the rates that `fits.py` found."""
    torch.set_num_threads(1)
    for target in TARGETS:
        for way, scale in COMPARED:
            rate = fits.best_rate(runs, target, way)
            for seed in fits.SEEDS:
                key = {"target": target, "way": way, "saved": SAVED, "seed": seed}
                whole = {**key, "rate": rate, "scale": scale}
                scaled.do(whole, run, whole)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fill", nargs="+", type=Path, help="pages whose table is updated")
    given = parser.parse_args()
    runs, scaled = Runs(RESULTS / "fits.jsonl"), Runs(RESULTS / "fits-scale.jsonl")
    if given.fill is None:
        train(runs, scaled)
        print(table(scaled, runs))
        return
    for page in given.fill:
        fill_page(page, {"fits-scale": table(scaled, runs)})


if __name__ == "__main__":
    main()
