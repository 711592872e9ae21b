"""Pictures for reports, documents and `--plot`: matplotlib figures without a display.

Every angle axis states the convention; nominal is grey and dashed, calibrated blue and solid, truth black,
so that the pictures stay readable in print and for colour-blind people.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOMINAL = "#7f7f7f"
CALIBRATED = "#0b6bb8"
KNOWN = "#000000"
ACCENT = "#d1641b"
LINE_ANGLE = "broadside angle / degrees (positive towards +x, the last element)"
PLANE_ANGLE = "azimuth / degrees (from +y towards +x)"


def new_figure(width: float = 8.0, height: float = 4.0) -> Figure:
    """An empty figure that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write PNG, SVG or PDF by the suffix. Raises ConfigError."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as err:
        raise ConfigError(
            f"cannot write {path}: {err}", where="--plot", hint="use a name ending in .png, .svg or .pdf"
        ) from err


def data_uri(figure: Figure) -> str:
    """PNG of the figure as a data: URI for a self-contained page."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode()


def png(figure: Figure) -> bytes:
    """The figure as PNG, fine enough for print."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=180)
    return buffer.getvalue()


def style(ax: Axes) -> None:
    """Light grid, open frame."""
    ax.grid(True, color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def spectrum_figure(
    angles_deg: NDArray[np.float64],
    spectra_db: dict[str, NDArray[np.float64]],
    true_deg: Sequence[float] = (),
    *,
    planar: bool = False,
    title: str = "",
) -> Figure:
    """MUSIC pseudo-spectra (G,) in dB over angles (G,); keys "nominal", "calibrated", "known" or others."""
    figure = new_figure()
    ax = figure.add_subplot()
    styles = {"nominal": (NOMINAL, "--"), "calibrated": (CALIBRATED, "-"), "known": (KNOWN, ":")}
    for name, spectrum in spectra_db.items():
        colour, line = styles.get(name, (ACCENT, "-."))
        ax.plot(
            angles_deg,
            spectrum,
            line,
            color=colour,
            linewidth=2.2 if name == "calibrated" else 1.6,
            label=name,
        )
    for i, angle in enumerate(true_deg):
        ax.axvline(angle, color=ACCENT, linewidth=1.2, alpha=0.9, label="true direction" if i == 0 else None)
    ax.set_xlim(float(angles_deg[0]), float(angles_deg[-1]))
    ax.set_xlabel(PLANE_ANGLE if planar else LINE_ANGLE)
    ax.set_ylabel("MUSIC pseudo-spectrum / dB")
    ax.set_title(title)
    style(ax)
    ax.legend(frameon=False, loc="upper right")
    return figure


def over_time_figure(rows: Iterable[tuple[float, float, float]], most: int = 20_000) -> Figure:
    """Directions (time_s, doa_deg, sigma_deg) over time; of more than `most` evenly picked ones."""
    kept: list[tuple[float, float]] = []
    stride = 1
    for k, (time_s, doa_deg, _) in enumerate(rows):
        if k % stride == 0:
            kept.append((time_s, doa_deg))
        if len(kept) > 2 * most:
            kept, stride = kept[::2], 2 * stride
    figure = new_figure()
    ax = figure.add_subplot()
    if kept:
        ax.plot(*zip(*kept, strict=True), ".", color=CALIBRATED, markersize=2.5)
    ax.set_xlabel("time / s")
    ax.set_ylabel("direction / degrees")
    style(ax)
    return figure


def history_figure(scores: Sequence[float], predicted: float) -> Figure:
    """Null depth (log) over the learner's steps against its prediction from noise alone."""
    figure = new_figure(8.0, 3.0)
    ax = figure.add_subplot()
    ax.plot(np.arange(1, len(scores) + 1), scores, color=CALIBRATED, marker=".", linewidth=1.8, label="seen")
    ax.axhline(predicted, color=KNOWN, linestyle=":", linewidth=1.6, label="predicted from noise alone")
    # at least one unit of log around the prediction: smaller differences are noise and must not look large
    low, high = min([*scores, predicted]) - 1.0, max([*scores, predicted]) + 1.0
    ax.set_ylim(low, high)
    ax.set_xticks(np.arange(1, len(scores) + 1, max(1, len(scores) // 12)))
    ax.set_xlabel("step of the search")
    ax.set_ylabel("median log null depth")
    style(ax)
    ax.legend(frameon=False)
    return figure


def doa_figure(
    time_s: NDArray[np.float64],
    estimates_deg: dict[str, NDArray[np.float64]],
    true_deg: NDArray[np.float64] | None = None,
) -> Figure:
    """Directions over time: (n,) seconds, (n, K) degrees per name; truth (n, K) where it is known."""
    figure = new_figure(8.0, 3.4)
    ax = figure.add_subplot()
    if true_deg is not None:
        ax.plot(
            time_s,
            true_deg,
            "_",
            color=KNOWN,
            markersize=9,
            markeredgewidth=1.6,
            label=_first("truth", true_deg),
        )
    marks = {"nominal": (NOMINAL, "x", 4), "calibrated": (CALIBRATED, "o", 3)}
    for name, angles in estimates_deg.items():
        colour, mark, size = marks.get(name, (ACCENT, ".", 4))
        ax.plot(time_s, angles, mark, color=colour, markersize=size, label=_first(name, angles))
    ax.set_xlabel("time / s")
    ax.set_ylabel("direction / degrees")
    style(ax)
    ax.legend(frameon=False, loc="upper right", ncols=3)
    return figure


def _first(name: str, columns: NDArray[np.float64]) -> str | list[str]:
    k = 1 if columns.ndim == 1 else columns.shape[1]
    return name if k == 1 else [name] + ["_nolegend_"] * (k - 1)
