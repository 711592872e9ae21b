"""How the pictures of the MoD-DNN experiment are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hil.reproduce.mod_dnn_rows import SECTORS, WORDS
from hil.reproduce.mod_dnn_score import SHARES

COLOURS = {
    "music": "black",
    "dbf": "tab:gray",
    "cdbf": "tab:brown",
    "bias": "tab:olive",
    "lut": "tab:green",
    "cnn": "tab:purple",
    "deep-music": "tab:red",
    "mod-dnn": "tab:orange",
}
_MARKS = {
    "music": "s",
    "dbf": "x",
    "cdbf": "+",
    "bias": "v",
    "lut": "^",
    "cnn": "D",
    "deep-music": "P",
    "mod-dnn": "o",
}
_DASHED = ("dbf", "cdbf", "lut", "bias")

Curves = dict[str, tuple[list[float], list[float]]]


def draw_curves(
    figure: Figure,
    panels: list[tuple[str, str, Curves]],
    bound: tuple[list[float], list[float]] | None,
    along: str,
) -> None:
    """A panel for each (y label, words, method -> points); the first is logarithmic and has the bound."""
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for i, (ax, (label, words, curves)) in enumerate(zip(axes, panels, strict=True)):
        for method, (x, y) in curves.items():
            ax.plot(x, y, "--" if method in _DASHED else "-", marker=_MARKS[method], mfc="none", ms=5,
                    color=COLOURS[method], label=WORDS[method])  # fmt: skip
        if bound is not None and i == 0:
            ax.plot(*bound, ":", color="tab:blue", lw=2, label="bound")
        if i == 0:
            ax.set_yscale("log")
            _plain(ax)
        ax.grid(alpha=0.3, which="both")
        ax.set_xlabel(along)
        ax.set_ylabel(label)
        ax.set_title(words, fontsize=10)
    _legend(figure, axes[0])


def draw_cdf(figure: Figure, panels: list[tuple[str, dict[str, list[float]]]]) -> None:
    """Distribution of |error|: a panel for each (words, method -> quantiles at `SHARES`)."""
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (words, curves) in zip(axes, panels, strict=True):
        for method, quantiles in curves.items():
            ax.plot(np.maximum(quantiles, 1e-3), SHARES, "--" if method in _DASHED else "-", color=COLOURS[method],
                    label=WORDS[method])  # fmt: skip
        ax.axhline(0.8, color="gray", lw=0.8, ls=":")
        ax.set_xscale("log")
        ax.set_xlim(5e-3, None)
        ax.set_xlabel("|error| (degrees)")
        ax.set_title(words, fontsize=10)
        ax.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("share of the samples")
    _legend(figure, axes[0])


def draw_boxes(figure: Figure, boxes: dict[str, list[dict[str, float]]]) -> None:
    """Boxes of |error| by sector, whiskers to the least and to the largest within Q3 + 1.5 IQR."""
    ax = figure.subplots()
    width = 0.8 / len(boxes)
    for i, (method, sectors) in enumerate(boxes.items()):
        stats = [
            {
                "q1": b["q1"],
                "med": b["median"],
                "q3": b["q3"],
                "whislo": max(b["least"], 1e-3),
                "whishi": b["most_iqr"],
            }
            for b in sectors
        ]
        at = np.arange(len(sectors)) + (i - (len(boxes) - 1) / 2) * width
        drawn = ax.bxp(stats, positions=at, widths=0.8 * width, showfliers=False, patch_artist=True)
        for patch in drawn["boxes"]:
            patch.set(facecolor=COLOURS[method], alpha=0.6)
        for line in drawn["medians"]:
            line.set_color("black")
        ax.plot([], [], "s", color=COLOURS[method], alpha=0.6, label=WORDS[method])
    ax.set_yscale("log")
    ax.set_ylim(3e-3, None)
    _plain(ax)
    ax.set_xticks(np.arange(len(SECTORS)), [f"{s} deg" for s in SECTORS])
    ax.set_ylabel("|error| (degrees)")
    _legend(figure, ax)


def draw_convergence(figure: Figure, curves: dict[str, list[list[float]]]) -> None:
    """Fig. 4h: SD of the loss about its final value."""
    ax = figure.subplots()
    for method, points in curves.items():
        share, deviation = np.array(points).T
        ax.plot(
            100 * share,
            np.maximum(deviation, 1e-4),
            marker=_MARKS[method],
            ms=4,
            color=COLOURS[method],
            label=WORDS[method],
        )
    ax.set_yscale("log")
    ax.set_xlabel("share of the training (%)")
    ax.set_ylabel("SD of the loss / its fall")
    ax.grid(alpha=0.3, which="both")
    ax.legend(fontsize=8)


def draw_responses(figure: Figure, autoencoders: list[tuple[str, int, dict[str, Any]]]) -> None:
    """Fig. 4a-d: amplitude and phase responses of every decoder against the angle."""
    axes = figure.subplots(len(autoencoders), 2, sharex=True, sharey=True, squeeze=False)
    for row, (name, _, response) in zip(axes, autoencoders, strict=True):
        for ax, kind in zip(row, ("amplitude", "phase"), strict=True):
            for values, sector in zip(response[kind], SECTORS, strict=True):
                ax.plot(response["angle_deg"], values, label=f"{sector} deg")
            for edge in (-30, 0, 30):
                ax.axvline(edge, color="gray", lw=0.8, ls=":")
            ax.set_title(f"{name}: {kind} response", fontsize=10)
            ax.grid(alpha=0.3)
        row[0].set_ylabel("response")
    for ax in axes[-1]:
        ax.set_xlabel("angle (degrees)")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        *handles, loc="outside lower center", ncols=4, fontsize=8, title="decoder of", title_fontsize=8
    )


_MODEL_LINES = {
    "cdbf": ("coarray DBF", "tab:brown", "-"),
    "scg": ("SCG, corrected", "tab:blue", "-"),
    "literal": ("SCG as printed", "tab:gray", ":"),
    "sharp": ("reweighted l1", "tab:green", "-"),
}


def draw_spectra(
    figure: Figure, shown_deg: tuple[float, ...], model: dict[str, Any], networks: dict[str, dict[str, Any]]
) -> None:
    """Fig. 1c above, Fig. 4e below: a column for each angle, true angles dotted."""
    axes = figure.subplots(2, len(shown_deg), sharex=True, sharey="row", squeeze=False)
    grid = model["grid"]
    for column, angle in enumerate(shown_deg):
        above, below = axes[:, column]
        for name, (words, colour, line) in _MODEL_LINES.items():
            above.plot(grid, model[name][column], line, color=colour, label=words, lw=1.2)
        below.plot(grid, model["music"][column], color=COLOURS["music"], label="MUSIC", lw=1.2)
        for method, spectra in networks.items():
            below.plot(
                spectra["grid"][column],
                spectra["spectrum"][column],
                color=COLOURS[method],
                label=WORDS[method],
                lw=1.2,
            )
        for ax in (above, below):
            ax.axvline(angle, color="black", lw=1, ls=":")
            ax.set_ylim(-0.3, 1.05)
            ax.grid(alpha=0.3)
        above.set_title(f"{angle:g} degrees", fontsize=10)
        below.set_xlabel("angle (degrees)")
    axes[0, 0].set_ylabel("spectrum / maximum")
    axes[1, 0].set_ylabel("spectrum / maximum")
    handles = [h for row in axes for h in row[0].get_legend_handles_labels()[0]]
    figure.legend(handles, [h.get_label() for h in handles], loc="outside lower center", ncols=7, fontsize=8)


def draw_bars(figure: Figure, groups: dict[str, dict[str, float]], label: str) -> None:
    """Groups of bars, one for each method: group -> method -> value."""
    ax = figure.subplots()
    methods = list(dict.fromkeys(m for values in groups.values() for m in values))
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        at = np.arange(len(groups)) + (i - (len(methods) - 1) / 2) * width
        ax.bar(at, [values.get(method, np.nan) for values in groups.values()], 0.9 * width, color=COLOURS[method],
               label=WORDS[method])  # fmt: skip
    ax.set_xticks(np.arange(len(groups)), list(groups))
    ax.set_ylabel(label)
    ax.grid(alpha=0.3, axis="y")
    _legend(figure, ax)


def draw_ablations(figure: Figure, ratios: dict[str, list[float]], snrs: tuple[str, ...]) -> None:
    """RMSE over the bound of every variant."""
    ax = figure.subplots()
    place = np.arange(len(ratios))[::-1]
    height = 0.8 / len(snrs)
    for i, snr in enumerate(snrs):
        ax.barh(
            place - (i - (len(snrs) - 1) / 2) * height,
            [r[i] for r in ratios.values()],
            0.9 * height,
            label=f"{snr} dB",
        )
    ax.axvline(1.0, color="black", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_yticks(place, list(ratios), fontsize=8)
    ax.set_xlabel("RMSE over the bound")
    ax.grid(alpha=0.3, axis="x", which="both")
    ax.legend(fontsize=8)


def _plain(ax: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.3, which="both")


def _legend(figure: Figure, ax: Axes) -> None:
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
