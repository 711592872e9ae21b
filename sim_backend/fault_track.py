"""Faults of the samples: what is wrong with a board from one scene sample to the next.

Between two borders nothing changes but phases that turn evenly, so that any piece of the stream can be made at
any moment and the samples never depend on how they were asked for.
"""

from __future__ import annotations

import cmath
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_backend.drawn import stream_key
from sim_backend.faults import ALL, border
from sim_backend.motion import uniform
from sim_backend.scene import Scene

_KINDS = ("phase_jump", "flip", "agc_step", "drift", "swap", "clip", "dead", "iq_swap", "stuck_bit",
          "multipath", "carrier_drift")  # fmt: skip
_FINE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What is wrong with one board from scene second t0_s to the next border.

    Attributes
    ----------
    factor : (C,) complex128, of signal and noise of every channel in front of IQ image and converter, at t0_s.
    turn_rad_per_s : (C,) float64, how fast its phase turns.
    quiet, zero, iq_swapped : channels without signal, without samples, with I and Q exchanged.
    stuck : (channel, bit) of converters. rewired : the two antennas of `swap_channels` have changed places.
    multipath : the sudden path is there.
    carrier : (cycles, Hz, Hz/s) of the drifting carriers at t0_s, of emitter `carrier_emitter` or all.
    """

    t0_s: float
    factor: NDArray[np.complex128]
    turn_rad_per_s: NDArray[np.float64]
    quiet: tuple[int, ...] = ()
    zero: tuple[int, ...] = ()
    iq_swapped: tuple[int, ...] = ()
    stuck: tuple[tuple[int, int], ...] = ()
    rewired: bool = False
    multipath: bool = False
    carrier: tuple[float, float, float] = (0.0, 0.0, 0.0)
    carrier_emitter: int = ALL

    def amplify(self, samples: NDArray[np.float32], first: int, fs_hz: float) -> None:
        """Multiply by the factors, in place; samples (n, 2 C) float32 from scene sample `first` on."""
        z = samples.view(np.complex64)
        after_s = first / fs_hz - self.t0_s
        for channel in np.flatnonzero(self.turn_rad_per_s):
            f_hz = float(self.turn_rad_per_s[channel]) / (2 * np.pi)
            z[:, channel] *= _turns(f_hz * after_s, f_hz / fs_hz, 0.0, len(samples))
        if np.any(self.factor != 1):
            z *= self.factor.astype(np.complex64)

    def carrier_turn(self, emitter: int, first: int, n: int, fs_hz: float) -> NDArray[np.complex64] | None:
        """(n,) complex64 that an emitter's waveform is to be multiplied by; None: nothing."""
        if self.carrier_emitter not in (ALL, emitter) or not any(self.carrier):
            return None
        cycles, f_hz, slope = self.carrier
        after_s = first / fs_hz - self.t0_s
        begin = cycles + f_hz * after_s + slope / 2 * after_s**2
        return _turns(begin, (f_hz + slope * after_s) / fs_hz, slope / fs_hz**2, n)

    def corrupt(self, out: NDArray[np.int16]) -> None:
        """What goes wrong in and after the converter, in place; out (n, 2 C) int16."""
        for channel in self.zero:
            out[:, 2 * channel : 2 * channel + 2] = 0
        for channel, bit in self.stuck:
            out[:, 2 * channel : 2 * channel + 2] |= np.int16(1 << bit)
        for channel in self.iq_swapped:
            out[:, 2 * channel : 2 * channel + 2] = out[:, [2 * channel + 1, 2 * channel]]


def _turns(begin: float, step: float, growth: float, n: int) -> NDArray[np.complex64]:
    """(n,) complex64 exp(j 2 pi (begin + step k + growth k^2 / 2)), all in cycles, k = 0..n-1."""
    # a product of a coarse and a fine table: an exponential per sample would cost more than the whole mixer
    rows = -(-n // _FINE)
    coarse = np.exp(2j * np.pi * ((begin % 1.0 + step * _FINE * np.arange(rows)) % 1.0))
    fine = np.exp(2j * np.pi * step * np.arange(_FINE))
    out = (coarse[:, None] * fine).reshape(-1)[:n]
    if growth:
        out = out * _chirp(growth, n)
    return out.astype(np.complex64)


@lru_cache(maxsize=8)
def _chirp(growth: float, n: int) -> NDArray[np.complex128]:
    return np.exp(2j * np.pi * (growth / 2 * np.arange(n) ** 2 % 1.0))


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """Something that begins ("fault") or ends ("fault_end") at a scene second; `channel` None: several."""

    t_s: float
    event: str
    kind: str
    board: int
    channel: int | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """The index-th time that a fault begins, or ends if it lasts only for a while."""

    t_s: float
    kind: str
    ends: bool
    index: int


class FaultTrack:
    """Faults of the samples of a scene, all boards. Thread-safe: it never changes but for what it remembers.

    Attributes
    ----------
    marks : everything that begins or ends, in the order of time.
    """

    def __init__(self, scene: Scene) -> None:
        self._faults = scene.faults
        self._board = scene.board
        self._peak_dbfs = scene.receiver.peak_dbfs
        self._key = stream_key(scene.seed, "fault")
        self._times = {kind: sorted(getattr(scene.faults, f"{kind}_at_s")) for kind in _KINDS}
        self._slips_s = sorted(scene.faults.slip_samples_at_s)
        self.marks = sorted(self._all_marks())
        self._borders: list[list[float]] = []
        for board in range(scene.n_boards):
            here = {
                mark.t_s for mark in self.marks if mark.kind in _KINDS and self._concerns(mark.kind, board)
            }
            self._borders.append(sorted(here))
        self._pieces: dict[tuple[int, int], Piece] = {}
        jumps = [1j * np.deg2rad(self._jump_deg(k)) for k in range(len(self._times["phase_jump"]))]
        self._jumped = np.exp(np.cumsum([np.zeros(self._board.n_channels), *jumps], axis=0))

    def _all_marks(self) -> Iterator[Mark]:
        f = self._faults
        lasting = {"drift": f.drift_s, "clip": f.clip_s, "dead": f.dead_s, "multipath": f.multipath_s,
                   "carrier_drift": f.carrier_drift_s}  # fmt: skip
        for kind, times in (*self._times.items(), ("slip", self._slips_s)):
            for index, t_s in enumerate(times):
                yield Mark(t_s, kind, False, index)
                if lasting.get(kind):
                    yield Mark(t_s + lasting[kind], kind, True, index)

    def _concerns(self, kind: str, board: int) -> bool:
        if kind in ("multipath", "carrier_drift"):
            return True
        if kind == "swap":
            return board in {channel // self._board.n_channels for channel in self._faults.swap_channels}
        return getattr(self._faults, f"{kind}_board") == board

    # Pieces

    def pieces(self, board: int, fs_hz: float, low: int, high: int) -> Iterator[tuple[int, int, Piece]]:
        """(first, end, what holds there) that cover scene samples low..high."""
        times = self._borders[board]
        index = bisect_right(times, low, key=lambda t: border(t, fs_hz)) if times else 0
        while low < high:
            end = border(times[index], fs_hz) if index < len(times) else high
            if end > low:
                yield low, min(end, high), self._piece(board, index)
            low, index = max(low, min(end, high)), index + 1

    def _count(self, kind: str, t_s: float) -> int:
        """How often this fault has begun."""
        return bisect_right(self._times[kind], t_s)

    def _on(self, kind: str, t_s: float, for_s: float) -> bool:
        """True while it lasts; `for_s` 0: for good."""
        begun = self._times[kind][: self._count(kind, t_s)]
        return bool(begun) and (not for_s or t_s < begun[-1] + for_s)

    def _channels(self, kind: str, board: int) -> tuple[int, ...]:
        """Channels of this board that a fault acts on."""
        if getattr(self._faults, f"{kind}_board") != board:
            return ()
        channel = getattr(self._faults, f"{kind}_channel")
        return tuple(range(self._board.n_channels)) if channel == ALL else (channel,)

    def _piece(self, board: int, index: int) -> Piece:
        """What holds after `index` borders of a board; remembered."""
        made = self._pieces.get((board, index))
        if made is None:
            made = self._make(board, self._borders[board][index - 1] if index else -1.0)
            self._pieces[board, index] = made
        return made

    def _make(self, board: int, t_s: float) -> Piece:
        f = self._faults
        factor = np.ones(self._board.n_channels, complex)
        if board == f.phase_jump_board:
            factor *= self._jumped[self._count("phase_jump", t_s)]
        for channel in self._channels("flip", board):
            factor[channel] *= (-1) ** self._count("flip", t_s)
        for channel in self._channels("agc_step", board):
            if self._count("agc_step", t_s) % 2:
                factor[channel] *= 10 ** (f.agc_step_db / 20)
                factor[channel] *= cmath.exp(1j * math.radians(f.agc_step_phase_deg))
        for channel in self._channels("clip", board):
            if self._on("clip", t_s, f.clip_s):
                factor[channel] *= 10 ** ((f.clip_dbfs - self._peak_dbfs) / 20)
        turned_s, turning = _ramps(self._times["drift"], f.drift_s, t_s)
        turn = np.zeros(self._board.n_channels)
        for channel in self._channels("drift", board):
            turn[channel] = math.radians(f.drift_deg_per_s) * turning
            factor[channel] *= cmath.exp(1j * math.radians(f.drift_deg_per_s) * turned_s)
        dead = self._channels("dead", board) if self._on("dead", t_s, f.dead_s) else ()
        swapped = self._channels("iq_swap", board) if self._count("iq_swap", t_s) % 2 else ()
        stuck = self._channels("stuck_bit", board) if self._count("stuck_bit", t_s) else ()
        return Piece(
            t_s, factor, turn,
            quiet=dead if f.dead_leaves == "noise" else (),
            zero=dead if f.dead_leaves == "zero" else (),
            iq_swapped=swapped,
            stuck=tuple((channel, f.stuck_bit) for channel in stuck),
            rewired=self._count("swap", t_s) % 2 == 1,
            multipath=self._on("multipath", t_s, f.multipath_s),
            carrier=self._carrier(t_s),
            carrier_emitter=f.carrier_drift_emitter,
        )  # fmt: skip

    def _jump_deg(self, k: int) -> NDArray[np.float64]:
        """(C,) degrees by which the k-th jump turns every channel of its board."""
        f = self._faults
        out = np.zeros(self._board.n_channels)
        for chip, channels in enumerate(self._board.chips):
            if f.phase_jump_chip in (ALL, chip):
                drawn = 360.0 * uniform(self._key, f.phase_jump_board, chip, k)
                out[list(channels)] = drawn if isinstance(f.phase_jump_deg, str) else f.phase_jump_deg
        return out

    def _carrier(self, t_s: float) -> tuple[float, float, float]:
        """Cycles, Hz and Hz/s of the drifting carriers at t_s."""
        f = self._faults
        rate = f.carrier_drift_hz_per_s
        moved_s, moving = _ramps(self._times["carrier_drift"], f.carrier_drift_s, t_s)
        cycles = 0.0
        for begin_s in self._times["carrier_drift"]:
            after_s = max(0.0, t_s - begin_s)
            for_s = min(after_s, f.carrier_drift_s)
            cycles += rate * for_s * (after_s - for_s / 2)
        return cycles % 1.0, rate * moved_s, rate * moving

    # Slips

    def slips(self, board: int, fs_hz: float, first: int, n: int) -> Iterator[tuple[int, int, int]]:
        """(first, end, samples) that cover first..first+n: by how many samples the stream has slipped there."""
        f = self._faults
        borders = [border(t, fs_hz) for t in self._slips_s] if board == f.slip_board else []
        at, stop = first, first + n
        while at < stop:
            count = bisect_right(borders, at)
            end = min([stop, *borders[count : count + 1]])
            yield at, end, count * f.slip_samples
            at = end

    def slipping(self, board: int) -> tuple[int, ...]:
        """Channels of the board that slip at all."""
        return self._channels("slip", board) if self._slips_s else ()

    # Truth

    def describe(self, mark: Mark) -> FaultEvent:
        """What the truth file says of a mark: "fault" or, at the end of a fault that lasts, "fault_end".

        `fault_gain_re`, `fault_gain_im` (C,) and `fault_turn_rad_per_s` (C,): factor of every channel of the
        board from then on, all faults together, and how fast its phase turns.
        """
        board, channel, details = self._details(mark.kind, mark.index)
        piece = self._piece(board, bisect_right(self._borders[board], mark.t_s))
        gain = piece.factor * np.exp(1j * piece.turn_rad_per_s * (mark.t_s - piece.t0_s))
        details |= {
            "fault_gain_re": gain.real.tolist(),
            "fault_gain_im": gain.imag.tolist(),
            "fault_turn_rad_per_s": piece.turn_rad_per_s.tolist(),
        }
        return FaultEvent(mark.t_s, "fault_end" if mark.ends else "fault", mark.kind, board, channel, details)

    def _details(self, kind: str, index: int) -> tuple[int, int | None, dict[str, Any]]:
        """Board, channel and what else the truth file says of the index-th fault of a kind."""
        f = self._faults
        if kind == "swap":
            return f.swap_channels[0] // self._board.n_channels, None, {"channels": list(f.swap_channels)}
        if kind == "multipath":
            path = {"angle_deg": f.multipath_angle_deg, "power_db": f.multipath_power_db}
            return 0, None, {"emitter": f.multipath_emitter, **path}
        if kind == "carrier_drift":
            emitter = None if f.carrier_drift_emitter == ALL else f.carrier_drift_emitter
            return 0, None, {"emitter": emitter, "hz_per_s": f.carrier_drift_hz_per_s}
        board = getattr(f, f"{kind}_board")
        if kind == "phase_jump":
            chip = None if f.phase_jump_chip == ALL else f.phase_jump_chip
            return board, None, {"chip": chip, "degrees": self._jump_deg(index).tolist()}
        channel = getattr(f, f"{kind}_channel")
        more: dict[str, dict[str, Any]] = {
            "agc_step": {"db": f.agc_step_db * (-1) ** index, "degrees": f.agc_step_phase_deg * (-1) ** index},
            "drift": {"deg_per_s": f.drift_deg_per_s}, "slip": {"samples": f.slip_samples},
            "clip": {"dbfs": f.clip_dbfs}, "dead": {"leaves": f.dead_leaves}, "stuck_bit": {"bit": f.stuck_bit},
        }  # fmt: skip
        return board, None if channel == ALL else channel, more.get(kind, {})


def _ramps(begin_s: list[float], for_s: float, t_s: float) -> tuple[float, int]:
    """Seconds of all ramps that have passed at t_s, and how many go on; `for_s` 0: for good."""
    passed = [t_s - begin for begin in begin_s if begin <= t_s]
    going = [p for begin, p in zip(begin_s, passed, strict=False) if not for_s or t_s < begin + for_s]
    return sum(p if not for_s else min(p, for_s) for p in passed), len(going)
