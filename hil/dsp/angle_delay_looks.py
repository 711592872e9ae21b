"""Components of channel responses at different delays, told apart without knowing the array.

    Y[b, m, s] = sum_l h_l[b, m] exp(-j 2 pi f_s tau_l) + noise,   h_l free over blocks and elements

Each component that is one plane wave is a look at the array: h_l = gamma_l diag(g) a(u_l). Two looks differ by a phase
ramp along the array only, whatever the gains g: |<h_k ramp, h_l>| = ||h_k|| ||h_l||. The direct path from a transmitter
beside the array, or two targets at one delay, do not pass that test against the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.checks import array
from hil.core.errors import ShapeError
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay import checked_csi
from hil.dsp.angle_delay_direct import (
    DirectChoice,
    delay_profile,
    frequency_period,
    noise_deviation,
    refine_delay,
)
from hil.dsp.angle_delay_model import Complex, Real

_J2PI = 2j * np.pi
_SIGMAS = 8.0
#: Components weaker than this against the strongest are its remainder: no response is flat to better than that.
_WEAKEST_DB = -40.0
_FORERUNNER_DB = -20.0
#: Sources that much weaker than the strongest teach nothing that its own imperfections do not cover.
_TOO_WEAK_DB = -25.0
_SWEEPS = 4
#: Squared correlation of two looks up to a ramp, with exact and with rough positions of the elements.
_CONSISTENT, _CONSISTENT_ROUGHLY = 0.99, 0.6
_MOST_DERIVATIVES = 2
#: What lies closer than this to something stronger, and is explained to that share by its derivatives, is part of it.
_SHADOW_BINS, _REMAINDER = 3.0, 0.8
#: Share of a component's energy that its best constant vector must hold for it to stand still.
_STILL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One component. delay_s : in the data's own time. energy : over noise, summed over blocks and elements.

    values (B, M) complex128 : h, noise 1 in each (whitened). still : share of the energy in one constant vector (with
    a phase and amplitude of its own in each block), 1 if it stands still. vector (M,) : that vector.
    """

    delay_s: float
    energy: float
    values: Complex
    still: float
    vector: Complex


@dataclass(frozen=True, slots=True, eq=False)
class Separated:
    """looks : sources, strongest first. direct : what was taken for the direct path, or None.

    responses (L, B, M, S) : one look each with the noise of all, the others removed, moved to delay 0; whitened.
    deviation (M,) : noise of each element that was divided out. notes : for the user.
    """

    looks: tuple[Look, ...]
    direct: Look | None
    responses: Complex
    deviation: Real
    notes: tuple[str, ...] = field(default=())


def hears_only_itself(found: Separated, choice: DirectChoice, *, own: bool) -> bool:
    """Whether a single component was taken for a target although it must be the array's own direct path.

    own : the array's transmitter was on. Separate again with "yes" then.
    """
    return own and choice == "auto" and found.direct is None and len(found.looks) == 1


def separate(
    csi: ArrayLike,
    positions_m: ArrayLike,
    fc_hz: float,
    frequency_hz: ArrayLike,
    *,
    direct: DirectChoice = "auto",
    max_looks: int = 8,
    exact_positions: bool = True,
    only_planes: bool = True,
) -> Separated:
    """Components by delay, the direct path and what is no plane wave left out.

    Parameters
    ----------
    csi : (B, M, S) complex. positions_m : (M, 3). frequency_hz : (S,) Hz from the carrier, ascending.
    direct : "yes": the earliest strong component is the direct path; "no": there is none; "auto": it is if it stands
        still and does not agree with the others. exact_positions : False: agreement is judged less strictly.
    only_planes : False: what does not agree with the others is kept.

    Raises ShapeError : shapes that do not fit, all values zero.
    """
    positions = array("positions_m", positions_m, np.float64, (None, 3))
    blocks = checked_csi(csi, len(positions)).astype(np.complex128)
    f = array("frequency_hz", frequency_hz, np.float64, (blocks.shape[2],))
    if not np.any(blocks):
        raise ShapeError("csi: all values are zero")
    deviation = noise_deviation(blocks)
    data = blocks / deviation[:, None]
    delays, basis, owner = _components(data, f, max_looks + 1)
    looks = [_look(tau, data, basis, i) for i, tau in enumerate(delays)]
    notes: list[str] = []
    agreement, scatter = _agreement(looks, positions, fc_hz)
    agrees = agreement >= (_CONSISTENT if exact_positions else _CONSISTENT_ROUGHLY) - 5 * scatter
    first = _direct_index(looks, agrees, frequency_period(f), direct)
    sources = [i for i in range(len(looks)) if i != first]
    strongest = max((looks[i].energy for i in sources), default=0.0)
    sources = [i for i in sources if looks[i].energy > strongest * 10 ** (_TOO_WEAK_DB / 10)]
    sources.sort(key=lambda i: -looks[i].energy)
    kept = _agreeing(sources, looks, agrees) if only_planes else sources
    if len(kept) == 1 and looks[kept[0]].still > _STILL and (first is not None or len(sources) > 1):
        notes.append("only one target is left: nothing can test that it is one plane wave")
    if first is not None:
        notes.append("a constant component at the smallest delay was taken for the direct path and removed")
    for i in sources:
        if i not in kept:
            late = (looks[i].delay_s - (looks[first].delay_s if first is not None else 0.0)) * 1e9
            notes.append(f"the component at {late:.4g} ns is not one plane wave and was left out")
    responses = np.empty((len(kept), *data.shape), complex)
    for response, i in zip(responses, kept, strict=True):
        np.multiply(_alone(data, basis, owner != i), np.exp(_J2PI * f * looks[i].delay_s), out=response)
    return Separated(
        tuple(looks[i] for i in kept), None if first is None else looks[first], responses, deviation, tuple(notes)
    )  # fmt: skip


def _components(data: Complex, f: Real, most: int) -> tuple[Real, Complex, NDArray[np.int64]]:
    """(delays (L,), basis (S, L + E), owner (L + E,)): b of each component, then derivatives of those that need them.

    Two targets in one delay bin are no single b; with one or two derivatives their component stays away from the others.
    """
    b, m, s = data.shape
    flat = data.reshape(b * m, s)
    delays, least = _delays(data, f, most)
    delays = _genuine(flat, delays, f)
    energy = _energies(flat, _basis(delays, f)) if len(delays) else np.zeros(0)
    basis, owner = _basis(delays, f), np.arange(len(delays))
    centred = (f - f.mean()) / max(float(np.ptp(f)), 1e-9)
    for order in range(1, _MOST_DERIVATIVES + 1):
        open_ = np.ones(len(delays))
        # the worst first, so that its remainder is not taken for derivatives of the others
        while open_.any():
            extra = basis[:, : len(delays)] * centred[:, None] ** order
            extra = extra - basis @ (np.linalg.pinv(basis) @ extra)
            extra = extra / np.maximum(np.linalg.norm(extra, axis=0), 1e-12)
            worth = open_ * np.sum(np.abs(flat @ extra.conj()) ** 2, axis=0)
            worst = int(np.argmax(worth))
            if worth[worst] < max(least, 10 ** (_WEAKEST_DB / 10) * float(energy.max())):
                break
            basis, owner = np.column_stack((basis, extra[:, worst])), np.append(owner, worst)
            open_[worst] = 0.0
        for i in range(len(delays)):
            rest = _alone(data, basis, owner != i).reshape(b * m, s)
            delays[i] = refine_delay(rest, f, float(delays[i]), steps=2)
            basis[:, i] = _basis(delays[i : i + 1], f)[:, 0]
    return delays, basis, owner


def _delays(data: Complex, f: Real, most: int) -> tuple[Real, float]:
    """(delays, least energy) of components that stand out, at least one delay bin apart, estimated together."""
    b, m, s = data.shape
    period = frequency_period(f)
    span = max(float(np.ptp(f)), 1e-9)
    count = int(4 * max(s, np.ceil(period * span)))
    grid = np.arange(count) / count * period
    least = b * m + _SIGMAS * np.sqrt(b * m) + np.log(count)
    found = np.zeros(0)
    strongest = 0.0
    flat = data.reshape(b * m, s)
    rest = flat
    while len(found) < most:
        profile = delay_profile(rest, f, grid)
        for tau in found:
            apart = np.abs((grid - tau + period / 2) % period - period / 2)
            profile[apart < 1.0 / span] = 0.0
        best = int(np.argmax(profile))
        strongest = max(strongest, float(profile[best]))
        if profile[best] < max(least, strongest * 10 ** (_WEAKEST_DB / 10)):
            break
        found = np.append(found, refine_delay(rest, f, float(grid[best])))
        for _ in range(_SWEEPS if len(found) > 1 else 0):
            for i in range(len(found)):
                others = np.delete(found, i)
                found[i] = refine_delay(_without(flat, others, f), f, float(found[i]), steps=2)
        rest = _without(flat, found, f)
    return _pruned(flat, found, f, least), least


def _pruned(flat: Complex, delays: Real, f: Real, least: float) -> Real:
    """Without what stood for a remainder of others before those were estimated together."""
    while len(delays) > 1:
        energy = _energies(flat, _basis(delays, f))
        weakest = int(np.argmin(energy))
        if energy[weakest] >= max(least, float(energy.max()) * 10 ** (_WEAKEST_DB / 10)):
            break
        delays = np.delete(delays, weakest)
        for i in range(len(delays)):
            rest = _without(flat, np.delete(delays, i), f)
            delays[i] = refine_delay(rest, f, float(delays[i]), steps=2)
    return delays


def _energies(flat: Complex, basis: Complex) -> Real:
    """(L,) energy that each column alone explains."""
    inverse = np.linalg.pinv(basis)
    return np.sum(np.abs(flat @ inverse.T) ** 2, axis=0) / np.sum(np.abs(inverse) ** 2, axis=1)


def _basis(delays: Real, f: Real) -> Complex:
    return np.exp(-_J2PI * np.outer(f, delays)) / np.sqrt(len(f))


def _without(rows: Complex, delays: Real, f: Real) -> Complex:
    """rows (R, S) without the components at these delays."""
    if not len(delays):
        return rows
    basis = np.linalg.qr(_basis(delays, f))[0]
    return rows - (rows @ basis.conj()) @ basis.T


def _look(tau: float, data: Complex, basis: Complex, i: int) -> Look:
    b, m, _ = data.shape
    row = np.linalg.pinv(basis)[i]
    values = data @ (row / np.linalg.norm(row))  # noise of 1 again, however close the others are
    _, singular, right = np.linalg.svd(values, full_matrices=False)
    # noise adds about (sqrt(B) + sqrt(M))^2 to the largest and B M in all
    energy = float(np.sum(singular**2))
    rest = max(energy - float(singular[0] ** 2), 0.0)
    spare = max(float((b - 1) * (m - 1)), 0.0)
    noise = spare + 5 * np.sqrt(max(spare, 1.0))
    still = 1.0 - max(rest - noise, 0.0) / max(energy - b * m, 1e-9)
    # the vector is the right singular vector as a row of values: values ~ left x (singular right)
    return Look(float(tau), energy - b * m, values, float(still), right[0] * singular[0])


def _alone(data: Complex, basis: Complex, others: NDArray[np.bool_]) -> Complex:
    """data (B, M, S) without the columns `others` of the basis, all columns estimated together."""
    if not np.any(others):
        return data
    return data - (data @ np.linalg.pinv(basis)[others].T) @ basis[:, others].T


def _genuine(flat: Complex, delays: Real, f: Real) -> Real:
    """Without components that are only what a stronger one near them leaves: two targets in one bin leave several."""
    while len(delays) > 1:
        basis = _basis(delays, f)
        energy = _energies(flat, basis)
        for i in np.argsort(energy):
            bins = np.abs(delays - delays[i]) * float(np.ptp(f))
            strong = np.flatnonzero((bins < _SHADOW_BINS) & (energy > energy[i]))
            if any(_explained_by(flat, basis, int(i), int(j), f) > _REMAINDER * energy[i] for j in strong):
                delays = np.delete(delays, i)
                break
        else:
            break
    return delays


def _explained_by(flat: Complex, basis: Complex, i: int, j: int, f: Real) -> float:
    """Energy that two derivatives of component j explain in place of component i."""
    others = np.linalg.qr(np.delete(basis, i, axis=1))[0]
    centred = (f - f.mean()) / max(float(np.ptp(f)), 1e-9)
    more = basis[:, j, None] * np.column_stack((centred, centred**2))
    more = np.linalg.qr(more - others @ (others.conj().T @ more))[0]
    return float(np.sum(np.abs(flat @ more.conj()) ** 2))


def _agreement(looks: list[Look], positions: Real, fc_hz: float) -> tuple[Real, Real]:
    """(L, L) largest |<h_k ramp, h_l>|^2/(||h_k||^2 ||h_l||^2) over all phase ramps, corrected for noise; its scatter."""
    n = len(looks)
    out, scatter = np.eye(n), np.zeros((n, n))
    r = positions * fc_hz / SPEED_OF_LIGHT_M_S
    r = r - r.mean(axis=0)
    axes = [k for k in range(3) if np.ptp(r[:, k]) > 1e-6][:2]
    ramps = _ramps(r[:, axes])
    for k in range(n):
        for j in range(k):
            a, c = looks[k].vector, looks[j].vector
            cross = a * c.conj()
            best = float(np.max(np.abs(ramps @ cross) ** 2))
            m = len(a)
            have = float(np.sum(np.abs(a) ** 2) * np.sum(np.abs(c) ** 2))
            # each vector carries noise of one complex degree for each element but the one that it is fitted to
            noise = 1 / max(np.sum(np.abs(a) ** 2), m) + 1 / max(np.sum(np.abs(c) ** 2), m)
            out[k, j] = out[j, k] = min(best / max(have, 1e-300) * (1 + (m - 1) * noise), 1.0)
            scatter[k, j] = scatter[j, k] = np.sqrt(m) * noise
    return out, scatter


def _ramps(r: Real) -> Complex:
    """(G, M) exp(-j 2 pi r du) for all differences of directions, a fiftieth of a beam apart."""
    grids = []
    for k in range(r.shape[1]):
        step = 0.02 / max(float(np.ptp(r[:, k])), 0.5) * (1.0 if r.shape[1] == 1 else 5.0)
        grids.append(np.arange(-2, 2 + step, step))
    mesh = np.stack([g.ravel() for g in np.meshgrid(*grids, indexing="ij")], axis=1)
    return np.exp(-_J2PI * (mesh @ r.T))


def _direct_index(
    looks: list[Look], agrees: NDArray[np.bool_], period: float, choice: DirectChoice
) -> int | None:
    """Which component is the direct path: the earliest, that is the one after the longest stretch without any."""
    if choice == "no" or not looks:
        return None
    energy = np.array([look.energy for look in looks])
    # what is weaker may be a forerunner of it; the receiver's own zero is found with the same limit
    strong = np.flatnonzero(energy > energy.max() * 10 ** (_FORERUNNER_DB / 10))
    delays = np.array([looks[i].delay_s for i in strong]) % period
    order = np.argsort(delays)
    gaps = (delays[order] - np.roll(delays[order], 1)) % period
    earliest = int(strong[order[int(np.argmax(gaps))]])
    if choice == "yes":
        return earliest
    if looks[earliest].still < _STILL or len(looks) == 1:
        return None
    others = [i for i in range(len(looks)) if i != earliest and looks[i].still > _STILL]
    if not others:
        return earliest  # one that stands still before others that do not
    count = sum(bool(agrees[earliest, i]) for i in others)
    return None if 2 * count > len(others) else earliest


def _agreeing(sources: list[int], looks: list[Look], agrees: NDArray[np.bool_]) -> list[int]:
    """The largest set that agrees with one of its members; what moves in angle cannot be compared and stays."""
    still = [i for i in sources if looks[i].still > _STILL]
    moving = [i for i in sources if looks[i].still <= _STILL]
    if len(still) < 2:
        return sources
    sets = [[j for j in still if agrees[i, j]] for i in still]
    best = max(sets, key=lambda chosen: (len(chosen), sum(looks[i].energy for i in chosen)))
    return [i for i in sources if i in best or i in moving]
