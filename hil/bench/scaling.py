"""How the time grows with the work, and whether that is no worse than the theory of the method."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from hil.bench.measure import Row, StageReport, at_most, interleaved
from hil.bench.scaling_cases import CASES, Growth, Work

#: Of a fitted exponent: caches that fill up and a library that changes its method at some size make steps.
_TOLERANCE = 0.2
#: `who` of the row that holds the fitted exponent.
EXPONENT = "exponent"
_ROUNDS_OF_LONG = 3


def run(quick: bool) -> StageReport:
    """A row for each size, and one with the exponent of the case."""
    rows: list[Row] = []
    for growth in CASES:
        sizes = growth.sizes[: growth.quick] if quick else growth.sizes
        work = {size: growth.make(size) for size in sizes}
        seconds = _once(work) if growth.once else _rounds(work, quick)
        rows += case_rows(growth, sizes, seconds)
    notes = (
        "The exponent is that of the larger half of the sizes: below, what does not grow takes most of the time. "
        f"No worse than theory: at most {_TOLERANCE:g} above it.",
    )
    return StageReport(tuple(rows), notes=notes)


def case_rows(growth: Growth, sizes: Sequence[int], seconds: Sequence[float]) -> list[Row]:
    """A row for each size, and the exponent beside that of theory."""
    case = f"{growth.what} against {growth.size}"
    rows = [Row(case, str(size), 1e6 * t, "us", t, t) for size, t in zip(sizes, seconds, strict=True)]
    fitted = exponent(sizes, seconds)
    words = f"at most {growth.theory:g} ({growth.why})"
    fit = Row(case, EXPONENT, fitted, "", note=f"theory {growth.theory:g}: {growth.why}")
    return [*rows, at_most(fit, growth.theory + _TOLERANCE, words=words)]


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of log time over log size of the larger half of the sizes, at least two."""
    count = max(2, (len(sizes) + 1) // 2)
    return float(np.polyfit(np.log(sizes[-count:]), np.log(seconds[-count:]), 1)[0])


def _rounds(work: dict[int, Work], quick: bool) -> list[float]:
    found = interleaved({str(size): w for size, w in work.items()}, rounds=3 if quick else 7, round_s=0.01)
    return [found[str(size)].cpu_s for size in work]


def _once(work: dict[int, Work]) -> list[float]:
    """Median CPU time of a few calls in turn, where a call takes up to seconds."""
    seconds: dict[int, list[float]] = {size: [] for size in work}
    for _ in range(_ROUNDS_OF_LONG):
        for size, w in work.items():
            begin = time.process_time()
            w()
            seconds[size].append(time.process_time() - begin)
    return [statistics.median(t) for t in seconds.values()]
