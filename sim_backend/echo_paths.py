"""Where the targets of a scene are, and what their echoes pass on the way: elements, carriers, chains.

A transmit chain j with LO f at an element p_j sends b_j s_j(t) exp(j 2 pi f t). A target at range R in direction u
returns to the element at r_m (monostatic, far field: the same u for both)

    A s_j(t - 2 R / c + (p_j + r_m) . u / c) exp(j 2 pi f (t - 2 R / c + (p_j + r_m) . u / c)),

A = 10^((rcs_db + 12) / 20) relative to `peak_dbfs` of the receiver: a transmission of mean power -12 dBFS is echoed
by a target of rcs_db = 0 at that level, whatever its range. Coupling and angle-dependent phase act on the way out
as on the way in (reciprocity). A range that changes with the speed turns the carrier by the Doppler frequency
-2 v f / c and moves the delay; an approaching target turns back where it reaches the array.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hil.core.units import SPEED_OF_LIGHT_M_S
from sim_backend import propagation
from sim_backend.drawn import Drawn, stream_key
from sim_backend.echo_drawn import TxDrawn
from sim_backend.echo_filter import lagrange_nodes
from sim_backend.echo_timeline import Segment
from sim_backend.events import BoardState
from sim_backend.motion import Motion, uniform
from sim_backend.propagation import Ray, Table
from sim_backend.scene import Emitter, Scene

#: Mean power of the transmission that rcs_db refers to.
REFERENCE_DBFS = -12.0
_ERROR = 1e-5
_EMPTY = np.zeros((1, 1), np.complex64)


class Path:
    """One target over scene time."""

    def __init__(self, scene: Scene, index: int) -> None:
        self.index, self.target = index, scene.targets[index]
        self.motion = Motion(self.target, stream_key(scene.seed, "target", index))
        self._range_key = stream_key(scene.seed, "target", index, 1)
        level = 10 ** ((self.target.rcs_db - REFERENCE_DBFS) / 20)
        self.amplitude = level * cmath.exp(1j * math.radians(self.target.phase_deg))

    def angle_deg(self, t_s: float, dwell: int) -> float:
        """Azimuth in the room at a scene second that lies in dwell `dwell`."""
        return self.motion.angle_deg(t_s) if self.target.track else self.motion.dwell_deg(dwell)

    def dwell(self, t_s: float) -> int:
        """Which dwell of its hops a scene second lies in; 0 without hops."""
        hop = self.target.hop
        return 0 if hop is None else int(t_s / hop.period_s + 1e-9)

    def turn_s(self) -> float:
        """Scene second at which an approaching target reaches the array; infinite for others."""
        v = self.target.speed_m_s
        return -self.target.range_m / v if v < 0 else math.inf

    def range_m(self, t_s: float, dwell: int) -> float:
        """Distance from the array's origin at a scene second that lies in dwell `dwell`."""
        hop = self.target.hop
        if hop is not None and hop.min_m is not None and hop.max_m is not None:
            return hop.min_m + (hop.max_m - hop.min_m) * uniform(self._range_key, dwell)
        return abs(self.target.range_m + self.target.speed_m_s * t_s)

    def speed_m_s(self, t_s: float) -> float:
        """Radial speed, positive receding."""
        v = self.target.speed_m_s
        return -v if t_s >= self.turn_s() else v

    def farthest_m(self, t_s: float) -> float:
        """No range up to t_s is greater."""
        hop = self.target.hop
        if hop is not None and hop.max_m is not None:
            return hop.max_m
        return max(self.target.range_m, abs(self.target.range_m + self.target.speed_m_s * t_s))


class Ways:
    """Weights of elements and chains for echoes, from transmit channel to target and back to receive channel.

    Parameters
    ----------
    scene, drawn : what to simulate and its errors, as the receivers are connected to the antennas.
    antennas : the same as the transmitters are connected. tx : errors of the transmit chains.
    lsb : converter steps of the level `peak_dbfs`.
    """

    def __init__(self, scene: Scene, drawn: Drawn, antennas: Drawn, tx: TxDrawn, lsb: float) -> None:
        self.scene, self.board, self.drawn, self.lsb = scene, scene.board, drawn, lsb
        no_delay = np.zeros(len(drawn.gain))
        self.sending = replace(antennas, gain=tx.gain, coupling=antennas.coupling.T, delay_s=no_delay)
        self.leakage = tx.leakage
        self.leaks = bool(np.any(tx.leakage))
        self.leak_s = scene.transmit.leakage_delay_s
        self._drifts = bool(np.any(drawn.drift_rad_per_s))
        reach_m = float(np.max(np.linalg.norm(drawn.positions_m + drawn.position_error_m, axis=1)))
        #: No element's way differs by more from that of the array's origin, there and back.
        self.spread_s = 2 * reach_m / SPEED_OF_LIGHT_M_S + float(np.max(np.abs(drawn.delay_s)))
        self.nodes = lru_cache(maxsize=8)(self._nodes)

    def _nodes(self, fs_hz: float, side: str) -> Table:
        """Delays between which those of "out", "back" and "leak" are interpolated at a rate."""
        if side == "leak":
            d = self.drawn.delay_s
            span_s = (-float(np.max(d)), -float(np.min(d)))
        else:
            span_s = propagation.delay_span_s(self.sending if side == "out" else self.drawn)
        return Table(_EMPTY, 1, lagrange_nodes(span_s, fs_hz, _ERROR))

    def out(self, path: Path, angle_deg: float, fc_hz: float, fs_hz: float) -> NDArray[np.complex128]:
        """(Q, M): from transmit channels of carrier fc_hz to the target."""
        rx_fc_hz = np.full(len(self.drawn.gain), fc_hz)
        return self._weights(path, angle_deg, fc_hz, rx_fc_hz, self.nodes(fs_hz, "out"), self.sending)

    def back(
        self, path: Path, angle_deg: float, fc_hz: float, rx_fc_hz: NDArray[np.float64], fs_hz: float
    ) -> NDArray[np.complex128]:
        """(P, M) in LSB: from the target to receivers with LOs rx_fc_hz (M,), without carrier of the range."""
        w = self._weights(path, angle_deg, fc_hz, rx_fc_hz, self.nodes(fs_hz, "back"), self.drawn)
        return w * (path.amplitude * self.lsb)

    def leak(
        self, antenna: int, fc_hz: float, rx_fc_hz: NDArray[np.float64], fs_hz: float
    ) -> NDArray[np.complex128]:
        """(P, M) in LSB: from one transmit channel straight to the receivers, without its delay."""
        d = self.drawn
        after = d.gain * np.exp(-2j * np.pi * (fc_hz - rx_fc_hz) * d.delay_s) * self.lsb
        level = self.leakage[antenna] * self.sending.gain[antenna] * 10 ** (-REFERENCE_DBFS / 20)
        return self.nodes(fs_hz, "leak").weights(-d.delay_s) * (level * after)

    @staticmethod
    def _weights(
        path: Path, angle_deg: float, fc_hz: float, rx_fc_hz: NDArray[np.float64], nodes: Table, side: Drawn
    ) -> NDArray[np.complex128]:
        ray = Ray(0, Emitter(elevation_deg=path.target.elevation_deg, rf_hz=fc_hz), None, 1.0)
        return propagation.coefficients(ray, nodes, side, rx_fc_hz, np.array([angle_deg]))[0]

    def rx_fc_hz(self, state: BoardState) -> NDArray[np.float64]:
        """(M,) LO of every channel, as if all boards were tuned like this one: only its own columns count."""
        c = self.board.n_channels
        fc_hz = np.array([state.fc_hz[self.board.chip_of(ch)] for ch in range(c)])
        return np.tile(fc_hz, self.scene.n_boards)[: self.scene.n_elements]

    def mine(self, board: int) -> slice:
        """The board's part of M."""
        c = self.board.n_channels
        return slice(board * c, min((board + 1) * c, self.scene.n_elements))

    def turns(self, state: BoardState, sample: int) -> NDArray[np.complex128]:
        """(C,) LO phase and drift of the board's channels; 0 for those without an element."""
        mine = self.mine(state.board)
        n = mine.stop - mine.start
        out = np.zeros(self.board.n_channels, complex)
        out[:n] = state.channel_turn[:n]
        if self._drifts:
            out[:n] *= np.exp(1j * self.drawn.drift_rad_per_s[mine] * (sample / state.fs_hz))
        return out

    def columns(self, state: BoardState, weights: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(P, C) of (P, M): those of the board's channels, 0 for those without an element."""
        mine = self.mine(state.board)
        out = np.zeros((len(weights), self.board.n_channels), complex)
        out[:, : mine.stop - mine.start] = weights[:, mine]
        return out

    def carriers(self, tx: int, segments: list[Segment]) -> list[tuple[float, tuple[int, ...]]]:
        """(LO, transmit channels of board `tx` that send on it) of what has an antenna and is not silent."""
        first = tx * self.board.n_channels
        found: dict[float, set[int]] = {}
        for s in segments:
            for j in s.wave.active:
                if first + j < self.scene.n_elements and s.gain[j] != 0:
                    found.setdefault(s.fc_hz[j], set()).add(j)
        return [(fc_hz, tuple(sorted(js))) for fc_hz, js in sorted(found.items())]


def window(
    segments: list[Segment], fc_hz: float, js: tuple[int, ...], first: int, n: int
) -> NDArray[np.complex64]:
    """(J, n) complex64: what channels `js` send on one carrier, with attenuation and LO phase."""
    out = np.zeros((len(js), n), np.complex64)
    for s in segments:
        here = [k for k, j in enumerate(js) if j < len(s.fc_hz) and s.fc_hz[j] == fc_hz]
        if here and s.begins < first + n and s.ends > first:
            rows = s.rows(first, n)
            for k in here:
                out[k] += rows[js[k]] * np.complex64(s.gain[js[k]])
    return out


def carrier_turn(fc_hz: float, range_m: float) -> complex:
    """exp(-j 2 pi f 2 R / c)."""
    return cmath.exp(-2j * math.pi * ((fc_hz * 2 * range_m / SPEED_OF_LIGHT_M_S) % 1.0))


def delay_s(range_m: float) -> float:
    """2 R / c."""
    return 2 * range_m / SPEED_OF_LIGHT_M_S
