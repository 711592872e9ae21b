"""The pictures of the VAE experiment."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

STYLE: dict[str, tuple[str, str, str, str]] = {
    "music-coarse": ("tab:gray", ":", "v", "MUSIC, 1 degree grid, blind at the edge"),
    "music-edge": ("tab:gray", "--", "s", "MUSIC, blind at the edge"),
    "music": ("black", "-", "o", "MUSIC, well built"),
    "kr-music": ("tab:brown", ":", "D", "KR-MUSIC"),
    "cnn": ("tab:purple", ":", "P", "Unsupervised-CNN"),
    "supervised": ("tab:red", "--", "x", "supervised network"),
    "ml": ("tab:green", "-", "*", "ML, each recording"),
    "net": ("tab:orange", "-", "^", "VAE, network"),
    "net-ml": ("tab:blue", "--", "+", "VAE, network + ML steps"),
    "bound": ("tab:cyan", "-", "", "bound"),
}
#: method -> (x, y)
Curves = dict[str, tuple[list[float], list[float]]]
#: label, row -> series -> value, line to mark
Bars = list[tuple[str, dict[str, dict[str, float]], float | None]]
_MANY = 4.0


def draw_curves(figure: Figure, panels: list[tuple[str, Curves]]) -> None:
    """Errors against SNR, one panel each: (label of y, curves)."""
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, curves) in zip(axes, panels, strict=True):
        for method, (x, y) in curves.items():
            colour, line, marker, words = STYLE[method]
            ax.plot(x, y, line, marker=marker, color=colour, label=words, mfc="none", ms=7)
        ax.set_yscale("log")
        ax.set_xticks([0, 10, 20])
        ax.set_xlabel("SNR (dB)")
        ax.set_ylabel(label)
        ax.grid(alpha=0.3, which="both")
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)


def draw_bars(figure: Figure, panels: Bars) -> None:
    """Horizontal bars on a logarithmic axis: (label, row -> series -> value, line to mark)."""
    axes = figure.subplots(1, len(panels), squeeze=False, gridspec_kw={"wspace": 0.05})[0]
    for ax, (label, rows, line) in zip(axes, panels, strict=True):
        series = list(dict.fromkeys(name for row in rows.values() for name in row))
        height = 0.8 / len(series)
        lowest = min(v for row in rows.values() for v in row.values() if v > 0)
        lowest = min(lowest, line or lowest) / 2
        for i, name in enumerate(series):
            at = [
                r + (i - (len(series) - 1) / 2) * height for r, row in enumerate(rows.values()) if name in row
            ]
            value = [row[name] for row in rows.values() if name in row]
            ax.barh(
                at, [v - lowest for v in value], height, left=lowest, label=name if len(series) > 1 else None
            )
            for y, v in zip(at, value, strict=True):
                ax.text(v * 1.15, y, f"{v:.2g}" if v < _MANY else f"{v:.1f}", va="center", fontsize=7)
        if line is not None:
            ax.axvline(line, color="tab:cyan", label="bound")
        ax.set_xscale("log")
        ax.set_xlim(lowest, max(v for row in rows.values() for v in row.values()) * 6)
        ax.set_yticks(range(len(rows)), list(rows))
        ax.invert_yaxis()
        ax.set_xlabel(label)
        ax.grid(alpha=0.3, axis="x")
    handles, names = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8)


def draw_decibels(figure: Figure, rows: dict[str, dict[str, float]], line: float | None) -> None:
    """NMSE of channels, in decibels: lower is better."""
    ax = figure.subplots()
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    height = 0.8 / len(series)
    for i, name in enumerate(series):
        at = [r + (i - (len(series) - 1) / 2) * height for r in range(len(rows))]
        value = [row[name] for row in rows.values()]
        ax.barh(at, value, height, label=name)
        for y, v in zip(at, value, strict=True):
            ax.text(v, y, f" {v:.1f} ", va="center", ha="right" if v < 0 else "left", fontsize=8)
    low = min([v for row in rows.values() for v in row.values()] + ([line] if line is not None else []))
    high = max(v for row in rows.values() for v in row.values())
    ax.set_xlim(low - 5, max(high, 0) + 4)
    if line is not None:
        ax.axvline(line, color="tab:cyan", label="bound")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.invert_yaxis()
    ax.set_xlabel("NMSE of the channels (dB)")
    ax.grid(alpha=0.3, axis="x")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)


def draw_one(figure: Figure, case: dict[str, Any]) -> None:
    """Fig. 2: loss over angle and path angle of one user."""
    ax = figure.subplots()
    image = _map(ax, np.array(case["one"]), case["near_deg"], case["phase_deg"])
    ax.plot([case["true_deg"]], [0], "x", color="tab:red", ms=10, mew=2)
    ax.set_xlabel("angle (degrees)")
    ax.set_ylabel("error of the path angle (degrees)")
    figure.colorbar(image, ax=ax, label="loss over its largest")


def draw_pairs(figure: Figure, case: dict[str, Any]) -> None:
    """Fig. 3: loss over the angles of two users; crosses: true angles and those that look the same."""
    axes = figure.subplots(1, len(case["pairs"]), sharey=True)
    image = None
    for ax, pair in zip(axes, case["pairs"], strict=True):
        image = _map(ax, np.array(pair["loss"]), case["at_deg"], case["at_deg"])
        first, second = pair["same_deg"]
        ax.plot(*np.array([(a, b) for a in first for b in second]).T, "x", color="tab:red", ms=8, mew=2)
        ax.set_title(f"N = {pair['n']}, d = {pair['spacing']:g} wavelengths", fontsize=10)
        ax.set_xlabel("angle of user 0 (degrees)")
    axes[0].set_ylabel("angle of user 1 (degrees)")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="loss over its largest")


def _map(ax: Axes, loss: Any, x: list[float], y: list[float]) -> Any:
    extent = (x[0], x[-1], y[0], y[-1])
    return ax.imshow(loss.T, origin="lower", aspect="auto", extent=extent, cmap="viridis", vmin=0, vmax=1)


def draw_stationary(figure: Figure, case: dict[str, Any]) -> None:
    """Fig. 4: loss of one user and its slope, right and as printed; stationary points marked."""
    upper, lower = figure.subplots(2, 1, sharex=True)
    fine = np.array(case["fine_deg"])
    loss = np.array(case["loss"])
    upper.plot(fine, loss, color="tab:blue", lw=1)
    at = np.array(case["stationary_deg"])
    upper.plot(at, np.interp(at, fine, loss), ".", color="tab:red", ms=5, label="stationary points")
    upper.axvline(case["true_deg"], color="black", lw=0.8, ls="--", label="true angle")
    upper.set_ylabel("loss over its largest")
    upper.legend(fontsize=8, loc="lower left")
    lower.plot(fine, case["printed"], color="tab:gray", lw=0.8, label="as printed (50)")
    lower.plot(fine, case["slope"], color="tab:blue", lw=1.2, label="corrected")
    lower.axvline(case["true_deg"], color="black", lw=0.8, ls="--")
    lower.axhline(0, color="black", lw=0.5)
    lower.set_ylabel("slope over its largest")
    lower.set_xlabel("angle (degrees)")
    lower.set_xlim(-90, 90)
    lower.legend(fontsize=8, loc="lower left")
    for ax in (upper, lower):
        ax.grid(alpha=0.3)


def draw_training(figure: Figure, histories: dict[str, list[tuple[str, int, float]]]) -> None:
    """Loss of the plain networks by epoch; hollow: initialisation."""
    ax = figure.subplots()
    for name, history in histories.items():
        epochs, losses = [row[1] for row in history], [row[2] for row in history]
        (line,) = ax.plot(epochs, losses, "-", label=name)
        for phase, fill in (
            ("initialisation", "none"),
            ("directions", "full"),
            ("channels", "full"),
            ("both", "full"),
        ):
            chosen = [(e, v) for (p, e, _), v in zip(history, losses, strict=True) if p == phase]
            if chosen:
                style = {"mfc": "none"} if fill == "none" else {}
                ax.plot(*np.array(chosen).T, "o", color=line.get_color(), ms=4, **style)  # type: ignore[arg-type]
    ax.set_yscale("log")
    ax.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss of a snapshot")
    ax.grid(alpha=0.3, which="both")
    ax.legend(fontsize=8)
