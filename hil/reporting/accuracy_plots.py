"""Pictures of direction errors: against the angle, their distribution, and by sector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.reporting.accuracy import Accuracy
from hil.reporting.plots import (
    ACCENT,
    CALIBRATED,
    KNOWN,
    LINE_ANGLE,
    NOMINAL,
    PLANE_ANGLE,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of the calibrations that are compared, in order: colour, mark, line.
LEARNED = ((CALIBRATED, "o", "-"), (ACCENT, "s", "-."), ("#2a7f4f", "^", ":"), ("#7a3fa0", "D", "--"))
_SMALLEST_DEG = 1e-4
_MOST_BARS = 400


def look(accuracy: Accuracy, name: str) -> tuple[str, str, str]:
    """(colour, mark, line) of an array."""
    if name == "nominal":
        return NOMINAL, "x", "--"
    return LEARNED[accuracy.learned.index(name) % len(LEARNED)]


def residual_figure(accuracy: Accuracy, *, planar: bool) -> Figure:
    """Mean error of every point against its direction: all arrays, and below the learned ones alone with deviations."""
    figure = new_figure(8.0, 5.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.35])
    true = accuracy.true_deg.ravel()
    for name in accuracy.error_deg:
        colour, mark, _ = look(accuracy, name)
        above.plot(true, accuracy.bias_deg(name).ravel(), mark, color=colour, markersize=4, label=name)
    above.set_ylabel("mean error / degrees")
    order = np.argsort(true)
    crb = accuracy.crb_deg.ravel()[order]
    if np.isfinite(crb).any():
        below.fill_between(true[order], -crb, crb, color="#dddddd", label="± Cramér-Rao bound", linewidth=0)
    largest = []
    apart = 0.004 * max(float(np.ptp(true)), 1.0)
    for i, name in enumerate(accuracy.learned):
        colour, mark, _ = look(accuracy, name)
        mean, spread = accuracy.bias_deg(name).ravel(), np.nan_to_num(accuracy.scatter_deg(name).ravel())
        below.errorbar(
            true + (i - (len(accuracy.learned) - 1) / 2) * apart, mean, spread if len(true) <= _MOST_BARS else None, fmt=mark, color=colour, markersize=4,
            elinewidth=1, capsize=0, label=f"{name} ± one sigma" if len(true) <= _MOST_BARS else name,
        )  # fmt: skip
        largest.append(np.nanmax(np.abs(mean) + spread, initial=0.0))
    if largest and max(largest) > 0:
        below.set_ylim(-1.15 * max(largest), 1.15 * max(largest))
    below.axhline(0, color=KNOWN, linewidth=0.8)
    below.set_ylabel("learned arrays alone\nmean error / degrees")
    below.set_xlabel(PLANE_ANGLE if planar else LINE_ANGLE)
    for ax in (above, below):
        style(ax)
        ax.legend(
            frameon=False, ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1
        )
    return figure


def spectra_figure(
    grid_deg: NDArray[np.float64],
    rows: Sequence[tuple[str, Mapping[str, NDArray[np.float64]], Sequence[float]]],
    *,
    planar: bool,
) -> Figure:
    """MUSIC spectra (G,) in dB at several points: (title, by name of the array, true directions)."""
    figure = new_figure(8.0, 0.9 + 1.45 * len(rows))
    panels = np.atleast_1d(np.asarray(figure.subplots(len(rows), 1, sharex=True)))
    for i, (ax, (title, spectra, true)) in enumerate(zip(panels, rows, strict=True)):
        for j, (name, values) in enumerate(spectra.items()):
            colour, _, line = LEARNED[(j - 1) % len(LEARNED)] if name != "nominal" else (NOMINAL, "", "--")
            ax.plot(grid_deg, values, line, color=colour, linewidth=1.8, label=name)
        for k, angle in enumerate(true):
            ax.axvline(
                angle, color=KNOWN, linewidth=1, linestyle=(0, (1, 1)), label=None if k else "true direction"
            )
        ax.set_title(title, fontsize=10, loc="left")
        ax.set_ylabel("MUSIC / dB")
        style(ax)
        if i == 0:
            figure.legend(frameon=False, ncols=5, fontsize=8, loc="outside upper right")
    panels[-1].set_xlim(float(grid_deg[0]), float(grid_deg[-1]))
    panels[-1].set_xlabel(PLANE_ANGLE if planar else LINE_ANGLE)
    return figure


def distribution_figure(accuracy: Accuracy) -> Figure:
    """Share of all errors that are at most so large."""
    figure = new_figure(8.0, 3.5)
    ax = figure.add_subplot()
    for name in accuracy.error_deg:
        colour, _, line = look(accuracy, name)
        size = np.sort(np.maximum(accuracy.sizes(name).ravel(), _SMALLEST_DEG))
        share = 100 * np.arange(1, len(size) + 1) / len(size)
        ax.plot(size, share, line, color=colour, linewidth=2, label=name)
    crb = accuracy.crb_deg[np.isfinite(accuracy.crb_deg)]
    if len(crb):
        ax.axvline(
            float(np.median(crb)), color=KNOWN, linestyle=":", linewidth=1.4,
            label="Cramér-Rao bound of one block (median)",
        )  # fmt: skip
    ax.set_xscale("log")
    _plain_log(ax, "x")
    ax.set_ylim(0, 102)
    ax.set_yticks([0, 25, 50, 75, 95])
    ax.set_xlabel("size of the error of one block / degrees")
    ax.set_ylabel("share of blocks not above / %")
    style(ax)
    figure.legend(frameon=False, ncols=5, fontsize=8, loc="outside upper left")
    return figure


def sector_figure(accuracy: Accuracy) -> Figure:
    """Box plots of the sizes of the errors by sector."""
    figure = new_figure(8.0, 3.6)
    ax = figure.add_subplot()
    sectors, names = accuracy.sectors(), list(accuracy.error_deg)
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        colour = look(accuracy, name)[0]
        size = np.maximum(accuracy.sizes(name), _SMALLEST_DEG)
        values = [size[inside[accuracy.point]] for _, inside in sectors]
        at = np.arange(len(sectors)) + (i - (len(names) - 1) / 2) * width
        boxes = ax.boxplot(
            values, positions=at, widths=0.8 * width, whis=(5, 95), showfliers=False, patch_artist=True,
            medianprops={"color": colour if name == "nominal" else KNOWN, "linewidth": 1.4}, boxprops={"facecolor": colour, "edgecolor": colour},
            whiskerprops={"color": colour}, capprops={"color": colour}, manage_ticks=False,
        )  # fmt: skip
        boxes["boxes"][0].set_label(name)
    for s, (_, inside) in enumerate(sectors):
        crb = accuracy.crb_deg[inside]
        if np.isfinite(crb).any():
            ax.hlines(
                np.nanmedian(crb), s - 0.45, s + 0.45, color=KNOWN, linestyle=":", linewidth=1.6,
                label="Cramér-Rao bound of one block" if s == 0 else "_nolegend_",
            )  # fmt: skip
    ax.set_yscale("log")
    _plain_log(ax, "y")
    ax.set_xticks(np.arange(len(sectors)), [name for name, _ in sectors])
    ax.set_xlim(-0.6, len(sectors) - 0.4)
    ax.set_xlabel("sector of the true direction / degrees")
    ax.set_ylabel("size of the error of one block / degrees")
    style(ax)
    figure.legend(frameon=False, ncols=4, fontsize=8, loc="outside upper left")
    return figure


def _plain_log(ax: Axes, which: str) -> None:
    """0.01 rather than a power of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
