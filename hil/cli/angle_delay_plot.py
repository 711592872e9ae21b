"""The picture of `hil angle-delay --plot`: power over angle and range, detections marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hil.reporting import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hil.jobs.angle_delay import AngleDelay

_RANGE_DB = 40.0


def angle_delay_figure(found: AngleDelay) -> Figure:
    """Heat map in dB over (angle, range) with a ring around every path; the direct path is not in it."""
    figure = plots.new_figure(8.0, 5.0)
    ax = figure.add_subplot()
    level = 10 * np.log10(np.maximum(found.power, 1e-30))
    top = float(level.max())
    bottom = max(top - _RANGE_DB, float(np.median(level)) - 3.0)
    mesh = ax.pcolormesh(
        found.angles_deg, found.range_m, level.T, cmap="viridis", vmin=min(bottom, top - 1), vmax=top,
        shading="nearest", rasterized=True,
    )  # fmt: skip
    bar = figure.colorbar(mesh, ax=ax)
    bar.set_label("power / dB (a channel of 1 in every element is 0 dB)")
    for k, path in enumerate(found.estimate.paths):
        ax.plot(
            path.angle_deg, path.range_m, "o", markersize=13, markerfacecolor="none", markeredgecolor="white",
            markeredgewidth=2.6,
        )  # fmt: skip
        ax.plot(
            path.angle_deg, path.range_m, "o", markersize=13, markerfacecolor="none", markeredgecolor=plots.ACCENT,
            markeredgewidth=1.4, label="path" if k == 0 else None,
        )  # fmt: skip
    planar = found.stream.geometry is not None and found.stream.geometry.kind != "line"
    ax.set_xlim(float(found.angles_deg[0]), float(found.angles_deg[-1]))
    ax.set_ylim(float(found.range_m[0]), float(found.range_m[-1]))
    ax.set_xlabel(plots.PLANE_ANGLE if planar else plots.LINE_ANGLE)
    ax.set_ylabel(f"range / m (from the {found.estimate.delay_reference})")
    calibrated = found.used.status if found.used else "none"
    ax.set_title(f"{len(found.estimate.paths)} paths, calibration: {calibrated}", fontsize=10)
    if found.estimate.paths:
        ax.legend(loc="upper right", framealpha=0.9)
    return figure
