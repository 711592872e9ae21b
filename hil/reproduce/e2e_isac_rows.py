"""Results of the ISAC experiment by array model and learner."""

from __future__ import annotations

from typing import Any

import numpy as np

#: array numbers in the order in which fewer of them are run
ARRAYS = (3, 4, *(d for d in range(10_000) if d not in (3, 4)))
MIN_ARRAYS = 10
OURS = "closed"
LEARNERS = (
    "known", "nominal", "closed", "closed-labels", "max-map", "labels", "dictionary", "dictionary-limited", "neural-limited", "greedy",
)  # fmt: skip
WORDS = {
    "known": "array known",
    "nominal": "baseline: array ignored",
    "closed": "closed form, no labels",
    "closed-labels": "closed form, labels",
    "max-map": "impairment learning by Adam, max-map loss, no labels",
    "labels": "impairment learning by Adam, log error, labels",
    "dictionary": "dictionary learning, 720 columns, labels",
    "dictionary-limited": "dictionary learning, 156 columns, labels",
    "neural-limited": "neural networks, 10 555 parameters, labels",
    "greedy": "greedy calibration, max-map, no labels, nominal beam",
}

#: (model, learner) -> array number -> result of its case
Results = dict[tuple[str, str], dict[int, dict[str, Any]]]


def draws_of(count: int) -> list[int]:
    """The first `count` array numbers."""
    return list(ARRAYS[:count])


def gather(results: dict[str, dict[str, Any]]) -> Results:
    """Method cases only."""
    out: Results = {}
    for result in results.values():
        if "learner" in result and "draw" in result:
            out.setdefault((result["model"], result["learner"]), {})[result["draw"]] = result
    return out


def value(result: dict[str, Any], path: str) -> float | None:
    """A number such as "single.missed"; None where that part was not run."""
    found: Any = result
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return None if found is None else float(found)


def numbers(found: Results, model: str, learner: str, path: str) -> dict[int, float]:
    """One number by array."""
    cases = found.get((model, learner), {})
    values = {draw: value(case, path) for draw, case in sorted(cases.items())}
    return {draw: v for draw, v in values.items() if v is not None}


def mean_of(values: dict[int, float]) -> float | None:
    """Mean over arrays; None of none."""
    return float(np.mean(list(values.values()))) if values else None


def ratio_of_means(found: Results, model: str, learner: str, path: str, to: str = "known") -> float | None:
    """Mean over mean of another learner, of the arrays that both have."""
    ours, other = numbers(found, model, learner, path), numbers(found, model, to, path)
    both = ours.keys() & other.keys()
    below = sum(other[d] for d in both)
    return sum(ours[d] for d in both) / below if below else None


def ratios(found: Results, model: str, path: str) -> dict[int, float]:
    """Ours over known, array by array."""
    ours, known = numbers(found, model, OURS, path), numbers(found, model, "known", path)
    return {d: ours[d] / known[d] for d in ours if known.get(d)}
