"""Echoes of targets that stand still, and leakage: one response per receive channel for all of them together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_backend import echo_filter
from sim_backend.echo_filter import Kept
from sim_backend.echo_paths import Path, Ways, carrier_turn, delay_s, window
from sim_backend.echo_timeline import Segment
from sim_backend.events import BoardState
from sim_backend.propagation import CHUNK

_LEAK = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One way back to the receivers: `nodes_s` (P,) delays in seconds, weights (J, P, C) in LSB at these."""

    delay_s: float
    nodes_s: NDArray[np.float64]
    weights: NDArray[np.complex128]


class StillEchoes:
    """Adds echoes that do not change. Thread-safe.

    Parameters
    ----------
    ways : elements and chains. paths : the targets that stand still.
    """

    def __init__(self, ways: Ways, paths: list[Path]) -> None:
        self._ways, self._paths = ways, paths
        self._tables, self._banks = Kept(2 * ways.scene.n_boards), Kept(16 * ways.scene.n_boards)

    def add_steady(
        self,
        out: NDArray[np.complex64],
        state: BoardState,
        first: int,
        tx: int,
        segment: Segment,
        heading_deg: float,
    ) -> None:
        """Add to samples (n, C) what a cyclic waveform returns that has been sounding for long enough."""
        key = (
            segment.wave.serial,
            segment.gain,
            segment.fc_hz,
            state.fs_hz,
            state.fc_hz,
            state.board,
            heading_deg,
        )
        tables = self._tables.get(key, lambda: self._make_tables(state, tx, segment, heading_deg))
        row = (first - segment.origin) % segment.wave.samples.shape[1]
        for table, offset_hz in tables:
            self._turned(out, table[row : row + len(out)], state, first, offset_hz)

    def add_piece(
        self, out: NDArray[np.complex64], state: BoardState, first: int, tx: int, segments: list[Segment],
        heading_deg: float,
    ) -> None:  # fmt: skip
        """Add to samples (n, C) what any transmissions return."""
        fs_hz, n = state.fs_hz, len(out)
        for fc_hz, js in self._ways.carriers(tx, segments):
            for heard, offset_hz in self._offsets(state, fc_hz):
                key = (js, fc_hz, tx, state.board, state.fc_hz, fs_hz, heard, heading_deg, n)
                banks = self._banks.get(
                    key, lambda fc_hz=fc_hz, js=js, heard=heard: self._make_banks(state, tx, fc_hz, js, heard, heading_deg, n)
                )  # fmt: skip
                for late, bank, length in banks:
                    sent = window(segments, fc_hz, js, first - late - length + 1, n + length - 1)
                    if np.any(sent):
                        straight = length == 1
                        field = bank[..., 0].T @ sent if straight else echo_filter.combine(sent, bank, n)
                        self._turned(out, field.T, state, first, offset_hz)

    def _turned(
        self, out: NDArray[np.complex64], part: NDArray[np.complex64], state: BoardState, first: int,
        offset_hz: NDArray[np.float64],
    ) -> None:  # fmt: skip
        """Add with LO phases and, where a receiver is not on the transmitter's carrier, the offset's turn."""
        turn = self._ways.turns(state, first) * np.exp(2j * np.pi * ((offset_hz * first / state.fs_hz) % 1.0))
        part = part * turn.astype(np.complex64)
        if np.any(offset_hz):
            cycles = (offset_hz / state.fs_hz) * np.arange(len(out))[:, None]
            part *= np.exp(2j * np.pi * cycles).astype(np.complex64)
        out += part

    def _offsets(
        self, state: BoardState, fc_hz: float
    ) -> list[tuple[tuple[float, float], NDArray[np.float64]]]:
        """For every band of the carrier that some chip hears: the band, and all channels' offsets (C,) in Hz."""
        chips = [self._ways.board.chip_of(ch) for ch in range(self._ways.board.n_channels)]
        offset_hz = np.array([fc_hz - state.fc_hz[chip] for chip in chips])
        bands = {echo_filter.band(float(v), state.fs_hz) for v in offset_hz}
        return [(heard, offset_hz) for heard in sorted(bands) if heard[0] < heard[1]]

    def _parts(
        self,
        state: BoardState,
        tx: int,
        fc_hz: float,
        js: tuple[int, ...],
        heard: tuple[float, float],
        heading_deg: float,
    ) -> list[_Part]:
        """Ways from transmit channels to the receive channels that hear this band of the carrier."""
        ways, fs_hz = self._ways, state.fs_hz
        rx_fc_hz = ways.rx_fc_hz(state)
        hears = np.array([echo_filter.band(float(fc_hz - fc), fs_hz) == heard for fc in rx_fc_hz])
        antennas = [tx * ways.board.n_channels + j for j in js]
        out: list[_Part] = []
        for path in self._paths:
            angle_deg, range_m = path.target.angle_deg - heading_deg, path.target.range_m
            there = ways.out(path, angle_deg, fc_hz, fs_hz)[:, antennas] * carrier_turn(fc_hz, range_m)
            back = ways.columns(state, ways.back(path, angle_deg, fc_hz, rx_fc_hz, fs_hz) * hears)
            nodes_s = ways.nodes(fs_hz, "out").nodes_s[:, None] + ways.nodes(fs_hz, "back").nodes_s
            weights = np.einsum("qj,pc->jqpc", there, back).reshape(len(js), nodes_s.size, -1)
            out.append(_Part(delay_s(range_m), nodes_s.ravel(), weights))
        if ways.leaks:
            each = [ways.columns(state, ways.leak(m, fc_hz, rx_fc_hz, fs_hz) * hears) for m in antennas]
            out.append(_Part(ways.leak_s, ways.nodes(fs_hz, "leak").nodes_s, np.array(each)))
        return sorted(out, key=lambda part: part.delay_s)

    def _make_tables(
        self, state: BoardState, tx: int, segment: Segment, heading_deg: float
    ) -> list[tuple[NDArray[np.complex64], NDArray[np.float64]]]:
        """For every transmit carrier: (n + CHUNK, C) without LO phase, and its offset (C,) in Hz."""
        fs_hz, c = state.fs_hz, self._ways.board.n_channels
        n = segment.wave.samples.shape[1]
        f_hz = np.asarray(np.fft.fftfreq(n, 1 / fs_hz), dtype=np.float64)
        tables: list[tuple[NDArray[np.complex64], NDArray[np.float64]]] = []
        for fc_hz, js in self._ways.carriers(tx, [segment]):
            gain = np.array([segment.gain[j] for j in js])
            spectra = np.fft.fft(segment.wave.samples[list(js)].astype(np.complex64), axis=1) * gain[:, None]
            table = np.zeros((n + CHUNK, c), np.complex64)
            offsets = self._offsets(state, fc_hz)
            for heard, _ in offsets:
                inside = np.where((f_hz >= heard[0] * fs_hz) & (f_hz <= heard[1] * fs_hz), spectra, 0)
                if not np.any(inside):
                    continue
                for part in self._parts(state, tx, fc_hz, js, heard, heading_deg):
                    for p, node_s in enumerate(part.nodes_s):
                        turn = np.exp(2j * np.pi * f_hz * (node_s - part.delay_s))
                        columns = np.fft.ifft((inside * turn).astype(np.complex64), axis=1)
                        table[:n] += columns.T @ part.weights[:, p].astype(np.complex64)
            table[n:] = table[np.arange(CHUNK) % n]
            if offsets:
                tables.append((table, offsets[0][1]))
        return tables

    def _make_banks(
        self, state: BoardState, tx: int, fc_hz: float, js: tuple[int, ...], heard: tuple[float, float],
        heading_deg: float, n: int,
    ) -> list[tuple[int, NDArray[np.complex64], int]]:  # fmt: skip
        """Responses (J, C, F) of groups of ways whose delays lie within CHUNK samples, each with the samples by
        which it is late, less its reach, and its length; of length 1: factors (J, C, 1)."""
        fs_hz = state.fs_hz
        pad = echo_filter.reach(self._ways.spread_s * fs_hz)
        groups: list[list[_Part]] = []
        for part in self._parts(state, tx, fc_hz, js, heard, heading_deg):
            if not groups or (part.delay_s - groups[-1][0].delay_s) * fs_hz > CHUNK:
                groups.append([])
            groups[-1].append(part)
        banks: list[tuple[int, NDArray[np.complex64], int]] = []
        for group in groups:
            only = group[0]
            if len(group) == 1 and heard == (-0.5, 0.5) and not (np.any(only.nodes_s) or only.delay_s):
                banks.append((0, only.weights.sum(axis=1)[..., None].astype(np.complex64), 1))
                continue
            start = int(np.floor(group[0].delay_s * fs_hz))
            end = int(np.floor(group[-1].delay_s * fs_hz))
            h = np.zeros((len(js), self._ways.board.n_channels, end - start + 2 * pad + 1), complex)
            for part in group:
                whole = int(np.floor(part.delay_s * fs_hz))
                each = echo_filter.taps((part.delay_s - part.nodes_s) * fs_hz - whole, heard, pad)
                at = whole - start
                h[..., at : at + 2 * pad + 1] += np.einsum("jpc,pl->jcl", part.weights, each)
            banks.append((start - pad, echo_filter.response(h, n), h.shape[-1]))
        return banks
