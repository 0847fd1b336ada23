"""A spectrum as a table for the terminal and as a picture."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from ..diagnostics.spectrum import Spectrum
from ..utils.optional_imports import require


def spectrum_table(found: Spectrum, title: str) -> Table:
    """Return the numbers of a spectrum as a table for the terminal."""
    table = Table(title=title)
    table.add_column("of a sample's visits")
    table.add_column("", justify="right")
    source = "losses of samples" if found.has_sample_losses else "losses of batches"
    table.add_row("measured from", source)
    table.add_row("batch size", f"{found.batch_size:.4g}")
    table.add_row("samples with two visits or more", f"{found.samples:,}")
    table.add_row("visits, at most", f"{found.visits:,}")
    table.add_row(
        "variance of its own loss (signal)",
        f"{found.signal_variance:.4g} ± {1.96 * found.signal_error:.2g}",
    )
    if found.has_sample_losses:
        table.add_row("  lasting part of it", f"{found.lasting_variance:.4g}")
    # a share of what is not known to be more than 0 can be any number
    is_known = found.signal_variance > 1.96 * found.signal_error
    slow = f"{100 * found.slow_share:.0f}%" if is_known else "not known: no signal was found"
    table.add_row("  share of slow changes, f < ¼", slow)
    table.add_row("variance of its neighbours' (noise)", f"{found.noise_variance:.4g}")
    table.add_row("signal / noise, one visit", f"{found.snr:.3g}")
    average = f"after the average, α = {found.alpha:g}"
    table.add_row(f"signal / noise, {average}", f"{found.filtered_snr:.3g}")
    table.add_row("correlation of a score with its signal", f"{found.correlation:.2f}")
    return table


def draw_spectrum(path: Path, found: Spectrum, title: str) -> None:
    """Draw signal and noise, the response of the moving average, and their product, as a PNG."""
    figure = require("matplotlib.figure", "spectrum").Figure(figsize=(12, 4), layout="constrained")
    before, gain, behind = figure.subplots(1, 3, sharex=True)
    power = found.response**2
    lowest = max(found.noise.max(), found.signal.max()) * 1e-4
    for axes, factor in ((before, 1.0), (behind, power)):
        axes.plot(found.frequencies, (found.noise * factor).clip(lowest), "C1", label="neighbours")
        axes.plot(found.frequencies, (found.signal * factor).clip(lowest), "C0", label="own loss")
        axes.set_yscale("log")
        axes.set_ylim(lowest, None)
        axes.set_ylabel("power, loss² (its mean: the variance)")
        axes.legend()
    before.set_title(f"One visit: signal / noise {found.snr:.3g}")
    gain.plot(found.frequencies, power, "k")
    gain.set_ylim(0, 1.05)
    gain.set_ylabel("|H|²")
    gain.set_title(f"Moving average, α = {found.alpha:g}")
    behind.set_title(f"After it: signal / noise {found.filtered_snr:.3g}")
    for axes in (before, gain, behind):
        axes.set_xlabel("frequency, cycles per visit")
        axes.grid(alpha=0.3)
    source = "samples'" if found.has_sample_losses else "batches'"
    figure.suptitle(f"{title}; from {source} losses, B = {found.batch_size:.4g}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
