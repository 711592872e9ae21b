"""Pictures of the diffMUSIC experiment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.reproduce.diffmusic_rows import Results
from hil.reproduce.diffmusic_tables import SWEEP_ROWS, sweep
from hil.reproduce.experiment import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "osv^Dx+"


def pictures(results: Results) -> tuple[Picture, ...]:
    """All pictures that the finished cases allow."""
    out: list[Picture] = []
    if "pictures" in results:
        data = results["pictures"]
        out.append(Picture("spectra-nominal", "Fig. 2: spectrum with the nominal and the physical array, 10 dB",
                           partial(_spectra, data=data, names=("nominal", "physical"))))  # fmt: skip
        out.append(Picture("elements", "Fig. 3: learned elements, M=5, 30 dB", partial(_elements, data=data),
                           "Centre: position; radius: gain magnitude; line: gain phase. Unlabelled rows in the oracle's "
                           "gauge, as no unlabelled data show offset and scale.", (8.0, 5.0)))  # fmt: skip
        names = ("physical", "SL,theta", "SL,P", "jain", "scan UL")
        out.append(Picture("spectra-learned", "Fig. 4: spectra with learned arrays, M=5, T=100, 10 dB",
                           partial(_spectra, data=data, names=names),
                           "Unlabelled arrays without any gauge: their peaks are shifted, most near endfire."))  # fmt: skip
    for kind, label, figure in (("snr", "SNR (dB)", "Fig. 5"), ("t", "snapshots", "Fig. 6")):
        for policy in ("paper", "dup"):
            found = sweep(results, kind, policy)
            if len(found) > 1:
                out.append(Picture(f"{kind}-sweep-{policy}", f"{figure}: RMSPE of diffMUSIC, peak policy {policy}",
                                   partial(_sweep, found=found, label=label, log_x=kind == "t")))  # fmt: skip
    return tuple(out)


def _spectra(figure: Figure, data: dict[str, Any], names: tuple[str, ...]) -> None:
    axes = figure.add_subplot()
    for angle in data["true_deg"]:
        axes.axvline(angle, color="0.8", linewidth=1, zorder=0)
    for i, name in enumerate(names):
        style = "--" if i else "-"
        axes.plot(data["angle_deg"], data["spectrum_db"][name], style, linewidth=1.2, label=name)
    axes.set_xlabel("broadside angle (degrees); grey: sources")
    axes.set_ylabel("pseudo-spectrum 1/D (dB)")
    axes.set_xlim(-90, 90)
    axes.legend(frameon=False, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _elements(figure: Figure, data: dict[str, Any]) -> None:
    from matplotlib.patches import Circle

    axes = figure.add_subplot()
    rows = [
        name
        for name in ("nominal", "physical", "SL,theta", "SL,P", "jain", "scan UL")
        if name in data["elements"]
    ]
    truth = data["elements"]["physical"]
    scale = 0.16
    for row, name in enumerate(rows):
        element = data["elements"][name]
        colour = "0.3" if name in ("nominal", "physical") else f"C{row - 2}"
        for x, size, phase in zip(element["x"], element["size"], element["phase"], strict=True):
            axes.add_patch(Circle((x, -row), scale * size, fill=False, color=colour, linewidth=1.2))
            tip = scale * size * np.array([np.cos(phase), np.sin(phase)])
            axes.plot([x, x + tip[0]], [-row, -row + tip[1]], color=colour, linewidth=1.2)
    for x in truth["x"]:
        axes.axvline(x, color="0.9", linewidth=0.8, zorder=0)
    axes.set_yticks([-i for i in range(len(rows))], rows)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlim(-4.3, 4.3)
    axes.set_aspect("equal")
    axes.set_xlabel("position (wavelengths); grey: physical positions")


def _sweep(figure: Figure, found: dict[float, dict[str, float]], label: str, *, log_x: bool) -> None:
    axes = figure.add_subplot()
    for i, name in enumerate(SWEEP_ROWS):
        points = [(x, row[name]) for x, row in found.items() if name in row]
        if points:
            style = "--" if name in ("nominal", "physical") else "-"
            axes.plot(
                *zip(*points, strict=True), style, marker=_MARKERS[i], markersize=4, linewidth=1.2, label=name
            )
    if log_x:
        axes.set_xscale("log")
        axes.set_xticks(list(found), [f"{x:g}" for x in found])
        axes.minorticks_off()
    axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("RMSPE (degrees)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
