"""Writing the page of suspects: one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ...data.ids import file_names, sample_ids
from ...training.checkpoint import whole_file
from ...utils.optional_imports import require
from ...utils.rng import restored_random_state
from ...utils.validation import check_integer, check_map_style
from ..report import html
from .cards import Labels, Reader, cards_of, typical_samples
from .ledger import Ledger
from .sounds import RATES


def write_review(
    ledger: Ledger,
    path: str | os.PathLike[str],
    dataset: Any,
    *,
    count: int = 100,
    ids: str | Iterable[Any] | None = None,
    labels: Any = None,
    view: Callable[[Any], Any] | None = None,
    sampling_rate: int | None = None,
) -> Path:
    """Write a page on which a person judges the labels of suspects, and return its path.

    The page is one file that needs no network. It keeps the verdicts in the browser, and saves them
    as a CSV file for `read_verdicts`. If a sample cannot be read or shown, the page shows the name
    of the error instead.

    Arguments:
        ledger: what the run knows of all samples.
        path: the path of the page.
        dataset: the dataset that was trained on.
        count: how many samples the page shows, at least 1: the most suspicious ones.
        ids: the names of all samples; the name of a Hugging Face dataset's column that holds them,
            or "auto" for the paths of files. By default the paths, if the dataset knows them.
        labels: the labels of all samples, shape (N,); by default those that the dataset provides
            for all samples at once.
        view: takes a sample and returns the part to show: a picture, a text or the numbers of a
            sound; by default this part is detected.
        sampling_rate: of sounds, in numbers per second, to play them; by default it is read from
            Hugging Face's audio entries. Without it, sounds are only drawn.

    Raises:
        FileNotFoundError: there is no folder for the page.
        IsADirectoryError: `path` is a folder.
        ImportError: a package that draws the page is not installed.
        RuntimeError: all samples of the ledger are equal, so none stands out.
        TypeError: `count` or `sampling_rate` is no integer, or the dataset is not map-style.
        ValueError: the dataset, the ids or the labels have another number of samples than the
            ledger; the samples are those of a stream; another argument is out of range.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from dynaprune.tracking.review import Ledger, write_review
        >>> excess, visits = np.array([0.1, 2.5, -0.4], np.float32), np.full(3, 9, np.int32)
        >>> ledger = Ledger(excess, excess, visits, visits - 1, epochs=9)
        >>> texts = [("very good", 1), ("quite bad", 1), ("so boring", 0)]
        >>> page = write_review(ledger, tempfile.mkdtemp() + "/suspects.html", texts, count=1)
        >>> "quite bad" in page.read_text(), "so boring" in page.read_text()
        (True, False)
    """
    path = html.checked_path(path, "the page, such as suspects.html")
    check_integer("count", count, minimum=1)
    if sampling_rate is not None:
        check_integer("sampling_rate", sampling_rate, minimum=RATES[0])
    check_dataset(ledger, dataset)
    for package in ("jinja2", "PIL.Image"):  # before reading samples, which may take long
        require(package, "report")
    known = Labels.of_dataset(dataset, labels, len(ledger))
    reader = Reader(dataset, known.names, view, sampling_rate)
    given = ids_of(ledger, dataset, ids)
    with restored_random_state(()):  # reading samples may draw random numbers
        suspects = ledger.suspects(count)
        cards = cards_of(ledger, suspects, reader, known, given)
        typical = typical_samples(ledger, suspects, reader, known)
    content = {"cards": cards, "choices": known.choices(), "typical": typical}
    page = _render(ledger, content, known.hint())
    with whole_file(path) as file:
        file.write(page)
    return path


def check_dataset(ledger: Ledger, dataset: Any) -> None:
    """Check that a dataset can be the one that was trained on.

    Raises:
        TypeError: it is not map-style.
        ValueError: it has another number of samples, or they cannot be looked up.
    """
    if ledger.keys is not None:
        raise ValueError(
            "the samples of a stream cannot be looked up, so a page cannot show them: write the "
            "suspects to a .csv file, by the fingerprints of their keys"
        )
    check_map_style(dataset)
    if len(dataset) != len(ledger):
        raise ValueError(
            f"dataset must be the one that was trained on, with {len(ledger):,} samples, but it "
            f"has {len(dataset):,}"
        )


def ids_of(ledger: Ledger, dataset: Any, ids: str | Iterable[Any] | None) -> Sequence[Any] | None:
    """Return the names of all samples, N in total, or `None` if they have none.

    Arguments:
        ledger: what the run knows of all samples.
        dataset: the dataset that was trained on, or `None`.
        ids: as in `write_review`.

    Raises:
        ValueError: the dataset has no such names, or their number is not N.
    """
    if ids is None:
        return None if dataset is None else file_names(dataset)
    found = sample_ids(dataset, ids) if isinstance(ids, str) else list(ids)
    if len(found) != len(ledger):
        raise ValueError(
            f"ids must have one entry per sample, {len(ledger):,} in total, but {len(found):,} "
            "were given"
        )
    return found


def _render(ledger: Ledger, content: dict[str, Any], no_labels: str) -> bytes:
    data = html.as_script(content)
    style = html.resource("dynaprune.tracking.report", "base.css")
    style += html.resource(__package__, "page.css")
    script = html.resource(__package__, "page.js")
    return html.render_html(
        html.resource(__package__, "page.html.jinja"),
        ledger=ledger,
        count=len(content["cards"]),
        has_choices=bool(content["choices"]),
        no_labels=no_labels,
        data=data,
        # the browser keeps the verdicts of a page under this name
        fingerprint=hashlib.sha256(data.encode()).hexdigest()[:32],
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    )


def _hash(text: str) -> str:
    """Return the hash by which a page's policy allows an element with this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(f"\n{text}\n".encode()).digest()).decode()
