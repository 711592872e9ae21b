"""From the search's wavelengths and element order to the types that calibration files hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.gauges.fix import Fixed
from calib.layout import Layout
from calib.model import TWO_PI, Model
from calib.observations import Prepared
from calib.refine import Fit
from hil.core.calibration import Sigma
from hil.core.gauge import canonical
from hil.core.impairments import Impairments, ideal

_DB_PER_NEPER = 20 / np.log(10)


def impairments(model: Model, layout: Layout, whitening: NDArray[np.float64]) -> Impairments:
    """Forward-model impairments in the order of the receiver's channels."""
    n, dims = model.r.shape
    gain = np.empty(n, complex)
    gain[layout.order] = model.g / whitening
    error = np.zeros((n, 3))
    delta = (model.r - model.r.mean(axis=0)) - (layout.nominal - layout.nominal.mean(axis=0))
    error[layout.order, :dims] = delta * layout.wavelength_m
    return canonical(replace(ideal(n), gain=gain, position_error_m=error))


def model_of(imp: Impairments, layout: Layout, whitening: NDArray[np.float64] | None = None) -> Model:
    """Inverse of `impairments`."""
    dims = layout.nominal.shape[1]
    error = imp.position_error_m[layout.order, :dims] / layout.wavelength_m
    gain = imp.gain[layout.order] * (1.0 if whitening is None else whitening)
    return Model(gain, layout.nominal + error).normalised()


def sigma_of(fit: Fit, layout: Layout, fixed: Fixed, covariance: NDArray[np.float64]) -> Sigma:
    """One sigma per parameter: the data's information plus what the gauge leaves open.

    covariance : `calib.fit_uncertainty.parameter_covariance`.
    gain_db relative to ||g||, phase_deg relative to the reference element 0, position_m around the mean.
    """
    free = layout.position_std > 0
    n, dims = fit.model.r.shape
    phase = covariance[n : 2 * n, n : 2 * n].copy()
    position = covariance[2 * n :, 2 * n :].copy()
    r = fixed.model.r - fixed.model.r.mean(axis=0)
    if fit.model.is_line:
        # the ramp is -2 pi r be with r = r_fit / al: what is open of al moves it too
        ratio = fixed.be / fixed.al
        ramp = fixed.covariance[1, 1] - 2 * ratio * fixed.covariance[0, 1] + ratio**2 * fixed.covariance[0, 0]
        phase += TWO_PI**2 * max(float(ramp), 0.0) * np.outer(r[:, 0], r[:, 0])
        # r_fit / al likewise
        position = (position + fixed.covariance[0, 0] * np.outer(r[:, 0], r[:, 0])) / fixed.al**2
    elif free:
        turn = np.concatenate((r[:, 1], -r[:, 0]))
        position += fixed.covariance[0, 0] * np.outer(turn, turn)
    reference = int(np.flatnonzero(layout.order == 0)[0])
    phase_var = np.diag(phase) + phase[reference, reference] - 2 * phase[:, reference]
    centring = np.eye(n) - 1 / n
    position_sigma = np.zeros((n, 3))
    gain_db, phase_deg = np.empty(n), np.empty(n)
    gain_db[layout.order] = _DB_PER_NEPER * np.sqrt(np.maximum(np.diag(covariance)[:n], 0))
    phase_deg[layout.order] = np.rad2deg(np.sqrt(np.maximum(phase_var, 0)))
    for i in range(dims):
        part = centring @ position[i * n : (i + 1) * n, i * n : (i + 1) * n] @ centring
        position_sigma[layout.order, i] = np.sqrt(np.maximum(np.diag(part), 0)) * layout.wavelength_m
    return Sigma(gain_db, phase_deg, position_sigma, np.full(n, np.nan))


def peaks_deg(fit: Fit, prepared: Prepared, fixed: Fixed, is_line: bool) -> NDArray[np.float64]:
    """(B, K) angles of all blocks in degrees, NaN where a block or peak was not used."""
    out = np.full((len(prepared.rank), prepared.n_sources), np.nan)
    theta = fixed.al * fit.theta + fixed.be
    if is_line:
        degrees = np.rad2deg(np.arcsin(np.clip(theta, -1, 1)))
    else:
        degrees = np.rad2deg((theta + np.pi) % TWO_PI - np.pi)
    out[prepared.index] = np.where(fit.weight > 0, degrees, np.nan)
    return out
