"""Which pictures the ISAC experiment shows, and from which results."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from hil.reproduce.e2e_isac_checks import BARS
from hil.reproduce.e2e_isac_figures import (
    draw_curves,
    draw_maps,
    draw_multi_sweep,
    draw_ratios,
    draw_sweep,
)
from hil.reproduce.e2e_isac_rows import Results, ratios
from hil.reproduce.experiment import Picture

_UNLIMITED = ("known", "nominal", "closed", "closed-labels", "max-map", "labels", "dictionary")
_LIMITED = ("known", "nominal", "closed", "dictionary-limited", "neural-limited", "greedy")
_MULTI = ("known", "nominal", "closed", "closed-labels", "max-map", "labels")


def pictures(found: Results, results: dict[str, dict[str, Any]]) -> tuple[Picture, ...]:
    """Figures 3 and 5 to 9, and the ratios of the bars."""
    out: list[Picture] = []
    if "map" in results:
        out.append(
            Picture("maps", "Angle-delay map of one scene (Fig. 3)", partial(draw_maps, result=results["map"]),
                    "Circles: the four targets.", (10.5, 3.8))
        )  # fmt: skip
    each = {name: list(ratios(found, model, path).values()) for name, (model, path, _, _) in BARS.items()}
    each = {name: values for name, values in each.items() if values}
    if each:
        limits = {name: bar for name, (_, _, bar, _) in BARS.items()}
        out.append(
            Picture("ratios", "Learned over known, every array", partial(draw_ratios, ratios=each, bars=limits),
                    size=(8.0, 3.6))
        )  # fmt: skip
    for model in ("cum", "mult"):
        for kind, learners in (("", _UNLIMITED), ("-limited", _LIMITED)):
            for part, title in (
                ("sweep", "Trade-off, one target (Fig. 5)"),
                ("unseen", "Unseen sector (Fig. 6)"),
            ):
                sweeps = _mean_sweeps(found, model, learners, part)
                if len(sweeps) < (4 if kind else 3):
                    continue
                words = ", limited complexity" if kind else ""
                out.append(
                    Picture(f"{part}-{model}{kind}", f"{title}{words}: {model}", partial(draw_sweep, sweeps=sweeps),
                            "Dots: all 64 beams (eta, phi). Lines: those that no other beats in both.", (9.0, 7.0))
                )  # fmt: skip
        receivers = [r for r in results.values() if "omp" in r and r["model"] == model]
        if receivers:
            curves = {name: receivers[0][name] for name in ("omp", "sector", "all")}
            out.append(
                Picture(f"receivers-{model}", f"OMP and differentiable OMP, array known (Fig. 7): {model}",
                        partial(draw_curves, curves=curves, receivers=True), size=(9.0, 4.3))
            )  # fmt: skip
        mean = _mean_curves(found, model, _MULTI)
        if mean:
            out.append(
                Picture(f"multi-{model}", f"Up to five targets (Fig. 8): {model}",
                        partial(draw_curves, curves=mean, receivers=False), size=(9.0, 4.3))
            )  # fmt: skip
        sweeps = _mean_sweeps(found, model, _MULTI, "multi_sweep")
        if sweeps:
            out.append(
                Picture(f"multi-sweep-{model}", f"Trade-off, up to five targets (Fig. 9): {model}",
                        partial(draw_multi_sweep, sweeps=sweeps), "One point per eta, phi = 0.", (9.0, 4.3))
            )  # fmt: skip
    return tuple(out)


def _cases(
    found: Results, model: str, learners: tuple[str, ...], part: str
) -> dict[str, list[dict[str, Any]]]:
    """Results with this part, of the arrays that all of the learners that have it share."""
    having = {
        name: {d: case for d, case in found.get((model, name), {}).items() if part in case}
        for name in learners
    }
    having = {name: cases for name, cases in having.items() if cases}
    shared = sorted(set.intersection(*(set(cases) for cases in having.values()))) if having else []
    return {name: [cases[d] for d in shared] for name, cases in having.items()} if shared else {}


def _mean_sweeps(
    found: Results, model: str, learners: tuple[str, ...], part: str
) -> dict[str, list[dict[str, float]]]:
    return {
        name: [
            {key: float(np.mean([case[part][i][key] for case in cases])) for key in point}
            for i, point in enumerate(cases[0][part])
        ]
        for name, cases in _cases(found, model, learners, part).items()
    }


def _mean_curves(found: Results, model: str, learners: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {
        name: {"rates": cases[0]["multi"]["rates"]}
        | {
            key: np.mean([case["multi"][key] for case in cases], axis=0).tolist()
            for key in ("missed", "gospa")
        }
        for name, cases in _cases(found, model, learners, "multi").items()
    }
