"""Differentiable OMP's read-out on channel responses: echoes one after the other in angle and delay, each read softly.

It is the receiver that end-to-end ISAC trains through (Mateos-Ramos et al. 2025, section IV-B), on an array whose gains and
places a calibration knows. Blocks are averaged: an echo that moves by a quarter of a wavelength meanwhile is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S

LABEL = "differentiable OMP"
_MOST_TARGETS = 5
_FALSE_ALARMS = 1e-3
#: What a soft read-out leaves of a strong echo must not count as another one.
_RANGE = 10 ** (-20 / 10)
_MOST_BINS = 64
_LEAST_BINS = 12
_BEFORE_BINS = 1.0
_POINTS_PER_BIN = 6


@dataclass(frozen=True, slots=True, eq=False)
class EchoDirections:
    """doa_deg, delay_s, sigma_deg (T,), strongest first; sigma of the noise, NaN beside other echoes, which pull at each other. spectrum (G,) : the
    highest of the map over the delays."""

    doa_deg: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]
    spectrum: NDArray[np.float64]


class EchoOmp:
    """Echoes in many looks of one array with one set of subcarriers.

    Parameters
    ----------
    array : line on x, nominal or calibrated (its gains are divided out, its places used). fc_hz : carrier.
    frequency_hz : (S,) of the responses, from the carrier, ascending. longest_s : longest delay of interest.
    grid_deg : (G,) of the spectrum.

    Raises ConfigError for an array that is not a line, or a calibration with coupling or a table over angle.
    """

    def __init__(
        self,
        array: ArrayGeometry | Calibration,
        fc_hz: float,
        frequency_hz: NDArray[np.float64],
        longest_s: float,
        grid_deg: NDArray[np.float64],
    ) -> None:
        import torch

        from calib.gpi.delay import delay_basis
        from calib.isac.differentiable_omp import DifferentiableOmp
        from calib.isac.grid import SearchGrid
        from calib.isac.steering import steering

        torch.set_num_threads(1)
        x, self._gain = _places(array, fc_hz)
        self.grid_deg = grid_deg
        spacing_hz = float(np.min(np.diff(frequency_hz)))
        self._tone = np.round((frequency_hz - frequency_hz[0]) / spacing_hz).astype(int)
        self._n_tones, self._spacing_hz = int(self._tone[-1]) + 1, spacing_hz
        bin_s = 1 / (self._n_tones * spacing_hz)
        bins = float(np.clip(longest_s / bin_s, _LEAST_BINS, _MOST_BINS))
        self._window_s = (-_BEFORE_BINS * bin_s, bins * bin_s)
        grid = SearchGrid(self._window_s, n_delays=int(_POINTS_PER_BIN * (bins + _BEFORE_BINS)))
        self._basis = delay_basis(self._n_tones, spacing_hz, self._window_s)
        self._omp = DifferentiableOmp(grid, self._basis, spacing_hz)
        self._x = torch.as_tensor(x)
        self._dictionary = steering(self._x, torch.sin(self._omp.theta))

    def look(self, csi: NDArray[np.complexfloating]) -> EchoDirections:
        """From (B, M, S), delays and responses of the receivers divided out and delays counted from the reference."""
        import torch

        from calib.gpi.delay import Reduced
        from calib.gpi.noise import noise_levels
        from calib.gpi.threshold import detection_threshold

        m = csi.shape[1]
        full = np.zeros((1, m, self._n_tones), np.complex128)
        full[0][:, self._tone] = csi.mean(axis=0) / self._gain[:, None]
        taps = full @ self._basis.conj()
        outside = np.sum(np.abs(full) ** 2, axis=2) - np.sum(np.abs(taps) ** 2, axis=2)
        data = Reduced(
            taps.astype(np.complex64), np.maximum(outside, 0.0), self._basis, self._spacing_hz, self._window_s
        )
        data = data.scaled(np.full(m, 1 / np.sqrt(float(np.mean(noise_levels(data))))))
        everywhere = np.array([[-1.0, 1.0]])
        with torch.no_grad():
            t = torch.as_tensor(data.taps)
            found = self._omp(
                t, self._dictionary, torch.as_tensor(everywhere), n_targets=_MOST_TARGETS, x=self._x
            )
            beams = self._dictionary.T.conj().to(t.dtype).resolve_conj() @ t[0]
            over = (beams @ self._omp.filters).abs().square().amax(-1).double().numpy()
        strength = found.strength[0].numpy()
        least = detection_threshold(
            _FALSE_ALARMS, self._x.numpy(), everywhere, self._n_tones, self._spacing_hz, self._window_s
        )
        weak = np.flatnonzero(strength <= max(least, _RANGE * float(strength[0])))
        n = int(weak[0]) if len(weak) else len(strength)
        theta = found.theta_rad[0].numpy()[:n]
        spread = float(np.mean((self._x.numpy() - self._x.numpy().mean()) ** 2))
        sigma = 1 / np.sqrt(2 * strength[:n] * spread) / (2 * np.pi * np.maximum(np.cos(theta), 1e-3))
        sigma = sigma if n == 1 else np.full(n, np.nan)
        spectrum = np.interp(self.grid_deg, np.rad2deg(self._omp.grid.theta_rad), over)
        return EchoDirections(np.rad2deg(theta), found.delay_s[0].numpy()[:n], np.rad2deg(sigma), spectrum)


def _places(
    array: ArrayGeometry | Calibration, fc_hz: float
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Wavelengths and gains of a line."""
    geometry = array.geometry if isinstance(array, Calibration) else array
    if geometry.kind != "line":
        raise ConfigError(f"{LABEL} works on lines of elements only", hint="choose GPI for this array")
    x = array.positions_m[:, 0] * fc_hz / SPEED_OF_LIGHT_M_S
    if isinstance(array, ArrayGeometry):
        return x, np.ones(len(x), complex)
    errors = array.impairments
    if errors.angle_response is not None or np.any(errors.coupling != np.eye(len(x))):
        raise ConfigError(
            f"{LABEL} cannot use a calibration with coupling or a response table over angle",
            hint="choose GPI",
        )
    return x, errors.gain
