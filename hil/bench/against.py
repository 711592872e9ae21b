"""Is this version slower than an earlier one? By ratios, which survive another machine better than times do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.core.errors import ConfigError

#: What a ratio may lose before it counts: two runs on one machine differ by less.
ALLOWED = 1.25


@dataclass(frozen=True, slots=True)
class Worse:
    """A ratio (time of the other over ours) that fell from `before` to `now`."""

    stage: str
    case: str
    who: str
    before: float
    now: float

    def __str__(self) -> str:
        return (
            f"{self.stage}: {self.case}: {self.who} took {self.before:.3g} x our time, now {self.now:.3g} x"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """compared : ratios that both reports have. worse : those that fell by more than was allowed, the worst first."""

    compared: int
    worse: tuple[Worse, ...]


def read_report(path: Path) -> dict[str, Any]:
    """Stages of a report of `hil bench --json`. Raises ConfigError: no such file, or not a report."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        stages = report["stages"]
        ratios(stages)
    except OSError as err:
        raise ConfigError(f"cannot read {path}: {err.strerror}", where="--against") from err
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise ConfigError(
            f"{path} is no report of hil bench --json",
            where="--against",
            hint="hil bench --json earlier.json",
        ) from err
    return stages


def ratios(stages: Mapping[str, Any]) -> dict[tuple[str, str, str], float]:
    """(stage, case, who) -> ratio, of the rows that have one."""
    return {
        (name, row["case"], row["who"]): float(row["ratio"])
        for name, stage in stages.items()
        for row in stage["rows"]
        if row["ratio"] is not None and math.isfinite(row["ratio"]) and row["ratio"] > 0
    }


def compare(now: Mapping[str, Any], before: Mapping[str, Any], allowed: float = ALLOWED) -> Comparison:
    """Two reports' stages (`hil.bench.tables.as_dict`). allowed : largest factor that a ratio may have lost."""
    new, old = ratios(now), ratios(before)
    both = sorted(new.keys() & old.keys())
    worse = [Worse(*key, old[key], new[key]) for key in both if old[key] > allowed * new[key]]
    return Comparison(len(both), tuple(sorted(worse, key=lambda w: w.now / w.before)))
