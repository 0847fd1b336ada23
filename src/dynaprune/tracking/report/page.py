"""The page: one file that needs no network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.labels import check_labels, class_names
from ...training.checkpoint import whole_file
from ...utils.optional_imports import require
from ...utils.rng import restored_random_state
from .classes import by_class
from .drawing import Page, check_libraries, draw
from .run import RecordedRun
from .sample_view import Shown, failure_of, label_of, show

SHOWN = 24
"""Samples that are shown of those skipped most, and of those served most."""


def write_report(
    directory: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    dataset: Any = None,
    labels: Any = None,
    view: Callable[[Any], Any] | None = None,
) -> Path:
    """Write a page of what `train.record(directory)` has recorded, and return its path.

    A sample that cannot be read or shown has the name of its error in its place. The page is drawn
    in a process of its own.

    Arguments:
        directory: of the recording.
        path: of the page.
        dataset: the one that was trained on, for the samples that were skipped and served most;
            without it there are only numbers.
        labels: of all samples, shape (N,), for how each class fared; by default those
            that the dataset has as a whole.
        view: returns what of a sample is to be shown, as a picture, a text or the numbers of a
            sound; by default that is found out.

    Raises:
        FileNotFoundError: there is no recording, or no folder for the page.
        IsADirectoryError: `path` is a folder.
        ImportError: a package that draws the page is not installed.
        RuntimeError: the recording is damaged, or the process that draws has failed.
        ValueError: the dataset, or `labels`, are of another number of samples.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: give the path of the page, such as report.html"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}: make it first")
    run = RecordedRun.read(Path(directory))
    count = run.samples.scores.size
    if dataset is not None and run.samples.keys is None and len(dataset) != count:
        raise ValueError(
            f"dataset must be the one that was trained on, of {count:,} samples, but it has "
            f"{len(dataset):,}"
        )
    known = None if run.samples.keys is not None else check_labels(labels, dataset, count)
    check_libraries()  # before samples are read, which may take long
    names = None if dataset is None else _names_of(dataset)
    with restored_random_state(()):  # samples may draw numbers when they are read
        most, least = _extremes(run, dataset, names, view)
    page = draw(Page(run, by_class(run, known, names), most, least))
    with whole_file(path) as file:
        file.write(page)
    return path


def _names_of(dataset: Any) -> Sequence[str] | None:
    try:
        return class_names(dataset)
    except Exception:  # whatever a property of the user's raises: nobody asked for their names
        return None


def _extremes(
    run: RecordedRun,
    dataset: Any,
    names: Sequence[str] | None,
    view: Callable[[Any], Any] | None,
) -> tuple[list[Shown], list[Shown]]:
    """Return the samples that were skipped most, and those that were served most.

    Of those alike in that, the ones with the lowest scores, and with the highest.
    """
    samples = run.samples
    if dataset is None or samples.keys is not None or not hasattr(dataset, "__getitem__"):
        return [], []
    order = np.lexsort((samples.scores, samples.visits))
    count = min(SHOWN, order.size // 2)

    require("PIL.Image", "report")

    def shown(index: int) -> Shown:
        score, visits = float(samples.scores[index]), int(samples.visits[index])
        try:
            sample = dataset[index]
            kind, content = show(sample, view)
            return Shown(index, label_of(sample, names), kind, content, score, visits)
        except Exception as error:  # one that cannot be shown leaves the others on the page
            return Shown(index, "", "other", failure_of(error), score, visits)

    return (
        [shown(int(index)) for index in order[:count]],
        [shown(int(index)) for index in order[::-1][:count]],
    )
