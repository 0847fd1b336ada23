"""Signal and noise in batch losses, on series whose spectra are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, train_epoch
from PIL import Image
from scipy import signal as signals
from typer.testing import CliRunner

from dynaprune import DataLoader, InfoBatch, NoPrune
from dynaprune.cli.app import app
from dynaprune.diagnostics.spectrum import response, spectrum
from dynaprune.losses.measurements import Measurements

N, E, B = 4096, 32, 8


def recording(losses, batch_size=B, *, means, seed=0, kept=1.0):
    """Return epochs of losses, shape (E, N), in batches drawn anew: as vectors or as means."""
    rng, epochs = np.random.default_rng(seed), []
    for each in losses:
        order = rng.permutation(each.size)[: round(kept * each.size)]
        step = np.arange(order.size) // batch_size
        sizes = np.bincount(step)
        served = each[order]
        found = np.bincount(step, served) / sizes if means else served
        epochs.append(
            Measurements(
                torch.tensor(order),
                torch.tensor(sizes if means else np.ones_like(order)),
                torch.tensor(found, dtype=torch.float32),
                torch.tensor(np.arange(sizes.size) if means else step),
            )
        )
    return epochs


def white(variance, seed=1):
    return np.random.default_rng(seed).normal(0, math.sqrt(variance), (E, N)) + 5


def constant(variance, seed=2):
    return np.tile(np.random.default_rng(seed).normal(0, math.sqrt(variance), N), (E, 1)) + 5


def sinusoid(frequency, variance, seed=3):
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, N)
    at = np.arange(E)[:, None]
    return 5 + math.sqrt(2 * variance) * np.cos(2 * np.pi * frequency * at + phase)


def autoregressive(rho, seed=4):
    """A first-order series of variance 1, whose autocovariance is ρ to the lag."""
    rng, series = np.random.default_rng(seed), np.empty((E, N))
    series[0] = rng.normal(size=N)
    for epoch in range(1, E):
        series[epoch] = rho * series[epoch - 1] + math.sqrt(1 - rho**2) * rng.normal(size=N)
    return series


def test_response_is_that_of_the_filter():
    frequencies = np.linspace(0, 0.5, 65)
    for alpha in (0.0, 0.5, 0.7, 0.95):
        _, expected = signals.freqz([1 - alpha], [1, -alpha], worN=2 * np.pi * frequencies)
        assert response(alpha, frequencies) == pytest.approx(np.abs(expected))


def test_white_noise_is_flat_and_is_what_the_average_damps():
    found = spectrum(recording(white(2.0), means=False), alpha=0.7)
    assert found.has_sample_losses
    assert found.signal_variance == pytest.approx(2, rel=0.02)
    assert found.signal == pytest.approx(np.full(129, 2.0), rel=0.1)
    assert found.slow_share == pytest.approx(0.5, abs=0.01)
    assert found.lasting_variance < 0.03
    # a first-order average of white noise: Σ h² = (1 − α)/(1 + α)
    assert found.filtered_signal == pytest.approx(2 * 0.3 / 1.7, rel=0.03)
    assert found.filtered_noise == pytest.approx(2 * (B - 1) * 0.3 / 1.7, rel=0.03)


def test_a_constant_excess_is_all_slow_and_stays():
    found = spectrum(recording(constant(2.0), means=False), alpha=0.7)
    assert found.signal_variance == pytest.approx(2, rel=0.05)
    assert found.slow_share == pytest.approx(1, abs=0.02)
    # a triangle over E visits: Fejér's kernel, E at 0
    assert found.signal[0] == pytest.approx(E * found.signal_variance, rel=0.02)
    assert found.filtered_signal == pytest.approx(found.signal_variance, rel=0.01)


@pytest.mark.parametrize("means", [False, True])
def test_a_sinusoid_is_found_at_its_frequency(means):
    frequency = 0.125
    found = spectrum(recording(sinusoid(frequency, 2.0), means=means), alpha=0.7)
    peak = found.frequencies[found.signal.argmax()]
    assert peak == pytest.approx(frequency, abs=1 / E)
    if not means:
        assert found.signal_variance == pytest.approx(2, rel=0.05)
        left = response(0.7, np.array([frequency]))[0] ** 2
        assert found.filtered_signal == pytest.approx(2 * left, rel=0.05)
        assert found.slow_share == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("batch_size", [4, 16])
def test_composition_noise_is_white_and_that_of_b_minus_1_others(batch_size):
    found = spectrum(recording(constant(2.0), batch_size, means=False))
    assert found.batch_size == batch_size
    assert found.noise_variance == pytest.approx(2 * (batch_size - 1), rel=0.05)
    assert found.noise == pytest.approx(np.full(129, found.noise_variance), rel=0.15)
    asked = spectrum(recording(constant(2.0), 64, means=False), batch_size=batch_size)
    assert asked.batch_size == batch_size
    assert asked.noise_variance == pytest.approx(2 * (batch_size - 1), rel=0.05)


@pytest.mark.parametrize("rho", [1.0, 0.9])
def test_batch_means_tell_signal_and_noise_apart(rho):
    """Without the loss of any sample."""
    losses = autoregressive(rho) if rho < 1 else constant(1.0)
    found = spectrum(recording(losses, means=True), alpha=0.7)
    assert not found.has_sample_losses
    # ρ, ρ², ρ³, ρ⁴ lie nearly on a line, which meets 0 at 0.989 for ρ = 0.9
    assert found.signal_variance == pytest.approx(1, abs=4 * found.signal_error + 0.02)
    assert found.signal_error < 0.05
    assert found.noise_variance == pytest.approx(B - 1, rel=0.05)
    assert found.snr == pytest.approx(1 / (B - 1), rel=0.15)
    # Σ h_j h_k ρ^|j−k| = (1 − α)/(1 + α) · (1 + αρ)/(1 − αρ)
    left = 0.3 / 1.7 * (1 + 0.7 * rho) / (1 - 0.7 * rho)
    assert found.filtered_signal == pytest.approx(left, rel=0.1)
    assert found.filtered_noise == pytest.approx((B - 1) * 0.3 / 1.7, rel=0.05)
    expected = math.sqrt(left / (left + (B - 1) * 0.3 / 1.7))
    assert found.correlation == pytest.approx(expected, rel=0.05)


def test_what_does_not_come_back_is_noise_to_batch_means():
    found = spectrum(recording(white(1.0), means=True))
    assert abs(found.signal_variance) < 4 * found.signal_error
    assert found.noise_variance == pytest.approx(B, rel=0.05)


def test_the_error_is_that_of_repeated_runs():
    found = [
        spectrum(recording(few(seed), means=True, seed=seed))
        for seed in range(60)
        for few in [lambda seed: white(1.0, seed)[:8, :512] + constant(0.2, 0)[:8, :512]]
    ]
    spread = np.std([each.signal_variance for each in found])
    # the standard error of a standard deviation of 60: 1/√120, a tenth
    assert spread == pytest.approx(np.mean([each.signal_error for each in found]), rel=0.35)


def test_few_batches_an_epoch_do_not_bias():
    """With 4 batches, the level holds a quarter of each; without care 0.56 would be found."""
    losses = np.concatenate([constant(1.0, seed)[:, :64] for seed in range(2)])
    found = [
        spectrum(recording(losses[:E] if seed % 2 else losses[E:], 16, means=True, seed=seed))
        for seed in range(60)
    ]
    both = [np.var(losses[0], ddof=1), np.var(losses[-1], ddof=1)]
    assert np.mean([e.signal_variance for e in found]) == pytest.approx(np.mean(both), rel=0.15)
    noise = np.mean([each.noise_variance for each in found])
    assert noise == pytest.approx(15 * np.mean(both), rel=0.1)


@pytest.mark.parametrize("means", [False, True])
def test_epochs_with_gaps_count_by_visits(means):
    """Half of the samples an epoch: of a constant excess, that must not change a thing."""
    found = spectrum(recording(constant(1.0), means=means, kept=0.5))
    assert found.samples == N
    assert 16 < found.visits < E  # 16 in the mean
    assert found.signal_variance == pytest.approx(1, abs=0.1)
    assert found.noise_variance == pytest.approx(B - 1, rel=0.05)


@pytest.mark.parametrize("sizes", [[4, 4], [4, 12]])
def test_slices_and_batches_of_several_sizes(sizes):
    """A visit to a group of G has G − 1 neighbours; a group of G has G visits."""
    losses, rng, epochs = constant(1.0), np.random.default_rng(0), []
    counts = np.tile(sizes, N // sum(sizes))
    for each in losses:
        order = rng.permutation(N)
        means = np.add.reduceat(each[order], np.cumsum(counts) - counts) / counts
        steps = np.arange(counts.size) // 2
        parts = (order, counts, means.astype(np.float32), steps)
        epochs.append(Measurements(*map(torch.tensor, parts)))
    found = spectrum(epochs)
    expected = sum(size**2 for size in sizes) / sum(sizes)
    assert found.batch_size == pytest.approx(expected)
    assert found.signal_variance == pytest.approx(1, abs=4 * found.signal_error + 0.03)
    assert found.noise_variance == pytest.approx(expected - 1, rel=0.07)


def test_levels_of_epochs_do_not_matter():
    falling = constant(1.0) + 10 * 0.8 ** np.arange(E)[:, None]
    found, flat = (spectrum(recording(each, means=True)) for each in (falling, constant(1.0)))
    assert found.signal_variance == pytest.approx(flat.signal_variance, rel=1e-3)
    assert found.noise_variance == pytest.approx(flat.noise_variance, rel=1e-3)


def test_another_batch_size_scales_the_noise_of_batch_means():
    found = spectrum(recording(constant(1.0), means=True), batch_size=2)
    assert found.batch_size == 2
    assert found.noise_variance == pytest.approx(1, rel=0.05)


def test_losses_that_are_all_alike():
    found = spectrum(recording(np.ones((E, 64)), means=True))
    assert (found.signal_variance, found.noise_variance) == (0, 0)
    assert math.isnan(found.snr)
    assert math.isnan(found.correlation)


def test_losses_that_are_not_finite_are_left_out():
    losses = constant(1.0)
    losses[3, :5] = np.nan
    found = spectrum(recording(losses, means=True))
    assert found.signal_variance == pytest.approx(1, abs=0.1)


def test_wrong_arguments():
    epochs = recording(white(1.0), means=False)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\), but 1.0"):
        spectrum(epochs, alpha=1.0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, but 0"):
        spectrum(epochs, batch_size=0)
    with pytest.raises(ValueError, match="at most the 4,096 samples of an epoch, but 5000"):
        spectrum(epochs, batch_size=5000)
    for too_few in (epochs[:1], []):
        with pytest.raises(ValueError, match="samples with two visits or more.* record more"):
            spectrum(too_few)


def recorded(folder, method=NoPrune, loss_of=lambda batch: (batch % 7).float(), mean=True):
    """Record a run whose losses of samples stay as they are."""
    train = method(Numbers(700), num_epochs=12)
    train.record(folder)
    loader = DataLoader(train, batch_size=10, sampler=train.sampler)
    for _ in range(12):
        train_epoch(loader, lambda batch: loss_of(batch).mean() if mean else loss_of(batch))
    return folder


def test_a_recorded_run(tmp_path):
    """Losses 0 to 6, equally often, have the variance 4."""
    means = spectrum(recorded(tmp_path / "means"))
    samples = spectrum(recorded(tmp_path / "samples", mean=False))
    assert samples.signal_variance == pytest.approx(4, rel=0.02)
    assert samples.noise_variance == pytest.approx(36, rel=0.1)
    assert abs(means.signal_variance - 4) < 4 * means.signal_error
    assert means.noise_variance == pytest.approx(36, rel=0.15)
    pruned = spectrum(recorded(tmp_path / "pruned", InfoBatch, mean=False))
    assert pruned.samples == 700
    assert pruned.visits == 12


@pytest.mark.parametrize("mean", [True, False])
def test_the_command(tmp_path, mean):
    recorded(tmp_path / "run", mean=mean)
    out = tmp_path / "pictures" / "spectrum.png"
    arguments = ["spectrum", str(tmp_path / "run"), "--alpha", "0.9", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for text in ("NoPrune, BLS, epochs: 12", "batch size", "α = 0.9", "signal / noise", "wrote"):
        assert text in result.output
    assert ("losses of batches" in result.output) == mean
    with Image.open(out) as image:
        assert image.size == (1440, 480)
        assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 100
    result = CliRunner().invoke(app, [*arguments, "--batch-size", "30"])
    assert result.exit_code == 0, result.output
    assert any(line.split()[1:4] == ["batch", "size", "│"] and "30" in line
               for line in result.output.splitlines())  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "dynaprune spectrum: there is no recording in"),
        (["run", "--alpha", "1"], "alpha must be in [0, 1), but 1.0 was given"),
        (["run", "--out", "run/run.json/x.png"], "run.json"),
        (["run", "--batch-size", "0"], "'--batch-size'"),  # the wording is typer's
    ],
)
def test_the_command_used_wrongly(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "run")
    result = CliRunner().invoke(app, ["spectrum", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_the_command_on_a_damaged_recording(tmp_path):
    path = recorded(tmp_path) / "epoch-00003.npz"
    path.write_bytes(path.read_bytes()[:100])
    result = CliRunner().invoke(app, ["spectrum", str(tmp_path)])
    assert result.exit_code == 2
    assert "epoch-00003.npz, of 100 bytes, cannot be read" in result.output
