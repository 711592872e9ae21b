"""Channel delays and frequency responses from looks at a calibrated array.

A look is a set of channel responses with one source in each block. The array's own delays r.u/c belong to the source's
direction and go into the model; what is left of the slope over frequency is the receivers'. Looks at other directions
must agree: where they differ by more than their sigmas allow, the sigmas grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.channel.fit import FLAT_SIGMAS, ChannelFit, fit_channels
from hil.core.errors import NotIdentifiable
from hil.core.impairments import Impairments
from hil.core.units import SPEED_OF_LIGHT_M_S

_MOST_GROUPS = 64
_LEAST_GROUPS = 8
_CHUNK = 256
_OVERSAMPLED = 4
_BEAM_STEPS = 24
_ELEVATION_STEPS = 12
#: A block whose response differs from every direction's by more than this share, beyond noise, has no one direction.
_STRANGE = 0.05
_LEAST_BLOCKS = 4
_CHANCE = 3.0
_MOST_PIECES = 4

_Part = tuple[NDArray[np.complex128], NDArray[np.complex128]]


@dataclass(frozen=True, slots=True, eq=False)
class SourceLook:
    """responses (B, M, S) complex, one source at a time, noise alike in all blocks. at_zero : its delay was taken out.
    still : it does not move in angle."""

    responses: NDArray[np.complexfloating]
    at_zero: bool
    still: bool


@dataclass(frozen=True, slots=True, eq=False)
class ArrayModel:
    """What is known about the array: positions_m (M, 3) learned, fc_hz, impairments (gain and coupling are used).
    planar_sources : sources may stand at any elevation."""

    positions_m: NDArray[np.float64]
    fc_hz: float
    impairments: Impairments
    planar_sources: bool = False

    def directions(self) -> NDArray[np.float64]:
        """(D, 3) unit vectors, a small part of a beam apart."""
        span = float(np.ptp(self.positions_m, axis=0).max()) * self.fc_hz / SPEED_OF_LIGHT_M_S
        step = 1 / (_BEAM_STEPS * max(span, 0.5))
        if not np.any(np.ptp(self.positions_m[:, 1:], axis=0) > 1e-9):
            u = np.arange(-1, 1 + step, step).clip(-1, 1)
            return np.column_stack((u, np.sqrt(np.maximum(1 - u**2, 0)), np.zeros(len(u))))
        azimuth = np.arange(0, 2 * np.pi, step)
        elevations = np.zeros(1)
        if self.planar_sources:
            azimuth = np.arange(0, 2 * np.pi, 2 * step)
            elevations = np.arccos(np.linspace(1, 0, _ELEVATION_STEPS * int(np.ceil(max(span, 0.5)))))
        a, e = (x.ravel() for x in np.meshgrid(azimuth, elevations, indexing="ij"))
        return np.column_stack((np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), np.sin(e)))

    def steering(self, u: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(D, M) response to unit vectors (D, 3)."""
        a = np.exp(2j * np.pi * self.fc_hz / SPEED_OF_LIGHT_M_S * (u @ self.positions_m.T))
        return (a @ self.impairments.coupling.T) * self.impairments.gain


def channels_of_looks(
    looks: Sequence[SourceLook], frequency_hz: NDArray[np.float64], model: ArrayModel, *, reference: int = 0
) -> ChannelFit:
    """Delays and responses of M receivers relative to the reference element.

    Parameters
    ----------
    looks : at least one. frequency_hz : (S,) from the carrier, ascending. model : the calibrated array.

    Raises
    ------
    NotIdentifiable : too little signal, no block with one direction, or nothing that a single look agrees with.
    """
    grid = model.directions()
    bins = _MOST_GROUPS
    while True:  # fewer groups of subcarriers where one alone is too noisy to follow its phase
        f, parts = frequency_hz, []
        for look in looks:
            f, y = _grouped(look, frequency_hz, bins)
            kept, a = _explained(y, look.still, f, model, grid)
            parts.append((kept, a))
        used = [part for part in parts if len(part[0]) >= _LEAST_BLOCKS]
        if not used:
            raise NotIdentifiable(
                "channel delays: no block agrees with a single direction", parameters=("delay_s",),
                hint="capture for longer, or with one target or emitter at a time",
            )  # fmt: skip
        try:
            fit = fit_channels(
                np.concatenate([y for y, _ in used]),
                np.concatenate([a for _, a in used]),
                f,
                reference=reference,
            )
            break
        except NotIdentifiable:
            bins = min(bins, len(f)) // 2
            if bins < _LEAST_GROUPS:
                raise
    found = [_alone(y, a, f, reference) for y, a in _pieces(looks, parts)]
    return _agreed(fit, [each for each in found if each is not None])


def separation_loss(
    frequency_hz: NDArray[np.float64],
    delay_s: NDArray[np.float64],
    vector: NDArray[np.complex128],
    others_s: NDArray[np.float64],
    *,
    still: bool,
) -> NDArray[np.float64]:
    """Factor (M,) by which taking L components apart raises the sigma of a delay that all of them share.

    To first order in a small delay: component l is what is left of the data without the others, so a part of its
    slope went to them, and the noise of neighbours is not independent.

    Parameters
    ----------
    frequency_hz : (S,). delay_s : (L,) of the components. vector : (L, M) their amplitudes in the elements.
    others_s : further components that were removed, e.g. a direct path. still : amplitudes are the same in all blocks.
    """
    f = frequency_hz - frequency_hz.mean()
    every = np.concatenate((delay_s, others_s))
    basis = np.exp(-2j * np.pi * np.outer(f, every))
    inverse = np.linalg.pinv(basis)
    slopes, filters = [], []
    for k in range(len(delay_s)):
        slope = -2j * np.pi * f * basis[:, k]
        rest = np.arange(len(every)) != k
        slopes.append(slope)
        filters.append(slope - inverse[rest].conj().T @ (basis[:, rest].conj().T @ slope))
    d, q = np.array(slopes), np.array(filters)  # statistic: Re sum_l <h_l q_l, data>
    through = np.real(np.einsum("lm,ls,ks,km->mlk", vector.conj(), q.conj(), d, vector))
    noise = np.real(np.einsum("lm,ls,ks,km->mlk", vector.conj(), q.conj(), q, vector))
    own = np.einsum("lm,ls->m", np.abs(vector) ** 2, np.abs(d) ** 2)
    if still:
        gain, power = through.sum(axis=(1, 2)), noise.sum(axis=(1, 2))
    else:
        gain, power = np.trace(through, axis1=1, axis2=2), np.trace(noise, axis1=1, axis2=2)
    return np.maximum(np.sqrt(own * power) / np.maximum(gain, 1e-3 * own), 1.0)


def leads_s(look: SourceLook, frequency_hz: NDArray[np.float64], model: ArrayModel) -> NDArray[np.float64]:
    """(B, M) seconds by which the elements hear each block before the origin."""
    _, y = _grouped(look, frequency_hz, _LEAST_GROUPS)
    u = _directions_of(y.mean(axis=2), look.still, model, model.directions())
    return np.broadcast_to(u @ model.positions_m.T / SPEED_OF_LIGHT_M_S, y.shape[:2])


def _grouped(
    look: SourceLook, f: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """(f (G,), responses (B, M, G)): means over neighbouring subcarriers, each block at its own delay zero."""
    edges = np.linspace(0, len(f), min(most, len(f)) + 1).astype(int)[:-1]
    size = np.diff(np.append(edges, len(f)))
    out = np.empty((*look.responses.shape[:2], len(edges)), np.complex128)
    for low in range(0, len(out), _CHUNK):
        part = np.asarray(look.responses[low : low + _CHUNK], np.complex128)
        if not look.at_zero:
            part = part * _to_zero(part, f)[:, None, :]
        out[low : low + _CHUNK] = np.add.reduceat(part, edges, axis=2) / size
    return np.add.reduceat(f, edges) / size, out


def _to_zero(part: NDArray[np.complex128], f: NDArray[np.float64]) -> NDArray[np.complex128]:
    """(B, S) turns that bring the strongest delay of each block to zero."""
    step = float(np.diff(f).min())
    place = np.rint((f - f[0]) / step).astype(int)
    n = _OVERSAMPLED * (int(place[-1]) + 1)
    even = np.zeros((*part.shape[:2], n), np.complex128)
    even[..., place] = part
    power = np.sum(np.abs(np.fft.ifft(even, axis=2)) ** 2, axis=1)
    delay = np.argmax(power, axis=1) / (n * step)
    return np.exp(2j * np.pi * np.outer(delay, f))


def _explained(
    y: NDArray[np.complex128],
    still: bool,
    f: NDArray[np.float64],
    model: ArrayModel,
    grid: NDArray[np.float64],
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """(responses, model (B', M, G)) of the blocks that show one direction."""
    z = y.mean(axis=2)
    noise = np.mean(np.abs(y - z[:, :, None]) ** 2, axis=(0, 2)) / (y.shape[2] - 1)  # of z
    u = _directions_of(z, still, model, grid)
    if still:
        a = np.broadcast_to(np.linalg.svd(z, full_matrices=False)[2][0], z.shape)
        kept = np.ones(len(z), np.bool_)
    else:
        a = model.steering(u)
        energy = np.sum(np.abs(z) ** 2, axis=1)
        matched = np.abs(np.sum(a.conj() * z, axis=1)) ** 2 / np.sum(np.abs(a) ** 2, axis=1)
        kept = energy - matched < _STRANGE * energy + _CHANCE * noise.sum()
    lead = np.broadcast_to(u @ model.positions_m.T / SPEED_OF_LIGHT_M_S, z.shape)
    full = a[:, :, None] * np.exp(2j * np.pi * lead[:, :, None] * f)
    return y[kept], full[kept]


def _directions_of(
    z: NDArray[np.complex128], still: bool, model: ArrayModel, grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(B, 3) or, of what stands still, (1, 3) unit vectors of blocks z (B, M)."""
    steering = model.steering(grid)
    if still:
        return _direction(np.linalg.svd(z, full_matrices=False)[2][:1], steering, grid)
    return np.concatenate(
        [_direction(z[low : low + _CHUNK], steering, grid) for low in range(0, len(z), _CHUNK)]
    )


def _direction(
    z: NDArray[np.complex128], steering: NDArray[np.complex128], grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(B, 3) unit vectors at which the array's response fits z (B, M) best, refined between the points of a line."""
    weight = steering.conj() / np.linalg.norm(steering, axis=1, keepdims=True)
    power = np.abs(z @ weight.T) ** 2
    top = np.argmax(power, axis=1)
    u = grid[top].copy()
    inner = np.clip(top, 1, len(grid) - 2)
    rows = np.arange(len(z))
    low, mid, high = power[rows, inner - 1], power[rows, inner], power[rows, inner + 1]
    bend = low - 2 * mid + high
    shift = np.where(
        (bend < 0) & (inner == top), 0.5 * (low - high) / np.where(bend < 0, bend, -1.0), 0.0
    ).clip(-0.5, 0.5)
    u += np.where(shift > 0, shift, 0)[:, None] * (grid[inner + 1] - grid[inner])
    u += np.where(shift < 0, -shift, 0)[:, None] * (grid[inner - 1] - grid[inner])
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def _pieces(looks: Sequence[SourceLook], parts: Sequence[_Part]) -> list[_Part]:
    """What should agree: looks at other directions, and the times of one whose source moves."""
    out: list[_Part] = []
    for look, (y, a) in zip(looks, parts, strict=True):
        count = 1 if look.still else int(np.clip(len(y) // _LEAST_BLOCKS, 1, _MOST_PIECES))
        for rows in np.array_split(np.arange(len(y)), count):
            if len(rows) >= _LEAST_BLOCKS:
                out.append((y[rows], a[rows]))
    return out


def _alone(
    y: NDArray[np.complex128], a: NDArray[np.complex128], f: NDArray[np.float64], reference: int
) -> ChannelFit | None:
    try:
        return fit_channels(y, a, f, reference=reference)
    except NotIdentifiable:
        return None  # too weak to say anything alone


def _agreed(fit: ChannelFit, alone: list[ChannelFit]) -> ChannelFit:
    """Sigmas scaled by what the pieces differ.

    A response that pieces do not show alike is an echo's, or what is left of another target: flat.
    """
    if len(alone) < 2:
        raise NotIdentifiable(
            "channel delays: one look at the array cannot be told from echoes that follow each other",
            parameters=("delay_s", "frequency_response"),
            hint="capture with two targets at different ranges, or an emitter that moves",
        )
    others = np.arange(len(fit.gain)) != fit.reference
    delay = np.stack([each.delay_s[others] for each in alone])
    sigma = np.stack([each.delay_sigma_s[others] for each in alone])
    response = np.stack([each.response[others] for each in alone])
    spread = np.stack([each.response_sigma[others] for each in alone])
    late, rough = _differ(delay, sigma), _differ(response, spread)
    misfit = np.mean(np.abs(fit.response[others] - 1) ** 2 / fit.response_sigma[others] ** 2)
    flat = fit.flat or float(misfit) < rough * (2.0 + 2.0 * FLAT_SIGMAS / np.sqrt(response.shape[2]))
    return replace(
        fit,
        delay_sigma_s=fit.delay_sigma_s * np.sqrt(late),
        response_sigma=fit.response_sigma * np.sqrt(rough),
        flat=flat,
    )


def _differ(value: NDArray[np.inexact], sigma: NDArray[np.float64]) -> float:
    """Chi square of values (K, ...) of K pieces per degree of freedom, at least 1."""
    weight = 1 / sigma**2
    mean = np.sum(weight * value, axis=0) / np.sum(weight, axis=0)
    free = (len(value) - 1) * (2 if np.iscomplexobj(value) else 1)
    return max(float(np.mean(np.sum(weight * np.abs(value - mean) ** 2, axis=0))) / free, 1.0)
