"""The transmitters of one board or an array of boards: cyclic waveforms and streams, quiet until asked."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self

import numpy as np
from numpy.typing import NDArray

from drivers.convert import complex_to_wire
from drivers.iio.board import Board
from drivers.iio.context import AttributeRefused
from drivers.iio.tx_board import BoardTransmitter
from drivers.settings import check_in_range
from drivers.silence import MAY_TRANSMIT, finish_first
from drivers.tx_checks import check_attenuation, check_tx_channels, check_tx_samples
from hil.core.device import Range, TxCaps, TxConfig
from hil.core.epoch import EpochEvent
from hil.core.errors import (
    CaptureError,
    DeviceError,
    DeviceStateError,
    DeviceTimeout,
    HilError,
    ProtocolError,
    UnsupportedSetting,
)

#: Those that are on: held here, so that one nobody refers to any more is silenced at exit too.
_SENDING: set[IioTransmitter] = set()

Disturbance = Callable[[EpochEvent], AbstractContextManager[None]]


@atexit.register
def _silence_all() -> None:
    for transmitter in list(_SENDING):
        with contextlib.suppress(HilError):
            transmitter.close()


class IioTransmitter:
    """Transmit channel k of the array is channel k mod C of board k // C.

    Opening it silences the boards: greatest attenuation, tone generators off, LO (where it is the transmitters'
    own) or channels powered down. Only `configure(attenuation_db=...)` raises the power, and only
    `send_cyclic` and `write` turn the output on. `stop`, `close`, an error of the hardware and the end of the
    process put all of it back; a refused request leaves everything as it was.

    The boards of an array begin one after the other, milliseconds apart.

    Parameters
    ----------
    boards : shared with the receiver, which owns them.
    uri : for messages.
    control : the receiver's lock for settings.
    disturbing : context manager of the receiver for what disturbs it: a new coherence epoch, and a gap if it
        streams. Such calls belong to the receiver's thread.

    Raises DriverUnavailable, DeviceError.
    """

    def __init__(
        self, boards: list[Board], uri: str, control: AbstractContextManager[object], disturbing: Disturbance
    ) -> None:
        self._uri = uri
        self._control = control
        self._disturbing = disturbing
        self._lock = threading.RLock()  # taken after _control
        self._closed = False
        self._boards: list[BoardTransmitter] = []
        with self._hardware("open the transmitter"):
            self._boards = [BoardTransmitter(board) for board in boards]
        self._ports = [(b, c) for b, board in enumerate(self._boards) for c in range(board.n_channels)]
        self._channels: tuple[int, ...] = (0,)
        self._attenuation_db: dict[int, float] = {}  # of the channels that are not at the greatest one
        self._mode = ""  # "cyclic", "stream" or "": silent
        self.repeated: NDArray[np.complex64] | None = None  # what goes out again and again
        self._unsure = True  # nobody knows what the last program left on
        self._go_silent()

    # ---- state ----------------------------------------------------------------------------------------

    @property
    def caps(self) -> TxCaps:
        """Abilities; the rate, and on ADRV9009 the carrier, are those of the receiver."""
        boards, table = self._boards, self._boards[0].table
        fs_hz = boards[0].board.last_fs_hz
        ranges = [b.fc_range for b in boards]
        return TxCaps(
            fc_hz=Range(max(r.minimum for r in ranges), min(r.maximum for r in ranges), ranges[0].step),
            fs_hz=Range(fs_hz, fs_hz),
            attenuation_db=table.attenuation_db,
            n_channels=len(self._ports),
            full_scale_bits=table.dac_bits,
        )

    @property
    def sending(self) -> bool:
        """True while samples go out, or may."""
        return bool(self._mode)

    def _check_open(self, call: str) -> None:
        if self._closed:
            raise DeviceStateError(
                f"{self._uri}: {call} on a closed transmitter", uri=self._uri, hint="open the device again"
            )
        if any(b.connection_is_new for b in self._boards):
            self._go_silent()  # a new connection: what the old one left on is not known

    @contextmanager
    def _hardware(self, what: str) -> Iterator[None]:
        """What fails in here leaves the transmitter silent."""
        try:
            yield
        except BaseException as err:
            told = self._refused(err, what) if isinstance(err, AttributeRefused) else err
            try:
                if self._boards:
                    self._go_silent()
            except DeviceError as worse:
                if isinstance(told, HilError):
                    told.hint = MAY_TRANSMIT
                else:
                    raise worse from err
            if told is not err:
                raise told from err
            raise

    def _refused(self, err: AttributeRefused, what: str) -> ProtocolError:
        return ProtocolError(f"{self._uri}: {what}: the board refused ({err})", uri=self._uri)

    def _go_silent(self) -> None:
        """All boards, also after one of them failed."""
        failed: DeviceError | None = None
        with finish_first():
            for board in self._boards:
                try:
                    board.silence()
                except DeviceError as err:
                    failed = failed or err
            self._mode, self.repeated = "", None
            self._attenuation_db.clear()
            self._unsure = failed is not None
            if failed is None:
                _SENDING.discard(self)
        if failed is not None:
            raise failed

    # ---- settings -------------------------------------------------------------------------------------

    def configure(self, want: TxConfig) -> TxConfig:
        """Apply and read back. A change of the channels ends what is being sent.

        Raises UnsupportedSetting (nothing was written), ConnectionLost (all is silent, or the hint says so).
        """
        with self._control, self._lock:
            self._check_open("configure")
            with self._hardware("read the settings"):
                fs_hz = [board.fs_hz() for board in self._boards]
                fc_hz = [board.fc_hz() for board in self._boards]
            caps = self.caps
            channels = check_tx_channels(want.channels, self._channels, caps.n_channels, self._uri)
            levels = check_attenuation(want.attenuation_db, len(channels), caps.attenuation_db, self._uri)
            check_in_range("fc_hz", want.fc_hz, caps.fc_hz, self._uri)
            self._check_shared(want, fs_hz, fc_hz)
            with self._hardware("configure"):
                if channels != self._channels:
                    self._change_channels(channels)
                if want.fc_hz is not None and self._own_lo and _farthest(want.fc_hz, fc_hz) >= 1.0:
                    with self._disturbing(self._boards[0].table.lo_event):
                        for board in self._boards:
                            board.set_fc(want.fc_hz)
                for channel, level in zip(channels, levels or (), strict=False):
                    self._set_level(channel, level)
                return self._read_back()

    @property
    def _own_lo(self) -> bool:
        return bool(self._boards[0].table.lo)

    def _check_shared(self, want: TxConfig, fs_hz: list[float], fc_hz: list[float]) -> None:
        """Refuse what belongs to the receiver."""
        tolerance_hz = max(4.0, 2e-6 * fs_hz[0])
        if want.fs_hz is not None and not _farthest(want.fs_hz, fs_hz) <= tolerance_hz:
            raise UnsupportedSetting(
                "fs_hz", want.fs_hz, f"{fs_hz[0]:.10g} (shared with the receiver)", uri=self._uri,
                hint="set the rate of the receiver (--fs), or use a waveform made for this one",
            )  # fmt: skip
        if want.fc_hz is not None and not self._own_lo and _farthest(want.fc_hz, fc_hz) > 10.0:
            raise UnsupportedSetting(
                "fc_hz", want.fc_hz, f"{fc_hz[0]:.10g} (shared with the receiver)", uri=self._uri,
                hint="tune the receiver (--fc)",
            )  # fmt: skip

    def _change_channels(self, channels: tuple[int, ...]) -> None:
        """Channels no longer selected go to the greatest attenuation; the others keep theirs."""
        kept = {c: level for c, level in self._attenuation_db.items() if c in channels}
        self._go_silent()
        self._channels = channels
        for channel, level in kept.items():
            self._set_level(channel, level)

    def _set_level(self, channel: int, attenuation_db: float) -> None:
        board, local = self._ports[channel]
        _SENDING.add(self)  # from now on there is something to put back
        self._attenuation_db[channel] = attenuation_db
        self._boards[board].set_attenuation(local, attenuation_db)

    def _read_back(self) -> TxConfig:
        ports = [self._ports[c] for c in self._channels]
        return TxConfig(
            fc_hz=self._boards[0].fc_hz(),
            fs_hz=self._boards[0].fs_hz(),
            attenuation_db=tuple(self._boards[b].attenuation_db(c) for b, c in ports),
            channels=self._channels,
        )

    # ---- samples --------------------------------------------------------------------------------------

    def _rows(self) -> dict[int, tuple[tuple[int, ...], list[int]]]:
        """Per board its selected channels in ascending order, and their rows in what is sent."""
        rows: dict[int, list[tuple[int, int]]] = {}
        for row, channel in enumerate(self._channels):
            board, local = self._ports[channel]
            rows.setdefault(board, []).append((local, row))
        return {b: (tuple(c for c, _ in sorted(f)), [r for _, r in sorted(f)]) for b, f in rows.items()}

    def _words(self, samples: NDArray[np.complex64], rows: list[int]) -> NDArray[np.int16]:
        """(n, C, 2) for one board."""
        return complex_to_wire(np.ascontiguousarray(samples[rows]), self._boards[0].table.dac_bits)

    def send_cyclic(self, samples: NDArray[np.complex64]) -> None:
        """Repeat samples (C, n) complex64 of full scale 1 without a seam until `stop` or the next call.

        Raises ShapeError, UnsupportedSetting (too long for the device's memory), DeviceError.
        """
        with self._lock:
            self._check_open("send_cyclic")
            samples = check_tx_samples(samples, len(self._channels))
            rows = self._rows()
            blocks = {b: self._boards[b].whole_periods(self._words(samples, r)) for b, (_, r) in rows.items()}
            with self._hardware("send a waveform"):
                self._turn_on("cyclic")
                for b, (channels, _) in rows.items():
                    self._boards[b].power_up(channels)
                    self._boards[b].send_cyclic(blocks[b], channels)
                self.repeated = samples

    def replace(self, present: NDArray[np.complex64], samples: NDArray[np.complex64]) -> None:
        """`send_cyclic`, but only if `present` is still the very array that is being repeated."""
        with self._lock:
            if self.repeated is present:
                self.send_cyclic(samples)

    def _turn_on(self, mode: str) -> None:
        _SENDING.add(self)
        self._mode, self.repeated = mode, None

    def write(self, samples: NDArray[np.complex64], timeout_s: float) -> None:
        """Stream samples (C, n) complex64 of full scale 1 after those of the last call.

        The device takes whole DMA words: up to a few samples of the end go with the next call.
        Raises ShapeError, DeviceTimeout, ConnectionLost, CaptureError if the device ran dry in between; after
        each of these but the first the transmitter is silent.
        """
        with self._lock:
            self._check_open("write")
            samples = check_tx_samples(samples, len(self._channels))
            deadline = time.monotonic() + timeout_s
            with self._hardware("send samples"):
                rows = self._rows()
                if self._mode != "stream":
                    self._open_stream(rows)
                block = min(self._boards[b].block_samples for b in rows)
                for low in range(0, samples.shape[1], block):
                    if time.monotonic() > deadline:
                        raise DeviceTimeout(
                            f"{self._uri}: {low} of {samples.shape[1]} samples sent within {timeout_s:g} s",
                            uri=self._uri,
                        )
                    piece = samples[:, low : low + block]
                    # every board gets its piece before any of them is judged
                    fed = [self._boards[b].stream(self._words(piece, r)) for b, (_, r) in rows.items()]
                    if not all(fed):
                        raise CaptureError(
                            f"{self._uri}: the transmitter ran dry: its stream has a gap",
                            hint="write larger pieces sooner, or send the waveform cyclically",
                        )

    def _open_stream(self, rows: dict[int, tuple[tuple[int, ...], list[int]]]) -> None:
        self._turn_on("stream")
        for board in self._boards:
            board.release()
        for board, (channels, _) in rows.items():
            fs_hz = self._boards[board].fs_hz()
            self._boards[board].power_up(channels)
            self._boards[board].open_stream(fs_hz, channels)

    # ---- end ------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Silence, greatest attenuation, power down. Idempotent.

        Raises ConnectionLost if the board cannot be reached: its hint says that it may go on transmitting.
        """
        with self._lock:
            if self._closed:
                return
            if (
                self._mode
                or self._attenuation_db
                or self._unsure
                or any(b.connection_is_new for b in self._boards)
            ):
                self._go_silent()

    def close(self) -> None:
        """Stop for good. Idempotent. Raises as `stop`, once."""
        with self._lock:
            if self._closed:
                return
            try:
                self.stop()
            finally:
                self._closed = True
                self._mode = ""
                _SENDING.discard(self)

    def reconnected(self) -> None:
        """The receiver has connected again: silence what the old connection left on. Raises DeviceError."""
        with self._lock:
            if not self._closed:
                self._go_silent()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _farthest(wanted: float, present: list[float]) -> float:
    return max(abs(wanted - value) for value in present)
