"""Results of the MoD-DNN experiment by protocol, variant and method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

WORDS = {
    "music": "MUSIC",
    "dbf": "DBF",
    "cdbf": "coarray DBF",
    "bias": "MUSIC + bias table",
    "lut": "ML, table of each tone",
    "cnn": "plain CNN",
    "deep-music": "DeepMUSIC",
    "mod-dnn": "MoD-DNN",
}
METHODS = tuple(WORDS)
OURS = "mod-dnn"
RESPONSE_TABLES = ("bias", "lut")
SNRS = ("10", "15", "20", "25", "30")
SECTORS = ("-60 to -30", "-30 to 0", "0 to 30", "30 to 60")
MIN_SEEDS = 3
#: as good as the network: within the spread of its seeds and of 3000 samples
MATCH = 1.02


@dataclass(frozen=True, slots=True)
class Key:
    """What was tested: protocol and variant of the network."""

    protocol: str
    method: str
    variant: str = "fast"


#: key -> one result for each training seed (one for methods without training)
Found = dict[Key, list[dict[str, Any]]]


def gather(results: dict[str, dict[str, Any]]) -> Found:
    """Method cases only, with `steps` and `seed` of their case."""
    out: Found = {}
    for name in sorted(results):
        case = results[name]
        for method, result in case.get("methods", {}).items():
            key = Key(case["protocol"], method, case["variant"])
            out.setdefault(key, []).append({**result, "steps": case["steps"], "seed": case["seed"]})
    return out


def values(found: Found, key: Key, *path: str) -> list[float]:
    """One number of each seed; empty if not run."""
    out = []
    for result in found.get(key, []):
        inner: Any = result
        for name in path:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if inner is not None:
            out.append(float(inner))
    return out


def mean(numbers: list[float]) -> float | None:
    """Mean; None of none."""
    return float(np.mean(numbers)) if numbers else None


def mean_of(found: Found, key: Key, *path: str) -> float | None:
    """Mean over seeds."""
    return mean(values(found, key, *path))


def spread(numbers: list[float], digits: int = 3) -> str:
    """ "mean (smallest to largest)"."""
    if not numbers:
        return "-"
    if len(numbers) == 1:
        return f"{numbers[0]:.{digits}f}"
    return f"{np.mean(numbers):.{digits}f} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def rounded(number: float | None, digits: int = 3) -> float | None:
    """For a table."""
    return None if number is None else round(number, digits)


def methods_of(found: Found, protocol: str) -> list[str]:
    """Methods that have results there, in the order of `METHODS`."""
    return [m for m in METHODS if Key(protocol, m) in found]


def widest_iqr(result: dict[str, Any]) -> float:
    """Largest distance of quartiles over the sectors."""
    return max(b["iqr"] for b in result["boxes"])


def iqrs(found: Found, key: Key, part: str) -> list[float]:
    """`widest_iqr` of each seed."""
    return [widest_iqr(r[part]) for r in found.get(key, []) if part in r]


def matching(found: Found, protocol: str, table: str, part: str) -> list[str]:
    """SNRs (dB) at which a response table is as good as the network or better."""
    out = []
    for snr in SNRS:
        ours = mean_of(found, Key(protocol, OURS), part, snr, "rmse")
        its = mean_of(found, Key(protocol, table), part, snr, "rmse")
        if ours is not None and its is not None and its <= MATCH * ours:
            out.append(snr)
    return out
