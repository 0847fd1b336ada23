"""What a page says in place of something that the recording, or the call, lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ...data.labels import GIVE_LABELS, classes_of


@dataclass(frozen=True)
class Hint:
    """A text in place of a figure.

    Attributes:
        name: the id of the HTML element.
        title: the heading, that of the figure.
        text: what is missing, and how to get it.
    """

    name: str
    title: str
    text: str


STREAM = "The samples of a stream cannot be looked up, so they have no labels and no pictures here."

GIVE_DATASET = (
    "the dataset was not given. train.report(path) passes it; on the command line, add "
    "--data FILE.py:FUNCTION, a function that returns the dataset."
)


def hint_for_classes(labels: NDArray[Any] | None, *, is_stream: bool, has_dataset: bool) -> str:
    """Return why there is no table of classes, and how to get it; empty if there is one."""
    if is_stream:
        return STREAM
    if labels is None and not has_dataset:
        return f"There are no labels: {GIVE_DATASET}"
    if labels is None:
        return (
            "The dataset does not provide its labels at once. "
            f"{GIVE_LABELS}train.report(path, labels=labels)."
        )
    if classes_of(labels) is None:
        return (
            "The labels are values rather than classes: nearly every sample has its own. To group "
            "samples, pass one class per sample: train.report(path, labels=classes)."
        )
    return ""


def hint_for_samples(count: int, *, is_stream: bool, has_dataset: bool) -> str:
    """Return why no samples are shown, and how to see them; empty if some are.

    Arguments:
        count: the number of samples.
        is_stream: whether they are those of a stream.
        has_dataset: whether the page has a dataset in which to look them up.
    """
    if is_stream:
        return STREAM
    if not has_dataset:
        return f"Samples are not shown: {GIVE_DATASET}"
    if count < 2:
        return "One sample cannot be compared with others."
    return ""
