"""Writing the report: one HTML file that needs no network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.hardest import rank_in_class
from ...data.labels import check_labels, class_names
from ...training.checkpoint import whole_file
from ...utils.optional_imports import require
from ...utils.rng import restored_random_state
from .classes import by_class
from .drawing import Page, check_libraries, draw
from .hints import hint_for_classes, hint_for_samples
from .html import checked_path
from .run import RecordedRun
from .sample_view import SampleView, failure_of, label_of, show

SHOWN = 24
"""How many of the samples skipped most, of those served most, and of the hardest are shown."""


def write_report(
    directory: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    dataset: Any = None,
    labels: Any = None,
    view: Callable[[Any], Any] | None = None,
) -> Path:
    """Write a report on the recording of `train.record(directory)`, and return its path.

    If a sample cannot be read or shown, the page shows the name of the error instead. A separate
    process renders the page.

    Arguments:
        directory: the folder of the recording.
        path: the path of the page.
        dataset: the dataset that was trained on, to show the samples that were skipped and served
            most; without it the report has only numbers.
        labels: the labels of all samples, shape (N,), to show how often each class was served; by
            default those that the dataset provides for all samples at once.
        view: takes a sample and returns the part to show: a picture, a text or the numbers of a
            sound; by default this part is detected.

    Raises:
        FileNotFoundError: there is no recording, or no folder for the page.
        IsADirectoryError: `path` is a folder.
        ImportError: a package that renders the page is not installed.
        RuntimeError: the recording is damaged, or the process that renders the page has failed.
        ValueError: the dataset, or `labels`, have another number of samples than the recording.
    """
    path = checked_path(path, "the page, such as report.html")
    run = RecordedRun.read(Path(directory))
    count = run.samples.scores.size
    if run.samples.keys is not None:
        dataset = labels = None  # the samples of a stream cannot be looked up
    if dataset is not None and len(dataset) != count:
        raise ValueError(
            f"dataset must be the one that was trained on, with {count:,} samples, but it has "
            f"{len(dataset):,}"
        )
    known = check_labels(labels, dataset, count)
    check_libraries()  # before reading samples, which may take long
    names = class_names(dataset)
    with restored_random_state(()):  # reading samples may draw random numbers
        skipped, served, hardest = _shown(run, dataset, known, names, view)
    given = {
        "is_stream": run.samples.keys is not None,
        "has_dataset": hasattr(dataset, "__getitem__"),
    }
    page = draw(
        Page(
            run,
            by_class(run, known, names),
            skipped,
            served,
            hardest,
            hint_for_classes(known, **given),
            hint_for_samples(count, **given),
        )
    )
    with whole_file(path) as file:
        file.write(page)
    return path


def _shown(
    run: RecordedRun,
    dataset: Any,
    labels: NDArray[Any] | None,
    names: Sequence[str] | None,
    view: Callable[[Any], Any] | None,
) -> tuple[list[SampleView], list[SampleView], list[SampleView]]:
    """Return the samples skipped most, those served most, and the hardest of each class.

    Ties are broken by score: the lowest come first in the first list, the highest in the second.
    """
    samples = run.samples
    if dataset is None or not hasattr(dataset, "__getitem__"):
        return [], [], []
    order = np.lexsort((samples.scores, samples.visits))
    hardest = np.lexsort((-samples.mean_excess, rank_in_class(samples.mean_excess, labels)))
    count = min(SHOWN, order.size // 2)

    require("PIL.Image", "report")

    def shown(index: int) -> SampleView:
        score, visits = float(samples.scores[index]), int(samples.visits[index])
        try:
            sample = dataset[index]
            kind, content = show(sample, view)
            return SampleView(index, label_of(sample, names), kind, content, score, visits)
        except Exception as error:  # the page still shows the other samples
            return SampleView(index, "", "other", failure_of(error), score, visits)

    return (
        [shown(int(index)) for index in order[:count]],
        [shown(int(index)) for index in order[::-1][:count]],
        [shown(int(index)) for index in hardest[:count]],
    )
