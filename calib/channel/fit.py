"""Channel delays and frequency responses from channel responses of known waveforms.

    csi[b, m, s] = c[m, s] model[b, m] beta[b, s] + noise

`model` is what the calibrated array answers to the block's source, `beta` what is common to all channels (the
source, its delay, the transmitter): free for every block and subcarrier. `c` is what the receivers add:

    c[m, s] = gain[m] R[m, s] exp(-j 2 pi f_s delay[m]),   c[reference, s] = 1.

Rank-one fit per subcarrier by alternating least squares; delays are the slope of the phase over frequency. The
phase at the carrier (f = 0) stays in `gain`, so a delay is never taken for a phase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.checks import array
from hil.core.errors import NotIdentifiable, ShapeError

#: Points of a stored frequency response, at most.
MOST_POINTS = 64
_ROUNDS = 30
_CLOSE = 1e-10
_SKEW_ROUNDS = 3
#: A response is stored where flat channels would show its misfit once in a million fits.
FLAT_SIGMAS = 5.0
_LEAST_SNR = 10.0  # of c[m, s] summed over all blocks; below, phases cannot be unwrapped


@dataclass(frozen=True, slots=True)
class ChannelFit:
    """What the receivers add to a flat calibration, relative to the reference element.

    Attributes
    ----------
    reference : element whose response is 1.
    gain : (M,) complex128 at the carrier, correction of the calibration's gain. gain_sigma : (M,) float64, of the
        real and of the imaginary part of gain[m] / |gain[m]|.
    delay_s, delay_sigma_s : (M,) float64, seconds, positive = later.
    frequency_hz : (F,) float64 from the carrier. response : (M, F) complex128, R. response_sigma : (M, F) float64.
    flat : True if no response differs from 1 by more than chance.
    noise : (M,) float64, noise power per subcarrier of the input. n_blocks : used.
    """

    reference: int
    gain: NDArray[np.complex128]
    gain_sigma: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    delay_sigma_s: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]
    response: NDArray[np.complex128]
    response_sigma: NDArray[np.float64]
    flat: bool
    noise: NDArray[np.float64]
    n_blocks: int


def fit_channels(
    csi: NDArray[np.complex128],
    model: NDArray[np.complex128],
    carriers_hz: NDArray[np.float64],
    *,
    reference: int = 0,
) -> ChannelFit:
    """Fit delays and responses of M receivers.

    Parameters
    ----------
    csi : (B, M, S) complex128, one source at a time, B >= 2.
    model : (B, M) or (B, M, S) complex128, the calibrated array's response to it, any scale.
    carriers_hz : (S,) float64 from the carrier, ascending, S >= 4.
    reference : element that the others are compared with.

    Raises
    ------
    ShapeError : wrong shapes. NotIdentifiable : the responses are too noisy to follow their phase over frequency, or an
        element hears nothing.
    """
    y = array("csi", csi, np.complex128, (None, None, None))
    blocks, elements, carriers = y.shape
    f = array("carriers_hz", carriers_hz, np.float64, (carriers,))
    a = np.asarray(model, np.complex128)
    a = a[:, :, None] if a.ndim == 2 else a
    if blocks < 2 or elements < 2 or carriers < 4 or a.shape[:2] != (blocks, elements):
        raise ShapeError(f"csi {y.shape}, model {a.shape}: 2 blocks, 2 elements, 4 subcarriers at least")
    if a.shape[2] not in (1, carriers) or np.any(np.diff(f) <= 0) or not 0 <= reference < elements:
        raise ShapeError(f"model {a.shape}, reference {reference}: do not fit csi {y.shape}")
    silent = np.flatnonzero(~np.any(y, axis=(0, 2)))
    if len(silent):
        raise NotIdentifiable(
            f"channel delays: element {silent[0]} hears nothing", parameters=("delay_s", "frequency_response"),
            hint="check its cable and power, or leave the channel out",
        )  # fmt: skip
    c, power = _rank_one(y, a)
    noise = _noise(y, a, c)
    # Of beta, known from M noisy channels only, the part of the noise that it took in is no signal, and its error
    # acts like noise: information P / (1 + 1 / (M p)) with P = sum |a beta|^2 / noise, p = P / B.
    information = np.maximum(power / noise[:, None] - blocks / elements, 1e-9)
    information /= 1 + blocks / (elements * information)
    if float(np.median(information)) < _LEAST_SNR:
        raise NotIdentifiable(
            f"channel delays: {10 * np.log10(max(float(np.median(information)), 1e-9)):.0f} dB per subcarrier over all "
            "blocks is too little",
            parameters=("delay_s", "frequency_response"),
            hint="capture for longer, or raise the transmit level",
        )
    sigma = np.sqrt(0.5 / information)  # of each part of c / |c|
    relative = np.hypot(sigma / np.abs(c), sigma[reference] / np.abs(c[reference]))
    c = c / c[reference]
    relative[reference] = 0.0
    return _describe(c, relative, f, reference, noise, blocks)


def _rank_one(
    y: NDArray[np.complex128], a: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """c (M, S) of y = c a beta, and sum_b |a beta|^2 (M, S)."""
    c = np.ones(y.shape[1:], np.complex128)
    beta = np.zeros((len(y), 1, y.shape[2]), np.complex128)
    for _ in range(_ROUNDS):
        full = a * c
        beta = np.sum(full.conj() * y, axis=1, keepdims=True) / np.sum(
            np.abs(full) ** 2, axis=1, keepdims=True
        )
        part = a * beta
        power = np.maximum(np.sum(np.abs(part) ** 2, axis=0), 1e-300)
        new = np.sum(part.conj() * y, axis=0) / power
        new /= np.sqrt(np.mean(np.abs(new) ** 2, axis=0))
        new *= np.exp(-1j * np.angle(np.sum(new * c.conj(), axis=0)))
        step = float(np.max(np.abs(new - c)))
        c = new
        if step < _CLOSE:
            break
    return c, np.maximum(np.sum(np.abs(a * beta) ** 2, axis=0), 1e-300)


def _noise(
    y: NDArray[np.complex128], a: NDArray[np.complex128], c: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """(M,) power of what the fit leaves, for the share of freedom that it left."""
    full = a * c
    beta = np.sum(full.conj() * y, axis=1, keepdims=True) / np.sum(np.abs(full) ** 2, axis=1, keepdims=True)
    blocks, elements, _ = y.shape
    share = (blocks - 1) * (elements - 1) / (blocks * elements)
    power = np.mean(np.abs(y - full * beta) ** 2, axis=(0, 2)) / share
    return np.maximum(power, 1e-30 * float(np.mean(np.abs(y) ** 2)) + 1e-300)


def _describe(
    c: NDArray[np.complex128],
    relative: NDArray[np.float64],
    f_hz: NDArray[np.float64],
    reference: int,
    noise: NDArray[np.float64],
    blocks: int,
) -> ChannelFit:
    elements = len(c)
    weight = 1.0 / np.maximum(relative, 1e-12) ** 2
    weight[reference] = 1.0
    delay, delay_sigma = np.zeros(elements), np.zeros(elements)
    gain, gain_sigma = np.ones(elements, np.complex128), np.zeros(elements)
    for m in range(elements):
        if m != reference:
            delay[m], delay_sigma[m], gain[m], gain_sigma[m] = _line(c[m], weight[m], f_hz)
    rest = c * np.exp(2j * np.pi * delay[:, None] * f_hz) / gain[:, None]
    grid, response, sigma = _bins(rest, weight, f_hz)
    sigma[reference] = 0.0
    others = np.arange(elements) != reference
    misfit = (np.abs(response - 1)[others] / sigma[others]) ** 2  # mean 2: two parts of unit variance
    count = len(grid)  # elements share the noise of the reference
    flat = float(np.mean(misfit)) < 2.0 + FLAT_SIGMAS * 2.0 / np.sqrt(max(count, 1))
    return ChannelFit(
        reference, gain, gain_sigma, delay, delay_sigma, grid, response, sigma, flat, noise, blocks
    )


def _line(
    c: NDArray[np.complex128], weight: NDArray[np.float64], f_hz: NDArray[np.float64]
) -> tuple[float, float, complex, float]:
    """Delay, its sigma, complex gain at f = 0 and its relative sigma of one channel."""
    spacing_hz = np.diff(f_hz)
    # the middle step of phase; robust start for the fit, unique within 1 / spacing
    turn = np.sum(c[1:] * c[:-1].conj() * np.minimum(weight[1:], weight[:-1]))
    delay_s = -float(np.angle(turn)) / (2 * np.pi * float(np.median(spacing_hz)))
    w = weight * np.abs(c) ** 2
    w = w / np.sum(w)
    for _ in range(6):
        z = c * np.exp(2j * np.pi * f_hz * delay_s)
        centre = np.sum(w * z)
        phase = np.angle(z * np.conj(centre))
        f_mean = float(np.sum(w * f_hz))
        spread = float(np.sum(w * (f_hz - f_mean) ** 2))
        delay_s -= float(np.sum(w * (f_hz - f_mean) * phase)) / spread / (2 * np.pi)
    z = c * np.exp(2j * np.pi * f_hz * delay_s)
    gain = complex(np.sum(w * z))
    total = float(np.sum(weight))
    sigma = 1.0 / (
        2 * np.pi * np.sqrt(float(np.sum(weight * (f_hz - np.average(f_hz, weights=weight)) ** 2)))
    )
    at_zero = np.hypot(1 / np.sqrt(total), 2 * np.pi * abs(float(np.average(f_hz, weights=weight))) * sigma)
    return delay_s, float(sigma), gain, float(at_zero)


def _bins(
    rest: NDArray[np.complex128], weight: NDArray[np.float64], f_hz: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.float64]]:
    """Weighted means over at most MOST_POINTS groups of neighbouring subcarriers."""
    groups = np.array_split(np.arange(len(f_hz)), min(MOST_POINTS, len(f_hz)))
    grid = np.array([f_hz[g].mean() for g in groups])
    total = np.stack([weight[:, g].sum(axis=1) for g in groups], axis=1)
    mean = np.stack([np.sum(weight[:, g] * rest[:, g], axis=1) for g in groups], axis=1) / total
    return grid, np.asarray(mean, np.complex128), 1.0 / np.sqrt(total)


def with_channels(calibration: Calibration, fit: ChannelFit, *, centre_hz: float = 0.0) -> Calibration:
    """The calibration with delays, their sigma and, where channels are not flat, the frequency response.

    centre_hz : frequency, from the carrier, at which the calibration's gains hold: the middle of the band that they
        were learned over, delays taken out around it. Their phases are moved to the carrier.
    """
    imp, sigma = calibration.impairments, calibration.sigma
    turn = 2 * np.pi * centre_hz
    return replace(
        calibration,
        impairments=replace(
            imp,
            gain=imp.gain * np.exp(1j * turn * fit.delay_s),
            delay_s=fit.delay_s,
            frequency_hz=None if fit.flat else fit.frequency_hz,
            frequency_response=None if fit.flat else fit.response,
        ),
        sigma=replace(
            sigma,
            phase_deg=np.hypot(sigma.phase_deg, np.rad2deg(abs(turn) * fit.delay_sigma_s)),
            delay_s=fit.delay_sigma_s,
            frequency_response=None if fit.flat else fit.response_sigma,
        ),
    )


def skew_s(csi: NDArray[np.complexfloating], frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Delays (M,) of the channels relative to their mean, from responses (B, M, S) of sources anywhere.

    The channels' common course over frequency, block by block, against each channel's own: blind to gains, phases
    and directions. The array's own extent is left in it (at most its size over the speed of light); with several
    delays in a block it follows the strongest; 0 for a channel that hears nothing. frequency_hz : (S,) ascending.
    """
    f = frequency_hz
    delay = np.zeros(csi.shape[1])
    for _ in range(_SKEW_ROUNDS):
        turned = csi * np.exp(2j * np.pi * delay[:, None] * f)
        left, scale, right = np.linalg.svd(turned, full_matrices=False)
        known = left[:, :, :1] * (scale[:, :1] * right[:, 0])[:, None, :]
        c = np.sum(turned * known.conj(), axis=0)
        weight = np.ones(len(f))
        delay = delay + np.array([_line(row, weight, f)[0] if np.any(row) else 0.0 for row in c])
    return delay - delay.mean()
