"""Score of a fit: is the null as deep as noise alone allows?

At the true array, with the angle minimised out, D = v chi2 with nu = 2 (N - K) - 1 degrees of freedom,
v = s2 kappa / (2 T) (first-order perturbation of the noise subspace). The excess of log D over its
expectation is therefore an absolute test that needs no truth: every failed search sits 1 to 7 above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, gammaln, psi, xlogy

from calib.gauss_newton import noise_variance
from calib.model import Model
from calib.observations import Subspaces

_OUTLIER_EXCESS = np.log(10.0)


@dataclass(frozen=True, slots=True)
class Score:
    """Null depth against its prediction.

    excess : median of (log D - E log D) over peaks minus its expectation at the truth. threshold : what
    noise explains. score, predicted_score : median log D and its prediction. outlier_fraction : share of
    peaks deeper in misfit than a factor of 10. per_peak : (B, K) excess of every peak.
    """

    excess: float
    threshold: float
    score: float
    predicted_score: float
    outlier_fraction: float
    per_peak: NDArray[np.float64]

    @property
    def fits(self) -> bool:
        """True if the median is explained by noise."""
        return self.excess < self.threshold


def degrees_of_freedom(n_elements: int, n_sources: int) -> int:
    """nu = 2 (N - K) - 1, real components of a null after its angle is fitted."""
    return 2 * (n_elements - n_sources) - 1


@lru_cache(maxsize=64)
def median_offset(nu: int) -> float:
    """E median(log chi2_nu) - E log chi2_nu."""
    return float(np.log(_chi2_quantile(0.5, nu)) - psi(nu / 2) - np.log(2))


def median_sigma(nu: int, count: int) -> float:
    """Standard error of the median of log chi2_nu over `count` independent peaks."""
    return _median_sigma_of_one(nu) / float(np.sqrt(max(count, 1)))


@lru_cache(maxsize=64)
def _median_sigma_of_one(nu: int) -> float:
    at = _chi2_quantile(0.5, nu)
    density = np.exp(xlogy(nu / 2 - 1, at) - at / 2 - gammaln(nu / 2) - np.log(2) * nu / 2)
    return float(0.5 / (at * density))


def score_peaks(
    model: Model, sub: Subspaces, theta: NDArray[np.float64], depth: NDArray[np.float64]
) -> Score:
    """Score peaks theta (B, K) with null depths (B, K)."""
    nu = degrees_of_freedom(model.n_elements, sub.n_sources)
    v = noise_variance(model, sub, theta)
    log_d = np.log(np.maximum(depth, 1e-300))
    expected = np.log(v) + psi(nu / 2) + np.log(2)
    per_peak = log_d - expected
    offset = median_offset(nu)
    excess = float(np.median(per_peak)) - offset
    threshold = 0.05 + 4 * median_sigma(nu, per_peak.size)
    score = float(np.median(log_d))
    outliers = float(np.mean(per_peak > _OUTLIER_EXCESS))
    return Score(excess, threshold, score, score - excess, outliers, per_peak)


@lru_cache(maxsize=64)
def chi2_gate(nu: int, probability: float = 0.999) -> float:
    """Excess that a true peak exceeds with probability 1 - p."""
    return float(np.log(_chi2_quantile(probability, nu)) - psi(nu / 2) - np.log(2))


def _chi2_quantile(probability: float, nu: float) -> float:
    """From scipy.special: scipy.stats alone would take a third of the time until the window is there."""
    return float(2 * gammaincinv(nu / 2, probability))
