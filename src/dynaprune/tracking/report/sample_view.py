"""A sample in a form that a page can show: an image, a text, a sound, or a description."""

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

THUMBNAIL_SIDE = 96
"""The longer side of a thumbnail, in pixels."""

MAX_TEXT = 280
"""How many characters of a text are shown."""

MAX_PARTS = 8
"""How many parts of a sample are described."""

MAX_DEPTH = 4
"""How many levels of nested parts are described."""

MAX_PIXELS = 100_000_000
"""Larger pictures are not read."""

MAX_COPIED_SIDE = 1024
"""Larger pictures are subsampled before they are copied."""

COLUMNS = 120
"""The number of columns of a waveform."""

MIN_SOUND = 400
"""A shorter row of numbers counts as features, not as a sound."""


@dataclass(frozen=True)
class SampleView:
    """A sample on a page.

    Attributes:
        index: the index of the sample.
        label: its label as text, empty if it has none.
        kind: "image", "text", "sound" or "other".
        content: an image's data URI, a text, the points of a waveform, or a description.
        score: the score of the sample.
        visits: how often it was served.
    """

    index: int
    label: str
    kind: str
    content: str
    score: float
    visits: int


def show(
    sample: Any,
    view: Callable[[Any], Any] | None = None,
    *,
    side: int = THUMBNAIL_SIDE,
    letters: int = MAX_TEXT,
) -> tuple[str, str]:
    """Return the kind and the content of a sample; see `SampleView`.

    Arguments:
        sample: the sample as the dataset returns it.
        view: takes the sample and returns the part to show: a picture (of PIL, or an array), a
            text, or the numbers of a sound.
        side: the longer side of a picture, in pixels.
        letters: how many characters of a text are shown.
    """
    kind, part = shown_part(sample, view)
    if kind == "image":
        return kind, _data_uri(part, side)
    if kind == "sound":
        return kind, _waveform(part)
    return kind, _cut(part, letters)


def shown_part(sample: Any, view: Callable[[Any], Any] | None = None) -> tuple[str, Any]:
    """Return the kind of a sample, and the part of it that a page shows.

    The part is a picture of PIL, the numbers of a sound, shape (T,), or a text.

    Arguments:
        sample: the sample as the dataset returns it.
        view: see `show`.
    """
    parts = _parts(sample if view is None else view(sample))
    # texts come last: a sample may contain both a picture and the name of its file
    for kind, convert in (("image", _picture), ("sound", _sound), ("text", _text)):
        for part in parts:
            found = convert(part)
            if found is not None:
                return kind, found
    return "other", _description(sample)


def plain_text(text: str) -> str:
    """Return a text as a plain `str`: a subclass could claim to be safe HTML."""
    return str.__str__(text)


def failure_of(error: Exception) -> str:
    """Return the reason why a sample cannot be shown, as a text."""
    name = type(error).__name__
    try:
        return _cut(f"cannot be shown: {name}: {error}")
    except Exception:  # the error itself cannot be converted to text
        return _cut(f"cannot be shown: {name}")


def _text(part: Any) -> str | None:
    return plain_text(part) if isinstance(part, str) else None


def _cut(text: str, letters: int = MAX_TEXT) -> str:
    text = plain_text(text)
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def label_of(sample: Any, names: Sequence[str] | None) -> str:
    """Return the label of a sample: the second part of a sequence, or a dict's entry for it."""
    return plain_text(_label_of(sample, names))


def _label_of(sample: Any, names: Sequence[str] | None) -> str:
    if isinstance(sample, Mapping):
        for name in NAMES:
            if name in sample:
                return name_of(sample[name], names)
        return ""
    if isinstance(sample, (list, tuple)) and len(sample) >= 2:
        label = sample[1]
        # not np.ndim, which raises for nested lists of different lengths, such as polygons
        is_single = getattr(label, "ndim", None) == 0 and hasattr(label, "item")
        if is_single or isinstance(label, (str, int, float)):
            return name_of(label.item() if is_single else label, names)
    return ""


def _parts(sample: Any) -> list[Any]:
    """Return the parts of a sample, one level deep, with Hugging Face audio entries unpacked."""
    if isinstance(sample, Mapping):
        parts = [value for name, value in sample.items() if name not in NAMES]
        return [
            part["array"] if isinstance(part, Mapping) and "array" in part else part
            for part in parts
        ]
    if isinstance(sample, (list, tuple)) and not all(
        isinstance(part, (int, float)) for part in sample
    ):
        # the second part of a pair is the label
        return list(sample[:1]) if len(sample) == 2 else list(sample)
    return [sample]


def _picture(part: Any) -> Any:
    """Return a part as a PIL image, if it is a picture."""
    if hasattr(part, "convert") and hasattr(part, "resize"):
        width, height = part.size
        if width * height == 0:
            return None
        if width * height > MAX_PIXELS:
            raise ValueError(f"a picture of {width:,} × {height:,} pixels is too large")
        if part.mode == "F" or part.mode.startswith("I"):  # more than 8 bits per pixel
            part = _subsampled(np.asarray(part)).astype(np.float64)
        else:
            return part
    array = _array(part)
    if array is None or array.size == 0 or array.ndim not in (2, 3):
        return None
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and min(array.shape[1:]) > 4:
        array = array.transpose(1, 2, 0)
    if (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or min(array.shape[:2]) < 5:
        return None
    array = _subsampled(array)
    if not np.isfinite(array).all():
        return None
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 255 and array.dtype.kind in "ui"):
            scale = max(-low, high, 1.0)  # divide first: high - low may overflow
            array = array.astype(np.float64) / scale - low / scale
            array *= 255 / max(high / scale - low / scale, 1e-12)
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return require("PIL.Image", "report").fromarray(array)


def _subsampled(picture: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th row and column of a large picture, so that copies of it stay small."""
    rows, columns = (-(-side // MAX_COPIED_SIDE) for side in picture.shape[:2])
    return picture[::rows, ::columns]


def _data_uri(picture: Any, longer_side: int) -> str:
    image_module = require("PIL.Image", "report")
    picture = picture.convert("RGB")
    scale = longer_side / max(picture.size)
    size = tuple(max(1, round(scale * side)) for side in picture.size)
    resample = image_module.Resampling.NEAREST if scale > 1 else image_module.Resampling.LANCZOS
    small = picture.resize(size, resample)
    # a copy of the pixels alone, without colour profiles, locations and comments
    pixels, content = image_module.frombytes("RGB", size, small.tobytes()), io.BytesIO()
    if scale < 1 and longer_side > THUMBNAIL_SIDE:  # a photo: a PNG would be large
        pixels.save(content, "JPEG", quality=88)
        return data_uri("image/jpeg", content.getvalue())
    pixels.save(content, "PNG", optimize=True)
    return data_uri("image/png", content.getvalue())


def data_uri(media_type: str, content: bytes) -> str:
    """Return the content of a file as a URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _sound(part: Any) -> NDArray[Any] | None:
    array = _array(part)
    if array is None or array.dtype.kind == "b":
        return None
    if array.ndim == 2 and 1 <= min(array.shape) <= 2:
        array = array[0] if array.shape[0] <= 2 else array[:, 0]
    if array.ndim != 1 or array.size < MIN_SOUND:
        return None
    return array if np.isfinite([array.min(), array.max()]).all() else None


def _waveform(sound: NDArray[Any]) -> str:
    """Return the points of an SVG polygon, 120 wide and 40 high: the extremes of each column.

    It reads one column at a time, so long sounds are not copied.
    """
    parts = np.array_split(sound, COLUMNS)
    most = np.array([part.max() for part in parts], dtype=np.float64)
    least = np.array([part.min() for part in parts], dtype=np.float64)
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


def _description(sample: Any, depth: int = 0) -> str:
    if depth >= MAX_DEPTH:  # lists may contain themselves
        return f"a {type(sample).__name__}"
    if isinstance(sample, Mapping):
        first = itertools.islice(sample.items(), MAX_PARTS)
        return _cut(", ".join(f"{name}: {_description(value, depth + 1)}" for name, value in first))
    if isinstance(sample, (list, tuple)):
        return _cut(", ".join(_description(part, depth + 1) for part in sample[:MAX_PARTS]))
    array = _array(sample)
    if array is not None:
        if array.size <= 12:
            return np.array2string(array, precision=3, max_line_width=60)
        return f"{array.dtype}, shape {array.shape}"
    if isinstance(sample, torch.Tensor):
        return f"{sample.dtype}, shape {tuple(sample.shape)}"
    return _cut(str(sample))
