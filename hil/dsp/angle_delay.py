"""Angle-delay maps of OFDM channel responses.

    P(theta, tau) = |a(theta)^H Y b(tau)^*|^2 / (||a(theta)||^2 S)^2,   b_s(tau) = exp(-j 2 pi f_s tau)

Y (M, S) is the channel response in ascending frequency; one path Y = a(theta) b(tau)^T of unit amplitude gives 1 at
its place. Mateos-Ramos et al. 2025, eq. (10), with the sign of `hil.core.steering`. Two engines: matrix products for
any array and any grid, and the FFT for equally spaced lines on a grid of sin(angle).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.calibration import Calibration
from hil.core.checks import array
from hil.core.errors import ShapeError
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.response import ArrayResponse, calibrated_response

TWO_PI = 2 * np.pi
#: A delay vector of unit norm loses at most about this much in the delay subspace.
_SUBSPACE_TOLERANCE = 1e-6
#: Points of a map made at a time: with their squares they stay in the cache of a core.
_CACHED_POINTS = 1 << 15
#: The subspace pays when it has fewer dimensions than this part of the smaller side.
_SUBSPACE_WORTH = 0.6


def subcarrier_frequencies(n_subcarriers: int, spacing_hz: float) -> NDArray[np.float64]:
    """(S,) Hz from the carrier of S neighbouring subcarriers in ascending order, the carrier at S // 2 (fftshift)."""
    if not (np.isfinite(spacing_hz) and spacing_hz > 0):
        raise ShapeError(f"subcarrier_spacing_hz: {spacing_hz!r} is not a positive frequency")
    return np.arange(-(n_subcarriers // 2), n_subcarriers - n_subcarriers // 2, dtype=np.float64) * spacing_hz


def checked_csi(csi: ArrayLike, n_elements: int | None = None) -> NDArray[np.complex64]:
    """Channel responses as (B, M, S) complex64. Raises ShapeError: dimensions, elements, values not finite."""
    blocks = np.asarray(csi)
    if blocks.ndim == 2:
        blocks = blocks[None]
    if blocks.ndim != 3 or min(blocks.shape) < 1:
        raise ShapeError(f"csi: shape {np.shape(csi)}, expected (M, S) or (B, M, S)")
    if n_elements is not None and blocks.shape[1] != n_elements:
        raise ShapeError(f"csi: {blocks.shape[1]} elements for an array of {n_elements}")
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = blocks.astype(np.complex64, copy=False)
    if not np.all(np.isfinite(blocks)):
        raise ShapeError("csi: contains values that are not finite (in single precision)")
    return blocks


class AngleDelayMapper:
    """Maps of many channel responses on one grid: everything that does not depend on the data is made once.

    Parameters
    ----------
    response : what the array answers (`hil.dsp.response`). frequency_hz : (S,) Hz from the carrier, ascending.
    angles_deg : (A,) degrees. delays_s : (D,) seconds. element_delay_s : (M,) seconds or None, taken out of the data.
    """

    def __init__(
        self,
        response: ArrayResponse,
        frequency_hz: ArrayLike,
        angles_deg: ArrayLike,
        delays_s: ArrayLike,
        element_delay_s: ArrayLike | None = None,
    ) -> None:
        f = array("frequency_hz", frequency_hz, np.float64, (None,))
        angles = array("angles_deg", np.atleast_1d(np.asarray(angles_deg)), np.float64, (None,))
        delays = array("delays_s", np.atleast_1d(np.asarray(delays_s)), np.float64, (None,))
        steering = response.steering(angles)
        beams = np.conj(steering) / np.sum(np.abs(steering) ** 2, axis=0)
        self._beams = np.ascontiguousarray(beams.T, dtype=np.complex64)  # (A, M)
        filters = (np.exp(2j * np.pi * np.outer(f, delays)) / len(f)).astype(np.complex128)  # (S, D)
        self._project, self._filters = _in_subspace(filters)
        self._skew = None
        if element_delay_s is not None and np.any(element_delay_s):
            skew = array("element_delay_s", element_delay_s, np.float64, (len(steering),))
            self._skew = np.exp(2j * np.pi * np.outer(skew, f)).astype(np.complex64)
        self.shape = len(angles), len(delays)

    def __call__(self, csi: ArrayLike) -> NDArray[np.float32]:
        """Map (A, D) float32 of csi (M, S) or (B, M, S); the mean power over B blocks. Raises ShapeError."""
        blocks = checked_csi(csi, self._beams.shape[1])
        n_subcarriers = len(self._filters if self._project is None else self._project)
        if blocks.shape[2] != n_subcarriers:
            raise ShapeError(f"csi: {blocks.shape[2]} subcarriers, the grid was made for {n_subcarriers}")
        out = np.empty(self.shape, np.float32)
        a, d = self.shape
        m, r = self._beams.shape[1], len(self._filters)
        delays_first = m * r * d + a * m * d <= a * m * r + a * r * d
        rows = max(1, min(a, _CACHED_POINTS // d))
        points = np.empty((rows, d), np.complex64)
        for index, block in enumerate(blocks):
            y = block if self._skew is None else block * self._skew
            y = y if self._project is None else y @ self._project
            y = y @ self._filters if delays_first else y
            for start in range(0, a, rows):
                beams, part = self._beams[start : start + rows], out[start : start + rows]
                z = points[: len(beams)]
                np.matmul(beams if delays_first else beams @ y, y if delays_first else self._filters, out=z)
                squares = z.view(np.float32)
                np.multiply(squares, squares, out=squares)
                if index == 0:
                    np.add(squares[:, 0::2], squares[:, 1::2], out=part)
                else:
                    part += squares[:, 0::2]
                    part += squares[:, 1::2]
        return out if len(blocks) == 1 else out / np.float32(len(blocks))


def _in_subspace(
    filters: NDArray[np.complex128],
) -> tuple[NDArray[np.complex64] | None, NDArray[np.complex64]]:
    """(basis (S, r), filters (r, D)) if the delays fill few dimensions, else (None, filters (S, D))."""
    s, d = filters.shape
    if min(s, d) >= 32:
        left, values, right = np.linalg.svd(filters, full_matrices=False)
        rank = int(np.count_nonzero(values > _SUBSPACE_TOLERANCE * values[0]))
        if rank <= _SUBSPACE_WORTH * min(s, d):
            basis = np.ascontiguousarray(left[:, :rank], dtype=np.complex64)
            return basis, (values[:rank, None] * right[:rank]).astype(np.complex64)
    return None, np.ascontiguousarray(filters, dtype=np.complex64)


def angle_delay_map(
    csi: ArrayLike,
    positions_m: ArrayLike,
    fc_hz: float,
    subcarrier_spacing_hz: float,
    angles_deg: ArrayLike,
    delays_s: ArrayLike,
    calibration: Calibration | None = None,
    *,
    frequency_hz: ArrayLike | None = None,
    coherent: bool = False,
) -> NDArray[np.float32]:
    """Power over angle and delay, P = |a^H Y b^*|^2 / (||a||^2 S)^2; 1 for one path of unit amplitude.

    Parameters
    ----------
    csi : (M, S) complex, or (B, M, S): mean power over B blocks. Ascending frequency.
    positions_m : (M, 3) metres. fc_hz, subcarrier_spacing_hz : Hz.
    angles_deg : (A,) degrees, broadside angle or azimuth. delays_s : (D,) seconds.
    calibration : its gains, coupling, positions, channel delays and frequency responses are used; None: the nominal array.
    frequency_hz : (S,) Hz from the carrier; None: neighbouring subcarriers around the carrier.
    coherent : mean of the blocks before the map, for a scene that stands still.

    Returns
    -------
    (A, D) float32, linear power.

    Raises
    ------
    ShapeError : shapes that do not fit, values that are not finite. CalibrationMismatch : of another array.

    Source: Mateos-Ramos et al. 2025 (ICASSP), eq. (10); products from the small side, as measured fastest.
    """
    blocks = checked_csi(csi)
    if coherent:
        blocks = blocks.mean(axis=0, keepdims=True, dtype=np.complex128).astype(np.complex64)
    f = subcarrier_frequencies(blocks.shape[2], subcarrier_spacing_hz)
    if frequency_hz is not None:
        f = array("frequency_hz", frequency_hz, np.float64, (blocks.shape[2],))
    response = calibrated_response(positions_m, fc_hz, calibration)
    if calibration is not None:
        blocks = (blocks / calibration.impairments.channel_response(f)).astype(np.complex64)
    return AngleDelayMapper(response, f, angles_deg, delays_s)(blocks)


def angle_delay_map_fft(
    csi: ArrayLike,
    positions_m: ArrayLike,
    fc_hz: float,
    subcarrier_spacing_hz: float,
    n_angles: int | None = None,
    n_delays: int | None = None,
    gain: ArrayLike | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """The map of an equally spaced line by FFT over elements and IFFT over subcarriers, zero-padded.

    Parameters
    ----------
    csi : (M, S) or (B, M, S) complex. positions_m : (M, 3), equal steps along x, ascending.
    n_angles : points of sin(angle) over one period of the array, at least M; default 4 M.
    n_delays : points over one period 1/spacing, at least S; default 2 S.
    gain : (M,) complex, gains of the elements; None: 1.

    Returns
    -------
    map (A, D) float32; angles_deg (A,) ascending, those of the n_angles points that lie in -90..90;
    delays_s (D,) = k/(n_delays spacing).

    Raises
    ------
    ShapeError : not an equally spaced line along x, or fewer points than elements or subcarriers.
    """
    geometry = ArrayGeometry(np.asarray(positions_m))
    blocks = checked_csi(csi, geometry.n_elements)
    _, m, s = blocks.shape
    x = geometry.positions_m[:, 0] * fc_hz / SPEED_OF_LIGHT_M_S
    step = float(x[-1] - x[0]) / max(m - 1, 1)
    if geometry.kind != "line" or m < 2 or step <= 0 or np.max(np.abs(np.diff(x) - step)) > 1e-6 * step:
        raise ShapeError(
            "positions_m: not an equally spaced line along x", hint="angle_delay_map takes any array"
        )
    count = 4 * m if n_angles is None else n_angles
    taps = 2 * s if n_delays is None else n_delays
    if count < m or taps < s:
        raise ShapeError(f"{count} x {taps} points for {m} elements and {s} subcarriers: too few")
    g = np.ones(m, complex) if gain is None else array("gain", gain, np.complex128, (m,))
    weight = (np.conj(g) / (np.sum(np.abs(g) ** 2) * s)).astype(np.complex64)
    period = 1 / step
    turns = np.arange(-(count // 2), count - count // 2)
    u = turns * period / count
    power = np.zeros((count, taps), np.float32)
    for block in blocks:
        over_delay = np.fft.ifft(block * weight[:, None], taps, axis=1) * np.float32(taps)
        z = np.fft.fft(over_delay, count, axis=0)
        power += (z.real**2 + z.imag**2).astype(np.float32)
    power /= np.float32(len(blocks))
    inside = np.abs(u) <= 1
    angles_deg = np.rad2deg(np.arcsin(u[inside]))
    delays_s = np.arange(taps) / (taps * subcarrier_spacing_hz)
    return np.fft.fftshift(power, axes=0)[inside], angles_deg, delays_s


def zoom(
    csi: ArrayLike,
    positions_m: ArrayLike,
    fc_hz: float,
    subcarrier_spacing_hz: float,
    around: tuple[float, float],
    span: tuple[float, float],
    n_points: tuple[int, int] = (41, 41),
    calibration: Calibration | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """A fine map around one place: around (angle_deg, delay_s), span (degrees, seconds) in all.

    Returns (map (A, D) float32, angles_deg (A,), delays_s (D,)). Raises ShapeError.
    """
    response = calibrated_response(positions_m, fc_hz, calibration)
    low, high = response.limits_deg
    edges = np.clip([around[0] - span[0] / 2, around[0] + span[0] / 2], low, high)
    angles_deg = np.linspace(edges[0], edges[1], n_points[0])
    delays_s = np.linspace(around[1] - span[1] / 2, around[1] + span[1] / 2, n_points[1])
    power = angle_delay_map(csi, positions_m, fc_hz, subcarrier_spacing_hz, angles_deg, delays_s, calibration)
    return power, angles_deg, delays_s
