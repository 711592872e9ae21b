"""The angle-dependent response table: a spline over the swept angles, kept only if it predicts angles left out.

Smoothing splines (Craven and Wahba 1979: generalised cross-validation) of log modulus and phase of each element. Nothing
is said outside the swept range, and nothing inside a hole wider than `_HOLE` typical steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.judge import MAX_MISFIT
from calib.response.measured import MeasuredResponse

_FEWEST = 12
_FINER = 8  # table angles a step: files are interpolated linearly
_MOST_ANGLES = 4096
_HOLE = 4.5
_FOLD = 4
_WORTH = 0.5  # of the misfit without it
_QUANTILE = 0.9
_GROSS = 0.15


@dataclass(frozen=True, slots=True)
class ResponseTable:
    """angle_deg : (A,) ascending. response : (M, A) complex128. unit : moduli are 1. misfit, misfit_without : null depth beyond
    noise at angles left out in turn (0.9 quantile), with the table and without it. excess : median of its log above that of a
    block's noise, with the table. outliers : share of the angles at which it is ten times a block's noise."""

    angle_deg: NDArray[np.float64]
    response: NDArray[np.complex128]
    unit: bool
    misfit: float
    misfit_without: float
    excess: float
    outliers: float

    @property
    def explains(self) -> bool:
        """What is left at angles left out is as little as an array without a table may leave."""
        return self.misfit < MAX_MISFIT

    @property
    def gross(self) -> bool:
        """It mends so much that the array is rather another one than stated, or the angles are."""
        return self.misfit_without > _GROSS


def response_table(measured: MeasuredResponse, *, unit: bool | None = None) -> ResponseTable | None:
    """The table, or None if there are too few angles, or angles left out are predicted no better with one.

    unit : True: phases only; False: moduli as well; None: whichever predicts angles left out better.
    """
    angle = measured.angle_deg
    if len(angle) < _FEWEST:
        return None
    lengths = np.diff(angle)
    wide = np.flatnonzero(lengths > _HOLE * np.median(lengths))
    if len(wide):  # the longest stretch without a hole
        edges = np.concatenate(([0], wide + 1, [len(angle)]))
        best = int(np.argmax(np.diff(edges)))
        kept = measured.part(np.arange(edges[best], edges[best + 1]))
        return response_table(kept, unit=unit)
    without = _high(_beyond(measured, np.ones_like(measured.ratio)))
    if without < np.median(measured.floor):  # one point's noise hides it
        return None
    kinds = (True, False) if unit is None else (unit,)
    beyond = {kind: _beyond(measured, _left_out(measured, kind)) for kind in kinds}
    # moduli are taken in only where they clearly help
    kind = min(kinds, key=lambda k: _high(beyond[k]) * (1.0 if k else 1.25))
    if not _high(beyond[kind]) < _WORTH * without:
        return None
    lifted = np.log1p(beyond[kind] / measured.block_floor)[1:-1]
    n = min(max(_FINER * (len(angle) - 1), 1), _MOST_ANGLES) + 1
    grid = np.linspace(angle[0], angle[-1], n)
    return ResponseTable(
        grid, _splined(measured, grid, kind), kind, _high(beyond[kind]), without,
        float(np.median(lifted)), float(np.mean(lifted > np.log(10.0))),
    )  # fmt: skip


def _splined(measured: MeasuredResponse, at_deg: NDArray[np.float64], unit: bool) -> NDArray[np.complex128]:
    """(M, G) at angles inside the range."""
    from scipy.interpolate import make_smoothing_spline

    angle = measured.angle_deg
    sigma = np.hypot(measured.sigma, measured.table_sigma_rad)
    out = np.empty((len(sigma), len(at_deg)), np.complex128)
    for m, ratio in enumerate(measured.ratio):
        weight = np.median(sigma[m]) ** 2 / np.maximum(sigma[m], 1e-3 * np.median(sigma[m])) ** 2
        phase = make_smoothing_spline(angle, np.unwrap(np.angle(ratio)), weight)(at_deg)
        modulus = 1.0
        if not unit:
            logs = np.log(np.maximum(np.abs(ratio), 1e-6))
            modulus = np.exp(make_smoothing_spline(angle, logs, weight)(at_deg))
        out[m] = modulus * np.exp(1j * phase)
    return out


def _left_out(measured: MeasuredResponse, unit: bool) -> NDArray[np.complex128]:
    """(M, A) what the other angles predict, every fourth left out in turn; 1 outside their range."""
    n = len(measured.angle_deg)
    out = np.ones_like(measured.ratio)
    for fold in range(_FOLD):
        away = np.arange(fold, n, _FOLD)
        rest = measured.part(np.setdiff1d(np.arange(n), away))
        inside = away[
            (measured.angle_deg[away] >= rest.angle_deg[0]) & (measured.angle_deg[away] <= rest.angle_deg[-1])
        ]
        out[:, inside] = _splined(rest, measured.angle_deg[inside], unit)
    return out


def _beyond(measured: MeasuredResponse, response: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(A,) null depth beyond noise."""
    a = measured.mixing @ (measured.wave * response)
    overlap = np.abs(np.sum(a.conj() * measured.seen, axis=0)) ** 2 / np.sum(np.abs(a) ** 2, axis=0)
    return np.maximum(1 - overlap - measured.floor, 0.0)


def _high(beyond: NDArray[np.float64]) -> float:
    """0.9 quantile; the edges, which nothing predicts, left out."""
    return float(np.quantile(beyond[1:-1], _QUANTILE))
