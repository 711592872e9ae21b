"""Pictures of an array: where its elements are, and what was learned of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.reporting.accuracy_plots import LEARNED
from hil.reporting.plots import KNOWN, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST_EXAGGERATION = 50.0
_MOST_NUMBERS = 64


def geometry_figure(geometry: ArrayGeometry, calibrations: Mapping[str, Calibration]) -> tuple[Figure, float]:
    """Nominal elements with the numbers of their ports, arrows of the learned displacements, and how angles count.

    Returns the figure and the factor by which the arrows are longer than the displacements.
    """
    at_mm = 1e3 * geometry.positions_m[:, :2]
    moved_mm = {n: 1e3 * c.impairments.position_error_m[:, :2] for n, c in calibrations.items()}
    pitch_mm = _smallest_distance(at_mm)
    most_mm = max((float(np.abs(m).max()) for m in moved_mm.values()), default=0.0)
    factor = 1.0 if most_mm == 0 else _round_factor(0.75 * pitch_mm / most_mm)
    line = geometry.kind == "line"
    figure = new_figure(8.0, 2.2 if line else 5.0)
    ax, sketch = figure.subplots(1, 2, width_ratios=[3.4, 1] if line else [2.2, 1])
    ax.plot(*at_mm.T, "o", color="white", markeredgecolor=KNOWN, markersize=15 if line else 6, zorder=2)
    # numbers stand outside of a plane's elements, where no arrow begins
    away = np.zeros_like(at_mm) if line else 0.3 * pitch_mm * _outwards(at_mm)
    for m in range(len(at_mm)) if len(at_mm) <= _MOST_NUMBERS else (0, len(at_mm) - 1):
        ax.annotate(f"{m}", at_mm[m] + away[m], ha="center", va="center", fontsize=8, zorder=5)
    for i, (name, moved) in enumerate(moved_mm.items()):
        colour = LEARNED[i % len(LEARNED)][0]
        # side by side, so that an arrow does not hide under a number or under another one
        shift = np.array([0.0, (0.55 + 0.3 * i) * pitch_mm]) if line else np.zeros(2)
        start, step = at_mm + shift, factor * moved
        ax.quiver(
            *start.T, *step.T, angles="xy", scale_units="xy", scale=1, color=colour, width=0.006, zorder=4
        )
        ax.plot([], [], color=colour, linewidth=2, label=f"displacement, {name}")
    margin = 0.9 * pitch_mm
    ax.set_xlim(at_mm[:, 0].min() - margin, at_mm[:, 0].max() + margin)
    if line:  # nothing of it lies beside x
        ax.set_ylim(-0.8 * pitch_mm, (1.5 + 0.3 * len(moved_mm)) * pitch_mm)
        ax.set_yticks([])
    else:
        ax.set_aspect("equal")
        ax.set_ylim(at_mm[:, 1].min() - margin, at_mm[:, 1].max() + margin)
    ax.set_xlabel("x / mm")
    ax.set_ylabel("" if line else "y / mm")
    style(ax)
    if moved_mm:
        ax.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    _convention(sketch, line)
    return figure, factor


def _convention(ax: Axes, line: bool) -> None:
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_xlim(-1.45, 1.45)
    ax.set_ylim(-0.75 if line else -2.2, 1.5)
    around = np.radians(np.linspace(-90 if line else -180, 90 if line else 180, 181))
    ax.plot(np.sin(around), np.cos(around), color="#bbbbbb", linewidth=1)
    for angle in (-90, 0, 90) if line else (-90, 0, 90, 180):
        s, c = np.sin(np.radians(angle)), np.cos(np.radians(angle))
        ax.text(1.2 * s, 1.2 * c, f"{angle:+d}°".replace("+0", "0").replace("-", "\u2212"), ha="center", va="center", fontsize=8)  # fmt: skip
    s, c = np.sin(np.radians(40)), np.cos(np.radians(40))
    ax.annotate("", (s, c), (0, 0), arrowprops={"arrowstyle": "->", "color": KNOWN, "lw": 1.6})
    ax.annotate(
        "", (0.5 * s, 0.5 * c), (0, 0.5), arrowprops={"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.25"}
    )
    ax.text(0.22, 0.62, "+", fontsize=11)
    ax.plot([0, 0], [0, 1], "--", color="#999999", linewidth=1)
    x = np.linspace(-0.7, 0.7, 4) if line else 0.35 * np.cos(np.arange(4) * np.pi / 2)
    y = np.zeros(4) if line else 0.35 * np.sin(np.arange(4) * np.pi / 2)
    ax.plot(x, y, "o", color="white", markeredgecolor=KNOWN, markersize=6)
    ax.text(
        0,
        -0.5 if line else -1.8,
        "seen from above:\n0° = +y, +90° = +x",
        ha="center",
        va="center",
        fontsize=8,
    )


def learned_figure(
    calibrations: Mapping[str, Calibration], truth_gain: NDArray[np.complex128] | None = None
) -> Figure:
    """Gain, phase and displacement of every element with one standard deviation."""
    first = next(iter(calibrations.values()))
    axes_xy = ("x",) if first.geometry.kind == "line" else ("x", "y")
    figure = new_figure(8.0, 1.75 * (2 + len(axes_xy)))
    panels = list(figure.subplots(2 + len(axes_xy), 1, sharex=True))
    port = np.arange(first.geometry.n_elements)
    for i, (name, cal) in enumerate(calibrations.items()):
        colour, mark, _ = LEARNED[i % len(LEARNED)]
        wavelength_m = SPEED_OF_LIGHT_M_S / cal.fc_hz
        imp, sigma = cal.impairments, cal.sigma
        shown = [
            (20 * np.log10(np.abs(imp.gain)), sigma.gain_db),
            (np.degrees(np.angle(imp.gain)), sigma.phase_deg),
            *((imp.position_error_m[:, k] / wavelength_m, sigma.position_m[:, k] / wavelength_m)
              for k in range(len(axes_xy))),
        ]  # fmt: skip
        shift = 0.0 if len(calibrations) == 1 else 0.24 * (i / (len(calibrations) - 1) - 0.5)
        for ax, (value, spread) in zip(panels, shown, strict=True):
            ax.errorbar(port + shift, value, np.nan_to_num(spread), fmt=mark, color=colour, markersize=5, capsize=3,
                        label=name)  # fmt: skip
    if truth_gain is not None:
        panels[0].plot(port, 20 * np.log10(np.abs(truth_gain)), "x", color=KNOWN, label="truth")
        panels[1].plot(port, np.degrees(np.angle(truth_gain)), "x", color=KNOWN, label="truth")
    for ax, text in zip(
        panels, ("gain / dB", "phase / degrees", *(f"d{a} / wavelengths" for a in axes_xy)), strict=True
    ):
        ax.axhline(0, color="#999999", linewidth=0.8)
        ax.set_ylabel(text)
        style(ax)
    panels[-1].set_xlabel("port")
    panels[-1].set_xticks(port if len(port) <= 32 else port[:: -(-len(port) // 32)])
    panels[0].legend(frameon=False, fontsize=8, ncols=5, loc="best")
    return figure


def _outwards(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors from the centre; upwards where a point is the centre."""
    out = points - points.mean(axis=0)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 1e-9, out / np.maximum(length, 1e-9), np.array([0.0, 1.0]))


def _round_factor(most: float) -> float:
    """The largest of 1, 2, 5, 10, ... not above `most`, at least 1."""
    return max((f for f in (1.0, 2.0, 5.0, 10.0, 20.0, _LARGEST_EXAGGERATION) if f <= most), default=1.0)


def _smallest_distance(points: NDArray[np.float64]) -> float:
    if len(points) < 2:
        return 1.0
    smallest = np.inf
    for i in range(1, len(points)):
        away = np.linalg.norm(points[i:] - points[:-i], axis=1)
        smallest = min(smallest, float(away[away > 0].min(initial=np.inf)))
    return smallest if np.isfinite(smallest) else 1.0
