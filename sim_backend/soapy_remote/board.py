"""One simulated board as a Soapy device drives it: gains, LOs, rate, time, and who streams from it.

The state belongs to the board, not to a connection: the device of the whole array and the device of a single
board are two ways to the same radio.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sim_backend.boards import BOARDS
from sim_backend.iiod.ad936x import GAIN_TABLES
from sim_backend.soapy_remote.errors import SoapyRefusal
from sim_backend.source import SampleSource

N_TX = 2
RX, TX = 1, 0
_NS = 1_000_000_000
MAX_TIME_NS = 1 << 61
MAX_AHEAD_S = 3600.0
_LO_STEP_HZ = 1.0


class RateFollower(Protocol):
    """A stream that must know when the rate changes: scene samples are counted in the present rate."""

    def rate_change(self) -> Any:
        """Context manager around the change."""
        ...


class RadioBoard:
    """Board `index` of the scene. All methods may be called from any thread.

    Parameters
    ----------
    seed : of what is drawn at power-up (the hardware clock of every board but the first).
    """

    def __init__(self, source: SampleSource, index: int, *, seed: int = 0) -> None:
        self.source, self.index = source, index
        self.spec = BOARDS[source.board_name(index)]
        self.n_rx = source.n_channels(index)
        # held while samples are made, and while a setting is written: taken after the locks of streams
        self.lock = threading.RLock()
        self.is_ad936x = self.spec.relock_phase
        fs_hz = source.fs_hz(index)
        self.tx_gain_max_db, self.tx_gain_step_db = (89.75, 0.25) if self.is_ad936x else (41.95, 0.05)
        self.tx_gain_db = [0.0] * N_TX
        self.bandwidth_hz = {RX: self.clip_bandwidth(fs_hz), TX: self.clip_bandwidth(fs_hz)}
        self.agc = [False] * self.n_rx
        self.correction_ppm = 0.0
        self.dc_offset = [0j] * self.n_rx
        self.iq_balance = [0j] * self.n_rx
        self.command_time_ns: int | None = None
        self.rx_users: dict[int, object] = {}
        self.tx_user: object | None = None
        self.followers: list[RateFollower] = []
        self.opens = 0
        drawn = np.random.default_rng([seed, index, 2]).integers(0, _NS)
        self._offset_ns = 0 if index == 0 else int(drawn)
        self._at_edge: tuple[int, int] | None = None

    # -- time --------------------------------------------------------------------------------------------------
    def now(self) -> int:
        """Scene sample that is converted now."""
        return self.source.now(self.index)

    def scene_ns(self, sample: int) -> int:
        """Nanoseconds of a scene sample after the scene began: rint(n / fs)."""
        return round(sample / self.source.fs_hz(self.index) * 1e9)

    def times_ns(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Hardware time of scene samples, (n,) int64 ns."""
        scene = np.rint(samples / self.source.fs_hz(self.index) * 1e9).astype(np.int64)
        with self.lock:
            offset, edge = self._offset_ns, self._at_edge
        if edge is None:
            return scene + offset
        return scene + np.where(scene >= edge[0], edge[1], offset)

    def time_ns(self, sample: int) -> int:
        """Hardware time of one scene sample."""
        return int(self.times_ns(np.array([sample], np.int64))[0])

    def sample_at(self, time_ns: int) -> int:
        """Scene sample at (or next after) a hardware time; negative before the scene."""
        with self.lock:
            scene_ns = time_ns - self._offset_ns
            if self._at_edge is not None and time_ns - self._at_edge[1] >= self._at_edge[0]:
                scene_ns = time_ns - self._at_edge[1]
        # the margin undoes the rounding of a time stamp to whole nanoseconds
        return math.ceil(scene_ns * 1e-9 * self.source.fs_hz(self.index) - 1e-3)

    def is_ahead(self, time_ns: int) -> bool:
        """True for a time that something can be started at: not past, and at most MAX_AHEAD_S from now."""
        ahead = self.sample_at(time_ns) - self.now()
        return 0 <= ahead <= MAX_AHEAD_S * self.source.fs_hz(self.index)

    def set_time(self, time_ns: int, *, at_edge: bool) -> None:
        """Set the hardware clock now, or at the next pulse (every whole scene second, on all boards at once)."""
        if abs(time_ns) > MAX_TIME_NS:
            raise SoapyRefusal(f"hardware time {time_ns} ns: the clock counts to {MAX_TIME_NS} ns")
        now_ns = self.scene_ns(self.now())
        with self.lock:
            if at_edge:
                self._settle(now_ns)
                edge_ns = (now_ns // _NS + 1) * _NS
                self._at_edge = (edge_ns, time_ns - edge_ns)
            else:
                self._offset_ns, self._at_edge = time_ns - now_ns, None
        self.note("set_time", time_ns=time_ns, at_edge=at_edge)

    def pulse_time_ns(self) -> int:
        """Hardware time at the last pulse."""
        edge_ns = self.scene_ns(self.now()) // _NS * _NS
        with self.lock:
            if self._at_edge is not None and edge_ns >= self._at_edge[0]:
                return edge_ns + self._at_edge[1]
            return edge_ns + self._offset_ns

    def _settle(self, now_ns: int) -> None:
        if self._at_edge is not None and now_ns >= self._at_edge[0]:
            self._offset_ns, self._at_edge = self._at_edge[1], None

    def _when(self) -> int:
        """Scene sample from which a setting holds: now, or the command time."""
        now = self.now()
        if self.command_time_ns is None:
            return now
        return max(now, self.sample_at(self.command_time_ns))

    # -- receivers ---------------------------------------------------------------------------------------------
    def gain_limits_db(self, channel: int) -> tuple[float, float, float]:
        """(minimum, maximum, step) of the receive gain at the present LO."""
        if not self.is_ad936x:
            return (*self.spec.gain_db, 0.5)
        fc_hz = self.source.fc_hz(self.index, self.spec.chip_of(channel))
        low, high = next((low, high) for edge, low, high in GAIN_TABLES if fc_hz <= edge)
        return float(low), float(high), 1.0

    def rx_gain_db(self, channel: int) -> float:
        """Gain of a receiver."""
        return self.source.gain_db(self.index, channel)

    def set_rx_gain(self, channel: int, gain_db: float) -> float:
        """Set a receiver's gain, at the nearest step; automatic gain control keeps its own. Returns the gain."""
        with self.lock:
            if not self.agc[channel]:
                gain_db = _nearest(gain_db, self.gain_limits_db(channel))
                self.source.write_gain(self.index, channel, gain_db, self._when())
            return self.rx_gain_db(channel)

    def fc_hz(self, channel: int) -> float:
        """LO of a receiver as it was asked for, Hz."""
        return self._asked(self.source.fc_hz(self.index, self.spec.chip_of(channel)))

    def _asked(self, fc_hz: float) -> float:
        return fc_hz if self.correction_ppm == 0 else float(round(fc_hz / self._true(1.0)))

    def _true(self, fc_hz: float) -> float:
        return fc_hz * (1 + self.correction_ppm * 1e-6)

    def set_fc(self, channel: int, fc_hz: float) -> float:
        """Tune the LO that a receiver shares with its chip's others. Returns the LO, Hz."""
        with self.lock:
            fc_hz = _nearest(fc_hz, (*self.spec.fc_hz, _LO_STEP_HZ))
            self._write_lo(self.spec.chip_of(channel), fc_hz)
            return fc_hz

    def _write_lo(self, chip: int, fc_hz: float) -> None:
        self.source.write_lo(self.index, chip, self._true(fc_hz), self._when())
        for channel in self.spec.chips[chip]:  # the new gain table may not reach the old gain
            low, high, _ = self.gain_limits_db(channel)
            gain_db = self.rx_gain_db(channel)
            if not low <= gain_db <= high:
                self.source.write_gain(self.index, channel, min(max(gain_db, low), high), self._when())

    @property
    def tx_fc_hz(self) -> float:
        """LO of the transmitters as it was asked for, Hz."""
        return self._asked(self.source.tx_fc_hz(self.index, 0))

    def set_tx_fc(self, fc_hz: float) -> float:
        """Tune the transmitters. Returns the LO, Hz."""
        with self.lock:
            fc_hz = _nearest(fc_hz, (*self.spec.fc_hz, _LO_STEP_HZ))
            if self.spec.one_lo:
                self._write_lo(0, fc_hz)
            else:
                self.source.write_tx_lo(self.index, 0, self._true(fc_hz), self._when())
            return fc_hz

    def set_correction(self, ppm: float) -> None:
        """Trim the reference oscillator: every LO moves by so many parts per million."""
        with self.lock:
            fc_hz, tx_fc_hz = [self.fc_hz(chip[0]) for chip in self.spec.chips], self.tx_fc_hz
            self.correction_ppm = min(max(ppm, -100.0), 100.0)
            for chip, value in enumerate(fc_hz):
                self._write_lo(chip, value)
            if not self.spec.one_lo:
                self.set_tx_fc(tx_fc_hz)

    # -- rate --------------------------------------------------------------------------------------------------
    def clip_bandwidth(self, bandwidth_hz: float) -> float:
        """Nearest analogue bandwidth that the board has."""
        return _nearest(bandwidth_hz, self.bandwidth_limits_hz)

    @property
    def bandwidth_limits_hz(self) -> tuple[float, float, float]:
        """(minimum, maximum, step)."""
        return (200e3, 56e6, 1.0) if self.is_ad936x else (200e3, 200e6, 1.0)

    def nearest_rate(self, fs_hz: float) -> float:
        """Nearest sample rate that the board has."""
        if self.spec.fs_fixed_hz:
            return min(self.spec.fs_fixed_hz, key=lambda rate: abs(rate - fs_hz))
        return _nearest(fs_hz, (*self.spec.fs_hz, 1.0))

    @contextmanager
    def held_streams(self) -> Iterator[None]:
        """No stream of this board reads or sends inside."""
        with ExitStack() as stack:
            for follower in list(self.followers):
                stack.enter_context(follower.rate_change())
            yield

    def write_rate(self, fs_hz: float) -> None:
        """Set the rate; only inside `held_streams` of every board that streams with this one."""
        with self.lock:
            self.source.write_rate(self.index, fs_hz, self.now())

    # -- transmitters ------------------------------------------------------------------------------------------
    def set_tx_gain(self, channel: int, gain_db: float) -> float:
        """Set a transmitter's gain: `tx_gain_max_db` less its attenuation. Returns the gain."""
        with self.lock:
            self.tx_gain_db[channel] = _nearest(gain_db, (0.0, self.tx_gain_max_db, self.tx_gain_step_db))
            self.source.rescale(self.index, self._scale(), self._when())
            return self.tx_gain_db[channel]

    def _scale(self) -> tuple[float, ...]:
        """Amplitude that the attenuators leave to every transmitter of the board."""
        levels_db = [gain - self.tx_gain_max_db for gain in self.tx_gain_db]
        return tuple(10 ** (db / 20) for db in levels_db) + (0.0,) * (self.spec.n_channels - N_TX)

    def transmit(self, waveform: NDArray[np.complex64] | None, at: int, *, cyclic: bool) -> None:
        """Send (N_TX, n) complex64 of full scale 1 before the attenuators, or silence."""
        with self.lock:
            self.source.transmit(self.index, waveform, at, cyclic=cyclic, scale=self._scale())

    # -- life --------------------------------------------------------------------------------------------------
    def opened(self) -> None:
        """A client has opened a device that this board belongs to."""
        with self.lock:
            self.opens += 1
        self.note("make")

    def closed(self) -> None:
        """A client has closed it; the last one leaves the transmitters at their greatest attenuation."""
        with self.lock:
            self.opens -= 1
            if self.opens == 0:
                self.tx_gain_db = [0.0] * N_TX
                self.command_time_ns = None
        self.note("unmake")

    def note(self, event: str, at: int | None = None, **details: Any) -> None:
        """Write an event to the truth file."""
        self.source.note(event, self.index, self.now() if at is None else at, **details)

    def claim_rx(self, channels: list[int], user: object) -> None:
        """Take receivers for a stream. Raises SoapyRefusal if one is taken."""
        with self.lock:
            for channel in channels:
                if channel in self.rx_users:
                    raise SoapyRefusal(
                        f"RX channel {channel} of board {self.index} is in use by another stream"
                    )
            for channel in channels:
                self.rx_users[channel] = user

    def claim_tx(self, user: object) -> None:
        """Take the transmitters for a stream. Raises SoapyRefusal if another has them."""
        with self.lock:
            if self.tx_user is not None:
                raise SoapyRefusal(f"the transmitters of board {self.index} are in use by another stream")
            self.tx_user = user

    def release(self, user: object) -> None:
        """Give back all that a stream had taken. Idempotent."""
        with self.lock:
            self.rx_users = {ch: owner for ch, owner in self.rx_users.items() if owner is not user}
            if self.tx_user is user:
                self.tx_user = None


def _nearest(value: float, limits: tuple[float, float, float]) -> float:
    low, high, step = limits
    value = min(max(value, low), high)
    return min(low + round((value - low) / step) * step, high)
