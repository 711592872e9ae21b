"""Noise of each element, and the direct path from a transmitter beside the array.

The direct path (leakage) reaches every element with a phase of its own and may be tens of dB stronger than any echo.
It is found without steering vectors, in the power over delay summed over the elements, and told from an echo by
what an echo cannot be: one or two plane waves do not explain it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_model import Complex, DirectPath, PathModel, Real

_J2PI = 2j * np.pi
_QUANTILE = 0.3
#: Variance of the log of that quantile times the number of values, 0.3/(0.7 ln(0.7)^2): a window halves them.
_SCATTER = 3.4
#: From so many blocks on a window over time pays: with fewer it would spread what stands still over all.
_WINDOWED = 16
_OVERSAMPLED = 4
#: A component counts as a plane wave if no more than this part of its power is left over.
_PLANE = 0.05
_PLANE_PAIR = 0.02
_MAX_ORDER = 3
#: An earlier component weaker than this against the strongest is a remainder of it.
_EARLIER_DB = -35.0

DirectChoice = Literal["auto", "yes", "no"]


def noise_deviation(data: Complex) -> Real:
    """(M,) standard deviation of the noise of each element in data (B, M, S).

    From the power over delay and Doppler with Hann windows (side lobes fall fast): most places hold no path, so a low
    quantile over all of them is that of an exponential distribution. What stands still is strong, and its delays are
    smeared where subcarriers are missing, but only near Doppler zero. An element that hears nothing at all gets the
    mean of the others: it must not count for more than they.
    """
    b, m, s = data.shape
    window = noise_window(b, s)
    floor = np.empty(m)
    for k in range(m):
        place = np.fft.fft2(data[:, k] * window)
        floor[k] = np.quantile(place.real**2 + place.imag**2, _QUANTILE) / -np.log(1 - _QUANTILE)
    largest = float(np.max(np.abs(data))) if data.size else 0.0
    # data without any noise (a simulation) still need a scale: that of single precision
    level = np.log(np.maximum(floor, (1e-7 * largest) ** 2 + 1e-300))
    heard = np.any(data, axis=(0, 2))
    heard |= not heard.any()
    mean = float(level[heard].mean())
    level[~heard] = mean
    scatter = _SCATTER * (4 if b >= _WINDOWED else 2) / (b * s)
    seen = float(np.var(level[heard], ddof=1)) if np.count_nonzero(heard) > 1 else 0.0
    belief = max(1 - scatter / seen, 0.0) if seen > 0 else 0.0
    return np.exp((mean + belief * (level - mean)) / 2)


def noise_window(n_blocks: int, n_subcarriers: int) -> Real:
    """(B, S) window under which what stands still, or moves evenly, keeps to few places over Doppler and delay."""
    over_time = _hann(n_blocks) if n_blocks >= _WINDOWED else np.full(n_blocks, 1 / np.sqrt(n_blocks))
    return np.outer(over_time, _hann(n_subcarriers))


def _hann(n: int) -> Real:
    """(n,) of unit energy."""
    window = np.hanning(n + 2)[1:-1]
    return window / np.sqrt(np.sum(window**2))


def delay_vector(frequency_hz: Real, delay_s: float) -> Complex:
    """b(tau) of unit norm, (S,)."""
    return np.exp(-_J2PI * frequency_hz * delay_s) / np.sqrt(len(frequency_hz))


def delay_profile(mean: Complex, frequency_hz: Real, delay_s: Real) -> Real:
    """(D,) energy of mean (M, S), summed over the elements, at each delay."""
    filters = np.exp(_J2PI * np.outer(frequency_hz, delay_s)) / np.sqrt(len(frequency_hz))
    if len(mean) > len(frequency_hz):
        gram = (
            mean.T @ mean.conj()
        )  # the same sum with no (M, D) in between: M may be all blocks of a capture
        return np.maximum(np.sum(filters * (gram @ filters.conj()), axis=0).real, 0.0)
    return np.sum(np.abs(mean @ filters) ** 2, axis=0)


def strongest_delay(mean: Complex, frequency_hz: Real, period_s: float) -> tuple[float, float]:
    """(delay, energy) of the largest value of the profile of mean (M, S), by Newton from a fine grid."""
    s = len(frequency_hz)
    span = period_s * (frequency_hz[-1] - frequency_hz[0])
    count = int(_OVERSAMPLED * max(s, np.ceil(span)))
    grid = np.arange(count) / count * period_s
    profile = delay_profile(mean, frequency_hz, grid)
    delay = refine_delay(mean, frequency_hz, float(grid[int(np.argmax(profile))]))
    return delay, float(delay_profile(mean, frequency_hz, np.array([delay]))[0])


def refine_delay(mean: Complex, frequency_hz: Real, delay_s: float, steps: int = 8) -> float:
    """The maximum of the profile near a delay, by Newton steps that stay within half a delay bin."""
    f = frequency_hz - frequency_hz.mean()
    limit = 0.25 / max(float(np.ptp(f)), 1e-9)
    for _ in range(steps):
        turned = mean * np.exp(_J2PI * f * delay_s)
        z = turned.sum(axis=1)
        d1 = turned @ (_J2PI * f)
        d2 = turned @ (_J2PI * f) ** 2
        slope = 2 * float(np.real(np.vdot(z, d1)))
        bend = 2 * float(np.real(np.vdot(z, d2))) + 2 * float(np.real(np.vdot(d1, d1)))
        step = -slope / bend if bend < 0 else float(np.sign(slope)) * limit
        step = float(np.clip(step, -limit, limit))
        delay_s += step
        if abs(step) < 1e-6 * limit:
            break
    return delay_s


def find_direct(
    data: Complex, model: PathModel, period_s: float, choice: DirectChoice = "auto"
) -> tuple[DirectPath | None, float]:
    """(direct path or None, delay of the strongest component) of whitened data (B, M, S).

    choice : "yes": there is one, if need be of the shape of a plane wave; "no": none is looked for.
    """
    f = model.frequency_hz
    mean = data.mean(axis=0) * np.sqrt(len(data))  # noise of 1 again
    m = mean.shape[0]
    strongest, energy = strongest_delay(mean, f, period_s)
    if choice == "no" or energy < m + 8 * np.sqrt(m):
        return None, strongest
    if not is_plane(mean, model, strongest):
        return direct_at(mean, model, strongest, len(data)), strongest
    earlier = _earlier(mean, f, strongest, energy, period_s)
    if earlier is not None and (choice == "yes" or not is_plane(mean, model, earlier)):
        return direct_at(mean, model, earlier, len(data)), strongest
    return (direct_at(mean, model, strongest, len(data)) if choice == "yes" else None), strongest


def _earlier(mean: Complex, f: Real, strongest: float, energy: float, period_s: float) -> float | None:
    """The strongest component up to half a period before the strongest of all."""
    b = delay_vector(f, strongest)
    rest = mean - np.outer(mean @ b.conj(), b)
    bin_s = 1 / max(float(np.ptp(f)), 1e-9)
    grid = strongest - np.arange(bin_s, period_s / 2, bin_s / _OVERSAMPLED)
    if not len(grid):
        return None
    profile = delay_profile(rest, f, grid)
    best = int(np.argmax(profile))
    m = len(mean)
    least = max(m + 8 * np.sqrt(m) + np.log(len(grid)), energy * 10 ** (_EARLIER_DB / 10))
    return refine_delay(rest, f, float(grid[best])) if profile[best] > least else None


def is_plane(mean: Complex, model: PathModel, delay_s: float) -> bool:
    """Whether the component of mean (M, S) at this delay is one plane wave, or two, as far as noise lets tell."""
    h = mean @ delay_vector(model.frequency_hz, delay_s).conj()
    return plane_wave(h, model)


def plane_wave(h: Complex, model: PathModel) -> bool:
    """Whether h (M,), noise 1, is one plane wave or (from 6 elements on) the sum of two."""
    low, high = model.response.limits_deg
    width = model.response.beamwidth_deg or 10.0
    grid = np.linspace(low, high, int(np.ceil((high - low) / min(width / 8, 5.0))) + 1)
    a = model.steering(grid)
    a = a / np.linalg.norm(a, axis=0)
    z = a.conj().T @ h
    total = float(np.sum(np.abs(h) ** 2))
    m = len(h)
    noise = m + 5 * np.sqrt(m)
    if total - float(np.max(np.abs(z) ** 2)) < noise + _PLANE * total:
        return True
    if m < 6:
        return False
    c = a.conj().T @ a
    overlap = np.abs(c) ** 2
    cross = 2 * np.real(np.conj(z)[:, None] * c * z[None, :])
    power = np.abs(z) ** 2
    apart = np.maximum(1 - overlap, 1e-9)
    pair = np.where(overlap < 0.9, (power[:, None] + power[None, :] - cross) / apart, 0.0)
    return bool(total - float(pair.max()) < noise + _PLANE_PAIR * total)


def direct_at(mean: Complex, model: PathModel, delay_s: float, n_blocks: int) -> DirectPath:
    """As many derivatives of b as the data show: filters and cables need not be flat over the band."""
    f = model.frequency_hz
    m = len(mean)
    basis = delay_vector(f, delay_s)[:, None]
    vector = mean @ basis[:, 0].conj()
    total = float(np.sum(np.abs(vector) ** 2))
    centred = (f - f.mean()) / max(float(np.ptp(f)), 1e-9)
    for order in range(1, _MAX_ORDER):
        more = basis[:, 0] * centred**order
        more = more - basis @ (basis.conj().T @ more)
        more = more - basis @ (basis.conj().T @ more)
        norm = float(np.linalg.norm(more))
        if norm < 1e-6:
            break
        h = mean @ (more / norm).conj()
        energy = float(np.sum(np.abs(h) ** 2))
        # an echo within one delay bin looks like a derivative, but it is a plane wave
        if energy < m + 8 * np.sqrt(m) or energy > 0.1 * total or plane_wave(h, model):
            break
        basis = np.column_stack((basis, more / norm))
    return DirectPath(delay_s, basis, vector / np.sqrt(n_blocks))


def frequency_period(frequency_hz: Real) -> float:
    """1/(greatest common spacing) of the subcarriers in seconds: delays that far apart look the same."""
    if len(frequency_hz) < 2:
        return float("inf")
    steps = np.diff(frequency_hz)
    smallest = float(steps.min())
    ratio: NDArray[np.int64] = np.rint(steps / smallest * 12).astype(np.int64)
    return 12 / (smallest * float(np.gcd.reduce(ratio)))
