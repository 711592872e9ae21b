"""Timing that survives a busy machine: rounds of all candidates in turn, and their medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of one call: CPU time of this process (all threads) and wall clock."""

    cpu_s: float
    wall_s: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes
    ----------
    case : what was done. who : "ours", a peer, or "machine limit".
    cpu_s, wall_s : seconds per call. value, unit : the figure that people speak of; larger is better only for
        rates. ratio : CPU time over ours (above 1: ours is faster), None for ours. note : one line.
    bar : what is asked of this figure, in words; "" where nothing is. reached : whether it is; None without a bar.
    """

    case: str
    who: str
    value: float
    unit: str
    cpu_s: float = float("nan")
    wall_s: float = float("nan")
    ratio: float | None = None
    note: str = ""
    bar: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage of the table found out; `missing` maps a peer to how it can be installed."""

    rows: tuple[Row, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def at_most(row: Row, most: float, figure: float | None = None, words: str = "") -> Row:
    """The row with a bar: `figure`, by default its value, at most `most`. words : the bar, if it is no plain number."""
    value = row.value if figure is None else figure
    return replace(row, bar=words or f"at most {most:g} {row.unit}", reached=bool(value <= most))


def at_least(row: Row, least: float, figure: float | None = None, words: str = "") -> Row:
    """As `at_most`, for what shall be large."""
    value = row.value if figure is None else figure
    return replace(row, bar=words or f"at least {least:g} {row.unit}", reached=bool(value >= least))


def interleaved(
    candidates: Mapping[str, Callable[[], Any]], *, round_s: float = 0.02, rounds: int = 9
) -> dict[str, Timing]:
    """Median time of one call of each candidate.

    Each round calls every candidate in turn, each as often as fits into `round_s`, so that a disturbance
    meets all of them alike.
    """
    calls: dict[str, int] = {}
    for name, function in candidates.items():
        function()
        start = time.perf_counter()
        function()
        calls[name] = max(1, min(10_000, round(round_s / max(time.perf_counter() - start, 1e-7))))
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, function in candidates.items():
            n = calls[name]
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            for _ in range(n):
                function()
            cpu[name].append((time.process_time() - cpu_start) / n)
            wall[name].append((time.perf_counter() - wall_start) / n)
    return {
        name: Timing(statistics.median(cpu[name]), statistics.median(wall[name]), rounds)
        for name in candidates
    }


def rows_in_microseconds(
    case: str,
    timings: Mapping[str, Timing],
    limit_s: float | None = None,
    other_limits_s: Mapping[str, float] | None = None,
) -> list[Row]:
    """Rows of one case: CPU microseconds per call, ratios to "ours", the machine's limit and other limits last."""
    ours = timings["ours"].cpu_s
    rows = [
        Row(case, who, 1e6 * t.cpu_s, "us", t.cpu_s, t.wall_s, None if who == "ours" else t.cpu_s / ours)
        for who, t in timings.items()
    ]
    limits = {} if limit_s is None else {"machine limit": limit_s}
    for who, least_s in (limits | dict(other_limits_s or {})).items():
        rows.append(Row(case, who, 1e6 * least_s, "us", least_s, ratio=least_s / ours))
    return rows
