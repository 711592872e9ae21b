"""The pictures of the ISAC experiment."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

_STYLE = {
    "known": ("tab:blue", "-", "", "array known"),
    "nominal": ("black", "-", "s", "baseline, array ignored"),
    "closed": ("tab:orange", "--", "o", "closed form, no labels"),
    "closed-labels": ("tab:brown", ":", "x", "closed form, labels"),
    "max-map": ("tab:green", "--", "^", "Adam, max-map, no labels"),
    "labels": ("tab:olive", "--", "v", "Adam, labels"),
    "dictionary": ("tab:red", "-.", "D", "dictionary, 720 columns"),
    "dictionary-limited": ("tab:pink", ":", "d", "dictionary, 156 columns"),
    "greedy": ("tab:cyan", ":", "*", "greedy calibration"),
    "neural-limited": ("tab:purple", ":", "P", "neural, 10 555 parameters"),
}
_RECEIVERS = {
    "omp": ("black", "-", "s", "OMP"),
    "sector": ("tab:orange", "--", "o", "differentiable OMP, sector"),
    "all": ("tab:blue", ":", "^", "differentiable OMP, all angles"),
}
_SWEEP_PANELS = (
    ("missed", "misdetection rate"),
    ("angle_deg_rmse", "angle error, rms (degrees)"),
    ("range_m_rmse", "range error, rms (m)"),
    ("position_m_median", "position error, median (m)"),
)


def draw_maps(figure: Figure, result: dict[str, Any]) -> None:
    """Fig. 3: ideal, ignored, learned; decibels over the maximum of the ideal one."""
    axes = figure.subplots(1, 3, sharey=True)
    extent = tuple(result["extent"])
    image = None
    titles = ("ideal array", "real array, taken for ideal", "real array, learned")
    for ax, grid, title in zip(axes, result["maps"], titles, strict=True):
        level = 10 * np.log10(np.maximum(np.array(grid).T, 1e-6))
        image = ax.imshow(
            level, origin="lower", aspect="auto", extent=extent, vmin=-25, vmax=0, cmap="viridis"
        )
        ax.plot(result["theta_deg"], result["range_m"], "o", mfc="none", mec="white", ms=10)
        ax.set_title(f"{title} (max {level.max():.1f} dB)", fontsize=10)
        ax.set_xlabel("angle (degrees)")
    axes[0].set_ylabel("range (m)")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="map over the ideal maximum (dB)")


def draw_sweep(figure: Figure, sweeps: dict[str, list[dict[str, float]]]) -> None:
    """Figs. 5 and 6: every beam as a dot, and what is best at each symbol error rate as a line."""
    axes = figure.subplots(2, 2).ravel()
    for ax, (quantity, label) in zip(axes, _SWEEP_PANELS, strict=True):
        for learner, points in sweeps.items():
            colour, line, marker, name = _STYLE[learner]
            ser = np.array([p["ser"] for p in points])
            value = np.array([p[quantity] for p in points])
            ax.plot(ser, value, ".", color=colour, alpha=0.25, ms=4)
            ax.plot(*_front(ser, value), line, marker=marker, color=colour, label=name, mfc="none", ms=5)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("symbol error rate")
        ax.set_ylabel(label)
        ax.grid(alpha=0.3, which="both")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)


def _front(ser: Any, value: Any) -> tuple[Any, Any]:
    """The points that no other beats in both; none of those where nothing was detected."""
    ser, value = ser[np.isfinite(value)], value[np.isfinite(value)]
    order = np.lexsort((value, ser))
    lowest = np.minimum.accumulate(value[order])
    keep = order[value[order] <= np.concatenate(([np.inf], lowest[:-1]))]
    return ser[keep], value[keep]


def draw_curves(figure: Figure, curves: dict[str, dict[str, Any]], receivers: bool) -> None:
    """Figs. 7 and 8: misdetection and GOSPA over the rate of false alarms."""
    axes = figure.subplots(1, 2)
    for ax, (quantity, label) in zip(
        axes, (("missed", "misdetection rate"), ("gospa", "GOSPA (m)")), strict=True
    ):
        for name, curve in curves.items():
            colour, line, marker, words = (_RECEIVERS if receivers else _STYLE)[name]
            ax.plot(
                curve["rates"], curve[quantity], line, marker=marker, color=colour, label=words, mfc="none"
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("false-alarm rate")
        ax.set_ylabel(label)
        ax.grid(alpha=0.3, which="both")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)


def draw_multi_sweep(figure: Figure, sweeps: dict[str, list[dict[str, float]]]) -> None:
    """Fig. 9: misdetection and GOSPA over the symbol error rate, one point per eta."""
    axes = figure.subplots(1, 2)
    for ax, (quantity, label) in zip(
        axes, (("missed", "misdetection rate"), ("gospa", "GOSPA (m)")), strict=True
    ):
        for learner, points in sweeps.items():
            colour, line, marker, name = _STYLE[learner]
            ax.plot(
                [p["ser"] for p in points], [p[quantity] for p in points], line,
                marker=marker, color=colour, label=name, mfc="none",
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("symbol error rate")
        ax.set_ylabel(label)
        ax.grid(alpha=0.3, which="both")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)


def draw_ratios(figure: Figure, ratios: dict[str, list[float]], bars: dict[str, float]) -> None:
    """Learned without labels over known, one dot per array, with the bar of each quantity."""
    ax = figure.subplots()
    for row, (name, values) in enumerate(ratios.items()):
        ax.plot(values, [row] * len(values), "o", color="tab:orange", alpha=0.6, mew=0)
        ax.plot([np.mean(values)], [row], "|", color="black", ms=18)
        ax.plot([bars[name]], [row], "|", color="tab:red", ms=18, mew=2)
    ax.axvline(1, color="tab:blue", lw=1)
    ax.set_yticks(range(len(ratios)), list(ratios))
    ax.invert_yaxis()
    ax.set_xlabel("closed form without labels over array known (black: mean; red: bar)")
    ax.grid(alpha=0.3, axis="x")
