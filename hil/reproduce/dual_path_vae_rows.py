"""Results of the VAE experiment by setting and method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

WORDS = {
    "music-coarse": "MUSIC, 1 degree grid, blind at the sector's edge",
    "music-edge": "MUSIC, fine grid, blind at the sector's edge",
    "music": "MUSIC, well built",
    "kr-music": "KR-MUSIC",
    "cnn": "Unsupervised-CNN",
    "labels": "pseudo-labels (best)",
    "ml": "maximum likelihood, each recording",
    "supervised": "supervised network",
    "net": "VAE, network",
    "net-ml": "VAE, network + 20 ML steps",
}
METHODS = tuple(WORDS)
SNRS = (0.0, 10.0, 20.0)
MIN_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Key:
    """What was drawn: n antennas, k users, separation, correlation, SNR."""

    separation_deg: float
    rho: float
    snr_db: float
    n: int = 32
    k: int = 3


#: three scenes of the main size
APART, CORRELATED, FREE = (5.0, 0.0), (5.0, 0.8), (0.0, 0.0)
SCENES = {
    "apart": (APART, "users at least 5 degrees apart"),
    "correlated": (CORRELATED, "users at least 5 degrees apart, channels correlated by 0.8"),
    "free": (FREE, "no minimum separation"),
}

#: setting -> method ("bound" too) -> one result of each seed
Found = dict[Key, dict[str, list[dict[str, Any]]]]
Results = dict[str, dict[str, Any]]


def gather(results: Results) -> Found:
    """Setting cases only, seeds in order."""
    out: Found = {}
    settings = [r for _, r in sorted(results.items()) if r.get("kind") == "setting"]
    for case in sorted(settings, key=lambda r: r["seed"]):
        key = Key(case["separation_deg"], case["rho"], case["snr_db"], case["n"], case["k"])
        methods = out.setdefault(key, {})
        for name, result in case["methods"].items():
            methods.setdefault(name, []).append(result)
        for name in ("bound", "training"):
            if name in case:
                methods.setdefault(name, []).append(case[name])
    return out


def of_kind(results: Results, kind: str) -> list[dict[str, Any]]:
    """Results of other cases, by key."""
    return [r for _, r in sorted(results.items()) if r.get("kind") == kind]


def values(found: Found, key: Key, method: str, *path: str) -> list[float]:
    """One number of each seed; empty if not run."""
    out = []
    for result in found.get(key, {}).get(method, []):
        inner: Any = result
        for name in path:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if inner is not None:
            out.append(float(inner))
    return out


def mean(numbers: list[float]) -> float | None:
    """Mean; None of none."""
    return float(np.mean(numbers)) if numbers else None


def mean_of(found: Found, key: Key, method: str, *path: str) -> float | None:
    """Mean over seeds."""
    return mean(values(found, key, method, *path))


def rmse_of(found: Found, key: Key, method: str) -> float | None:
    """Root of the mean squared error of all seeds together."""
    mse = mean_of(found, key, method, "aoa", "mse")
    if method == "bound":
        squares = [v**2 for v in values(found, key, method, "aoa", "rmse")]
        mse = mean(squares)
    return None if mse is None else mse**0.5


def ratios(found: Found, key: Key, method: str, other: str) -> list[float]:
    """RMSE over another's, seed by seed (the same recordings)."""
    pairs = zip(
        values(found, key, method, "aoa", "rmse"), values(found, key, other, "aoa", "rmse"), strict=False
    )
    return [one / two for one, two in pairs]


def spread(numbers: list[float], digits: int = 3) -> str:
    """ "mean (smallest to largest)"."""
    if not numbers:
        return "-"
    if len(numbers) == 1:
        return f"{numbers[0]:.{digits}g}"
    return f"{np.mean(numbers):.{digits}g} ({min(numbers):.{digits}g} to {max(numbers):.{digits}g})"


def scene_key(scene: str, snr_db: float) -> Key:
    """Of the main size."""
    (separation_deg, rho), _ = SCENES[scene]
    return Key(separation_deg, rho, snr_db)
