"""Does a calibration hold? Asked of the single targets in channel responses, without any label.

A component at one delay that is one plane wave of a right calibration leaves only noise:

    ||h||^2 - max_u |a(u)^H h|^2 / ||a(u)||^2,   h (M,) in units of the noise,   has mean M - 3/2

(one complex dimension for the amplitude, half of one for the angle). With a wrong calibration a share 1 - c^2 of the
target's energy is left besides. Two targets at one delay leave more than noise, too; two plane waves then explain them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_looks import Look
from hil.dsp.angle_delay_model import Complex, Real
from hil.dsp.response import ArrayResponse

#: Share of the energy that may be left: an error that still costs no resolution (1.8 degrees rms).
_ALLOWED = 1e-3
_SIGMAS = 5.0
#: A component says something if this share of its energy would have shown.
_TELLING = 0.1
_STILL = 0.95
_MIN_ELEMENTS = 3
_FOR_TWO_WAVES = 5


@dataclass(frozen=True, slots=True)
class PlaneVerdict:
    """telling : components strong enough to say something. fitting : of these, those that are plane waves of the array.

    verified : those that fit hold most of the energy. error_rad : rms phase error that the others suggest, or, if all
    fit, that the strongest one excludes. words : one line for the user.
    """

    telling: int
    fitting: int
    verified: bool
    error_rad: float
    words: str

    @property
    def silent(self) -> bool:
        """These data cannot say."""
        return not self.telling


def plane_verdict(
    looks: Sequence[Look], response: ArrayResponse, deviation: Real, mistrust: float = 0.0
) -> PlaneVerdict:
    """Judge a calibrated response by components of which most are single targets.

    looks : whitened, of `separate`. deviation (M,) : noise that was divided out. mistrust : mean square relative error
    of the steering vectors that the calibration itself states.
    """
    m = len(deviation)
    grid, steering = _steering(response, deviation)
    fits, energies, shares = [], [], []
    for look in looks if m >= _MIN_ELEMENTS else ():
        energy, left, spread = _left_over(look, steering)
        allowed = _SIGMAS * spread + (_ALLOWED + 4 * mistrust) * energy
        if allowed > _TELLING * energy:
            continue
        fit = left < allowed
        several = not fit and m >= _FOR_TWO_WAVES and look.still > _STILL
        if several and _two_waves(look.vector, steering, grid) < allowed:
            continue  # two targets at one delay: of the calibration they say little
        fits.append(fit)
        energies.append(energy)
        shares.append(max(left, 0.0) / energy if not fit else allowed / energy)
    if not fits:
        return PlaneVerdict(0, 0, False, float("nan"), "no single target is strong enough to confirm it")
    good, energy, share = np.array(fits), np.array(energies), np.array(shares)
    verified = bool(energy[good].sum() > energy[~good].sum())
    error = float(np.sqrt(share[good].min() if verified else np.average(share[~good], weights=energy[~good])))
    count = f"{int(good.sum())} of {len(good)} single targets"
    if verified:
        words = (
            f"{count} show the array as calibrated, to within {np.rad2deg(error):.1f} degrees rms of phase"
        )
    else:
        words = f"only {count} fit it (about {np.rad2deg(error):.0f} degrees rms of phase error)"
    return PlaneVerdict(len(good), int(good.sum()), verified, error, words)


def _steering(response: ArrayResponse, deviation: Real) -> tuple[Real, Complex]:
    """(G,) angles a fiftieth of a beam apart, (M, G) whitened unit vectors."""
    low, high = response.limits_deg
    width = (response.beamwidth_deg or 5.0) / 50
    grid = np.linspace(low, high, int(np.ceil((high - low) / width)) + 1)
    a = response.steering(grid) / deviation[:, None]
    return grid, a / np.linalg.norm(a, axis=0)


def _left_over(look: Look, steering: Complex) -> tuple[float, float, float]:
    """(energy, what one plane wave leaves beyond noise, standard deviation of the latter)."""
    m = len(steering)
    if look.still > _STILL:
        total = float(np.sum(np.abs(look.vector) ** 2))
        left = total - _best(look.vector, steering) - (m - 1.5)
        return max(total - m, 1e-9), left, float(np.sqrt(m))
    # blocks in which the source hops are no single plane wave: the median does not mind
    energy = np.sum(np.abs(look.values) ** 2, axis=1)
    left = np.array([e - _best(h, steering) for e, h in zip(energy, look.values, strict=True)]) - (m - 1.5)
    spread = float(np.sqrt(m)) * 1.5 / np.sqrt(len(left))
    return max(float(np.median(energy)) - m, 1e-9), float(np.median(left)), max(spread, 0.2)


def _best(h: Complex, steering: Complex) -> float:
    """Largest energy of one plane wave, by the parabola through the best grid point and its neighbours."""
    power = np.abs(steering.conj().T @ h) ** 2
    k = int(np.clip(np.argmax(power), 1, len(power) - 2))
    a, b, c = power[k - 1 : k + 2]
    bend = a - 2 * b + c
    top = float(b - (a - c) ** 2 / (8 * bend)) if bend < 0 else float(max(a, b, c))
    return max(top, float(power.max()))


def _two_waves(h: Complex, steering: Complex, grid: NDArray[np.float64]) -> float:
    """What two plane waves leave beyond noise: the second by search, then both in turn."""
    m = len(h)
    step = max(len(grid) // 400, 1)
    a = steering[:, ::step]
    z = a.conj().T @ h
    c = a.conj().T @ a
    overlap = np.abs(c) ** 2
    power = np.abs(z) ** 2
    cross = 2 * np.real(np.conj(z)[:, None] * c * z[None, :])
    pair = np.where(
        overlap < 0.95, (power[:, None] + power[None, :] - cross) / np.maximum(1 - overlap, 1e-3), 0.0
    )
    i, j = (int(k) * step for k in np.unravel_index(int(np.argmax(pair)), pair.shape))
    for _ in range(10):
        for fixed in (0, 1):
            other = steering[:, (i, j)[fixed]]
            rest = steering - np.outer(other, other.conj() @ steering)
            free = np.maximum(np.sum(np.abs(rest) ** 2, axis=0), 1e-6)
            gained = np.abs(rest.conj().T @ h) ** 2 / free
            best = int(np.argmax(np.where(free > 0.05, gained, 0.0)))
            i, j = (i, best) if fixed == 0 else (best, j)
    basis = np.linalg.qr(steering[:, [i, j]])[0]
    return float(np.sum(np.abs(h) ** 2) - np.sum(np.abs(basis.conj().T @ h) ** 2)) - (m - 3.0)
