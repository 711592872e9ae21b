"""Echoes of targets that move, hop or turn: piece by piece, at one delay and angle each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.units import SPEED_OF_LIGHT_M_S
from sim_backend import echo_filter
from sim_backend.echo_filter import Kept
from sim_backend.echo_paths import Path, Ways, carrier_turn, delay_s, window
from sim_backend.echo_timeline import Segment
from sim_backend.events import BoardState
from sim_backend.propagation import CHUNK, Table, real_form

#: Over a piece the phase of a moving target's echo is off by no more than this at the edges of the band.
PHASE_RAD = 4e-3
_SHORTEST_PIECE = 128
_TABLE_BYTES = 64 << 20
_ERROR = 1e-5


@dataclass(frozen=True, slots=True)
class _Piece:
    """n samples from scene sample `first` on: angle and delay, range at the first sample, radial speed."""

    first: int
    n: int
    angle_deg: float
    delay_s: float
    range_m: float
    speed_m_s: float


class MovingEchoes:
    """Adds echoes that change over time. Thread-safe."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._fields, self._weights, self._tables = Kept(192), Kept(512), Kept(4)
        self._oscillators = Kept(256)

    def add(
        self, out: NDArray[np.complex64], state: BoardState, first: int, tx: int, segments: list[Segment],
        path: Path, heading_deg: float, *, steady: bool,
    ) -> None:  # fmt: skip
        """Add to samples (n, C) the echoes of one target; `steady`: one cyclic segment covers all of them."""
        fc_hz = max(max(s.fc_hz) for s in segments)
        length = self._piece_samples(path, state.fs_hz, fc_hz)
        at = 0
        while at < len(out):
            piece = self._piece(path, first + at, first + len(out), length, state.fs_hz, heading_deg)
            self._add_piece(out[at : at + piece.n], state, tx, segments, path, piece, steady)
            at += piece.n

    def _piece_samples(self, path: Path, fs_hz: float, fc_hz: float) -> int:
        """Samples over which delay and angle may be held: a power of two up to CHUNK."""
        drift = (
            2 * abs(path.target.speed_m_s) / SPEED_OF_LIGHT_M_S * math.pi
        )  # rad per sample at the band's edge
        drift += 2 * math.pi * (fc_hz / fs_hz + 1) * self._ways.spread_s * path.motion.rate_rad_per_s
        piece = CHUNK
        while piece > _SHORTEST_PIECE and drift * piece / 2 > PHASE_RAD:
            piece //= 2
        return piece

    @staticmethod
    def _piece(path: Path, first: int, last: int, length: int, fs_hz: float, heading_deg: float) -> _Piece:
        """The piece from `first` on that ends at `last` or before, at a multiple of `length`."""
        dwell = path.motion.hop_index(first, fs_hz)
        end = min(last, (first // length + 1) * length, path.motion.hop_border(dwell + 1, fs_hz))
        turn_at = path.turn_s() * fs_hz
        if first < turn_at < end:
            end = min(end, math.ceil(turn_at))
        middle_s = (first + (end - first - 1) / 2) / fs_hz
        return _Piece(
            first, end - first, path.angle_deg(middle_s, dwell) - heading_deg, delay_s(path.range_m(middle_s, dwell)),
            path.range_m(first / fs_hz, dwell), path.speed_m_s(first / fs_hz),
        )  # fmt: skip

    def _add_piece(
        self, out: NDArray[np.complex64], state: BoardState, tx: int, segments: list[Segment], path: Path,
        piece: _Piece, steady: bool,
    ) -> None:  # fmt: skip
        fs_hz, angle_deg = state.fs_hz, piece.angle_deg
        rx_fc_hz = self._ways.rx_fc_hz(state)
        for fc_hz, js in self._ways.carriers(tx, segments):
            for offset_hz in sorted({fc_hz - fc for fc in state.fc_hz}):
                heard = echo_filter.band(offset_hz, fs_hz)
                if heard[0] == heard[1]:
                    continue
                key = (tuple(s.serial for s in segments), path.index, fc_hz, heard, piece, steady)
                make = lambda fc_hz=fc_hz, js=js, heard=heard: self._turned(  # noqa: E731
                    segments, tx, fc_hz, js, heard, path, piece, fs_hz, steady
                )
                field = self._fields.get(key, make)
                key = (path.index, angle_deg, fc_hz, state.fc_hz, fs_hz)
                w = self._weights.get(
                    key, lambda fc_hz=fc_hz: self._ways.back(path, angle_deg, fc_hz, rx_fc_hz, fs_hz)
                )
                turn = carrier_turn(fc_hz, piece.range_m) * np.exp(
                    2j * np.pi * ((offset_hz * piece.first / fs_hz) % 1.0)
                )
                w = self._ways.columns(state, w * np.where(fc_hz - rx_fc_hz == offset_hz, turn, 0))
                w = w * self._ways.turns(state, piece.first)
                part = np.matmul(field.view(np.float32), real_form(w)).view(np.complex64)
                if offset_hz:
                    part *= self._oscillator(offset_hz / fs_hz)[: piece.n, None]
                out += part

    def _oscillator(self, cycles: float) -> NDArray[np.complex64]:
        """(CHUNK,) complex64: exp(j 2 pi cycles i)."""
        return self._oscillators.get(
            cycles, lambda: np.exp(2j * np.pi * cycles * np.arange(CHUNK)).astype(np.complex64)
        )

    def _turned(
        self, segments: list[Segment], tx: int, fc_hz: float, js: tuple[int, ...], heard: tuple[float, float],
        path: Path, piece: _Piece, fs_hz: float, steady: bool,
    ) -> NDArray[np.complex64]:  # fmt: skip
        """The field with its Doppler frequency."""
        field = self._field(segments, tx, fc_hz, js, heard, path, piece, fs_hz, steady)
        doppler_hz = -2 * piece.speed_m_s / SPEED_OF_LIGHT_M_S * fc_hz
        if doppler_hz:
            field *= self._oscillator(doppler_hz / fs_hz)[: piece.n, None]
        return field

    def _field(
        self, segments: list[Segment], tx: int, fc_hz: float, js: tuple[int, ...], heard: tuple[float, float],
        path: Path, piece: _Piece, fs_hz: float, steady: bool,
    ) -> NDArray[np.complex64]:  # fmt: skip
        """(n, P) complex64: what the target returns to the array's origin, at the receive nodes."""
        ways, n = self._ways, piece.n
        delay = piece.delay_s * fs_hz
        whole = math.floor(delay + 0.5)
        channels = [tx * ways.board.n_channels + j for j in js]
        key = ("out", path.index, piece.angle_deg, fc_hz, fs_hz)
        there = self._weights.get(key, lambda: ways.out(path, piece.angle_deg, fc_hz, fs_hz))[:, channels]
        early_s = ways.nodes(fs_hz, "out").nodes_s[:, None] + ways.nodes(fs_hz, "back").nodes_s
        rest_s = early_s - (delay - whole) / fs_hz
        if steady:
            table = self._tables.get(
                (segments[0].wave.serial, segments[0].gain, js, fs_hz, heard),
                lambda: self._make_table(segments[0], js, heard, fs_hz),
            )
            if table is not None:
                w = np.einsum("qj,kqp->jkp", there, echo_filter.lagrange(table.nodes_s, rest_s))
                row = (piece.first - whole - segments[0].origin) % table.period
                rows = table.samples[row : row + n]
                return np.matmul(rows.view(np.float32), real_form(w.reshape(-1, w.shape[-1]))).view(
                    np.complex64
                )
        delays = -rest_s * fs_hz
        pad = echo_filter.reach(float(np.max(np.abs(delays))))
        h = np.einsum("qj,qpl->jpl", there, echo_filter.taps(delays, heard, pad))
        sent = window(segments, fc_hz, js, piece.first - whole - pad, n + 2 * pad)
        return np.ascontiguousarray(echo_filter.combine(sent, echo_filter.response(h, n), n).T)

    def _make_table(
        self, segment: Segment, js: tuple[int, ...], heard: tuple[float, float], fs_hz: float
    ) -> Table | None:
        """Copies (n + CHUNK, J K) of a cyclic waveform, advanced by nodes over a sample; None if too large."""
        n = segment.wave.samples.shape[1]
        half_s = 0.5 / fs_hz + self._ways.spread_s
        nodes_s = echo_filter.lagrange_nodes((-half_s, half_s), fs_hz, _ERROR)
        if (n + CHUNK) * len(js) * len(nodes_s) * 8 > _TABLE_BYTES:
            return None
        f_hz = np.asarray(np.fft.fftfreq(n, 1 / fs_hz), dtype=np.float64)
        gain = np.array([segment.gain[j] for j in js])[:, None]
        spectra = np.fft.fft(segment.wave.samples[list(js)], axis=1) * gain
        spectra = np.where((f_hz >= heard[0] * fs_hz) & (f_hz <= heard[1] * fs_hz), spectra, 0)
        samples = np.empty((n + CHUNK, len(js), len(nodes_s)), np.complex64)
        for k, node_s in enumerate(nodes_s):
            samples[:n, :, k] = np.fft.ifft(spectra * np.exp(2j * np.pi * f_hz * node_s), axis=1).T
        samples[n:] = samples[np.arange(CHUNK) % n]
        return Table(samples.reshape(n + CHUNK, -1), n, nodes_s)
