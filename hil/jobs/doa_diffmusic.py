"""diffMUSIC's read-out on one covariance: a soft maximum of the MUSIC spectrum in a window around each peak.

    theta = sum_l theta_l softmax(beta P_l / max P),   P = 1 / D,   D the null depth

(Chatelier et al. 2025, eq. 13, with P divided by its maximum.) It is what the training differentiates; the directions are
those of MUSIC, smoothed over the window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.peaks import soft_angles
from hil.dsp.doa import DoaFinder, signal_subspace
from hil.dsp.doa_search import unit_columns, wrapped_deg
from hil.dsp.response import ArrayLikeResponse, ArrayResponse

#: Of the published fine grid, and points of a window.
_STEP_DEG = 0.02
_POINTS = 31
_LEAST_DEPTH = 1e-15


class SoftMusic(DoaFinder):
    """MUSIC whose peaks are read softly. array, fc_hz, grid_deg : as in `DoaFinder`."""

    def __init__(
        self,
        array: ArrayLikeResponse | ArrayResponse,
        fc_hz: float | None = None,
        grid_deg: ArrayLike | None = None,
    ) -> None:
        super().__init__(array, fc_hz, grid_deg, method="music", refine=False)

    def find(self, covariance: NDArray[np.complexfloating], n_sources: int) -> NDArray[np.float64]:
        """Angles (K,) in degrees, highest peak first."""
        peaks = super().find(covariance, n_sources)
        if not len(peaks):
            return peaks
        signal = signal_subspace(np.asarray(covariance, np.complex128), n_sources)
        half, low_high = _POINTS // 2, self.response.limits_deg
        reach = int(np.ceil(float(np.max(np.diff(self.grid_deg), initial=_STEP_DEG)) / _STEP_DEG))
        theta = peaks[:, None] + _STEP_DEG * np.arange(-half - reach, half + reach + 1)
        turns = low_high[1] - low_high[0] >= 360.0
        asked = wrapped_deg(theta) if turns else np.clip(theta, *low_high)
        unit = unit_columns(self.response.steering(asked.ravel()))
        inside = np.sum(np.abs(signal.conj().T @ unit) ** 2, axis=0).reshape(theta.shape)
        depth = np.maximum(1 - inside, _LEAST_DEPTH)
        first = np.argmin(depth[:, half : half + 2 * reach + 1], axis=1)
        window = first[:, None] + np.arange(2 * half + 1)
        found = soft_angles(np.take_along_axis(theta, window, 1), np.take_along_axis(depth, window, 1))
        return wrapped_deg(found) if turns else np.clip(found, *low_high)
