"""Free Spoken Digits: six people who say the ten digits."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from zoo.datasets.files import find_files

TEST_TAKES = 5
"""The first takes of each speaker and digit are the usual test set."""


@dataclass(frozen=True)
class Spoken:
    """Clips as pictures of their loudness, uint8, shape (32 bands, 32 moments), and their digits.

    Attributes:
        train: N clips.
        test: M clips.
        speakers: who speaks the clips of `train`, from 0 on: int64, shape (N,).
        test_speakers: the same for `test`, shape (M,).
    """

    train: TensorDataset
    test: TensorDataset
    speakers: Tensor
    test_speakers: Tensor


def load_spoken(root: Path | None) -> Spoken:
    """Read `recordings/<digit>_<speaker>_<take>.wav`.

    Arguments:
        root: the folder that holds `free-spoken-digits.zip`, or such a folder or zip file.

    Raises:
        ValueError, FileNotFoundError: see `find_files`.
    """
    files = find_files(root, "Free Spoken Digits", "recordings", "free-spoken-digits.zip")
    clips: dict[bool, list[Tensor]] = {False: [], True: []}
    labels: dict[bool, list[int]] = {False: [], True: []}
    names: dict[bool, list[str]] = {False: [], True: []}
    for name in files.names:
        if name.endswith(".wav"):
            digit, speaker, take = PurePath(name).stem.split("_")
            is_test = int(take) < TEST_TAKES
            clips[is_test].append(spectrogram(files.read(name)))
            labels[is_test].append(int(digit))
            names[is_test].append(speaker)
    train, test = (
        TensorDataset(torch.stack(clips[is_test]), torch.tensor(labels[is_test]))
        for is_test in (False, True)
    )
    everyone = sorted({*names[False], *names[True]})
    speakers, test_speakers = (
        torch.tensor([everyone.index(name) for name in names[is_test]]) for is_test in (False, True)
    )
    return Spoken(train, test, speakers, test_speakers)


def spectrogram(content: bytes) -> Tensor:
    """Return a WAV clip as a picture of its loudness: uint8, shape (32 bands, 32 moments)."""
    with wave.open(io.BytesIO(content)) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), dtype=np.int16)
    sound = torch.from_numpy(samples.astype(np.float32) / 2**15)
    window = torch.hann_window(256)
    power = torch.stft(sound, 256, 64, window=window, return_complex=True).abs().square()
    decibel = 10 * (power + 1e-8).log10()
    picture = nn.functional.interpolate(decibel[None, None], (32, 32), mode="area")[0, 0]
    return ((picture + 80) * 2.5).clamp(0, 255).to(torch.uint8)
