"""The transmitters of the simulated array: what they send comes back through the scene's targets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from drivers.iio.board_table import BoardTable
from drivers.settings import check_in_range
from drivers.tx_checks import check_attenuation, check_tx_channels, check_tx_samples
from hil.core.device import TxCaps, TxConfig
from hil.core.epoch import EpochEvent
from hil.core.errors import CaptureError, DeviceStateError, DeviceTimeout, UnsupportedSetting
from hil.core.units import db_to_amplitude
from sim_backend.source import SampleSource

_AHEAD_S = 0.3  # what the simulated device takes ahead of time
_FREE_AHEAD_SAMPLES = 1 << 22
_POLL_S = 0.005
_PIECE_S = 0.02
_WAIT_SLICE_S = 0.05


class SimTransmitter:
    """Transmit channel k of the array is channel k mod C of board k // C; all boards start on one sample.

    Opens silent with the greatest attenuation; `stop`, `close` and running dry restore that.

    Parameters
    ----------
    source : the simulated radio, shared with the receiver. boards, counts : tables and channels of its boards.
    uri : for messages.
    on_event : told of what disturbs the receiver (the transmit LO was written), with the scene sample.
    """

    def __init__(
        self,
        source: SampleSource,
        boards: list[BoardTable],
        counts: list[int],
        uri: str,
        *,
        free_running: bool,
        on_event: Callable[[EpochEvent, int], None],
    ) -> None:
        self._source, self._uri, self._free, self._on_event = source, uri, free_running, on_event
        self._tables, self._counts = boards, counts
        self._table = boards[0].transmit
        self._ports = [(b, c) for b, count in enumerate(counts) for c in range(count)]
        self._lock = threading.RLock()
        self._channels: tuple[int, ...] = (0,)
        self._levels_db = dict.fromkeys(range(len(self._ports)), self._table.attenuation_db.maximum)
        self._mode = ""  # "cyclic", "stream" or "": silent
        self._end: int | None = None  # scene sample after the last streamed one
        self._closed = False
        self._go_silent()

    @property
    def caps(self) -> TxCaps:
        """Abilities: those of the simulated board at the receiver's rate."""
        fs_hz = self._source.fs_hz(0)
        fc_range = self._table.fc_hz
        return TxCaps(
            fc_hz=fc_range,
            fs_hz=type(fc_range)(fs_hz, fs_hz),
            attenuation_db=self._table.attenuation_db,
            n_channels=len(self._ports),
            full_scale_bits=self._table.dac_bits,
        )

    @property
    def sending(self) -> bool:
        """True while something is being sent."""
        return bool(self._mode)

    def _now(self) -> int:
        return max(self._source.now(b) for b in range(len(self._counts)))

    def _check_open(self, call: str) -> None:
        if self._closed:
            raise DeviceStateError(
                f"{self._uri}: {call} on a closed transmitter", uri=self._uri, hint="open the device again"
            )

    # ---- settings -------------------------------------------------------------------------------------

    def configure(self, want: TxConfig) -> TxConfig:
        """Apply and read back. A change of the channels ends what is being sent. Raises UnsupportedSetting."""
        with self._lock:
            self._check_open("configure")
            caps, uri = self.caps, self._uri
            channels = check_tx_channels(want.channels, self._channels, caps.n_channels, uri)
            levels = check_attenuation(want.attenuation_db, len(channels), caps.attenuation_db, uri)
            check_in_range("fc_hz", want.fc_hz, caps.fc_hz, uri)
            fs_hz, fc_hz = self._source.fs_hz(0), self._fc_hz()
            if want.fs_hz is not None and not abs(want.fs_hz - fs_hz) <= max(4.0, 2e-6 * fs_hz):
                raise UnsupportedSetting(
                    "fs_hz", want.fs_hz, f"{fs_hz:.10g} (shared with the receiver)", uri=uri,
                    hint="set the rate of the receiver (--fs), or use a waveform made for this one",
                )  # fmt: skip
            if want.fc_hz is not None and not self._table.lo and abs(want.fc_hz - fc_hz) > 10.0:
                raise UnsupportedSetting(
                    "fc_hz", want.fc_hz, f"{fc_hz:.10g} (shared with the receiver)", uri=uri,
                    hint="tune the receiver (--fc)",
                )  # fmt: skip
            if channels != self._channels:
                kept = {c: self._levels_db[c] for c in channels}
                self._go_silent()
                self._channels = channels
                self._levels_db |= kept
            if want.fc_hz is not None and self._table.lo:
                self._tune(want.fc_hz)
            self._levels_db |= dict(zip(channels, levels or (), strict=False))
            at = self._now()
            for b in range(len(self._counts)) if self._mode and levels else ():
                self._source.rescale(b, self._scale(b), at)
            return TxConfig(
                fc_hz=self._fc_hz(),
                fs_hz=fs_hz,
                attenuation_db=tuple(self._levels_db[c] for c in channels),
                channels=channels,
            )

    def _fc_hz(self) -> float:
        return self._source.tx_fc_hz(0) if self._table.lo else self._source.fc_hz(0)

    def _tune(self, fc_hz: float) -> None:
        at, wrote = self._now(), False
        for b, table in enumerate(self._tables):
            for chip in range(len(table.control_devices)):
                if abs(self._source.tx_fc_hz(b, chip) - fc_hz) >= 1.0:
                    self._source.write_tx_lo(b, chip, float(fc_hz), at)
                    wrote = True
        if wrote:
            self._on_event(self._table.lo_event, at)

    def _scale(self, board: int) -> tuple[float, ...]:
        """Amplitude that the attenuators leave to every channel of a board."""
        return tuple(
            db_to_amplitude(-self._levels_db[k]) for k, (b, _) in enumerate(self._ports) if b == board
        )

    # ---- samples --------------------------------------------------------------------------------------

    def _per_board(self, samples: NDArray[np.complex64]) -> list[NDArray[np.complex64] | None]:
        """(C, n) of every board, zero on channels that are not selected; None for a board without any."""
        out: list[NDArray[np.complex64] | None] = [None] * len(self._counts)
        for row, channel in enumerate(self._channels):
            b, local = self._ports[channel]
            waveform = out[b]
            if waveform is None:
                waveform = out[b] = np.zeros((self._counts[b], samples.shape[1]), np.complex64)
            waveform[local] = samples[row]
        return out

    def send_cyclic(self, samples: NDArray[np.complex64]) -> None:
        """Repeat samples (C, n) complex64 of full scale 1 until `stop` or the next call. Raises ShapeError."""
        with self._lock:
            self._check_open("send_cyclic")
            samples = check_tx_samples(samples, len(self._channels))
            at = self._now()
            for b, waveform in enumerate(self._per_board(samples)):
                if waveform is not None or self._mode:
                    self._source.transmit(b, waveform, at, cyclic=True, scale=self._scale(b))
            self._mode, self._end = "cyclic", None

    def write(self, samples: NDArray[np.complex64], timeout_s: float) -> None:
        """Stream samples (C, n) complex64 of full scale 1 after those of the last call.

        Raises ShapeError; DeviceTimeout and, if the stream ran dry in between, CaptureError: then all is silent.
        """
        with self._lock:
            self._check_open("write")
            samples = check_tx_samples(samples, len(self._channels))
            deadline = time.monotonic() + timeout_s
            try:
                if self._mode != "stream":
                    self._mode, self._end = "stream", None
                piece = max(int(_PIECE_S * self._source.fs_hz(0)), 1)
                for low in range(0, samples.shape[1], piece):
                    self._write_piece(samples[:, low : low + piece], deadline)
            except BaseException:
                self._go_silent()
                raise

    def _write_piece(self, piece: NDArray[np.complex64], deadline: float) -> None:
        now = self._now()
        at = now if self._end is None else self._end
        dry = at < now and not self._free
        if dry:
            self._source.note("tx_underflow", 0, at, lost_samples=now - at)
        at = max(at, now)
        for b, waveform in enumerate(self._per_board(piece)):
            if waveform is not None:
                self._source.transmit(b, waveform, at, cyclic=False, scale=self._scale(b))
        self._end = end = at + piece.shape[1]
        if dry:
            raise CaptureError(
                f"{self._uri}: the transmitter ran dry: its stream has a gap",
                hint="write larger pieces sooner, or send the waveform cyclically",
            )
        self._wait_for_room(end, deadline)

    def _wait_for_room(self, end: int, deadline: float) -> None:
        """Back-pressure: by the clock, or where time passes as samples are read, by the reader."""
        ahead = _FREE_AHEAD_SAMPLES if self._free else int(_AHEAD_S * self._source.fs_hz(0))
        while end - ahead > self._now():
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeviceTimeout(f"{self._uri}: the samples were not taken in time", uri=self._uri)
            if self._free:
                time.sleep(min(left, _POLL_S))
            else:
                self._source.wait_until(0, end - ahead, min(left, _WAIT_SLICE_S))

    # ---- end ------------------------------------------------------------------------------------------

    def _go_silent(self) -> None:
        for k in self._levels_db:
            self._levels_db[k] = self._table.attenuation_db.maximum
        at = self._now()
        for b in range(len(self._counts)) if self._mode else ():
            self._source.transmit(b, None, at, cyclic=True)
        self._mode, self._end = "", None

    def stop(self) -> None:
        """Silence, greatest attenuation. Idempotent."""
        with self._lock:
            if not self._closed:
                self._go_silent()

    def close(self) -> None:
        """Stop for good. Idempotent."""
        with self._lock:
            self.stop()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
