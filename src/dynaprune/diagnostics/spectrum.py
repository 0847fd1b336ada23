"""Which part of the batch losses is a sample's own, which its neighbours', and how fast each is."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..losses.measurements import Batches
from ..scores.windows import Numbers, Windows
from ..tracking.recording import read_recording
from ..utils.validation import check_integer, check_share

LAGS = 63
"""Visits that two visits of a sample are apart at most, to be compared: frequencies are resolved to
1/64."""

LINE = 4
"""Lags through which the line to lag 0 is drawn."""

FREQUENCIES = 129


@dataclass(frozen=True)
class Spectrum:
    """Signal and noise in what an epoch's batches say of a sample, by frequency.

    What a visit says of sample i is its batch's loss, less the level of the losses around it, times
    the batch's size: the sample's own excess over that level (the signal), and beside it the excess
    of each of its neighbours (the composition noise). So both are in squares of a sample's loss;
    in the loss of a batch of B they are 1/B² of that.

    Frequencies are in cycles per visit, as a filter sees it that is told one number a visit; ½ is
    what changes its sign with every visit. The mean of a spectrum over them is the variance, so
    that of white noise is flat, at its variance.

    Attributes:
        frequencies: shape (F,), from 0 to ½.
        signal: shape (F,): the power of a sample's own excess loss.
        noise: shape (F,): that of its neighbours'.
        response: |H|, shape (F,): what the moving average of BLS leaves of an amplitude.
        alpha: α of that average.
        batch_size: B, the samples that share a measurement, in the mean over visits.
        visits: the most that a sample has made.
        samples: those that have made two visits or more.
        has_sample_losses: whether the losses of single samples were recorded, and the signal is
            known; otherwise it is told from how batch losses of a sample's visits vary together.
        signal_variance: of a sample's own excess.
        signal_error: its standard error.
        lasting_variance: of that part of it that the next visits still find: where the line
            through the autocovariances at lags 1 to 4 arrives at 0. Of batch losses it is all that
            is known.
        noise_variance: of what its neighbours add.
        filtered_signal: the variance of the signal behind the moving average.
        filtered_noise: that of the noise.
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
        """The variance of the signal over that of the noise, in one visit."""
        return _ratio(self.signal_variance, self.noise_variance)

    @property
    def filtered_snr(self) -> float:
        """The same behind the moving average."""
        return _ratio(self.filtered_signal, self.filtered_noise)

    @property
    def correlation(self) -> float:
        """That of a sample's score with its own part in it: √(signal / (signal + noise)).

        With its loss as it is now, a score correlates less if losses change within the average's
        memory.
        """
        total = self.filtered_signal + self.filtered_noise
        return math.sqrt(max(0.0, self.filtered_signal) / total) if total > 0 else math.nan


def spectrum(
    recording: str | os.PathLike[str] | Sequence[Batches],
    alpha: float = 0.7,
    batch_size: int | None = None,
) -> Spectrum:
    r"""Tell a sample's own part in the losses of its batches from that of its neighbours.

    **With loss vectors** the signal is known: a sample's loss less the level in its epoch. The
    noise at batch size B is the sum of B − 1 others of the same epoch, those of its own batch or,
    if `batch_size` says another B, others drawn at random.

    **With batch losses** x_i(v), that of a sample's v-th visit as above, is one number for all
    samples of the batch. But an epoch draws its batches anew, so neighbours in one epoch say
    nothing of those in another, and at lags k ≥ 1

        mean over i and v of x_i(v)·x_i(v+k)

    is the autocovariance of the signal alone. At lag 0 there is the noise as well. The signal's own
    lag 0 is where the line through its lags 1 to 4 (by least squares, as far as there are so many)
    arrives; the rest is noise, and as it does not come back, it is white. So is what a sample's own
    loss has that changes from visit to visit (augmentation, dropout, the step's place in the
    epoch): no filter can tell it from the noise, and it is counted there.

    The level is the mean of at least 128 measurements around (`Windows`), or that of the epoch,
    which contains the measurement itself; what that takes away is put back.

    Series are over visits, not over epochs: that is what a moving average is told, and with pruning
    going on only some samples are seen in all epochs. All pairs of visits count, of whatever
    samples have made two or more; those that a method serves more often count more. Spectra are
    Fourier transforms of autocovariances times a triangle, which is the mean periodogram where all
    samples make equally many visits, up to 64.

    Of epochs that are missing from a recording nothing is known: visits before and after them count
    as one after the other.

    Takes about 60 bytes a visit.

    Arguments:
        recording: a directory of `train.record`, or the epochs' measurements in order.
        alpha: α of the moving average of BLS, in [0, 1).
        batch_size: B, if it is not that of the recording: the noise is then what it would be.

    Raises:
        FileNotFoundError: there is no such recording.
        RuntimeError: it is damaged.
        TypeError, ValueError: `alpha` or `batch_size` is none; with loss vectors, `batch_size` is
            larger than an epoch; no sample has made two visits in epochs of two measurements.

    Example:
        >>> import numpy as np, torch
        >>> from dynaprune.losses.measurements import Batches
        >>> from dynaprune.diagnostics.spectrum import spectrum
        >>> rng, excess = np.random.default_rng(0), np.linspace(-1, 1, 4000)  # of variance 1/3
        >>> epochs = []
        >>> for _ in range(10):
        ...     order = rng.permutation(4000)
        ...     losses = excess[order].reshape(-1, 8).mean(1)
        ...     sizes = torch.full((500,), 8)
        ...     epochs.append(
        ...         Batches(torch.tensor(order), sizes, torch.tensor(losses), torch.arange(500))
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
    """All visits: sample by sample, and those of one in the order in which they were made.

    Attributes:
        samples: shape (M,): whose visit it is.
        signal: shape (M,): what is multiplied at lags ≥ 1; of loss vectors the sample's own excess.
        noise: shape (M,): of loss vectors what its neighbours add; of batch losses the square of
            what both are together.
        batch_size: in the mean.
    """

    samples: NDArray[np.integer[Any]]
    signal: Numbers
    noise: Numbers
    batch_size: float

    @staticmethod
    def of_samples(batches: Batches, epoch: int, batch_size: int | None) -> _Visits:
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
        # the last group is filled up with the first samples, whose own group comes later, and stays
        others[groups[::-1]] = own[groups[::-1]].sum(1, keepdims=True) - own[groups[::-1]]
        return _Visits(batches.indices.numpy(), own, others, float(batch_size))

    @staticmethod
    def of_batches(batches: Batches, epoch: int, batch_size: int | None) -> _Visits:
        """Return the visits of an epoch of batch losses."""
        sizes = batches.sizes.numpy()
        windows = Windows(sizes)
        sums = windows.centred(batches.losses.numpy().astype(np.float64)) * sizes
        lengths = windows.lengths()
        # the level holds the batch itself: 1/G of each deviation is lost, of variances once
        put_back = lengths / np.maximum(1, lengths - 1)
        return _Visits(
            batches.indices.numpy(),
            np.repeat(sums * put_back, sizes),
            np.repeat(np.square(sums) * put_back, sizes),
            float(np.square(sizes).sum() / sizes.sum()),
        )

    @staticmethod
    def in_order(epochs: Sequence[_Visits]) -> _Visits:
        """Put the visits of all epochs together."""
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
        """Return how many visits each sample has made."""
        return np.diff(np.append(self._starts(), self.samples.size))

    def _starts(self) -> NDArray[np.int64]:
        is_first = np.append(True, self.samples[1:] != self.samples[:-1])[: self.samples.size]
        return np.flatnonzero(is_first)

    def autocovariances(self, values: Numbers, lags: int) -> tuple[Numbers, NDArray[np.int64]]:
        """Return the mean products of values that are 0 to `lags` visits apart, and their number.

        Shape (lags + 1,) each.
        """
        sums, pairs = [values @ values], [values.size]
        for lag in range(1, lags + 1):
            is_pair = self.samples[lag:] == self.samples[:-lag]
            sums.append((values[lag:] * is_pair) @ values[:-lag])
            pairs.append(int(is_pair.sum()))
        return np.array(sums) / pairs, np.array(pairs)

    def error_of_variance(self) -> float:
        """Return the standard error of the signal's variance, from how samples differ."""
        sums = np.add.reduceat(np.square(self.signal), self._starts())
        return float(sums.std() * math.sqrt(sums.size) / self.samples.size)


def _line_to_zero(lags: Numbers, pairs: NDArray[np.int64]) -> tuple[float, float]:
    """Return where the line through the first lags arrives at 0, and its error.

    The error is in units of the variance of what is multiplied: a mean of n products of unrelated
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
    """Return the spectrum: that of the autocovariances times a triangle, shape (F,)."""
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
    """Return those from lag 1 on times a triangle that ends behind the last."""
    size = autocovariances.size
    tapered: Numbers = autocovariances[1:] * (1 - np.arange(1, size) / size)
    return tapered


def _filtered(autocovariances: Numbers, alpha: float) -> float:
    """Return the variance behind the moving average, which began as many visits ago."""
    impulse = (1 - alpha) * alpha ** np.arange(autocovariances.size)
    overlaps = np.correlate(impulse, impulse, "full")[autocovariances.size - 1 :]
    return float(2 * overlaps @ autocovariances - overlaps[0] * autocovariances[0])


def _ratio(signal: float, noise: float) -> float:
    if noise > 0:
        return signal / noise
    return math.inf if signal > 0 else math.nan
