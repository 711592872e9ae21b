"""Mixes the emitters' waveforms into the channels of one board: the signal before the converter."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_backend import propagation
from sim_backend.drawn import Drawn, rewired, stream_key
from sim_backend.echo import Echoes
from sim_backend.echo_drawn import TxDrawn
from sim_backend.echo_timeline import Timeline
from sim_backend.events import BoardState
from sim_backend.fault_track import Piece
from sim_backend.frontend import impair_iq, noise_row, noise_table
from sim_backend.motion import Motion
from sim_backend.propagation import CHUNK, Ray, Table
from sim_backend.scene import Scene
from sim_backend.turntable_heading import Heading

#: A moving emitter's angle is held over pieces in which no element's phase moves by more than this.
TRACK_PHASE_RAD = 2e-3
_SHORTEST_PIECE = 32
_KEPT_STATES = 4
_KEPT_WEIGHTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """One ray as it is heard at one setting of LOs and rate: table, oscillator, weights' ingredients."""

    serial: int
    ray: Ray
    table: Table
    fc_hz: NDArray[np.float64]  # (M,) LO of every element's channel
    heard: NDArray[np.bool_]  # (M,) elements that this source reaches
    osc_hz: float
    osc: NDArray[np.complex64] | None  # (CHUNK, P)
    piece: int  # samples over which the angle may be held


class Mixer:
    """The analog part of the receivers of one scene. Thread-safe.

    Parameters
    ----------
    scene, drawn : what to simulate and its errors. motions : of every emitter. heading : of the array. timeline,
        tx : what the array itself sends, and the errors of its transmit chains.

    Raises
    ------
    SceneError : from `prepare` and `analog`, if the emitters cannot be simulated.
    """

    def __init__(
        self,
        scene: Scene,
        drawn: Drawn,
        motions: list[Motion],
        heading: Heading,
        timeline: Timeline,
        tx: TxDrawn,
    ) -> None:
        self._scene = scene
        self._drawn = drawn
        self._motions = motions
        self._heading = heading
        self._board = scene.board
        self._rays = propagation.rays(scene)
        self._sudden = propagation.sudden_rays(scene)
        self._rewired = rewired(drawn, scene.faults.swap_channels) if scene.faults.swap_at_s else drawn
        self._span_s = propagation.delay_span_s(drawn)
        self._noise_key = stream_key(scene.seed, "noise", 1)
        self._lsb = 10 ** (scene.receiver.peak_dbfs / 20) * 2.0 ** (scene.receiver.adc_bits - 1)
        self.echoes = Echoes(scene, drawn, tx, timeline, heading, self._lsb)
        self._rewired_echoes = self.echoes
        if self._rewired is not drawn:
            self._rewired_echoes = Echoes(
                scene, self._rewired, tx, timeline, heading, self._lsb, sending=drawn
            )
        sigma = self._lsb * 10 ** (-scene.receiver.snr_db / 20)
        # a table per board: one for all would correlate boards at random lags, which spoils their alignment
        self._noise = [
            noise_table(scene.seed, board, self._board.n_channels, CHUNK, sigma)
            for board in range(scene.n_boards)
        ]
        self._drifts = bool(np.any(drawn.drift_rad_per_s))
        self._serials = count()
        self._lock = threading.RLock()
        self._sources: OrderedDict[Any, list[_Source]] = OrderedDict()
        self._weights: OrderedDict[Any, NDArray[np.complex128]] = OrderedDict()

    def prepare(self, state: BoardState) -> None:
        """Make the tables of this state now, so that the first `analog` does not wait for them."""
        self._sources_of(state)

    def analog(self, state: BoardState, index: int, low: int, high: int, wrong: Piece) -> NDArray[np.float32]:
        """Rows low..high of a chunk before the converter, in LSB, (n, 2 C) float32; `wrong`: with these faults."""
        row = noise_row(self._noise_key, state.board, index)
        samples = self._noise[state.board][row + low : row + high].copy()
        scratch = np.empty_like(samples)
        quiet = [2 * channel + part for channel in wrong.quiet for part in (0, 1)]
        noise = samples[:, quiet]
        for source in self._sources_of(state):
            if wrong.multipath or not source.ray.sudden:
                self._add(samples, scratch, source, state, index * CHUNK, low, high, wrong)
        echoes = self._rewired_echoes if wrong.rewired else self.echoes
        echoes.add(samples, state, index * CHUNK + low)
        samples[:, quiet] = noise
        ratio = 10 ** ((np.array(state.gain_db) - self._board.nominal_gain_db) / 20)
        if np.all(ratio == ratio[0]):
            if ratio[0] != 1.0:
                samples *= np.float32(ratio[0])
        else:
            samples *= np.repeat(ratio, 2).astype(np.float32)
        wrong.amplify(samples, index * CHUNK + low, state.fs_hz)
        c0, c = state.board * self._board.n_channels, self._board.n_channels
        for values, apply in ((self._drawn.iq_image, impair_iq), (self._drawn.dc_offset, self._add_dc)):
            here = np.zeros(c, np.complex64)
            here[: len(values[c0 : c0 + c])] = values[c0 : c0 + c]
            if np.any(here):
                apply(samples, here)
        return samples

    def _add_dc(self, samples: NDArray[np.float32], dc: NDArray[np.complex64]) -> None:
        samples += (dc * 2.0 ** (self._scene.receiver.adc_bits - 1)).astype(np.complex64).view(np.float32)

    def _add(
        self, samples: NDArray[np.float32], scratch: NDArray[np.float32], source: _Source, state: BoardState,
        start: int, low: int, high: int, wrong: Piece,
    ) -> None:  # fmt: skip
        """Add one source to rows low..high of the chunk that begins at scene sample `start`."""
        drift = wrong.carrier_turn(source.ray.index, start + low, high - low, state.fs_hz)
        phase = np.exp(2j * np.pi * ((source.osc_hz * start / state.fs_hz) % 1.0))
        row = start % source.table.period
        at = low
        while at < high:
            weights, end = self._weights_at(source, state, start, at, wrong)
            end = min(end, high)
            block = self._real(weights * phase, state, start)
            if source.osc is None:
                wave = source.table.samples[row + at : row + end]
            elif source.table.constant:
                wave = source.osc[at:end] * source.table.samples[0, 0]
            else:
                wave = source.table.samples[row + at : row + end] * source.osc[at:end]
            if drift is not None:
                wave = wave * drift[at - low : end - low, None]
            part = scratch[: end - at]
            np.matmul(wave.view(np.float32), block, out=part)
            samples[at - low : end - low] += part
            at = end

    def _weights_at(
        self, source: _Source, state: BoardState, start: int, at: int, wrong: Piece
    ) -> tuple[NDArray[np.complex128], int]:
        """(P, M) weights of a source in LSB at sample `start + at`, and up to which `at` they hold."""
        motion = self._motions[source.ray.index]
        heading, end, _ = self._heading.at(start + at, start + CHUNK, state.fs_hz)
        end -= start
        if source.ray.path is not None:
            angles = [source.ray.path.angle_deg - heading]
            return self._weights_of(source, (0, heading), angles, wrong.rewired)[0], end
        if source.piece < CHUNK:
            middles = start + (np.arange(CHUNK // source.piece) + 0.5) * source.piece
            angles = [motion.angle_deg(middle / state.fs_hz) - heading for middle in middles]
            piece = at // source.piece
            weights = self._weights_of(source, (start, heading), angles, wrong.rewired)
            return weights[piece], min(end, (piece + 1) * source.piece)
        dwell = motion.hop_index(start + at, state.fs_hz)
        end = min(end, motion.hop_border(dwell + 1, state.fs_hz) - start)
        dwell_deg = [motion.dwell_deg(dwell) - heading]
        return self._weights_of(source, (dwell, heading), dwell_deg, wrong.rewired)[0], end

    def _weights_of(
        self, source: _Source, key: tuple[int, float], angles_deg: list[float], rewired: bool
    ) -> NDArray[np.complex128]:
        """(J, P, M) weights for J angles; remembered, because boards and chunks ask for the same ones."""
        name = (source.serial, rewired, *key)
        with self._lock:
            if name in self._weights:
                return self._weights[name]
        out = propagation.coefficients(
            source.ray,
            source.table,
            self._rewired if rewired else self._drawn,
            source.fc_hz,
            np.array(angles_deg),
        )
        out = np.where(source.heard, out * self._lsb, 0)
        with self._lock:
            self._weights[name] = out
            while len(self._weights) > _KEPT_WEIGHTS:
                self._weights.popitem(last=False)
        return out

    def _real(self, weights: NDArray[np.complex128], state: BoardState, sample: int) -> NDArray[np.float32]:
        """(2 P, 2 C) real form of the board's columns of (P, M) weights, with LO phase and drift."""
        c = self._board.n_channels
        mine = slice(state.board * c, min((state.board + 1) * c, weights.shape[1]))
        n = mine.stop - mine.start  # elements on this board; its other channels hear nothing
        w = weights[:, mine] * state.channel_turn[:n]
        if self._drifts:
            w = w * np.exp(1j * self._drawn.drift_rad_per_s[mine] * (sample / state.fs_hz))
        out = np.zeros((2 * len(w), 2 * c), np.float32)
        out[0::2, 0 : 2 * n : 2], out[0::2, 1 : 2 * n : 2] = w.real, w.imag
        out[1::2, 0 : 2 * n : 2], out[1::2, 1 : 2 * n : 2] = -w.imag, w.real
        return out

    def _sources_of(self, state: BoardState) -> list[_Source]:
        """Sources as heard with the LOs and rate of this state; tables are made here when they are new."""
        key = (state.fs_hz, state.fc_hz)  # the same on every board
        with self._lock:
            if key not in self._sources:
                self._sources[key] = self._build(state)
                while len(self._sources) > _KEPT_STATES:
                    self._sources.popitem(last=False)
            return self._sources[key]

    def _build(self, state: BoardState) -> list[_Source]:
        m, c = self._scene.n_elements, self._board.n_channels
        channel_fc = np.array([state.fc_hz[self._board.chip_of(ch)] for ch in range(c)])
        fc_hz = np.tile(channel_fc, self._scene.n_boards)[:m]
        out: list[_Source] = []
        for ray in (*self._rays, *self._sudden):
            for offset_hz in sorted({ray.offset_hz(fc) for fc in state.fc_hz}):
                table = propagation.make_table(self._scene, ray, state.fs_hz, offset_hz, self._span_s)
                heard = np.array([ray.offset_hz(fc) == offset_hz for fc in fc_hz])
                if not np.any(table.samples):
                    continue
                osc_hz = offset_hz - table.baked_hz
                osc = None
                if osc_hz or table.constant:
                    turns = np.exp(2j * np.pi * ((osc_hz / state.fs_hz) * np.arange(CHUNK)))
                    osc = np.repeat(turns[:, None], len(table.nodes_s), axis=1).astype(np.complex64)
                out.append(
                    _Source(
                        next(self._serials), ray, table, fc_hz, heard, osc_hz, osc, self._piece(ray, state)
                    )
                )
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
