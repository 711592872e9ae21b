"""Means over arrays out of the cases of the diffMUSIC experiment."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

Results = dict[str, dict[str, Any]]

#: Published RMSPE in degrees: (MUSIC, diffMUSIC) by number of sources and our row.
PUBLISHED: dict[int, dict[str, tuple[float | None, float | None]]] = {
    1: {
        "nominal": (2.425, None), "physical": (0.014, 0.013), "SL,theta": (0.019, 0.015), "SL,P": (0.013, 0.013),
        "jain / none": (1.339, 1.310),
    },
    5: {
        "nominal": (9.976, None), "physical": (4.358, 4.275), "SL,theta": (5.371, 5.178), "SL,P": (4.325, 4.209),
        "jain / none": (4.834, 4.731),
    },
}  # fmt: skip
PUBLISHED_SUBSPACENET = {1: 0.098, 5: 16.123}


def of(results: Results, pattern: str) -> list[dict[str, Any]]:
    """Results of the cases whose key matches."""
    return [results[key] for key in sorted(results) if re.fullmatch(pattern, key)]


def known(results: Results, name: str) -> np.ndarray:
    """(A, 2) RMSPE of the nominal or physical array, M=1, all arrays that were run."""
    rows = [row for result in of(results, r"known-\d+") for row in result[name]]
    return np.array(rows).reshape(-1, 2)


def rmspe(cases: list[dict[str, Any]], name: str, policy: str) -> np.ndarray:
    """(A, 2) RMSPE of [MUSIC, diffMUSIC] of a method over arrays; (0, 2) if it was not run."""
    rows = [case[name]["rmspe"][policy] for case in cases if name in case]
    return np.array(rows).reshape(-1, 2)


def values(cases: list[dict[str, Any]], name: str, what: str) -> np.ndarray:
    """(A,) of another value of a method."""
    return np.array([case[name][what] for case in cases if name in case and what in case[name]])


def mean(x: np.ndarray) -> float | None:
    """Mean, or None of nothing."""
    return float(np.mean(x)) if x.size else None


def spread(x: np.ndarray) -> float | None:
    """Standard deviation over arrays, None for fewer than two."""
    return float(np.std(x, ddof=1)) if x.size > 1 else None


def arrays(results: Results, n_sources: int) -> list[dict[str, Any]]:
    """The cases of Table II."""
    return of(results, rf"m{n_sources}-array\d+")


def row_name(n_sources: int, shown: str) -> str:
    """The method's name in the cases: M=1 has its own settings of SL,theta."""
    return "SL,theta M=1" if n_sources == 1 and shown == "SL,theta" else shown
