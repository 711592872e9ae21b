"""Does a stored calibration still hold? Asked of live covariances, without any label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib import judge
from calib.export import model_of
from calib.layout import layout_of
from calib.model import find_peaks
from calib.observations import Observations, prepare
from calib.result import Prior
from calib.score import score_peaks
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments

_DRIFT_ALLOWANCE = 5e-4  # null depth: 1 - correlation^2 of an error that still costs no resolution
_MIN_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of `verify`.

    excess : median log null depth above its prediction. threshold : the largest excess that passes.
    verified : the calibration explains the data. outlier_fraction : share of nulls that do not fit.
    words : one line for the user. n_blocks : blocks used.
    """

    excess: float
    threshold: float
    verified: bool
    outlier_fraction: float
    words: str
    n_blocks: int = 0

    @property
    def silent(self) -> bool:
        """False: data that show too little count against the calibration."""
        return False


def verify(
    obs: Observations,
    calibration_impairments: Impairments,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
) -> Verdict:
    """Null depth of live blocks with a calibration against what noise alone predicts (cold start 3).

    A ramp of phases along a line or a rotation of a planar array cannot be seen this way, nor directions
    from which nothing arrives. Fewer than 5 usable blocks verify nothing. Raises ShapeError, ConfigError.
    """
    layout = layout_of(obs, geometry, fc_hz, Prior())
    cov = obs.covariance[:, layout.order[:, None], layout.order[None, :]]
    prepared = prepare(Observations(cov, obs.n_snapshots, obs.time_s), n_sources)
    nan = float("nan")
    reason = judge.unusable(prepared, n_sources, min_blocks=_MIN_BLOCKS)
    if reason:
        return Verdict(nan, nan, False, nan, f"not verified: {reason}", len(prepared.index))
    model = model_of(calibration_impairments, layout, prepared.whitening)
    theta, depth = find_peaks(model, prepared.sub, (-1.02, 1.02))
    score = score_peaks(model, prepared.sub, theta, depth)
    predicted = float(np.exp(score.predicted_score))
    strict = score.threshold - 0.05 + judge.EXCESS_ALLOWANCE
    threshold = max(strict, float(np.log1p(_DRIFT_ALLOWANCE / predicted)))
    limit = 0.03 if prepared.n_sources == 1 else 0.15
    beyond = float(np.mean(score.per_peak > threshold + np.log(10.0)))
    verified = score.excess < threshold and beyond <= limit
    error_deg = float(np.rad2deg(np.sqrt(max(np.exp(score.score) - predicted, 0.0))))
    if verified and score.excess < strict:
        words = "verified: the live nulls are as deep as noise allows"
    elif verified:
        words = f"verified: the live nulls allow about {error_deg:.1f} degrees rms of phase error"
    else:
        words = (
            f"not verified: the live nulls are {np.exp(score.excess):.2g} times shallower than noise explains "
            f"(about {error_deg:.0f} degrees rms of phase error)"
        )
    return Verdict(
        score.excess, threshold, bool(verified), score.outlier_fraction, words, len(prepared.index)
    )
