"""A sample as a page can show it: an image, a text, a sound, or else what it is made of."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.labels import NAMES, name_of
from ...utils.optional_imports import require

SIDE = 96
"""Pixels of a thumbnail's longer side."""

LETTERS = 280
"""Letters of a text that are shown."""

PARTS = 8
"""Parts of a sample that are described."""

DEPTH = 4
"""Parts of parts that are described."""

LARGEST = 100_000_000
"""Pixels that a picture may have: those of more are not read."""

ENOUGH = 1024
"""Pixels a side from which a thumbnail is made."""

COLUMNS = 120
"""Columns of a waveform."""

SHORTEST_SOUND = 400
"""Numbers in a row that are taken for a sound, and not for features."""


@dataclass(frozen=True)
class Shown:
    """A sample on a page.

    Attributes:
        index: of the sample.
        label: its label as text, empty where it has none.
        kind: "image", "text", "sound" or "other".
        content: an image's data URI, a text, the points of a waveform, or a description.
        score: the sample's score.
        visits: how often it was served.
    """

    index: int
    label: str
    kind: str
    content: str
    score: float
    visits: int


def show(sample: Any, view: Callable[[Any], Any] | None = None) -> tuple[str, str]:
    """Return the kind and the content of a sample; see `Shown`.

    Arguments:
        sample: as the dataset returns it.
        view: returns what of it is to be shown: a picture (PIL's, or an array), a text, or the
            numbers of a sound.
    """
    parts = _parts(sample if view is None else view(sample))
    for find in (_as_picture, _as_sound, _as_text):  # a file's name may stand beside its picture
        for part in parts:
            content = find(part)
            if content is not None:
                return find.__name__.removeprefix("_as_").replace("picture", "image"), content
    return "other", _described(sample)


def plain_text(text: str) -> str:
    """Return a text as one of Python's own: a subclass could say that it is HTML already."""
    return str.__str__(text)


def failure_of(error: Exception) -> str:
    """Return why something cannot be shown, as a text."""
    name = type(error).__name__
    try:
        return _cut(f"cannot be shown: {name}: {error}")
    except Exception:  # of an error whose own text cannot be made
        return _cut(f"cannot be shown: {name}")


def _as_text(part: Any) -> str | None:
    return _cut(part) if isinstance(part, str) else None


def _as_picture(part: Any) -> str | None:
    picture = _picture(part)
    return None if picture is None else _data_uri(picture)


def _as_sound(part: Any) -> str | None:
    sound = _sound(part)
    return None if sound is None else _waveform(sound)


def _cut(text: str) -> str:
    text = plain_text(text)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def label_of(sample: Any, names: Sequence[str] | None) -> str:
    """Return the label of a sample, the second of a pair or what a dict has under its name."""
    return plain_text(_label_of(sample, names))


def _label_of(sample: Any, names: Sequence[str] | None) -> str:
    if isinstance(sample, Mapping):
        for name in NAMES:
            if name in sample:
                return name_of(sample[name], names)
        return ""
    if isinstance(sample, (list, tuple)) and len(sample) >= 2:
        label = sample[1]
        # not by np.ndim, which cannot take lists of several lengths, such as polygons
        is_single = getattr(label, "ndim", None) == 0 and hasattr(label, "item")
        if is_single or isinstance(label, (str, int, float)):
            return name_of(label.item() if is_single else label, names)
    return ""


def _parts(sample: Any) -> list[Any]:
    """Return what a sample is made of, one level deep, sounds of Hugging Face unpacked."""
    if isinstance(sample, Mapping):
        parts = [value for name, value in sample.items() if name not in NAMES]
        return [
            part["array"] if isinstance(part, Mapping) and "array" in part else part
            for part in parts
        ]
    if isinstance(sample, (list, tuple)) and not all(
        isinstance(part, (int, float)) for part in sample
    ):
        # the second of a pair of texts is its label
        return list(sample[:1]) if len(sample) == 2 else list(sample)
    return [sample]


def _picture(part: Any) -> Any:
    """Return a part as a picture of PIL, if it is one."""
    if hasattr(part, "convert") and hasattr(part, "resize"):
        width, height = part.size
        if width * height == 0:
            return None
        if width * height > LARGEST:
            raise ValueError(f"a picture of {width:,} × {height:,} pixels is too large")
        if part.mode == "F" or part.mode.startswith("I"):  # of more than 8 bits
            part = _thinned(np.asarray(part)).astype(np.float64)
        else:
            return part
    array = _array(part)
    if array is None or array.size == 0 or array.ndim not in (2, 3):
        return None
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and min(array.shape[1:]) > 4:
        array = array.transpose(1, 2, 0)
    if (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or min(array.shape[:2]) < 5:
        return None
    array = _thinned(array)
    if not np.isfinite(array).all():
        return None
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 255 and array.dtype.kind in "ui"):
            most = max(-low, high, 1.0)  # the difference of two large numbers may be infinite
            array = array.astype(np.float64) / most - low / most
            array *= 255 / max(high / most - low / most, 1e-12)
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return require("PIL.Image", "report").fromarray(array)


def _thinned(picture: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th row and column of a large picture, so that no more is copied."""
    rows, columns = (-(-side // ENOUGH) for side in picture.shape[:2])
    return picture[::rows, ::columns]


def _data_uri(picture: Any) -> str:
    image_module = require("PIL.Image", "report")
    picture = picture.convert("RGB")
    scale = SIDE / max(picture.size)
    size = tuple(max(1, round(scale * side)) for side in picture.size)
    resample = image_module.Resampling.NEAREST if scale > 1 else image_module.Resampling.LANCZOS
    small = picture.resize(size, resample)
    content = io.BytesIO()
    # of its pixels alone: profiles, positions and comments stay where they are
    image_module.frombytes("RGB", size, small.tobytes()).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _sound(part: Any) -> NDArray[Any] | None:
    array = _array(part)
    if array is None or array.dtype.kind == "b":
        return None
    if array.ndim == 2 and 1 <= min(array.shape) <= 2:
        array = array[0] if array.shape[0] <= 2 else array[:, 0]
    if array.ndim != 1 or array.size < SHORTEST_SOUND:
        return None
    return array


def _waveform(sound: NDArray[Any]) -> str | None:
    """Return the points of an SVG polygon, 120 wide and 40 high: the loudest of each column.

    `None` if a number is not finite. Only a column at a time is looked at, however long it is.
    """
    parts = np.array_split(sound, COLUMNS)
    most = np.array([part.max() for part in parts], dtype=np.float64)
    least = np.array([part.min() for part in parts], dtype=np.float64)
    if not (np.isfinite(most).all() and np.isfinite(least).all()):
        return None
    loudest = max(float(np.abs([most, least]).max()), 1e-12)
    highs, lows = (20 - 19 * (each / loudest) for each in (most, least))
    along = [*enumerate(highs), *reversed(list(enumerate(lows)))]
    return " ".join(f"{x},{y:.1f}" for x, y in along)


def _array(part: Any) -> NDArray[Any] | None:
    """Return a part as an array of numbers, if it is one."""
    if isinstance(part, torch.Tensor):
        if part.layout != torch.strided or part.is_quantized or part.is_meta or part.is_complex():
            return None
        part = part.detach().cpu().resolve_neg()
        part = part.float().numpy() if part.is_floating_point() else part.numpy()
    if not isinstance(part, np.ndarray) or part.dtype.kind not in "uifb":
        return None
    return part


def _described(sample: Any, depth: int = 0) -> str:
    if depth >= DEPTH:  # a list of lists of the same lists would take for ever
        return f"a {type(sample).__name__}"
    if isinstance(sample, Mapping):
        few = list(itertools.islice(sample.items(), PARTS))
        return _cut(", ".join(f"{name}: {_described(value, depth + 1)}" for name, value in few))
    if isinstance(sample, (list, tuple)):
        return _cut(", ".join(_described(part, depth + 1) for part in sample[:PARTS]))
    array = _array(sample)
    if array is not None:
        if array.size <= 12:
            return np.array2string(array, precision=3, max_line_width=60)
        return f"{array.dtype}, shape {array.shape}"
    if isinstance(sample, torch.Tensor):
        return f"{sample.dtype}, shape {tuple(sample.shape)}"
    return _cut(str(sample))
