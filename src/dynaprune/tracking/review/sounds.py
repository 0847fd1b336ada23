"""Sounds that a page can play."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..report.sample_view import data_uri

MAX_SECONDS = 10
"""How much of a sound can be played."""

MAX_RATE = 16_000
"""The rate to which sounds of higher ones are reduced, approximately, in numbers per second."""

RATES = (1_000, 384_000)
"""The lowest and the highest sampling rate of a sound."""


def sampling_rate_in(sample: Any) -> int | None:
    """Return the sampling rate of a sample in the form of Hugging Face's datasets, if it has one.

    Its audio is a dict of an `array` and its `sampling_rate`.
    """
    for part in sample.values() if isinstance(sample, Mapping) else ():
        rate = part.get("sampling_rate") if isinstance(part, Mapping) else None
        if isinstance(rate, int) and RATES[0] <= rate <= RATES[1]:
            return rate
    return None


def playable(sound: NDArray[Any], rate: int) -> str:
    """Return the beginning of a sound as the data URI of a WAV file: one channel of 16 bits.

    Arguments:
        sound: its numbers, shape (T,), of any scale.
        rate: its sampling rate, in numbers per second.
    """
    part = sound[: MAX_SECONDS * rate].astype(np.float64)
    step = max(1, rate // MAX_RATE)
    # means of neighbours are a low-pass filter, which a lower rate needs
    part = part[: part.size // step * step].reshape(-1, step).mean(axis=1)
    loudest = max(float(np.abs(part).max(initial=0.0)), 1e-12)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate // step)
        file.writeframes((part / loudest * 32_000).astype("<i2").tobytes())
    return data_uri("audio/wav", content.getvalue())
