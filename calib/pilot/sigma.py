"""What labelled data leave open: sigma of every parameter, of the angles and of the manifold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.pilot.fit import Unknowns
from calib.pilot.model import CoupledModel

_DB_PER_NEPER = 20 / np.log(10)
_LINE_FIELD_RAD = np.deg2rad(60.0)
_COVERAGE = 0.95
_LINE_FIELD_U = 0.98


@dataclass(frozen=True, slots=True)
class Spread:
    """Posterior of a pilot fit, in the order of the search.

    covariance (P, P). gain_db (N,), position (N, D) wavelengths. offset_rad, scale : sigma of the part of the
    angle error that is an offset at broadside (a rotation on a plane) and a scale of sin(angle). angle_rad :
    the rms angle error over +-60 degrees (the circle) stays below it with probability 0.95. field_loss : bound
    on 1 - manifold correlation over the field of view.
    """

    covariance: NDArray[np.float64]
    gain_db: NDArray[np.float64]
    position: NDArray[np.float64]
    offset_rad: float
    scale: float
    angle_rad: float
    field_loss: float

    def phase_against(self, reference: int) -> NDArray[np.float64]:
        """(N,) sigma of the phases relative to one element, radians."""
        n = len(self.gain_db)
        phase = self.covariance[n : 2 * n, n : 2 * n]
        return np.sqrt(np.maximum(np.diag(phase) + phase[reference, reference] - 2 * phase[:, reference], 0))


def spread_of(model: CoupledModel, hessian: NDArray[np.float64], unknowns: Unknowns) -> Spread:
    """From the data's information (P, P) and the prior. hessian in units of the noise (weights 1/v)."""
    precision, _ = unknowns.prior(model)
    basis = unknowns.basis(model)
    inner = basis.T @ (hessian + np.diag(precision)) @ basis
    inner[np.diag_indices_from(inner)] += 1e-9 * np.trace(inner) / len(inner)
    covariance = basis @ np.linalg.inv(inner) @ basis.T
    n, dims = model.r.shape
    variance = np.maximum(np.diag(covariance), 0)
    position = np.sqrt(variance[2 * n : (2 + dims) * n].reshape(dims, n).T)
    offset, scale, angle = angle_error(model, covariance)
    return Spread(
        covariance, _DB_PER_NEPER * np.sqrt(variance[:n]), position, offset, scale, angle,
        float(_loss(model, covariance).max()),
    )  # fmt: skip


def angle_error(model: CoupledModel, covariance: NDArray[np.float64]) -> tuple[float, float, float]:
    """(offset, scale, rms) of the angle error that the parameters' errors cause."""
    line = model.r.shape[1] == 1
    if line:
        angle = np.linspace(-_LINE_FIELD_RAD, _LINE_FIELD_RAD, 61)
        d, slope = np.sin(angle)[:, None], np.ones((61, 1, 1))
        per_rad = np.cos(angle)
    else:
        angle = np.linspace(-np.pi, np.pi, 72, endpoint=False)
        d = np.column_stack((np.sin(angle), np.cos(angle)))
        slope = np.column_stack((np.cos(angle), -np.sin(angle)))[:, :, None]
        per_rad = np.ones(len(angle))
    a = model.steering(d)
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    turn = model.along(d, slope)[:, :, 0]
    turn = turn - unit * np.sum(unit.conj() * turn, axis=1, keepdims=True)
    rows = -np.einsum("gn,gnp->gp", turn.conj(), model.jacobian(d)).real
    rows /= np.sum(np.abs(turn) ** 2, axis=1, keepdims=True)  # du = rows @ dx
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(covariance)
    draws = rng.standard_normal((600, len(values))) * np.sqrt(np.maximum(values, 0))
    error = draws @ (rows @ vectors).T  # (draws, G) in u or radians
    rms = np.sqrt(np.mean((error / per_rad) ** 2, axis=1))
    regress = np.column_stack((np.ones(len(d)), d[:, 0])) if line else np.ones((len(d), 1))
    fitted = np.linalg.lstsq(regress, error.T, rcond=None)[0].std(axis=1)
    return float(fitted[0]), float(fitted[1]) if line else 0.0, float(np.quantile(rms, _COVERAGE))


def _loss(model: CoupledModel, covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bound on 1 - |a^H a_hat| over the field of view: mean plus five sigmas of (1/2) ||P da||^2."""
    if model.r.shape[1] == 1:
        d = np.linspace(-_LINE_FIELD_U, _LINE_FIELD_U, 61)[:, None]
    else:
        angle = np.linspace(-np.pi, np.pi, 72, endpoint=False)
        d = np.column_stack((np.sin(angle), np.cos(angle)))
    # an error along the manifold is an angle error, not one of shape: it is stated as such
    line = model.r.shape[1] == 1
    slope = np.ones((len(d), 1, 1)) if line else np.stack((d[:, 1], -d[:, 0]), axis=-1)[:, :, None]
    turns = model.along(d, slope)[:, :, 0]
    out = np.empty(len(d))
    for i, (a, jacobian, turn) in enumerate(zip(model.steering(d), model.jacobian(d), turns, strict=True)):
        norm = np.linalg.norm(a)
        unit, moved = a / norm, jacobian / norm
        moved = moved - np.outer(unit, unit.conj() @ moved)
        turn = turn - unit * (unit.conj() @ turn)
        turn = turn / max(float(np.linalg.norm(turn)), 1e-12)
        moved = moved - np.outer(turn, (turn.conj() @ moved).real)
        real = np.concatenate((moved.real, moved.imag))
        spread = real @ covariance @ real.T
        out[i] = 0.5 * (np.trace(spread) + 5 * np.sqrt(2 * np.sum(spread**2)))
    return out
