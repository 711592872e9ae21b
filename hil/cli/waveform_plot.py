"""The picture of a waveform: spectrum, samples, constellation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from hil.core.waveform import Waveform

_SHOWN = 2048


def draw_waveform(waveform: Waveform, path: Path) -> None:
    """Draw a waveform into an image file.

    Raises
    ------
    ConfigError : the file cannot be written, or matplotlib does not know its ending.
    """
    from matplotlib.figure import Figure

    x = waveform.samples
    figure = Figure(figsize=(10.0, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    axes = figure.add_subplot(grid[0, :])
    power = np.abs(np.fft.fftshift(np.fft.fft(x.astype(np.complex128)))) ** 2 / len(x) ** 2
    f_mhz = np.fft.fftshift(np.fft.fftfreq(len(x), 1 / waveform.fs_hz)) / 1e6
    if len(power) > _SHOWN:  # the greatest line of each group, so that carriers stay visible
        group = len(power) // _SHOWN
        power = power[: len(power) // group * group].reshape(-1, group).max(axis=1)
        f_mhz = f_mhz[: len(f_mhz) // group * group].reshape(-1, group).mean(axis=1)
    axes.plot(f_mhz, 10 * np.log10(np.maximum(power, 1e-15)), color="#0072b2", linewidth=0.8)
    axes.set(xlabel="frequency from the carrier in MHz", ylabel="lines of the period in dBFS")
    axes.set_ylim(max(-150.0, 10 * np.log10(np.max(power)) - 80), 10 * np.log10(np.max(power)) + 5)
    axes.set_title(
        f"{waveform.kind}: {len(x)} samples at {waveform.fs_hz / 1e6:g} MS/s, {waveform.rms_dbfs:.1f} dBFS, "
        f"crest factor {waveform.crest_factor_db:.1f} dB",
        fontsize=11,
    )
    axes.grid(alpha=0.3)
    time = figure.add_subplot(grid[1, 0])
    n = min(len(x), 400 if waveform.layout is None else 2 * waveform.layout.symbol_samples, _SHOWN)
    t_us = np.arange(n) / waveform.fs_hz * 1e6
    time.plot(t_us, x.real[:n], color="#0072b2", linewidth=0.8, label="I")
    time.plot(t_us, x.imag[:n], color="#d55e00", linewidth=0.8, label="Q")
    time.axhline(1.0, color="0.5", linewidth=0.6, linestyle=":")
    time.axhline(-1.0, color="0.5", linewidth=0.6, linestyle=":", label="full scale")
    time.set(xlabel="time in µs", ylabel="samples of full scale 1")
    time.legend(loc="upper right", fontsize=8, ncols=3)
    points = figure.add_subplot(grid[1, 1])
    if waveform.layout is not None:
        shown, words = waveform.layout.grid.ravel()[: 4 * _SHOWN], "known symbols"
    else:
        shown, words = x[: 4 * _SHOWN], "samples"
    points.plot(shown.real, shown.imag, ".", color="#009e73", markersize=3)
    points.set(xlabel=f"I of the {words}", ylabel=f"Q of the {words}", aspect="equal")
    points.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as err:
        raise ConfigError(
            f"cannot write the picture: {err}", where=str(path), hint="use a name such as w.png"
        ) from err
