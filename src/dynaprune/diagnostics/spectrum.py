"""Spectra of a sample's own part in its batch losses, and of the part of its neighbours."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..losses.measurements import Measurements
from ..scores.windows import Numbers, Windows
from ..tracking.recording import read_recording
from ..utils.validation import check_integer, check_share

LAGS = 63
"""The largest lag, in visits of a sample, so that frequencies are resolved to 1/64."""

LINE = 4
"""Lags of the line that is extrapolated to lag 0."""

FREQUENCIES = 129


@dataclass(frozen=True)
class Spectrum:
    """Signal and noise, by frequency, in what the batches of an epoch say about a sample.

    A visit measures, for sample i, the loss of its batch minus the level of the losses around it,
    times the batch size. That is the sample's own excess over the level (the signal) plus the
    excess of each of its neighbours (the composition noise). Both are in units of squared
    per-sample losses; in the loss of a batch of B they are 1/B² of that.

    Frequencies are in cycles per visit, as for a filter that gets one number per visit; ½ is a
    change of sign with every visit. The mean of a spectrum over frequencies is the variance, so
    white noise has a flat spectrum at its variance.

    Attributes:
        frequencies: shape (F,), from 0 to ½.
        signal: shape (F,): the power of a sample's own excess loss.
        noise: shape (F,): the power of its neighbours' excess losses.
        response: |H|, shape (F,): the amplitude response of the moving average of BLS.
        alpha: α of that average.
        batch_size: B, the mean number of samples per measurement, over visits.
        visits: the largest number of visits of a sample.
        samples: the number of samples with two visits or more.
        has_sample_losses: whether per-sample losses were recorded, so that the signal is known;
            otherwise it is estimated from how the batch losses of a sample's visits covary.
        signal_variance: the variance of a sample's own excess.
        signal_error: its standard error.
        lasting_variance: the part of it that persists until the next visits: the line through the
            autocovariances at lags 1 to 4, extrapolated to lag 0. Batch losses reveal only this
            part.
        noise_variance: the variance that its neighbours add.
        filtered_signal: the variance of the signal after the moving average.
        filtered_noise: the variance of the noise after the moving average.
        slow_share: the share of the signal's power at frequencies below ¼, half of the highest.
    """

    frequencies: Numbers
    signal: Numbers
    noise: Numbers
    response: Numbers
    alpha: float
    batch_size: float
    visits: int
    samples: int
    has_sample_losses: bool
    signal_variance: float
    signal_error: float
    lasting_variance: float
    noise_variance: float
    filtered_signal: float
    filtered_noise: float
    slow_share: float

    @property
    def snr(self) -> float:
        """The variance of the signal over that of the noise, for one visit."""
        return _ratio(self.signal_variance, self.noise_variance)

    @property
    def filtered_snr(self) -> float:
        """The same after the moving average."""
        return _ratio(self.filtered_signal, self.filtered_noise)

    @property
    def correlation(self) -> float:
        """The correlation of a score with the sample's part in it: √(signal / (signal + noise)).

        The correlation with the sample's current loss is lower if losses change within the memory
        of the average.
        """
        total = self.filtered_signal + self.filtered_noise
        return math.sqrt(max(0.0, self.filtered_signal) / total) if total > 0 else math.nan


def spectrum(
    recording: str | os.PathLike[str] | Sequence[Measurements],
    alpha: float = 0.7,
    batch_size: int | None = None,
) -> Spectrum:
    r"""Separate a sample's own part in the losses of its batches from that of its neighbours.

    **With loss vectors** the signal is known: a sample's loss minus the level in its epoch. The
    noise at batch size B is the sum of B − 1 others of the same epoch: those of its own batch or,
    if `batch_size` is another B, random ones.

    **With batch losses** the measurement x_i(v) of a sample's v-th visit, as above, is the same
    number for all samples of the batch. But each epoch draws new batches, so neighbours in one
    epoch are independent of those in another, and at lags k ≥ 1

        mean over i and v of x_i(v)·x_i(v+k)

    is the autocovariance of the signal alone. At lag 0 the noise is added. The signal's own value
    at lag 0 is extrapolated by a line through its lags 1 to 4 (least squares, with as many of them
    as there are). The rest is noise, which is white because it does not recur. It includes the part
    of a sample's own loss that changes from visit to visit (augmentation, dropout, the position of
    the step in the epoch), which no filter can tell from noise.

    The level is the mean of at least 128 measurements around (`Windows`), or that of the epoch. It
    includes the measurement itself; the resulting loss of variance is corrected.

    Series are over visits rather than epochs, because a moving average is updated at visits, and
    with pruning only some samples are seen in all epochs. All pairs of visits count, of all samples
    with two or more; samples that a method serves more often count more. Spectra are Fourier
    transforms of autocovariances times a triangular window, which is the mean periodogram if all
    samples have the same number of visits, up to 64.

    Epochs that are missing from a recording are ignored: visits before and after them count as
    consecutive.

    It takes about 60 bytes per visit.

    Arguments:
        recording: a directory of `train.record`, or the measurements of the epochs in order.
        alpha: α of the moving average of BLS, in [0, 1).
        batch_size: B, to predict the noise at another batch size than that of the recording.

    Raises:
        FileNotFoundError: there is no such recording.
        RuntimeError: it is damaged.
        TypeError, ValueError: `alpha` or `batch_size` is invalid; with loss vectors, `batch_size`
            is larger than an epoch; no sample has made two visits in epochs of two measurements.

    Example:
        >>> import numpy as np, torch
        >>> from dynaprune.losses.measurements import Measurements
        >>> from dynaprune.diagnostics.spectrum import spectrum
        >>> rng, excess = np.random.default_rng(0), np.linspace(-1, 1, 4000)  # of variance 1/3
        >>> epochs = []
        >>> for _ in range(10):
        ...     order = rng.permutation(4000)
        ...     losses = excess[order].reshape(-1, 8).mean(1)
        ...     sizes, steps = torch.full((500,), 8), torch.arange(500)
        ...     epochs.append(
        ...         Measurements(torch.tensor(order), sizes, torch.tensor(losses), steps)
        ...     )
        >>> found = spectrum(epochs)
        >>> print(f"{found.signal_variance:.2f} {found.snr:.2f}")  # 1/3 and 1/7
        0.33 0.14
    """
    alpha = check_share("alpha", alpha)
    if batch_size is not None:
        check_integer("batch_size", batch_size, minimum=1)
    epochs = read_recording(recording) if isinstance(recording, (str, os.PathLike)) else recording
    epochs = [finite for each in epochs if len(finite := each.finite()) > 1]
    has_sample_losses = all(bool((each.sizes == 1).all()) for each in epochs)
    read = _Visits.of_samples if has_sample_losses else _Visits.of_batches
    visits = _Visits.in_order([read(each, epoch, batch_size) for epoch, each in enumerate(epochs)])
    counts = visits.counts()
    if counts.size == 0 or counts.max() < 2:
        raise ValueError(
            f"a spectrum needs samples with two visits or more, in epochs of two measurements or "
            f"more, but the recording of {len(epochs)} epochs has none: record more epochs"
        )
    lags = min(int(counts.max()) - 1, LAGS)
    signal, pairs = visits.autocovariances(visits.signal, lags)
    lasting, factor = _line_to_zero(signal[1:], pairs[1:])
    if has_sample_losses:
        noise, _ = visits.autocovariances(visits.noise, lags)
        error = visits.error_of_variance()
    else:
        total = float(np.mean(visits.noise))
        signal[0], error = lasting, total * factor
        noise = np.zeros_like(signal)
        noise[0] = max(0.0, total - lasting)
        if batch_size is not None:
            noise *= (batch_size - 1) / max(1.0, visits.batch_size - 1)
    frequencies = np.linspace(0, 0.5, FREQUENCIES)
    own = float(signal[0])
    return Spectrum(
        frequencies=frequencies,
        signal=_transform(signal, frequencies),
        noise=_transform(noise, frequencies),
        response=response(alpha, frequencies),
        alpha=alpha,
        batch_size=visits.batch_size if batch_size is None else float(batch_size),
        visits=int(counts.max()),
        samples=int((counts > 1).sum()),
        has_sample_losses=has_sample_losses,
        signal_variance=own,
        signal_error=error,
        lasting_variance=lasting,
        noise_variance=float(noise[0]),
        filtered_signal=_filtered(signal, alpha),
        filtered_noise=_filtered(noise, alpha),
        slow_share=_slow(signal) / own if own > 0 else math.nan,
    )


def response(alpha: float, frequencies: Numbers) -> Numbers:
    """Return |H| of the moving average, (1 − α)/√(1 − 2α·cos ω + α²): shape (F,).

    Arguments:
        alpha: α, in [0, 1).
        frequencies: ω/2π, in cycles per visit, shape (F,).

    Example:
        >>> import numpy as np
        >>> from dynaprune.diagnostics.spectrum import response
        >>> response(0.7, np.array([0, 0.5])).round(3)  # (1 − α)/(1 + α) at the highest
        array([1.   , 0.176])
    """
    omega = 2 * np.pi * frequencies
    gains: Numbers = (1 - alpha) / np.sqrt(1 - 2 * alpha * np.cos(omega) + alpha**2)
    return gains


@dataclass(frozen=True)
class _Visits:
    """All visits: sample by sample, those of one sample in chronological order.

    Attributes:
        samples: shape (M,): the sample of each visit.
        signal: shape (M,): the values for lags ≥ 1; for loss vectors the sample's own excess.
        noise: shape (M,): for loss vectors the sum of its neighbours' excesses; for batch losses
            the square of signal plus noise.
        batch_size: the mean over visits.
    """

    samples: NDArray[np.integer[Any]]
    signal: Numbers
    noise: Numbers
    batch_size: float

    @staticmethod
    def of_samples(batches: Measurements, epoch: int, batch_size: int | None) -> _Visits:
        """Return the visits of an epoch whose loss vectors were recorded."""
        losses = batches.losses.numpy().astype(np.float64)
        _, step, sizes = np.unique(batches.steps.numpy(), return_inverse=True, return_counts=True)
        means = np.bincount(step, losses) / sizes
        level = means - Windows(sizes).centred(means)
        own = losses - level[step]
        if batch_size is None:
            others = np.bincount(step, own)[step] - own
            return _Visits(batches.indices.numpy(), own, others, float(sizes[step].mean()))
        if batch_size > own.size:
            raise ValueError(
                f"batch_size must be at most the {own.size:,} samples of an epoch, but "
                f"{batch_size} was given"
            )
        drawn = np.random.default_rng(epoch).permutation(own.size)
        groups = np.resize(drawn, (-(-own.size // batch_size), batch_size))
        others = np.empty_like(own)
        # the last group is filled up with the first samples, whose values in their own group remain
        others[groups[::-1]] = own[groups[::-1]].sum(1, keepdims=True) - own[groups[::-1]]
        return _Visits(batches.indices.numpy(), own, others, float(batch_size))

    @staticmethod
    def of_batches(batches: Measurements, epoch: int, batch_size: int | None) -> _Visits:
        """Return the visits of an epoch of batch losses."""
        sizes = batches.sizes.numpy()
        windows = Windows(sizes)
        sums = windows.centred(batches.losses.numpy().astype(np.float64)) * sizes
        lengths = windows.lengths()
        # the level includes the batch itself: deviations shrink by 1/G, and so do variances
        put_back = lengths / np.maximum(1, lengths - 1)
        return _Visits(
            batches.indices.numpy(),
            np.repeat(sums * put_back, sizes),
            np.repeat(np.square(sums) * put_back, sizes),
            float(np.square(sizes).sum() / sizes.sum()),
        )

    @staticmethod
    def in_order(epochs: Sequence[_Visits]) -> _Visits:
        """Concatenate the visits of all epochs, sample by sample."""
        if not epochs:
            nothing = np.zeros(0)
            return _Visits(nothing.astype(np.int64), nothing, nothing, 1.0)
        samples = np.concatenate([each.samples for each in epochs])
        order = np.argsort(samples, kind="stable")
        return _Visits(
            samples[order],
            np.concatenate([each.signal for each in epochs])[order],
            np.concatenate([each.noise for each in epochs])[order],
            sum(each.batch_size * each.samples.size for each in epochs) / samples.size,
        )

    def counts(self) -> NDArray[np.int64]:
        """Return the number of visits of each sample."""
        return np.diff(np.append(self._starts(), self.samples.size))

    def _starts(self) -> NDArray[np.int64]:
        is_first = np.append(True, self.samples[1:] != self.samples[:-1])[: self.samples.size]
        return np.flatnonzero(is_first)

    def autocovariances(self, values: Numbers, lags: int) -> tuple[Numbers, NDArray[np.int64]]:
        """Return the mean products of values that are 0 to `lags` visits apart, and their counts.

        Shape (lags + 1,) each.
        """
        sums, pairs = [values @ values], [values.size]
        for lag in range(1, lags + 1):
            is_pair = self.samples[lag:] == self.samples[:-lag]
            sums.append((values[lag:] * is_pair) @ values[:-lag])
            pairs.append(int(is_pair.sum()))
        return np.array(sums) / pairs, np.array(pairs)

    def error_of_variance(self) -> float:
        """Return the standard error of the signal's variance, from the spread among samples."""
        sums = np.add.reduceat(np.square(self.signal), self._starts())
        return float(sums.std() * math.sqrt(sums.size) / self.samples.size)


def _line_to_zero(lags: Numbers, pairs: NDArray[np.int64]) -> tuple[float, float]:
    """Return the extrapolation to lag 0 of the line through the first lags, and its error.

    The error is in units of the variance of the values: a mean of n products of uncorrelated
    numbers has that over √n.
    """
    used = min(LINE, lags.size)
    at = np.arange(1, used + 1)
    if used == 1:
        weights = np.ones(1)
    else:
        weights = 1 / used - at.mean() * (at - at.mean()) / np.square(at - at.mean()).sum()
    error = math.sqrt(float((np.square(weights) / pairs[:used]).sum()))
    return max(0.0, float(weights @ lags[:used])), error


def _transform(autocovariances: Numbers, frequencies: Numbers) -> Numbers:
    """Return the spectrum of the autocovariances times a triangular window, shape (F,)."""
    lags = np.arange(1, autocovariances.size)
    tapered = _tapered(autocovariances)
    powers: Numbers = (
        autocovariances[0] + 2 * np.cos(2 * np.pi * np.outer(frequencies, lags)) @ tapered
    )
    return powers


def _slow(autocovariances: Numbers) -> float:
    """Return the integral of the spectrum over |f| < ¼."""
    lags = np.arange(1, autocovariances.size)
    inner = np.sin(np.pi * lags / 2) / (np.pi * lags)
    return float(autocovariances[0] / 2 + 2 * inner @ _tapered(autocovariances))


def _tapered(autocovariances: Numbers) -> Numbers:
    """Return those from lag 1 on times a triangle that reaches 0 after the last."""
    size = autocovariances.size
    tapered: Numbers = autocovariances[1:] * (1 - np.arange(1, size) / size)
    return tapered


def _filtered(autocovariances: Numbers, alpha: float) -> float:
    """Return the variance after a moving average that began `len(autocovariances)` visits ago."""
    impulse = (1 - alpha) * alpha ** np.arange(autocovariances.size)
    overlaps = np.correlate(impulse, impulse, "full")[autocovariances.size - 1 :]
    return float(2 * overlaps @ autocovariances - overlaps[0] * autocovariances[0])


def _ratio(signal: float, noise: float) -> float:
    if noise > 0:
        return signal / noise
    return math.inf if signal > 0 else math.nan
