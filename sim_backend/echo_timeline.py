"""What every board sends over time: transmit waveforms, transmit LOs, their phases and levels.

A segment is a stretch of scene samples over which nothing changes. A new event cuts the segments that reach
past it, so the echoes of any sample are a function of the events so far. Cyclic waveforms repeat from `origin`
on; a streamed block sounds once. What ended more than KEPT_S seconds before the newest segment is forgotten, and
earlier if the waveforms kept would take more than KEPT_BYTES: reads that go back further hear silence.
"""

from __future__ import annotations

import cmath
import math
import threading
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ShapeError
from sim_backend.drawn import stream_key
from sim_backend.motion import uniform
from sim_backend.scene import Scene

KEPT_S = 10.0
KEPT_BYTES = 256 << 20
FOREVER = 1 << 62
_SERIALS = count()


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """One waveform: samples (J, n) complex64 of full scale 1, read-only; `active` rows are not all zero."""

    samples: NDArray[np.complex64]
    cyclic: bool
    active: tuple[int, ...]
    serial: int = field(default_factory=lambda: next(_SERIALS))


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A waveform from scene sample `begins` to `ends` (excluded) of its board, at one setting of the board.

    origin : scene sample of the waveform's first one. fs_hz : rate that counts them. fc_hz : (J,) transmit LO
    of every channel. scale : (J,) amplitude of the attenuators. gain : (J,) scale times exp(j LO phase).
    """

    begins: int
    ends: int
    origin: int
    wave: Wave
    fs_hz: float
    fc_hz: tuple[float, ...]
    scale: tuple[float, ...]
    gain: tuple[complex, ...]
    serial: int = field(default_factory=lambda: next(_SERIALS))

    def rows(self, first: int, n: int) -> NDArray[np.complex64]:
        """(J, n) complex64: what is sent from scene sample `first` on, zero outside the segment."""
        samples = self.wave.samples
        out = np.zeros((len(samples), n), np.complex64)
        low, high = max(first, self.begins), min(first + n, self.ends)
        if low < high:
            at = low - self.origin
            if self.wave.cyclic:
                index = np.arange(at, at + high - low) % samples.shape[1]
                out[:, low - first : high - first] = samples[:, index]
            else:
                out[:, low - first : high - first] = samples[:, at : at + high - low]
        return out


@dataclass(frozen=True, slots=True)
class TxState:
    """Transmit side of one board now: LO, relocks and LO phase of every chip."""

    fs_hz: float
    fc_hz: tuple[float, ...]
    locks: tuple[int, ...]
    phase_rad: tuple[float, ...]


class Timeline:
    """Transmissions of all boards of a scene. Thread-safe."""

    def __init__(self, scene: Scene) -> None:
        self._board = scene.board
        self._relocks = scene.impairments.relock_phase
        self._key = stream_key(scene.seed, "tx", 1)
        self._lock = threading.Lock()
        chips, receiver = len(self._board.chips), scene.receiver
        first = TxState(receiver.fs_hz, (receiver.fc_hz,) * chips, (0,) * chips, ())
        self._states = [self._phased(first, board) for board in range(scene.n_boards)]
        self._segments: list[list[Segment]] = [[] for _ in range(scene.n_boards)]
        self.n_events = 0

    def state(self, board: int) -> TxState:
        """The transmit side of a board now."""
        return self._states[board]

    def window(self, board: int, first: int, end: int) -> list[Segment]:
        """Segments of a board that overlap scene samples first..end (excluded), in order."""
        if not self.n_events:
            return []
        with self._lock:
            segments = self._segments[board]
            k = max(0, bisect_right(segments, first, key=lambda s: s.begins) - 1)
            out: list[Segment] = []
            while k < len(segments) and segments[k].begins < end:
                if segments[k].ends > first:
                    out.append(segments[k])
                k += 1
            return out

    def transmit(
        self,
        board: int,
        waveform: NDArray[np.complex64] | None,
        at: int,
        *,
        cyclic: bool,
        scale: tuple[float, ...] | None = None,
    ) -> bool:
        """From `at` on the board sends this. True if it goes on where a streamed block ended.

        Raises ShapeError for a wrong shape or values that are not finite.
        """
        levels = self._checked(scale or (1.0,) * self._board.n_channels)
        wave = None if waveform is None else self._wave(waveform, cyclic)
        with self._lock:
            segments = self._segments[board]
            goes_on = bool(segments) and not cyclic and segments[-1].ends == at
            goes_on = goes_on and not segments[-1].wave.cyclic
            self._cut(segments, at)
            if wave is not None:
                ends = FOREVER if cyclic else at + wave.samples.shape[1]
                levels = levels[: len(wave.samples)]
                fc_hz, gain = self._chains(board, levels)
                fs_hz = self._states[board].fs_hz
                segments.append(Segment(at, ends, at, wave, fs_hz, fc_hz, levels, gain))
                self._forget(segments)
            self.n_events += 1
            return goes_on

    def write_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        """Transmit LO of a chip from `at` on; relocks where the board does. Raises ShapeError."""
        if not 0 <= chip < len(self._board.chips) or not math.isfinite(fc_hz):
            raise ShapeError(f"transmit LO {fc_hz} of chip {chip}: not possible")
        with self._lock:
            old = self._states[board]
            fc = (*old.fc_hz[:chip], float(fc_hz), *old.fc_hz[chip + 1 :])
            self._change(board, self._relocked(replace(old, fc_hz=fc), (chip,), board), at)

    def rescale(self, board: int, scale: tuple[float, ...], at: int) -> None:
        """Amplitude of every transmit channel from `at` on, of what was to be sent so far. Raises ShapeError."""
        levels = self._checked(scale)
        with self._lock:
            self._change(board, self._states[board], at, levels)

    def write_rate(self, board: int, fs_hz: float, at: int) -> None:
        """Sample rate from `at` on, `at` counted at the old rate. What sounds then goes on at the new rate; all
        segments count in samples of the new rate from now on."""
        with self._lock:
            old = self._states[board]
            ratio = fs_hz / old.fs_hz
            self._change(
                board, self._relocked(replace(old, fs_hz=fs_hz), tuple(range(len(old.locks))), board), at
            )
            if ratio == 1.0:
                return
            moved: list[Segment] = []
            for s in self._segments[board]:
                begins = math.ceil(s.begins * ratio - 1e-6)
                played = s.begins - s.origin
                if s.wave.cyclic:
                    ends = s.ends if s.ends == FOREVER else math.ceil(s.ends * ratio - 1e-6)
                else:
                    ends = min(begins + s.ends - s.begins, math.ceil(s.ends * ratio - 1e-6))
                if begins < ends:
                    moved.append(replace(s, begins=begins, ends=ends, origin=begins - played, fs_hz=fs_hz))
            self._segments[board] = [replace(s, serial=next(_SERIALS)) for s in moved]

    def _checked(self, scale: tuple[float, ...]) -> tuple[float, ...]:
        levels = tuple(float(v) for v in scale)
        if len(levels) != self._board.n_channels or not all(math.isfinite(v) and v >= 0 for v in levels):
            raise ShapeError(f"scale {levels}: {self._board.n_channels} finite amplitudes are needed")
        return levels

    def _change(self, board: int, new: TxState, at: int, levels: tuple[float, ...] | None = None) -> None:
        """Cut at `at`; what sounds from there on has the new state."""
        self._states[board] = new
        out: list[Segment] = []
        for s in self._segments[board]:
            if s.ends <= at:
                out.append(s)
                continue
            if s.begins < at:
                out.append(replace(s, ends=at, serial=next(_SERIALS)))
            scale = s.scale if levels is None else levels[: len(s.scale)]
            fc_hz, gain = self._chains(board, scale)
            begins, serial = max(at, s.begins), next(_SERIALS)
            out.append(replace(s, begins=begins, fc_hz=fc_hz, scale=scale, gain=gain, serial=serial))
        self._segments[board] = out
        self.n_events += 1

    def _relocked(self, state: TxState, chips: tuple[int, ...], board: int) -> TxState:
        if not self._relocks:
            return state
        locks = tuple(n + (k in chips) for k, n in enumerate(state.locks))
        return self._phased(replace(state, locks=locks), board)

    def _phased(self, state: TxState, board: int) -> TxState:
        """Fill in the LO phases: a hash of board, chip and count of relocks; zero where nothing relocks."""
        phase = tuple(
            2 * math.pi * uniform(self._key, board, chip, n) if self._relocks else 0.0
            for chip, n in enumerate(state.locks)
        )
        return replace(state, phase_rad=phase)

    def _chains(self, board: int, scale: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[complex, ...]]:
        """LO and gain of the first channels, as many as there are scales."""
        state = self._states[board]
        chips = [self._board.chip_of(channel) for channel in range(len(scale))]
        turns = (cmath.exp(1j * state.phase_rad[chip]) for chip in chips)
        return tuple(state.fc_hz[chip] for chip in chips), tuple(
            level * turn for level, turn in zip(scale, turns, strict=True)
        )

    def _wave(self, waveform: NDArray[np.complex64], cyclic: bool) -> Wave:
        samples = np.array(waveform, np.complex64)
        if samples.ndim != 2 or not 1 <= len(samples) <= self._board.n_channels or samples.shape[1] < 1:
            raise ShapeError(
                f"waveform of shape {samples.shape}: (channels, samples) with up to "
                f"{self._board.n_channels} channels is needed"
            )
        if not np.all(np.isfinite(samples.view(np.float32))):
            raise ShapeError("the waveform contains values that are not finite")
        samples.setflags(write=False)
        active = tuple(int(j) for j in np.flatnonzero(np.any(samples, axis=1)))
        return Wave(samples, cyclic, active)

    @staticmethod
    def _cut(segments: list[Segment], at: int) -> None:
        """Nothing sounds from `at` on."""
        while segments and segments[-1].begins >= at:
            segments.pop()
        if segments and segments[-1].ends > at:
            segments[-1] = replace(segments[-1], ends=at, serial=next(_SERIALS))

    @staticmethod
    def _forget(segments: list[Segment]) -> None:
        """Drop what is too old, in batches."""
        if len(segments) % 16:
            return
        newest = segments[-1]
        edge = newest.begins - KEPT_S * newest.fs_hz
        kept_bytes, keep = 0, len(segments)
        while keep:
            kept_bytes += segments[keep - 1].wave.samples.nbytes
            if keep < len(segments) and (segments[keep - 1].ends < edge or kept_bytes > KEPT_BYTES):
                break
            keep -= 1
        del segments[:keep]
