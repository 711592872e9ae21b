"""Picture of time against size: one panel a case, both axes logarithmic, theory as a line through the largest size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hil.bench.scaling import EXPONENT
from hil.bench.scaling_cases import CASES

_COLUMNS = 4


def save_scaling(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """rows : of the stage `scaling` (`hil.bench.tables.as_dict`). Raises ConfigError for a name that cannot be written."""
    from hil.reporting.plots import ACCENT, CALIBRATED, new_figure, save

    theory = {f"{g.what} against {g.size}": g.theory for g in CASES}
    cases = list(dict.fromkeys(row["case"] for row in rows))
    n_rows = max(1, -(-len(cases) // _COLUMNS))
    figure = new_figure(3.0 * _COLUMNS, 0.3 + 2.6 * n_rows)
    panels = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
    for ax, case in zip(panels, cases, strict=False):
        points = [(int(r["who"]), r["cpu_s"]) for r in rows if r["case"] == case and r["who"] != EXPONENT]
        fitted = next(r["value"] for r in rows if r["case"] == case and r["who"] == EXPONENT)
        size, seconds = (np.array(v, float) for v in zip(*points, strict=True))
        ax.loglog(
            size,
            1e3 * seconds,
            "o-",
            color=CALIBRATED,
            markersize=4,
            label=f"measured, exponent {fitted:.2f}",
        )
        power = theory.get(case)
        if power is not None:
            line = 1e3 * seconds[-1] * (size / size[-1]) ** power
            ax.loglog(size, line, "--", color=ACCENT, linewidth=1.0, label=f"theory, {power:g}")
            ax.set_ylim(1e3 * seconds.min() / 3, 1e3 * seconds.max() * 3)
        what, _, grown = case.partition(" against ")
        ax.set_title(what, fontsize=9, loc="left")
        ax.set_xlabel(grown, fontsize=8)
        ax.set_ylabel("ms", fontsize=8)
        ax.set_xticks(size, [f"{s:g}" for s in size], minor=False)
        ax.minorticks_off()
        ax.tick_params(labelsize=7)
        ax.legend(fontsize=7, loc="upper left", frameon=False)
    for ax in panels[len(cases) :]:
        ax.set_visible(False)
    save(figure, path)
