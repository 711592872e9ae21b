"""Where the next path may be: the matched filter over angle, delay and Doppler on a grid of half a resolution cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.dsp.angle_delay_model import Complex, DirectPath, PathModel, Paths, Real
from hil.dsp.angle_delay_threshold import angle_length, axis_length, threshold

_POINTS_PER_CELL = 2.5
_MOST_CELLS = 4_000_000
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

    clean_s : (low, high) in the delay of the data. body_s : symbol without prefix. n_symbols : different ones in a period.
    """

    clean_s: tuple[float, float]
    body_s: float
    n_symbols: int

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
        self.beams = model.steering(self.angles_deg)
        self.energy = np.sum(np.abs(self.beams) ** 2, axis=0)
        f = model.frequency_hz
        cells = (window_s[1] - window_s[0]) * float(np.ptp(f))
        self.delays_s = np.linspace(*window_s, max(5, int(np.ceil(cells * _POINTS_PER_CELL)) + 1))
        self.filters = np.exp(2j * np.pi * np.outer(f, self.delays_s))
        b = len(model.time_s)
        span_s = float(np.ptp(model.time_s))
        if b > 1:
            self.doppler_hz = np.arange(-b, b) / (2 * span_s * b / (b - 1))
        else:
            self.doppler_hz = np.zeros(1)
        self.turns = np.exp(-2j * np.pi * np.outer(self.doppler_hz, model.time_s))  # (F, B)
        doppler_span = b / span_s * (b - 1) / b if b > 1 else 0.0
        self.lengths = (
            length, axis_length(f, window_s[1] - window_s[0]), axis_length(model.time_s, doppler_span)
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
        flat = residual.reshape(b, -1).astype(np.complex64)
        turns, filters = self.turns.astype(np.complex64), self.filters.astype(np.complex64)
        beams = np.ascontiguousarray(self.beams.conj().T, np.complex64)
        left = self._left(direct)
        spilled = self.spilled(*expected)
        best = Proposal(-1.0, 0.0, 0.0, 0.0)
        chunk = max(1, _MOST_CELLS // (len(beams) * len(self.delays_s)))
        for low in range(0, len(turns), chunk):
            nu = self.doppler_hz[low : low + chunk]
            over_time = (turns[low : low + chunk] @ flat).reshape(len(nu), m, s)
            z = beams @ (over_time @ filters)
            power = z.real**2 + z.imag**2
            power /= (self.energy * (b * s)).astype(np.float32)[:, None]
            weight = left[low : low + chunk] / (1 + spilled(self.delays_s[None, :], nu[:, None]))
            power *= weight.astype(np.float32)[:, None, :]
            at = np.unravel_index(int(np.argmax(power)), power.shape)
            if power[at] > best.statistic:
                best = Proposal(
                    float(power[at]), float(self.angles_deg[at[1]]), float(self.delays_s[at[2]]), float(nu[at[0]])
                )  # fmt: skip
        return best

    def _left(self, direct: DirectPath | None) -> Real:
        """(F, D) 1 over the part of a path's energy that the direct path leaves; 0 where it leaves next to nothing."""
        if direct is None:
            return np.ones((len(self.doppler_hz), len(self.delays_s)))
        in_band = np.sum(np.abs(direct.basis.T @ self.filters) ** 2, axis=0) / len(self.filters)
        in_time = np.abs(self.turns.mean(axis=1)) ** 2
        lost = np.outer(in_time, in_band)
        return np.where(lost < _MOST_LOST, 1 / np.maximum(1 - lost, 1e-6), 0.0)

    def spilled(self, paths: Paths, share: float) -> Callable[[Real, Real], Real]:
        """Power, in units of the noise, that paths leave elsewhere, at (delay, Doppler).

        Errors of the array (their part `share`) do so at other angles; the part of a path that misses the cyclic
        prefix falls evenly on all delays, as many times less as symbols and subcarriers are summed.
        """
        wide = np.zeros(len(paths))
        if self.prefix is not None and len(paths):
            missed = np.minimum(self.prefix.outside_s(paths.delay_s) / self.prefix.body_s, 1.0)
            wide = _PREFIX_SAFETY * 2 * missed / (len(self.model.frequency_hz) * self.prefix.n_symbols)
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
                in_band = np.abs(_mean_turn(late, model.frequency_hz)) ** 2
                in_time = np.abs(_mean_turn(fast, model.time_s)) ** 2
                total = total + p * (share * in_band + wide[k]) * in_time
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


def _mean_turn(offset: Real, values: Real) -> Complex:
    """mean exp(-j 2 pi offset values) over values, for offsets of any shape."""
    flat = np.asarray(offset, float).ravel()
    return np.exp(-2j * np.pi * np.outer(flat, values)).mean(axis=1).reshape(np.shape(offset))
