"""The simulated radio behind one scene: wire samples as a pure function of board, sample index and events.

    x = G (diag(g) C A(theta; r + dr) s + n),  then IQ image, DC, rounding, clipping

per chunk of CHUNK samples aligned to the scene's sample count, so that a sample never depends on how it was
asked for. G is the gain setting relative to the board's nominal gain; it acts on signal and noise.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_backend import propagation
from sim_backend.clock import Clock, FreeRunningClock, RealTimeClock
from sim_backend.drawn import draw, stream_key
from sim_backend.events import BoardState, EventLog
from sim_backend.frontend import convert, garbage, impair_iq, noise_row, noise_table
from sim_backend.motion import Motion
from sim_backend.propagation import CHUNK, Ray, Table
from sim_backend.scene import Scene
from sim_backend.truth import TruthWriter
from sim_backend.truth_log import TruthLog

#: A moving emitter's angle is held over pieces in which no element's phase moves by more than this.
TRACK_PHASE_RAD = 2e-3
_SHORTEST_PIECE = 32
_KEPT_CHUNKS = 8
_KEPT_WEIGHTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """One ray as one board hears it in one state: table, oscillator, weights' ingredients."""

    ray: Ray
    table: Table
    fc_hz: NDArray[np.float64]  # (M,) LO of every element's channel; only this board's count
    heard: NDArray[np.bool_]  # (M,) elements that this source reaches
    osc_hz: float
    osc: NDArray[np.complex64] | None  # (CHUNK, P)
    piece: int  # samples over which the angle may be held


class ArrayEngine:
    """A `SampleSource` (sim_backend.source) made from a scene.

    Parameters
    ----------
    scene : what to simulate.
    free_running : time passes as samples are read; else with the monotonic clock from construction on.
    truth : file to write the truth to (sim_backend.truth), a TruthWriter, or None.

    Raises
    ------
    SceneError : the scene cannot be simulated (unreadable recording, delays too long for the bandwidth).
    """

    def __init__(
        self, scene: Scene, *, free_running: bool = False, truth: TruthWriter | str | Path | None = None
    ) -> None:
        self.scene = scene
        self.drawn = draw(scene)
        self._board = scene.board
        self._rays = propagation.rays(scene)
        self._span_s = propagation.delay_span_s(self.drawn)
        self._motions = [
            Motion(emitter, stream_key(scene.seed, "hop", k)) for k, emitter in enumerate(scene.emitters)
        ]
        self._noise_key = stream_key(scene.seed, "noise", 1)
        self._lsb = 10 ** (scene.receiver.peak_dbfs / 20) * 2.0 ** (scene.receiver.adc_bits - 1)
        sigma = self._lsb * 10 ** (-scene.receiver.snr_db / 20)
        self._noise = noise_table(scene.seed, self._board.n_channels, CHUNK, sigma)
        self._log = EventLog(scene)
        self._lock = threading.RLock()
        self._sources: OrderedDict[Any, list[_Source]] = OrderedDict()
        self._chunks: list[OrderedDict[Any, NDArray[np.int16]]] = [OrderedDict() for _ in range(scene.n_boards)]
        self._weights: OrderedDict[Any, NDArray[np.complex128]] = OrderedDict()
        self.clock: Clock
        self._sources_of(self._log.at(0, 0))  # tables of the first state now, not in the first read
        writer = TruthWriter(truth) if isinstance(truth, str | Path) else truth
        self._truth = TruthLog(writer, scene, self.drawn, self._motions, self._log) if writer else None
        self.clock = FreeRunningClock() if free_running else RealTimeClock()

    # What the scene is

    @property
    def n_boards(self) -> int:
        """Boards of the scene."""
        return self.scene.n_boards

    def board_name(self, board: int) -> str:
        """Name of the board's kind."""
        self._log.check(board)
        return self._board.name

    def n_channels(self, board: int) -> int:
        """Receive channels C of the board."""
        self._log.check(board)
        return self._board.n_channels

    def fc_hz(self, board: int, chip: int = 0) -> float:
        """LO of a chip, as last written."""
        return self._log.last(board).fc_hz[chip]

    def fs_hz(self, board: int) -> float:
        """Sample rate, as last written."""
        return self._log.last(board).fs_hz

    def gain_db(self, board: int, channel: int) -> float:
        """Gain of a channel, as last written."""
        return self._log.last(board).gain_db[channel]

    def epoch(self, board: int) -> int:
        """Coherence epoch: counts redraws of the board's LO phases."""
        return self._log.last(board).epoch

    # Time

    def now(self, board: int) -> int:
        """Scene sample that is converted now; free-running: the latest one handed out on any board."""
        # the margin undoes the rounding of n / fs * fs
        return int(self.clock.now_s() * self.fs_hz(board) + 1e-3)

    def wait_until(self, board: int, sample: int, timeout_s: float) -> bool:
        """Block until `now(board) >= sample`; at once when free-running. False after the timeout."""
        return self.clock.wait_until_s(sample / self.fs_hz(board), timeout_s)

    # Samples

    def read(self, board: int, first: int, n: int) -> NDArray[np.int16]:
        """(n, 2 C) int16: I and Q of every channel of the board from scene sample `first` on.

        Thread-safe, and the same whatever the pieces. Raises ValueError for negative first or n.
        """
        self._log.check(board)
        if first < 0 or n < 0:
            raise ValueError(f"read of {n} samples from {first}: neither may be negative")
        out = np.empty((n, 2 * self._board.n_channels), np.int16)
        states = self._log.states(board)
        fs_hz = states[-1].fs_hz
        if self._truth:
            self._truth.cover((first + n) / fs_hz)
        self._fill(board, states, first, out)
        faults = self.scene.faults
        if faults.slip_samples_at_s and board == faults.slip_board:
            self._slip(board, states, first, out)
        if faults.garbage_after_retune:
            garbage(self.scene.seed, board, states, faults.garbage_after_retune, self.scene.receiver.adc_bits, first, out)
        self.clock.handed_out((first + n) / fs_hz)
        return out

    def _fill(self, board: int, states: tuple[BoardState, ...], first: int, out: NDArray[np.int16]) -> None:
        at = 0
        while at < len(out):
            index, skip = divmod(first + at, CHUNK)
            n = min(CHUNK - skip, len(out) - at)
            target = out[at : at + n]
            if n == CHUNK:
                self._make(board, states, index, target)
            else:
                target[:] = self._chunk(board, states, index)[skip : skip + n]
            at += n

    def _chunk(self, board: int, states: tuple[BoardState, ...], index: int) -> NDArray[np.int16]:
        """A whole chunk, remembered: reads that are not aligned ask for it twice."""
        key, kept = (index, len(states)), self._chunks[board]  # states are only ever added
        with self._lock:
            if key in kept:
                return kept[key]
        made = np.empty((CHUNK, 2 * self._board.n_channels), np.int16)
        self._make(board, states, index, made)
        with self._lock:
            kept[key] = made
            while len(kept) > _KEPT_CHUNKS:
                kept.popitem(last=False)
        return made

    def _make(self, board: int, states: tuple[BoardState, ...], index: int, out: NDArray[np.int16]) -> None:
        """One chunk, state by state."""
        start = index * CHUNK
        bits = self.scene.receiver.adc_bits
        k = max(0, bisect_right(states, start, key=lambda state: state.begins) - 1)
        while k < len(states) and states[k].begins < start + CHUNK:
            low = max(0, states[k].begins - start)
            high = min(CHUNK, states[k + 1].begins - start) if k + 1 < len(states) else CHUNK
            if high > low:
                convert(self._analog(board, states[k], index, low, high), bits, out[low:high])
            k += 1

    def _analog(self, board: int, state: BoardState, index: int, low: int, high: int) -> NDArray[np.float32]:
        """Rows low..high of a chunk before the converter, in LSB, (n, 2 C) float32."""
        row = noise_row(self._noise_key, board, index)
        samples = self._noise[row + low : row + high].copy()
        scratch = np.empty_like(samples)
        for source in self._sources_of(state):
            self._add(samples, scratch, source, state, index * CHUNK, low, high)
        gain = state.gain_db
        if any(g != self._board.nominal_gain_db for g in gain):
            ratio = 10 ** ((np.array(gain) - self._board.nominal_gain_db) / 20)
            samples *= np.repeat(ratio, 2).astype(np.float32)
        c0, c = board * self._board.n_channels, self._board.n_channels
        for values, apply in ((self.drawn.iq_image, impair_iq), (self.drawn.dc_offset, self._add_dc)):
            here = np.zeros(c, np.complex64)
            here[: len(values[c0 : c0 + c])] = values[c0 : c0 + c]
            if np.any(here):
                apply(samples, here)
        return samples

    def _add_dc(self, samples: NDArray[np.float32], dc: NDArray[np.complex64]) -> None:
        samples += (dc * 2.0 ** (self.scene.receiver.adc_bits - 1)).astype(np.complex64).view(np.float32)

    def _add(
        self, samples: NDArray[np.float32], scratch: NDArray[np.float32], source: _Source, state: BoardState,
        start: int, low: int, high: int,
    ) -> None:  # fmt: skip
        """Add one source to rows low..high of the chunk that begins at scene sample `start`."""
        motion = self._motions[source.ray.index]
        moves = source.ray.path is None
        phase = np.exp(2j * np.pi * ((source.osc_hz * start / state.fs_hz) % 1.0))
        row = start % source.table.period
        at = low
        while at < high:
            end, key, angle_deg = high, 0, 0.0
            if moves:
                if source.piece < CHUNK:
                    piece = at // source.piece
                    end = min(end, (piece + 1) * source.piece)
                    middle = start + (piece + 0.5) * source.piece
                    key, angle_deg = -1, motion.angle_deg(middle / state.fs_hz)
                else:
                    key = motion.hop_index(start + at, state.fs_hz)
                    end = min(end, motion.hop_border(key + 1, state.fs_hz) - start)
                    angle_deg = motion.dwell_deg(key)
            weights = self._weights_of(source, state.board, key, angle_deg)
            block = self._real(weights * phase, state, start + at)
            if source.osc is None:
                wave = source.table.samples[row + at : row + end]
            elif source.table.constant:
                wave = source.osc[at:end] * source.table.samples[0, 0]
            else:
                wave = source.table.samples[row + at : row + end] * source.osc[at:end]
            part = scratch[: end - at]
            np.matmul(wave.view(np.float32), block, out=part)
            samples[at - low : end - low] += part
            at = end

    def _weights_of(self, source: _Source, board: int, key: int, angle_deg: float) -> NDArray[np.complex128]:
        """(P, C) weights of a source on this board in LSB; remembered where the angle stays."""
        name = (id(source), board, key)
        if key >= 0:
            with self._lock:
                if name in self._weights:
                    return self._weights[name]
        c0, c = board * self._board.n_channels, self._board.n_channels
        full = propagation.coefficients(source.ray, source.table, self.drawn, source.fc_hz, angle_deg)
        here = np.where(source.heard, full, 0)[:, c0 : c0 + c] * self._lsb
        out = np.zeros((len(full), c), complex)
        out[:, : here.shape[1]] = here
        if key >= 0:
            with self._lock:
                self._weights[name] = out
                while len(self._weights) > _KEPT_WEIGHTS:
                    self._weights.popitem(last=False)
        return out

    def _real(self, weights: NDArray[np.complex128], state: BoardState, sample: int) -> NDArray[np.float32]:
        """(2 P, 2 C) real form of (P, C) weights, with LO phase and drift at this sample."""
        c0 = state.board * self._board.n_channels
        turn = np.array(state.channel_phase_rad)
        drift = self.drawn.drift_rad_per_s[c0 : c0 + len(turn)]
        if np.any(drift):
            turn[: len(drift)] += drift * (sample / state.fs_hz)
        w = weights * np.exp(1j * turn)
        out = np.empty((2 * len(w), 2 * w.shape[1]), np.float32)
        out[0::2, 0::2], out[0::2, 1::2] = w.real, w.imag
        out[1::2, 0::2], out[1::2, 1::2] = -w.imag, w.real
        return out

    def _sources_of(self, state: BoardState) -> list[_Source]:
        """Sources as heard with the LOs and rate of this state; tables are made here when they are new."""
        key = (state.fs_hz, state.fc_hz)  # the same on every board
        with self._lock:
            if key not in self._sources:
                self._sources[key] = self._build(state)
                while len(self._sources) > 4:
                    for old in self._sources.popitem(last=False)[1]:
                        self._forget(old)
            return self._sources[key]

    def _forget(self, source: _Source) -> None:
        for name in [name for name in self._weights if name[0] == id(source)]:
            del self._weights[name]

    def _build(self, state: BoardState) -> list[_Source]:
        m, c = self.scene.n_elements, self._board.n_channels
        channel_fc = np.array([state.fc_hz[self._board.chip_of(ch)] for ch in range(c)])
        fc_hz = np.tile(channel_fc, self.n_boards)[:m]
        out: list[_Source] = []
        for ray in self._rays:
            for offset_hz in sorted({ray.offset_hz(fc) for fc in state.fc_hz}):
                table = propagation.make_table(self.scene, ray, state.fs_hz, offset_hz, self._span_s)
                heard = np.array([ray.offset_hz(fc) == offset_hz for fc in fc_hz])
                if not np.any(table.samples):
                    continue
                osc_hz = offset_hz - table.baked_hz
                osc = None
                if osc_hz or table.constant:
                    turns = np.exp(2j * np.pi * ((osc_hz / state.fs_hz) * np.arange(CHUNK)))
                    osc = np.repeat(turns[:, None], len(table.nodes_s), axis=1).astype(np.complex64)
                out.append(_Source(ray, table, fc_hz, heard, osc_hz, osc, self._piece(ray, state)))
        return out

    def _piece(self, ray: Ray, state: BoardState) -> int:
        """Samples over which a moving angle is held: a power of two up to CHUNK."""
        rate = self._motions[ray.index].rate_rad_per_s
        if rate == 0 or ray.path is not None:
            return CHUNK
        # phase of an element: 2 pi f tau; half a piece to either side of the middle
        slope = 2 * np.pi * (max(state.fc_hz) + state.fs_hz) * (self._span_s[1] - self._span_s[0]) / 2 * rate
        samples = 2 * TRACK_PHASE_RAD / slope * state.fs_hz
        piece = _SHORTEST_PIECE
        while piece * 2 <= min(samples, CHUNK // 2):
            piece *= 2
        return piece

    def _slip(self, board: int, states: tuple[BoardState, ...], first: int, out: NDArray[np.int16]) -> None:
        """Shift the slipped channel against the others."""
        faults, fs_hz = self.scene.faults, states[-1].fs_hz
        column = 2 * faults.slip_channel
        at = 0
        borders = [round(t * fs_hz) for t in faults.slip_samples_at_s]
        while at < len(out):
            slipped = faults.slip_samples * bisect_right(borders, first + at)
            end = min([len(out), *(b - first for b in borders if b > first + at)])
            if slipped:
                moved = np.empty((end - at, out.shape[1]), np.int16)
                self._fill(board, states, max(0, first + at + slipped), moved)
                out[at:end, column : column + 2] = moved[:, column : column + 2]
            at = end

    # Events

    def write_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        """LO of one chip from `at` on; a new phase of that chip where the board relocks."""
        self._record("lo_write", board, at, lambda s: s.with_lo(chip, float(fc_hz)), chip=chip, fc_hz=float(fc_hz))

    def write_rate(self, board: int, fs_hz: float, at: int) -> None:
        """Sample rate from `at` on (`at` counts at the old rate; sample n is scene second n / fs_hz from
        then on); new phases of all chips where the board relocks."""
        self._record("rate_write", board, at, lambda s: s.with_rate(float(fs_hz)), fs_hz=float(fs_hz))

    def write_gain(self, board: int, channel: int, gain_db: float, at: int) -> None:
        """Gain of one channel from `at` on."""
        change = {"channel": channel, "gain_db": float(gain_db)}
        self._record("gain_write", board, at, lambda s: s.with_gain(channel, float(gain_db)), **change)

    def transmit(
        self, board: int, waveform: NDArray[np.complex64] | None, at: int, *, cyclic: bool = True
    ) -> None:
        """What the board sends from `at` on; noted in the truth. Targets do not echo it yet."""
        n = 0 if waveform is None else int(np.shape(waveform)[-1])
        self.note("transmit", board, at, samples=n, cyclic=cyclic)

    def note(self, event: str, board: int, at: int, **details: Any) -> None:
        """Write an event such as "open" or "stall" to the truth file."""
        self._log.check(board)
        if self._truth:
            self._truth.event(event, self._log.last(board), at, details)

    def _record(self, event: str, board: int, at: int, change: Any, **details: Any) -> None:
        with self._lock:
            state, sample, fs_hz = self._log.append(board, at, change)
            if self._truth:
                self._truth.event(event, state, sample, details, fs_hz)

    def close(self) -> None:
        """Close the truth file. Idempotent."""
        if self._truth:
            self._truth.close()


__all__ = ["TRACK_PHASE_RAD", "ArrayEngine"]
