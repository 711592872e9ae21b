"""Phases of the channels over time, and how fast they drift. No Qt.

Three ways to look, each with its own limits:

receivers  of the one signal there is, the array's own phases for its direction taken out. The common phase never shows;
           on a line a ramp of phases moves the direction instead, so that the change is shown without it.
received   of the one signal there is, as it came: a drift of the receivers only while emitter and array stand still.
followed   of the calibration as the learner follows it: any number of signals, once a second.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gui.history import History, Marks, StreamChanges
from gui.picture import Picture
from hil.core.geometry import ArrayGeometry
from hil.dsp.response import array_response

Way = Literal["receivers", "received", "followed"]
WAYS: tuple[Way, ...] = ("receivers", "received", "followed")
SPAN_S = 600.0
SLOT_S = 0.5
#: Length of the mean phasor of a slot below which there is no phase to speak of.
_STEADY = 0.7
_LEAST_SHARE = 0.2  # of the pictures: those that straddle a hop show two signals
_LEAST_SPAN_S = 10.0
_LEAST_POINTS = 10
#: Share of its pictures in which a channel must be heard.
_LIVE = 0.5
_LEAST_KNOWN = 0.5
_TURN = 360.0
_STRAY = 6.0  # times the median residual


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Straight lines through the changes since the last break. rate_deg_per_h, sigma_deg_per_h (M,), one standard
    deviation; channel 0 is the reference: 0. span_s : of the points used."""

    rate_deg_per_h: NDArray[np.float64]
    sigma_deg_per_h: NDArray[np.float64]
    span_s: float


class PhaseHistory:
    """Ten minutes of unwrapped phases (M,) against channel 0, degrees, one row each half second, NaN where not known.

    Attributes
    ----------
    marks : epochs, restarts, gaps, another way of reference. why : reason why there is no phase now, "" if there is.
    """

    def __init__(self) -> None:
        self.marks = Marks()
        self.why: dict[Way, str] = dict.fromkeys(WAYS, "no picture yet")
        self.why["followed"] = "nothing was learned yet: start learning"
        self._histories: dict[Way, History] = {}
        self._last: dict[Way, NDArray[np.float64]] = {}
        self._changes = StreamChanges()
        self._geometry: ArrayGeometry | None = None
        self._calibrated: bool | None = None
        self._slot = -1
        self._sums: dict[Way, NDArray[np.complex128]] = {}
        self._heard = np.zeros(0, int)
        self._count = self._valid = 0
        self._reasons: Counter[str] = Counter()

    @property
    def n_channels(self) -> int:
        """M, 0 before the first picture."""
        return next((h.width for h in self._histories.values()), 0)

    def times_s(self, way: Way) -> NDArray[np.float64]:
        """(n,) monotonic seconds."""
        return self._histories[way].times_s if way in self._histories else np.zeros(0)

    def phases_deg(self, way: Way) -> NDArray[np.float64]:
        """(n, M) unwrapped, channel 0 is zero; a ramp along a line is part of them only as the reference has it."""
        return self._histories[way].rows if way in self._histories else np.zeros((0, 0))

    def changes_deg(self, way: Way) -> NDArray[np.float64]:
        """(n, M) since the break before each point, against channel 0; what cannot be seen is taken out."""
        times, rows = self.times_s(way), self.phases_deg(way)
        out = np.full(rows.shape, np.nan)
        for part in self._parts(times):
            there = np.isfinite(rows[part])
            # a channel that says nothing is left out, it does not take the others with it
            live = np.flatnonzero(there.mean(axis=0) > _LIVE * there.any(axis=1).mean())
            known = np.flatnonzero(there[:, live].all(axis=1))
            if not len(known) or not there[known, 0].all():
                continue
            change = rows[part][:, live] - np.median(rows[part][known[:5]][:, live], axis=0)
            out[part, live] = self._seen(change, live, way)
        return out

    def drift(self, way: Way) -> Drift | None:
        """Rates since the last break; None if there are less than ten seconds or ten points, or mostly none."""
        times, values = self.times_s(way), self.changes_deg(way)
        times, values = times[since := times >= self.marks.newest_break_s()], values[since]
        known = np.isfinite(values).any(axis=1)
        if known.sum() < _LEAST_KNOWN * len(times):
            return None  # moments that happen to have a phase make no drift
        times, values = times[known], values[known]
        live = np.isfinite(values).all(axis=0)
        if len(times) < _LEAST_POINTS or np.ptp(times) < _LEAST_SPAN_S or not live.any():
            return None
        rate, sigma = np.full((2, values.shape[1]), np.nan)
        rate[live], sigma[live] = _slope(times, values[:, live])
        return Drift(3600 * rate, 3600 * sigma, float(np.ptp(times)))

    def add(self, picture: Picture) -> bool:
        """Take a picture; True if a row was finished."""
        stream, m = picture.stream, picture.stream.n_channels
        time_s = picture.t_mono_ns / 1e9
        if m != self.n_channels:
            self._begin(m)
        self._geometry = stream.geometry
        epoch = stream.epoch
        words = self._changes.seen(epoch.id, epoch.cause, epoch.counter, picture.first_sample)
        calibrated = picture.calibration is not None
        if not words and self._calibrated is not None and calibrated != self._calibrated:
            words = "calibrated" if calibrated else "calibration removed"
        self._calibrated = calibrated
        finished = False
        slot = int(time_s / SLOT_S)
        if words or slot != self._slot:
            finished = self._finish()
            self._slot = slot
        if words:
            self.marks.add(time_s, words)
        self._take(picture)
        return finished

    def add_learned(self, time_s: float, gain: NDArray[np.complex128] | None, why: str = "") -> None:
        """Gains (M,) of the array as learned or followed just now; None with the reason: not known."""
        self.why["followed"] = why
        if gain is not None and len(gain) == self.n_channels:
            self._append("followed", time_s, np.rad2deg(np.angle(gain * np.conj(gain[0]))))

    def note_gaps(self, count: int, time_s: float) -> None:
        """Gaps of the stream so far."""
        if self._changes.gaps(count):
            self.marks.add(time_s, "gap", breaks=False)

    def _begin(self, m: int) -> None:
        capacity = round(SPAN_S / SLOT_S)
        self._histories = {way: History(m, capacity) for way in WAYS}
        self._last = {}
        self._reset_slot()

    def _reset_slot(self) -> None:
        self._sums = {way: np.zeros(self.n_channels, complex) for way in WAYS[:2]}
        self._heard = np.zeros(self.n_channels, int)
        self._count = self._valid = 0
        self._reasons.clear()

    def _take(self, picture: Picture) -> None:
        self._count += 1
        reason = _unknown(picture)
        if reason:
            self._reasons[reason] += 1
            return
        self._valid += 1
        there = np.isfinite(picture.phase_deg)
        self._heard += there
        phase = np.deg2rad(picture.phase_deg)
        calibration = picture.calibration
        own = np.zeros(len(phase)) if calibration is None else np.angle(calibration.impairments.gain)
        self._sums["receivers"][there] += np.exp(1j * (phase + own - own[0]))[there]
        array = calibration or picture.stream.geometry
        assert array is not None
        steering = array_response(array, picture.stream.fc_hz).steering(picture.doa_deg[:1])[:, 0]
        turned = phase + np.angle(steering * np.conj(steering[0]))
        self._sums["received"][there] += np.exp(1j * turned)[there]

    def _finish(self) -> bool:
        """The slot is over: one row of each way."""
        if not self._count:
            return False
        time_s = (self._slot + 0.5) * SLOT_S
        enough = self._valid >= _LEAST_SHARE * self._count
        for way, total in self._sums.items():
            reason = "" if enough else self._reasons.most_common(1)[0][0]
            heard = self._heard > _LIVE * self._valid
            if enough and np.any(np.abs(total) < _STEADY * self._heard * heard):
                reason = (
                    "the direction changes: choose another way to look"
                    if way == "received"
                    else "the phases change faster than this shows"
                )
            self.why[way] = reason
            phase_deg = np.full(len(total), np.nan)
            if not reason:
                phase_deg[heard] = np.rad2deg(np.angle(total[heard]))
            self._append(way, time_s, phase_deg)
        self._reset_slot()
        return True

    def _append(self, way: Way, time_s: float, phase_deg: NDArray[np.float64]) -> None:
        last = self._last.get(way)
        if last is not None:
            next_deg = last + np.remainder(phase_deg - last + _TURN / 2, _TURN) - _TURN / 2
            phase_deg = np.where(np.isfinite(last), next_deg, phase_deg)
            self._last[way] = np.where(np.isfinite(phase_deg), phase_deg, last)
        else:
            self._last[way] = phase_deg
        self._histories[way].append(time_s, phase_deg)

    def _parts(self, times: NDArray[np.float64]) -> list[slice]:
        """Between breaks, oldest first."""
        cuts = [int(np.searchsorted(times, mark.time_s)) for mark in self.marks if mark.breaks]
        edges = sorted({0, len(times), *cuts})
        return [slice(a, b) for a, b in pairwise(edges)]

    def _seen(self, change: NDArray[np.float64], live: NDArray[np.intp], way: Way) -> NDArray[np.float64]:
        """Of the channels `live`, 0 first: without the ramp along a line where it cannot be told from a direction."""
        geometry = self._geometry
        if way != "received" and geometry is not None and geometry.kind == "line":
            x = geometry.positions_m[live, 0]
            ramp = (x - x.mean()) / np.linalg.norm(x - x.mean())
            change = change - change.mean(axis=1, keepdims=True)
            change = change - np.outer(change @ ramp, ramp)
        return change - change[:, :1]


def _unknown(picture: Picture) -> str:
    """Why the picture has no phases, "" if it has."""
    if picture.stream.n_channels < 2:
        return "one channel has no phase against others"
    if picture.stream.geometry is None:
        return "the array is not known: say it in the controls"
    if picture.n_sources == 0:
        return "no signal"
    if picture.n_sources > 1:
        return f"{picture.n_sources} signals at once: their phases mix; what the learner follows still shows"
    if not np.isfinite(picture.phase_deg).any() or not len(picture.doa_deg):
        return "no direction was found"
    if not np.isfinite(picture.phase_deg[0]):
        return "channel 0, against which phases are told, says nothing"
    return ""


def _slope(
    times_s: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares (per s, sigma per s) of every column without stray points. Neighbours that err alike count for less:
    the variance grows by (1 + r) / (1 - r) with their correlation r (Bayley and Hammersley 1946, for AR(1))."""
    rest = values - np.median(values, axis=0)
    rest = rest - np.outer(times_s - np.median(times_s), _median_slope(times_s, rest))
    size = np.abs(rest).max(axis=1)
    keep = size <= _STRAY * max(float(np.median(size)), 1e-9)
    times_s, values = times_s[keep], values[keep]
    t = times_s - times_s.mean()
    spread = float(t @ t)
    rate = t @ (values - values.mean(axis=0)) / spread
    rest = values - values.mean(axis=0) - np.outer(t, rate)
    power = (rest**2).sum(axis=0)
    neighbours = (rest[1:] * rest[:-1]).sum(axis=0)
    r = np.clip(np.divide(neighbours, power, out=np.zeros_like(power), where=power > 0), 0.0, 0.95)
    variance = power / max(len(t) - 2, 1) * (1 + r) / (1 - r) / spread
    return rate, np.sqrt(variance)


def _median_slope(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between points half of the span apart (Theil and Sen's median, with n/2 pairs)."""
    half = len(times_s) // 2
    step = times_s[half : 2 * half] - times_s[:half]
    return np.median((values[half : 2 * half] - values[:half]) / step[:, None], axis=0)


def drift_words(drift: Drift | None, why: str) -> tuple[str, str]:
    """The verdict in one line, and the rates of all channels, "" if there are none. why : there is no phase now, or ""."""
    now = f" Now: {why}." if why else ""
    if drift is None:
        return f"No phases: {why}." if why else "Ten seconds are needed for a rate.", ""
    span = f"{drift.span_s / 60:.1f} min" if drift.span_s >= 60 else f"{drift.span_s:.0f} s"
    texts = [_rate(r, s) for r, s in zip(drift.rate_deg_per_h, drift.sigma_deg_per_h, strict=True)]
    rates, sigmas = np.abs(drift.rate_deg_per_h), drift.sigma_deg_per_h
    clear = np.where(rates > 3 * sigmas, rates, 0.0)
    most = int(np.argmax(clear))
    verdict = f"Channel {most} drifts most: {texts[most]} over {span}, against channel 0."
    if not clear.any():
        limit = 2 * float(np.nanmax(sigmas, initial=0.0))
        verdict = f"No drift beyond ± {limit:.{_digits(limit)}f} °/h is seen over {span}."
    lines = [f"Channel {m}: {text}" for m, text in enumerate(texts) if m and text]
    return verdict + now, "\n".join(
        [f"Against channel 0 over the last {span}, one standard deviation:", *lines]
    )


def _rate(rate: float, sigma: float) -> str:
    """ "" if it is not known."""
    digits = _digits(sigma) if math.isfinite(sigma) else 0
    return f"{rate:+.{digits}f} ± {sigma:.{digits}f} °/h" if math.isfinite(rate) else ""


def _digits(sigma: float) -> int:
    """Decimals of a value with this standard deviation."""
    return int(np.clip(1 - math.floor(math.log10(sigma)), 0, 3)) if sigma > 0 else 3
