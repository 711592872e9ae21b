"""Grating lobes and blind sectors of an array: which directions look alike, and which are measured badly.

    ambiguity(theta, theta') = |a(theta)^H a(theta')| / (|a| |a'|)
    var(theta) >= (1 + 1/(N snr)) / (2 T snr (|da|^2 - |a^H da|^2 / |a|^2))

(one source of known noise level, Stoica and Nehorai 1989, eq. 4.6 for K = 1; snr per element and sample).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S

_LINE_STEP_DEG = 0.5
_PLANE_STEP_DEG = 1.0
#: Without a limit of its own a sector is blind where sigma exceeds this multiple of the smallest one.
_BLIND_FACTOR = 3.0
_MOST_PAIRS = 50


@dataclass(frozen=True, slots=True)
class LobeMap:
    """What an array confuses.

    angles_deg : (G,) broadside angles of a line or azimuths. ambiguity : (G, G). pairs : (angle, angle, level) of
    local maxima outside the main lobe over the threshold, worst first. ambiguous_deg : ranges of angles with such
    a twin. sigma_deg : (G,) bound of the direction's standard deviation. limit_deg : of it. blind_deg : ranges above.
    threshold : of the pairs.
    """

    angles_deg: NDArray[np.float64]
    ambiguity: NDArray[np.float64]
    pairs: list[tuple[float, float, float]]
    ambiguous_deg: list[tuple[float, float]]
    sigma_deg: NDArray[np.float64]
    limit_deg: float
    blind_deg: list[tuple[float, float]]
    threshold: float


def lobe_map(
    positions_m: NDArray[np.float64],
    fc_hz: float,
    *,
    gain: NDArray[np.complex128] | None = None,
    threshold: float = 0.9,
    limit_deg: float | None = None,
    snr_db: float = 20.0,
    n_snapshots: int = 256,
) -> LobeMap:
    """Grating lobes and blind sectors, elevation 0.

    Parameters
    ----------
    positions_m : (M, 3) metres, nominal or calibrated. gain : (M,) complex, None: all 1. threshold : ambiguity from
    which two directions count as alike. limit_deg : standard deviation above which a direction counts as blind,
    None: three times the smallest. snr_db per element and sample, n_snapshots: of the bound.
    """
    positions = positions_m - positions_m.mean(axis=0)
    line = bool(np.all(np.abs(positions[:, 1:]) < 1e-9))
    angles = (
        np.arange(-90, 90 + _LINE_STEP_DEG / 2, _LINE_STEP_DEG)
        if line
        else np.arange(-180, 180, _PLANE_STEP_DEG)
    )
    rad = np.deg2rad(angles)
    g = np.ones(len(positions), complex) if gain is None else gain
    a = g[:, None] * steering_vectors(positions, fc_hz, rad)
    unit = a / np.linalg.norm(a, axis=0)
    ambiguity = np.abs(unit.conj().T @ unit)
    apart = _outside_main_lobe(ambiguity, threshold, periodic=not line)
    pairs = _pairs(angles, ambiguity, apart, periodic=not line)
    wave = 2 * np.pi * fc_hz / SPEED_OF_LIGHT_M_S
    along = positions[:, :1] * np.cos(rad) - (0 if line else positions[:, 1:2] * np.sin(rad))
    da = 1j * wave * along * a
    power = np.sum(np.abs(a) ** 2, axis=0)
    slope = np.sum(np.abs(da) ** 2, axis=0) - np.abs(np.sum(a.conj() * da, axis=0)) ** 2 / power
    snr = 10 ** (snr_db / 10) / np.mean(np.abs(g) ** 2)
    variance = (1 + 1 / (power * snr)) / (2 * n_snapshots * snr * np.maximum(slope, 1e-12))
    sigma = np.asarray(np.rad2deg(np.sqrt(variance)), dtype=np.float64)
    limit = _BLIND_FACTOR * float(sigma.min()) if limit_deg is None else limit_deg
    return LobeMap(
        angles, ambiguity, pairs, _ranges(angles, np.asarray(np.any(apart, axis=1))), sigma, limit,
        _ranges(angles, np.asarray(sigma > limit)), threshold,
    )  # fmt: skip


def _outside_main_lobe(
    ambiguity: NDArray[np.float64], threshold: float, *, periodic: bool
) -> NDArray[np.bool_]:
    """Pairs over the threshold that do not hang together with the diagonal."""
    over = ambiguity > threshold
    n = len(over)
    if periodic:  # the circle twice, so that lobes across +-180 degrees hang together
        areas = _areas(np.tile(over, (2, 2)))
        main = (
            set(np.diag(areas).tolist()) | set(np.diag(areas, n).tolist()) | set(np.diag(areas, -n).tolist())
        )
        return over & ~np.isin(areas[:n, :n], list(main))
    areas = _areas(over)
    return over & ~np.isin(areas, np.unique(np.diag(areas)))


def _areas(over: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of the connected area that every point lies in; 0 outside."""
    out = np.zeros(over.shape, dtype=np.intp)
    from scipy.ndimage import label  # as maximum_filter: a tenth of the time until the window is there

    label(over, output=out)
    return out


def _pairs(
    angles: NDArray[np.float64], ambiguity: NDArray[np.float64], apart: NDArray[np.bool_], *, periodic: bool
) -> list[tuple[float, float, float]]:
    """Worst twin of every direction that is itself a local maximum, each pair once."""
    from scipy.ndimage import maximum_filter

    peak = ambiguity >= maximum_filter(ambiguity, size=3, mode="wrap" if periodic else "nearest") - 1e-9
    i, j = np.nonzero(np.triu(apart & peak))
    order = np.argsort(-ambiguity[i, j], kind="stable")
    out: list[tuple[float, float, float]] = []
    for k in order:
        first, second = float(angles[i[k]]), float(angles[j[k]])
        if all(abs(first - p) > 5 or abs(second - q) > 5 for p, q, _ in out):
            out.append((first, second, float(ambiguity[i[k], j[k]])))
        if len(out) == _MOST_PAIRS:
            break
    return out


def _ranges(angles: NDArray[np.float64], inside: NDArray[np.bool_]) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], inside.astype(int), [0]))))
    return [(float(angles[a]), float(angles[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]
