"""What happened to the array: the simplest change that makes the nulls as deep as before.

Every hypothesis is undone on the signal subspaces, and the nulls are looked at again: a flip or a jump of one
channel, a jump of a coherent group, two ports exchanged, new phases of all groups. The hypothesis with the
fewest free numbers that explains the data is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hil.health.manifold import Manifold, Signals
from hil.health.nulls import bad_limit, quality

_SCAN = 24
_STARTS = 8
_CIRCLE: NDArray[np.float64] = np.linspace(0, 2 * np.pi, _SCAN, endpoint=False)
_AROUND: NDArray[np.float64] = np.linspace(-0.75, 0.75, 7)
_COARSE_WINDOWS = 16


@dataclass(frozen=True, slots=True)
class Change:
    """kind : of the catalogue. channels, groups : concerned. gain : (M,) factor to apply to the calibration, or
    None. ports : two exchanged ports, or None. size_deg : of a jump. misfit : median q with it."""

    kind: str
    channels: tuple[int, ...]
    groups: tuple[int, ...] = ()
    gain: NDArray[np.complex128] | None = None
    ports: tuple[int, int] | None = None
    size_deg: float = 0.0
    misfit: float = 0.0


class Judge:
    """Misfit of hypotheses on given windows; scale : median q of a clean block."""

    def __init__(self, manifold: Manifold, signals: Signals, allowance: float, scale: float = 1.0) -> None:
        self._manifold, self._signals, self._allowance = manifold, signals, allowance
        self._k = signals.u.shape[2]
        step = max(len(signals) // _COARSE_WINDOWS, 1)
        self._coarse = signals.select(np.arange(0, len(signals), step))
        self.limit = bad_limit(manifold.n_elements, self._k) * max(scale, 1.0)

    def misfit(self, gain: NDArray[np.complex128] | None = None, *, ports: tuple[int, int] | None = None,
               coarse: bool = False, worst: bool = False) -> float:  # fmt: skip
        """Median q with this change, capped so that single windows count little."""
        signals = self._coarse if coarse else self._signals
        if ports is not None:
            u = signals.u.copy()
            u[:, list(ports)] = u[:, list(ports)[::-1]]
            signals = Signals(u, signals.variance)
            if gain is not None:
                gain = gain.copy()
                gain[list(ports)] = gain[list(ports)[::-1]]
        return self.misfit_of(signals, gain, worst=worst)

    def misfit_of(
        self, signals: Signals, gain: NDArray[np.complex128] | None = None, *, worst: bool = False
    ) -> float:
        """The same of other windows."""
        q = quality(self._manifold.nulls(signals, gain), self._k, self._allowance, worst=worst)
        if not len(q):
            return np.inf
        return float(np.median(q) + 0.05 * np.mean(np.minimum(q, 20.0)))

    def scan(
        self, members: Sequence[int], base: NDArray[np.complex128], phases: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Null depth of the strongest source with each of `phases` (P,) on some channels, median over windows.

        On the grid, with a parabola through the highest points: good enough to choose by.
        """
        u = self._coarse.u * base.conj()[:, None]
        at = list(members)
        moved = u[:, at].conj().transpose(0, 2, 1) @ self._manifold.b[at]
        still = u.conj().transpose(0, 2, 1) @ self._manifold.b - moved
        scale = np.abs(base) ** 2 @ np.abs(self._manifold.b) ** 2
        alone = ((np.abs(still) ** 2 + np.abs(moved) ** 2).sum(axis=1)) / scale
        cross = 2 * (still.conj() * moved).sum(axis=1) / scale
        c, s = np.cos(phases)[:, None, None], np.sin(phases)[:, None, None]
        power = alone + c * cross.real - s * cross.imag
        top = np.clip(power.argmax(axis=2), 1, power.shape[2] - 2)[..., None]
        left, middle, right = (np.take_along_axis(power, top + d, axis=2)[..., 0] for d in (-1, 0, 1))
        bend = np.minimum(left - 2 * middle + right, -1e-12)
        return np.median(1 - middle + (right - left) ** 2 / (8 * bend), axis=1)

    def receiver_ratio(self, i: int, j: int) -> complex:
        """See Manifold."""
        return self._manifold.receiver_ratio(i, j)

    @property
    def partly(self) -> bool:
        """True if only some of the emitters' nulls do not fit: no change of the array does that."""
        return self._k > 1 and self.passes(self.misfit())

    def passes(self, misfit: float) -> bool:
        """True if noise explains it."""
        return misfit < self.limit


def best_change(
    judge: Judge, n_channels: int, groups: Sequence[tuple[int, ...]], seed: int = 0
) -> Change | None:
    """The simplest change that explains the windows; None if none of them does."""
    found = [c for c in _discrete(judge, n_channels) if judge.passes(c.misfit)]
    jumps = _group_jumps(judge, n_channels, groups)
    found += [c for c in jumps if judge.passes(c.misfit)]
    if found:
        return min(found, key=lambda c: c.misfit + (0.15 * judge.limit if c.kind == "lo-phase-jump" else 0))
    single = [_scan(judge, n_channels, (m,), "phase-jump") for m in range(n_channels)]
    found = [c for c in single if judge.passes(c.misfit)]
    if not found and len(groups) > 2:
        several = _all_groups(judge, n_channels, groups, np.random.default_rng(seed))
        found = [several] if judge.passes(several.misfit) else []
    return min(found, key=lambda c: c.misfit) if found else None


def _discrete(judge: Judge, m: int) -> list[Change]:
    """Flips of a channel and exchanges of two ports, the promising ones judged on all windows."""
    options: list[tuple[float, Change]] = []
    for channel in range(m):
        gain = np.ones(m, complex)
        gain[channel] = -1
        change = Change("phase-flip", (channel,), gain=gain, size_deg=180.0)
        options.append((judge.misfit(gain, coarse=True), change))
    for i, j in combinations(range(m), 2):
        change = Change("swapped-ports", (i, j), ports=(i, j))
        options.append((judge.misfit(ports=(i, j), coarse=True), change))
        # antennas exchanged before the receivers: what follows each receiver stays
        gain = np.ones(m, complex)
        gain[i] = judge.receiver_ratio(i, j)
        gain[j] = 1 / gain[i]
        change = Change("swapped-ports", (i, j), gain=gain, ports=(i, j))
        options.append((judge.misfit(gain, ports=(i, j), coarse=True), change))
    options.sort(key=lambda o: o[0])
    out = []
    for _, c in options[:3]:
        misfit = judge.misfit(c.gain, ports=c.ports)
        out.append(Change(c.kind, c.channels, c.groups, c.gain, c.ports, c.size_deg, misfit))
    return out


def _group_jumps(judge: Judge, m: int, groups: Sequence[tuple[int, ...]]) -> list[Change]:
    if len(groups) < 2:
        return []
    tried = list(enumerate(groups))
    if len(groups) == 2:
        tried = tried[1:]  # the other one is the same up to a common phase
    return [_scan(judge, m, group, "lo-phase-jump", (g,)) for g, group in tried]


def _scan(judge: Judge, m: int, members: tuple[int, ...], kind: str, groups: tuple[int, ...] = ()) -> Change:
    """One common phase of some channels, by scanning and refining."""

    def gain(phase: float) -> NDArray[np.complex128]:
        out = np.ones(m, complex)
        out[list(members)] = np.exp(1j * phase)
        return out

    phase = _best_phase(judge, members, np.ones(m, complex))
    options = [(judge.misfit(gain(phase + d)), phase + d) for d in (-0.02, -0.01, 0.0, 0.01, 0.02)]
    misfit, phase = min(options)
    size = float((np.rad2deg(phase) + 180) % 360 - 180)
    return Change(kind, members, groups, gain(phase), None, size, misfit)


def _best_phase(judge: Judge, members: Sequence[int], base: NDArray[np.complex128]) -> float:
    step = 2 * np.pi / _SCAN
    phases = _CIRCLE
    for _ in range(3):
        best = float(phases[judge.scan(members, base, phases).argmin()])
        phases = best + _AROUND * step
        step /= 4
    return float(phases[judge.scan(members, base, phases).argmin()])


def _all_groups(judge: Judge, m: int, groups: Sequence[tuple[int, ...]], rng: np.random.Generator) -> Change:
    """New phases of all groups, by coordinate descent from several starts."""
    best, least = np.ones(m, complex), np.inf
    for start in range(_STARTS):
        phases = np.zeros(len(groups)) if start == 0 else rng.uniform(-np.pi, np.pi, len(groups))
        gain = np.ones(m, complex)
        for g, group in enumerate(groups):
            gain[list(group)] = np.exp(1j * (phases[g] - phases[0]))
        for _ in range(3):
            for group in groups[1:]:
                gain[list(group)] *= np.exp(1j * _best_phase(judge, group, gain))
        misfit = judge.misfit(gain)
        if misfit < least:
            best, least = gain, misfit
        if judge.passes(least):
            break
    phase = np.array([np.angle(best[group[0]]) for group in groups])
    turn = np.abs(np.rad2deg(np.angle(np.exp(1j * (phase[:, None] - phase)))))
    home = int((turn < 5).sum(axis=1).argmax())  # the phase that most groups share has not jumped
    moved = tuple(g for g in range(len(groups)) if turn[g, home] >= 5)
    channels = tuple(c for g in moved for c in groups[g])
    size = float(max((turn[g, home] for g in moved), default=0.0))
    return Change("lo-phase-jump", channels, moved, best, None, size, least)
