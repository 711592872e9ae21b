"""The tables of the ISAC experiment."""

from __future__ import annotations

from typing import Any

import numpy as np

from hil.reproduce.e2e_isac_rows import (
    LEARNERS,
    WORDS,
    Results,
    mean_of,
    numbers,
    ratio_of_means,
    value,
)
from hil.reproduce.experiment import Table

_MODELS = ("cum", "mult", "unstructured")
_RECEIVERS = {
    "omp": "OMP, dictionary over the sector",
    "sector": "differentiable OMP, dictionary masked to the sector",
    "all": "differentiable OMP, dictionary over all angles",
}


def tables(found: Results, results: dict[str, dict[str, Any]]) -> tuple[Table, ...]:
    """All tables with at least one row."""
    out = [_single(found, model, part) for part in ("single", "single_unseen") for model in _MODELS]
    out += [_multi(found, model) for model in ("cum", "mult")]
    out += [_sweep(found, "cum"), _multi_sweep(found, "cum"), _receivers(results)]
    out += [_arrays(found, model) for model in ("cum", "mult")]
    return tuple(table for table in out if table.rows)


def _single(found: Results, model: str, part: str) -> Table:
    rows = []
    for learner in LEARNERS:
        missed = numbers(found, model, learner, f"{part}.missed")
        if not missed:
            continue
        seconds = mean_of(numbers(found, model, learner, "seconds"))
        first = next(iter(found[(model, learner)].values()))
        rows.append((
            WORDS[learner], len(missed), _rounded(mean_of(missed), 4), _rounded(float(np.std(list(missed.values()))), 4),
            _rounded(ratio_of_means(found, model, learner, f"{part}.missed"), 3),
            *(
                _rounded(mean_of(numbers(found, model, learner, f"{part}.{name}")), 3)
                for name in ("angle_deg_rmse", "angle_deg_median", "range_m_rmse", "range_m_median", "position_m_median")
            ),
            _rounded(ratio_of_means(found, model, learner, f"{part}.position_m_median"), 3),
            _rounded(mean_of(numbers(found, model, learner, "ser_half")), 5),
            _rounded(ratio_of_means(found, model, learner, "ser_half"), 3),
            _rounded(mean_of(numbers(found, model, learner, "match")), 4),
            first["parameters"], first["blocks"], _rounded(seconds, 1),
        ))  # fmt: skip
    columns = (
        "method", "arrays", "misdetection", "its spread over arrays", "misdetection / known", "angle rms (deg)",
        "angle median (deg)", "range rms (m)", "range median (m)", "position median (m)", "position median / known",
        "symbol errors, eta 0.5", "symbol errors / known", "match of the steering vectors", "real parameters",
        "training scenes", "seconds",
    )  # fmt: skip
    sector, words = (
        ("-20 to 20", "unseen sector") if part == "single_unseen" else ("-40 to -20", "one target")
    )
    return Table(
        f"{part.replace('_', '-')}-{model}", f"{model}: {words}, {sector} degrees, false-alarm rate 0.01", columns,
        tuple(rows),
        "Means over the arrays; ratios are of the arrays that both were run on. Sensing beam alone but for symbol errors.",
    )  # fmt: skip


def _multi(found: Results, model: str) -> Table:
    rows = []
    for learner in LEARNERS:
        gospa = numbers(found, model, learner, "multi.at.gospa")
        if not gospa:
            continue
        missed = numbers(found, model, learner, "multi.at.missed")
        rows.append((
            WORDS[learner], len(gospa), _rounded(mean_of(missed), 4),
            _rounded(ratio_of_means(found, model, learner, "multi.at.missed"), 3),
            _rounded(mean_of(gospa), 2), _rounded(float(np.std(list(gospa.values()))), 2),
            _rounded(ratio_of_means(found, model, learner, "multi.at.gospa"), 3),
            _rounded(mean_of(numbers(found, model, learner, "seconds")), 1),
        ))  # fmt: skip
    columns = (
        "method", "arrays", "misdetection", "misdetection / known", "GOSPA (m)", "its spread over arrays", "GOSPA / known",
        "seconds",
    )  # fmt: skip
    return Table(
        f"multi-{model}", f"{model}: up to five targets, false-alarm rate 0.01", columns, tuple(rows),
        "GOSPA with cut-off 90 m, mu = 2, p = 2, mean over scenes. Learned from scenes of one target.",
    )  # fmt: skip


def _sweep(found: Results, model: str) -> Table:
    rows = [
        (WORDS[learner], _rounded(p["eta"], 3), *(_rounded(p[name], 5) for name in _POINT))
        for learner in LEARNERS
        for case in _first(found, model, learner, "sweep")
        for p in [p for p in case["sweep"] if p["phi"] == 0][1::2]
    ]
    return Table(
        f"sweep-{model}", f"{model}: trade-off of one target over eta, phi = 0, first array",
        ("method", "eta", *_POINT.values()), tuple(rows), "Figure 5 shows all beams.",
    )  # fmt: skip


_POINT = {
    "missed": "misdetection",
    "angle_deg_rmse": "angle rms (deg)",
    "angle_deg_median": "angle median (deg)",
    "range_m_rmse": "range rms (m)",
    "range_m_median": "range median (m)",
    "position_m_median": "position median (m)",
    "ser": "symbol errors",
}


def _multi_sweep(found: Results, model: str) -> Table:
    rows = [
        (
            WORDS[learner],
            _rounded(p["eta"], 3),
            _rounded(p["missed"], 4),
            _rounded(p["gospa"], 2),
            _rounded(p["ser"], 5),
        )
        for learner in LEARNERS
        for case in _first(found, model, learner, "multi_sweep")
        for p in case["multi_sweep"]
    ]
    return Table(
        f"multi-sweep-{model}", f"{model}: trade-off of up to five targets over eta, phi = 0, first array",
        ("method", "eta", "misdetection", "GOSPA (m)", "symbol errors"), tuple(rows),
    )  # fmt: skip


def _first(found: Results, model: str, learner: str, part: str) -> list[dict[str, Any]]:
    return [case for case in found.get((model, learner), {}).values() if part in case][:1]


def _receivers(results: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for _, result in sorted(results.items()):
        for name, words in _RECEIVERS.items():
            if name in result:
                curve = result[name]
                best = int(np.argmin(curve["gospa"]))
                rows.append((
                    result["model"], words, _rounded(curve["at"]["missed"], 4), _rounded(curve["at"]["gospa"], 2),
                    _rounded(curve["gospa"][best], 2), _rounded(curve["rates"][best], 4),
                ))  # fmt: skip
    columns = (
        "array",
        "receiver",
        "misdetection",
        "GOSPA (m)",
        "lowest GOSPA (m)",
        "at a false-alarm rate of",
    )
    return Table("receivers", "OMP against differentiable OMP, array known (Fig. 7)", columns, tuple(rows))


def _arrays(found: Results, model: str) -> Table:
    paths = ("single.missed", "single.position_m_median", "multi.at.gospa", "ser_half")
    rows = []
    for draw, ours in sorted(found.get((model, "closed"), {}).items()):
        known, nominal = (found.get((model, name), {}).get(draw) for name in ("known", "nominal"))
        if known is None or nominal is None:
            continue
        row: list[Any] = [draw]
        for path in paths:
            values = [value(case, path) for case in (known, nominal, ours)]
            row += [_rounded(v, 5) for v in values]
            a, b = values[0], values[2]
            row.append(_rounded(b / a if a and b is not None else None, 3))
        rows.append((*row, _rounded(ours["match"], 4), _rounded(ours["seconds"], 1)))
    words = ("misdetection", "position median (m)", "GOSPA, five targets (m)", "symbol errors, eta 0.5")
    columns = [
        f"{word}, {kind}" for word in words for kind in ("known", "ignored", "learned", "learned / known")
    ]
    return Table(
        f"arrays-{model}", f"{model}: closed form without labels, every array",
        ("array", *columns, "match of the steering vectors", "seconds"), tuple(rows),
    )  # fmt: skip


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)
