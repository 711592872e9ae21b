"""The pictures of the gain-phase experiment."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hil.reproduce.gain_phase_isac_case import RATES

SHOWN = ("known", "ignored", "max-map tangent", "reconstruction", "eigen + edges")
_NAMES = {
    "known": "gains known",
    "ignored": "gains ignored",
    "max-map tangent": "loss (14), tangent",
    "reconstruction": "loss (15)",
    "eigen + edges": "closed form, ramp by the edges",
}
_STYLE = {
    "known": ("tab:blue", "-", ""),
    "ignored": ("black", "-", "s"),
    "max-map tangent": ("tab:green", "--", "o"),
    "reconstruction": ("tab:red", "--", "^"),
    "eigen + edges": ("tab:orange", ":", "x"),
}
_MODELS = {"paper": "impairments as printed", "code": "impairments as in the published program"}


def draw_maps(figure: Figure, result: dict[str, Any]) -> None:
    """Fig. 2: known, ignored, learned; decibels over the maximum of the known one."""
    axes = figure.subplots(1, 3, sharey=True)
    extent = (
        result["theta_deg"][0],
        result["theta_deg"][1],
        result["range_m"][0],
        result["range_m"][1],
    )
    image = None
    for ax, grid, title in zip(
        axes, result["maps"], ("gains known", "gains ignored", "gains learned"), strict=True
    ):
        level = 10 * np.log10(np.maximum(np.array(grid).T, 1e-4))
        image = ax.imshow(
            level, origin="lower", aspect="auto", extent=extent, vmin=-25, vmax=0, cmap="viridis"
        )
        ax.plot(*result["truth"], "o", mfc="none", mec="white", ms=10)
        peak = np.unravel_index(int(np.argmax(level)), level.shape)
        ax.plot(
            np.linspace(extent[0], extent[1], level.shape[1])[peak[1]],
            np.linspace(extent[2], extent[3], level.shape[0])[peak[0]],
            "x", color="tab:red",
        )  # fmt: skip
        ax.set_title(f"{title} (max {max(map(max, grid)):.2f})", fontsize=10)
        ax.set_xlabel("angle (degrees)")
    axes[0].set_ylabel("range (m)")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="map over the known maximum (dB)")


def draw_curves(figure: Figure, curves: dict[str, dict[str, dict[str, list[float]]]], quantity: str) -> None:
    """Fig. 3: a quantity over the false-alarm rate; curves[model][method][quantity] is a mean over draws."""
    models = [m for m in _MODELS if m in curves]
    axes = figure.subplots(1, max(len(models), 1), sharey=True, squeeze=False)[0]
    for ax, model in zip(axes, models, strict=False):
        for method in SHOWN:
            if method not in curves[model]:
                continue
            values = np.array(curves[model][method]["pd" if quantity == "missed" else quantity])
            colour, line, marker = _STYLE[method]
            shown = 1 - values if quantity == "missed" else values
            ax.plot(RATES, shown, line, marker=marker, color=colour, label=_NAMES[method], mfc="none")
        ax.set_xscale("log")
        if quantity != "rmse_m":
            ax.set_yscale("log")
        ax.set_xlabel("false-alarm rate")
        ax.set_title(_MODELS[model], fontsize=10)
        ax.grid(alpha=0.3, which="both")
    labels = {
        "missed": "misdetection rate",
        "rmse_m": "position error, rms (m)",
        "median_m": "position error, median (m)",
    }
    axes[0].set_ylabel(labels[quantity])
    axes[-1].legend(fontsize=8)
