"""Score of a planar fit: are the nulls as deep as noise alone allows?

At the true array the residual P a of a null has 2 (N - K) real components of variance v each (first-order
perturbation of the noise subspace, cold start 3). Fitting d removes the part along the two real tangents
P da/dd_x, P da/dd_y: D = v chi2 with nu = 2 (N - K) - 2. A line, with one angle, has one more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi

from calib.observations import Subspaces
from calib.planar2d.gauss_newton import noise_variance
from calib.planar2d.model import Plane
from calib.score import Score, median_offset, median_sigma

_REGIONS = 12


def degrees_of_freedom(n_elements: int, n_sources: int) -> int:
    """nu = 2 (N - K) - 2, real components of a null after its direction d is fitted."""
    return 2 * (n_elements - n_sources) - 2


def score_peaks(model: Plane, sub: Subspaces, d: NDArray[np.float64], depth: NDArray[np.float64]) -> Score:
    """Score peaks d (B, K, 2) with null depths (B, K)."""
    nu = degrees_of_freedom(model.n_elements, sub.n_sources)
    log_d = np.log(np.maximum(depth, 1e-300))
    per_peak = log_d - (np.log(noise_variance(model, sub, d)) + psi(nu / 2) + np.log(2))
    excess = float(np.median(per_peak)) - median_offset(nu)
    threshold = 0.05 + 4 * median_sigma(nu, per_peak.size)
    score = float(np.median(log_d))
    outliers = float(np.mean(per_peak > np.log(10.0)))
    return Score(excess, threshold, score, score - excess, outliers, per_peak)


def worst_region(score: Score, d: NDArray[np.float64], n_elements: int, n_sources: int) -> float:
    """Largest median misfit over parts of the disc with equally many peaks, beyond five of its own sigmas.

    Parts: the disc is halved along its wider axis again and again, up to twelve parts of at least 20 peaks.
    """
    nu = degrees_of_freedom(n_elements, n_sources)
    parts = [np.arange(score.per_peak.size)]
    place, per_peak = d.reshape(-1, 2), score.per_peak.ravel()
    while len(parts) < _REGIONS and len(parts[0]) >= 40:
        whole = parts.pop(0)
        axis = int(np.argmax(np.ptp(place[whole], axis=0)))
        order = whole[np.argsort(place[whole, axis])]
        parts += [order[: len(order) // 2], order[len(order) // 2 :]]
    return max(
        float(np.median(per_peak[part])) - median_offset(nu) - 5 * median_sigma(nu, len(part))
        for part in parts
    )
