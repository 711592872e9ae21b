"""Where the next path may be: the matched filter over angle, delay and Doppler on a grid of half a resolution cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.dsp.angle_delay_comb import Comb, step_of
from hil.dsp.angle_delay_model import Complex, DirectPath, PathModel, Paths, Real
from hil.dsp.angle_delay_threshold import angle_length, axis_length, threshold

_POINTS_PER_CELL = 2.5
_POINTS_PER_TURN = 2.0
_MOST_CELLS = 4_000_000
#: Cells of which all directions are looked at together.
_MOST_AT_ONCE = 1 << 13
#: Where the direct path takes more than this part of a path's energy nothing is looked for.
_MOST_LOST = 0.97
_PREFIX_SAFETY = 4.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """The largest value: statistic in units of the noise, exponential of mean 1 at a place without a path."""

    statistic: float
    angle_deg: float
    delay_s: float
    doppler_hz: float


@dataclass(frozen=True, slots=True)
class CyclicPrefix:
    """Which delays a receiver of OFDM symbols reads without interference between symbols.

    clean_s : (low, high) in the delay of the data. body_s : symbol without prefix. n_symbols : different ones in a
    period of period_s.
    """

    clean_s: tuple[float, float]
    body_s: float
    n_symbols: int
    period_s: float

    def outside_s(self, delay_s: Real) -> Real:
        """How far delays (K,) lie outside, 0 inside."""
        low, high = self.clean_s
        return np.maximum(np.maximum(low - delay_s, delay_s - high), 0.0)


class Search:
    """Grids made once for one model and window of delays."""

    def __init__(
        self, model: PathModel, window_s: tuple[float, float], prefix: CyclicPrefix | None = None
    ) -> None:
        self.model, self.window_s, self.prefix = model, window_s, prefix
        low, high = model.response.limits_deg
        beam = model.response.beamwidth_deg or 10.0
        fine = np.linspace(low, high, max(33, int(np.ceil((high - low) / (beam / 16))) + 1))
        steering = model.steering(fine)
        length = angle_length(steering)
        # equal steps of the array's own resolution: dense at broadside, sparse near endfire
        unit = steering / np.linalg.norm(steering, axis=0)
        close = np.abs(np.sum(unit[:, 1:].conj() * unit[:, :-1], axis=0)) ** 2
        along = np.concatenate(([0.0], np.cumsum(np.sqrt(np.clip(1 - close, 0.0, None)))))
        n_angles = max(5, int(np.ceil(length / np.pi * 2 * _POINTS_PER_CELL)) + 1)
        self.angles_deg = np.interp(np.linspace(0, along[-1], n_angles), along, fine)
        beams = model.steering(self.angles_deg)
        self.energy = np.sum(np.abs(beams) ** 2, axis=0)
        self._beams = np.ascontiguousarray(beams.conj().T, np.complex64)
        low_s, high_s = window_s
        self.delays = Comb(model.frequency_hz, -high_s, -low_s, _POINTS_PER_CELL)
        step_s = step_of(model.time_s) if len(model.time_s) > 1 else np.inf
        # -1/2..1/2 turn from block to block, without the one that is both
        self.times = Comb(model.time_s, -0.5 / step_s, (0.5 - 1e-5) / step_s, _POINTS_PER_TURN)
        self.lengths = (
            length, axis_length(model.frequency_hz, self.delays.span), axis_length(model.time_s, self.times.span)
        )  # fmt: skip

    def threshold(self, false_alarm: float) -> float:
        """eta for the whole search."""
        return threshold(false_alarm, self.lengths)

    def strongest(
        self, residual: Complex, direct: DirectPath | None, expected: tuple[Paths, float]
    ) -> Proposal:
        """The place of the largest statistic in residual (B, M, S), the direct path projected out.

        expected : paths and the part of each one's power that may spill over the angles at its delay and Doppler:
        there the statistic counts against that, too.
        """
        b, m, s = residual.shape
        over_time = self.times(np.ascontiguousarray(residual.reshape(b, -1).T, np.complex64))  # (M S, F)
        doppler, delay = self.times.shifts, -self.delays.shifts
        left = self._left(direct)
        spilled = self.spilled(*expected)
        best = Proposal(-1.0, 0.0, 0.0, 0.0)
        chunk = max(1, _MOST_CELLS // (m * len(delay)))
        for low in range(0, len(doppler), chunk):
            nu = doppler[low : low + chunk]
            z = self.delays(np.ascontiguousarray(over_time[:, low : low + chunk].T).reshape(len(nu), m, s))
            weight = left[low : low + chunk] / (1 + spilled(delay[None, :], nu[:, None])) / (b * s)
            # no direction holds more than all of what the elements hear
            most = np.sum(z.real**2 + z.imag**2, axis=1) * weight
            while float(most.max()) > best.statistic:
                n = min(_MOST_AT_ONCE, most.size)
                cells = np.argpartition(most, most.size - n, axis=None)[-n:]
                cells = cells[most.flat[cells] > best.statistic]
                at, late = np.unravel_index(cells, most.shape)
                heard = self._beams @ z[at, :, late].T
                power = (heard.real**2 + heard.imag**2) * weight[at, late] / self.energy[:, None]
                most.flat[cells] = 0.0
                k, i = np.unravel_index(int(np.argmax(power)), power.shape)
                if power[k, i] > best.statistic:
                    best = Proposal(
                        float(power[k, i]), float(self.angles_deg[k]), float(delay[late[i]]), float(nu[at[i]])
                    )  # fmt: skip
        return best

    def _left(self, direct: DirectPath | None) -> Real:
        """(F, D) 1 over the part of a path's energy that the direct path leaves; 0 where it leaves next to nothing."""
        if direct is None:
            return np.ones((len(self.times.shifts), len(self.delays.shifts)))
        in_band = np.sum(np.abs(self.delays(direct.basis.T)) ** 2, axis=0) / len(self.model.frequency_hz)
        lost = np.outer(self.times.likeness(self.times.shifts), in_band)
        return np.where(lost < _MOST_LOST, 1 / np.maximum(1 - lost, 1e-6), 0.0)

    def smeared(self, paths: Paths) -> Real:
        """(K,) part of each path's power that falls on any one delay: symbols and subcarriers that mix."""
        if self.prefix is None:
            return np.zeros(len(paths))
        missed = np.minimum(self.prefix.outside_s(paths.delay_s) / self.prefix.body_s, 1.0)
        # what turns within a symbol is heard on other subcarriers: (pi nu T)^2 / 3 of its power
        turned = np.minimum((np.pi * paths.doppler_hz * self.prefix.body_s) ** 2 / 3, 1.0)
        return (2 * missed + turned) / (len(self.model.frequency_hz) * self.prefix.n_symbols)

    def spilled(self, paths: Paths, share: float) -> Callable[[Real, Real], Real]:
        """Power, in units of the noise, that paths leave elsewhere, at (delay, Doppler).

        Errors of the array (their part `share`) do so at other angles; the part of a path that misses the cyclic
        prefix falls evenly on all delays, as many times less as symbols and subcarriers are summed, and repeats with
        the waveform: it falls on Doppler shifts that are a whole number of its periods away, too.
        """
        wide, lines_hz = _PREFIX_SAFETY * self.smeared(paths), np.zeros(1)
        if self.prefix is not None:
            lines_hz = np.arange(self.prefix.n_symbols) / self.prefix.period_s
        if not len(paths) or (share <= 0 and not np.any(wide)):
            return lambda delay_s, doppler_hz: np.zeros(np.broadcast(delay_s, doppler_hz).shape)
        model = self.model
        a = model.steering(paths.angle_deg)
        n = len(model.time_s) * len(model.frequency_hz)
        power = np.abs(paths.gamma) ** 2 * np.sum(np.abs(a) ** 2, axis=0) * n

        def level(delay_s: Real, doppler_hz: Real) -> Real:
            total = np.zeros(np.broadcast(delay_s, doppler_hz).shape)
            for k, p in enumerate(power):
                late = np.asarray(delay_s) - paths.delay_s[k]
                fast = np.asarray(doppler_hz) - paths.doppler_hz[k]
                total = total + p * share * self.delays.likeness(late) * self.times.likeness(fast)
                if wide[k]:
                    lines = self.times.likeness(fast[..., None] - lines_hz).sum(axis=-1)
                    total = total + p * wide[k] * lines
            return total

        return level

    def cells(self, paths: Paths) -> Real:
        """(K, 3) places in units of resolution cells."""
        beam = self.model.response.beamwidth_deg or 10.0
        cosine = np.maximum(np.cos(np.deg2rad(paths.angle_deg)), 0.05)
        line = self.model.response.limits_deg[1] <= 90
        angle = paths.angle_deg / beam * (cosine if line else 1.0)
        return np.column_stack(
            (angle, paths.delay_s * float(np.ptp(self.model.frequency_hz)),
             paths.doppler_hz * float(np.ptp(self.model.time_s)))
        )  # fmt: skip
