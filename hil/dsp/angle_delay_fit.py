"""Joint least squares of all paths, the direct path eliminated, and the bound on its errors.

    minimise || P (Y - sum_k gamma_k d(nu_k) x G(theta_k, tau_k)) ||^2,   P projects out the direct path

Levenberg-Marquardt on (Re gamma, Im gamma, theta, tau, nu) of every path; at the minimum the Fisher information
2 Re(J^H P J) in units of the noise gives the Cramer-Rao bound (Stoica and Nehorai 1989), with the direct path and all
other paths unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_model import Columns, Complex, DirectPath, PathModel, Paths, Real, columns

_MAX_STEPS = 30


@dataclass(slots=True)
class Effort:
    """What is left of the work that one search may cost, in values times paths: a bound whatever the data."""

    left: float

    def spend(self, paths: Paths, data: Complex) -> None:
        """One evaluation of the misfit."""
        self.left -= (len(paths) + 1) * data.size


def fit(
    model: PathModel,
    paths: Paths,
    data: Complex,
    direct: DirectPath | None,
    window_s: tuple[float, float],
    effort: Effort,
    steps: int = _MAX_STEPS,
) -> tuple[Paths, float]:
    """(paths, misfit) at the least squares near the given paths; amplitudes of the start are not used.

    data (B, M, S) : whitened, the direct path already projected out. effort : no further step once it is spent.
    """
    if not len(paths):
        return paths, float(np.sum(np.abs(data) ** 2))
    paths = _amplitudes(model, paths, data, direct)
    jacobian = columns(model, paths)
    residual = _residual(model, paths, data, direct)
    misfit = float(np.sum(np.abs(residual) ** 2))
    damping = 1e-3
    limits = _limits(model, jacobian.per_path, len(paths))
    for _ in range(steps):
        if effort.left <= 0:
            break
        fisher = jacobian.gram(direct, len(model.whitener)).real
        slope = jacobian.along(residual).real
        scale = np.sqrt(np.maximum(np.diag(fisher), 1e-300))
        normal = fisher / np.outer(scale, scale)
        trial, rest, new = paths, residual, misfit
        for _ in range(8):
            step = np.linalg.solve(normal + damping * np.eye(len(normal)), slope / scale) / scale
            step = np.clip(step, -limits, limits)
            trial = _amplitudes(model, _moved(model, paths, step, jacobian.per_path, window_s), data, direct)
            rest = _residual(model, trial, data, direct)
            new = float(np.sum(np.abs(rest) ** 2))
            effort.spend(paths, data)
            if new < misfit:
                break
            damping = min(damping * 8, 1e9)
        if not new < misfit:
            break
        gained = misfit - new
        paths, residual, misfit = trial, rest, new
        damping = max(damping / 8, 1e-9)
        if gained < 1e-4:  # in units of the noise: nothing that a test could see
            break
        jacobian = columns(model, paths)
    return paths, misfit


def _limits(model: PathModel, per_path: int, k: int) -> NDArray[np.float64]:
    """Largest step of each parameter: amplitudes any, else part of a resolution cell."""
    beam = np.deg2rad(model.response.beamwidth_deg or 10.0)
    bin_s = 1 / max(float(np.ptp(model.frequency_hz)), 1e-300)
    one = [np.inf, np.inf, 0.25 * beam, 0.25 * bin_s]
    if per_path == 5:
        one.append(0.25 / max(float(np.ptp(model.time_s)), 1e-300))
    return np.tile(np.array(one), k)


def _moved(model: PathModel, paths: Paths, step: Real, per_path: int, window_s: tuple[float, float]) -> Paths:
    d = step.reshape(len(paths), per_path)
    return Paths(
        model.clip_deg(paths.angle_deg + np.rad2deg(d[:, 2])),
        np.clip(paths.delay_s + d[:, 3], *window_s),
        paths.doppler_hz + d[:, 4] if per_path == 5 else paths.doppler_hz,
        paths.gamma + d[:, 0] + 1j * d[:, 1],
    )


def _residual(model: PathModel, paths: Paths, data: Complex, direct: DirectPath | None) -> Complex:
    rest = data - model.sum(paths)
    return rest if direct is None else direct.remove(rest)


def _linear(model: PathModel, paths: Paths) -> Columns:
    g, _ = model.spatial(paths)
    return Columns(model.temporal(paths.doppler_hz), g.reshape(len(paths), -1).T, 1)


def _amplitudes(model: PathModel, paths: Paths, data: Complex, direct: DirectPath | None) -> Paths:
    """The best amplitudes at these places."""
    linear = _linear(model, paths)
    gram = linear.gram(direct, len(model.whitener))
    # paths on top of each other share an amplitude instead of having two that cancel
    ridge = 1e-9 * np.trace(gram).real / len(paths)
    gamma = np.linalg.solve(gram + ridge * np.eye(len(paths)), linear.along(data))
    return Paths(paths.angle_deg, paths.delay_s, paths.doppler_hz, gamma.astype(np.complex128))


def path_gains(model: PathModel, paths: Paths, direct: DirectPath | None) -> Real:
    """(K,) by how much the misfit grows without each path, all else refitted linearly: its SNR after integration."""
    if not len(paths):
        return np.zeros(0)
    gram = _linear(model, paths).gram(direct, len(model.whitener))
    inverse: Complex = np.linalg.inv(gram + 1e-12 * np.trace(gram).real / len(paths) * np.eye(len(paths)))
    return np.abs(paths.gamma) ** 2 / np.maximum(np.real(np.diag(inverse)), 1e-300)


def sigmas(model: PathModel, paths: Paths, direct: DirectPath | None) -> tuple[Real, Real, Real]:
    """Cramer-Rao bounds in units of the noise: angle (rad), delay (s), Doppler (Hz), (K,) each; infinite if unknowable."""
    k = len(paths)
    if not k:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    jacobian = columns(model, paths)
    fisher = 2 * jacobian.gram(direct, len(model.whitener)).real
    scale = np.sqrt(np.maximum(np.diag(fisher), 1e-300))
    values, vectors = np.linalg.eigh(fisher / np.outer(scale, scale))
    known = values > 1e-12
    variance = np.sum(vectors[:, known] ** 2 / values[known], axis=1) / scale**2
    lost = np.sum(vectors[:, ~known] ** 2, axis=1) > 1e-6
    sigma = np.sqrt(np.where(lost, np.inf, variance)).reshape(k, jacobian.per_path)
    doppler = sigma[:, 4] if jacobian.per_path == 5 else np.full(k, np.nan)
    return sigma[:, 2], sigma[:, 3], doppler
