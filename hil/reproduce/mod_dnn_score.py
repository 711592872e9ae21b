"""Errors of directions as numbers that a page can show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SECTORS_DEG = ((-60.0, -30.0), (-30.0, 0.0), (0.0, 30.0), (30.0, 60.0))
#: Shares at which the distribution of |error| is stored.
SHARES = tuple(round(float(s), 3) for s in np.concatenate((np.arange(0.01, 1.0, 0.01), [0.995, 1.0])))


def scored(
    found_deg: NDArray[np.float64],
    angle_deg: NDArray[np.float64],
    bound_deg: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """rmse, p50, p80, largest, and with the bound of each sample also `bound` (rms) and `ratio`; all in degrees."""
    error = np.abs(found_deg - angle_deg)
    rmse = float(np.sqrt(np.mean(error**2)))
    p50, p80 = np.quantile(error, (0.5, 0.8))
    out = {"rmse": rmse, "p50": float(p50), "p80": float(p80), "largest": float(error.max())}
    if bound_deg is not None:
        bound = float(np.sqrt(np.mean(bound_deg**2)))
        out |= {"bound": bound, "ratio": rmse / bound}
    return out


def distributed(found_deg: NDArray[np.float64], angle_deg: NDArray[np.float64]) -> dict[str, Any]:
    """`scored`, the quantiles of |error| at `SHARES`, and a box for each sector."""
    error = np.abs(found_deg - angle_deg)
    boxes = []
    for i, (low, high) in enumerate(SECTORS_DEG):
        last = i == len(SECTORS_DEG) - 1
        boxes.append(box(error[(angle_deg >= low) & ((angle_deg <= high) if last else (angle_deg < high))]))
    cdf = np.round(np.quantile(error, SHARES), 5).tolist()
    return {**scored(found_deg, angle_deg), "cdf": cdf, "boxes": boxes}


def box(error: NDArray[np.float64]) -> dict[str, float]:
    """Of |error| (n,): quartiles, their distance, and the largest that is no outlier by either rule.

    most_iqr : largest within Q3 + 1.5 IQR (Tukey). most_q3 : largest within 1.5 Q3 (the paper's words).
    """
    q1, median, q3 = (float(v) for v in np.quantile(error, (0.25, 0.5, 0.75)))
    by_iqr, by_q3 = error[error <= q3 + 1.5 * (q3 - q1)], error[error <= 1.5 * q3]
    return {
        "q1": q1, "median": median, "q3": q3, "iqr": q3 - q1, "least": float(error.min()), "most_iqr": float(by_iqr.max()),
        "most_q3": float(by_q3.max()), "out_iqr": 1 - len(by_iqr) / len(error), "out_q3": 1 - len(by_q3) / len(error),
    }  # fmt: skip


def half_width_deg(grid_deg: NDArray[np.float64], spectrum: NDArray[np.float64]) -> float:
    """Width of the highest peak of a power spectrum (G,) at half of it; straight lines between grid points."""
    top = int(np.argmax(spectrum))
    half = spectrum[top] / 2
    edges = []
    for step in (-1, 1):
        i = top
        while 0 <= i + step < len(spectrum) and spectrum[i + step] > half:
            i += step
        j = i + step
        if not 0 <= j < len(spectrum):
            edges.append(grid_deg[i])
            continue
        share = (spectrum[i] - half) / max(spectrum[i] - spectrum[j], 1e-30)
        edges.append(grid_deg[i] + share * (grid_deg[j] - grid_deg[i]))
    return float(edges[1] - edges[0])


def spread_by_epoch(losses: list[list[float]], n_epochs: int = 30) -> list[list[float]]:
    """[share of the training, SD of the loss about its final value over its first], from [step, loss].

    As the paper does, the value converged to is taken for the mean; here the mean of the last epoch.
    """
    values = np.array(losses, float)
    if len(values) < 2 * n_epochs:
        n_epochs = max(len(values) // 2, 1)
    parts = np.array_split(values[:, 1], n_epochs)
    final, first = float(np.mean(parts[-1])), float(np.mean(parts[0]))
    scale = abs(first - final) or 1.0
    return [
        [(i + 1) / n_epochs, float(np.sqrt(np.mean((part - final) ** 2))) / scale]
        for i, part in enumerate(parts)
    ]
