"""The transmitters of one SoapySDR device or of an array of them, quiet until asked."""

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

from drivers.settings import check_in_range
from drivers.silence import MAY_TRANSMIT, finish_first
from drivers.soapy.radio import Radio, Refused
from drivers.soapy.ranges import say, within
from drivers.soapy.tx_ports import TxPorts
from drivers.soapy.tx_stream import TxStream
from drivers.tx_checks import check_attenuation, check_tx_channels, check_tx_samples
from hil.core.device import Range, TxCaps, TxConfig
from hil.core.errors import (
    DeviceError,
    DeviceStateError,
    DriverUnavailable,
    HilError,
    ProtocolError,
    UnsupportedSetting,
)

_CYCLIC_S = 30.0
_CHUNK = 1 << 16
#: Those that may send: held here, so that one nobody refers to any more is silenced at exit too.
_SENDING: set[SoapyTransmitter] = set()


@atexit.register
def _silence_all() -> None:
    for transmitter in list(_SENDING):
        with contextlib.suppress(HilError):
            transmitter.close()


class SoapyTransmitter:
    """Transmit channel k of the array counts over the devices in order.

    SoapySDR knows gains, not attenuations: `attenuation_db = greatest gain - gain`. Opening it sets the least
    gain. SoapySDR has no cyclic buffer either: a thread feeds the waveform again and again, unless the driver
    lists a stream argument `cyclic`. The rate is that of the receiver.

    Parameters
    ----------
    radios : shared with the receiver, which owns them.
    uri : for messages.
    control : the receiver's lock for settings.
    moved : tells the receiver that its LO was written.

    Raises DriverUnavailable if there is no transmitter, DeviceError.
    """

    def __init__(
        self,
        radios: list[Radio],
        uri: str,
        control: AbstractContextManager[object],
        moved: Callable[[], None],
    ) -> None:
        self._uri = uri
        self._radios = radios
        self._control = control
        self._lock = threading.RLock()  # taken after _control
        self._closed = False
        self._ports = TxPorts(radios, uri, moved)
        if not self._ports.where:
            raise DriverUnavailable(
                f"{uri}: the device has no transmitter", uri=uri, hint="use a device that transmits"
            )
        self._channels: tuple[int, ...] = (0,)
        self._mode = ""  # "cyclic", "stream" or "": silent
        self._streams: dict[int, TxStream] = {}
        self.repeated: NDArray[np.complex64] | None = None  # what goes out again and again
        self.error: HilError | None = None  # what ended the latest transmission by itself
        self._untold: set[str] = set()  # "reader", "sender": those who do not know of it yet
        self._loud = True  # nobody knows what the last program left on
        with self._hardware("open the transmitter"):
            self._ports.read_limits()
            self._go_silent()

    # ---- state ----------------------------------------------------------------------------------------

    @property
    def caps(self) -> TxCaps:
        """Abilities; the rate is that of the receiver."""
        with self._hardware("read the abilities"):
            fs_hz = self._radios[0].fs_hz()
            ranges = [r for port in range(len(self._ports.where)) for r in self._ports.carriers(port)]
        return TxCaps(
            fc_hz=Range(min(r.minimum for r in ranges), max(r.maximum for r in ranges), ranges[0].step),
            fs_hz=Range(fs_hz, fs_hz),
            attenuation_db=self._ports.attenuation_range,
            n_channels=len(self._ports.where),
            full_scale_bits=16,
        )

    @property
    def sending(self) -> bool:
        """True while samples go out, or may; False once a stream has failed."""
        return bool(self._mode) and self.error is None

    def _check_open(self, call: str) -> None:
        if self._closed:
            raise DeviceStateError(
                f"{self._uri}: {call} on a closed transmitter", uri=self._uri, hint="open the device again"
            )
        if self.error is not None and "sender" in self._untold:
            error = self.error
            self._untold.discard("sender")
            self._silence_for(error)
            raise error

    def tell_reader(self) -> None:
        """Raise what ended the transmission by itself, once."""
        if self.error is not None and "reader" in self._untold:
            self._untold.discard("reader")
            raise self.error

    def _stream_failed(self, error: HilError) -> None:
        """Called on a thread of a stream, which cannot wait for its own end."""
        if self.error is None:
            self.repeated = None
            self._untold, self.error = {"reader", "sender"}, error
        thread = threading.Thread(target=self._silence_later, name=f"soapy-silence {self._uri}", daemon=True)
        thread.start()

    def _silence_later(self) -> None:
        with self._lock:
            # somebody else may have ended it, or sent something else, meanwhile
            if self.error is not None and not self._closed and self._streams:
                self._silence_for(self.error)

    def _silence_for(self, error: HilError) -> None:
        try:
            if self._mode or self._loud:
                self._go_silent()
        except DeviceError:
            error.hint = MAY_TRANSMIT

    @contextmanager
    def _hardware(self, what: str) -> Iterator[None]:
        """What fails in here leaves the transmitter silent."""
        try:
            yield
        except BaseException as err:
            told: BaseException = err
            if err is self.error:
                self._untold.discard("sender")
            if isinstance(err, Refused):
                told = ProtocolError(f"{self._uri}: {what}: the driver refused ({err})", uri=self._uri)
            try:
                self._go_silent()
            except DeviceError as worse:
                if not isinstance(told, HilError):
                    raise worse from err
                told.hint = MAY_TRANSMIT
            if told is not err:
                raise told from err
            raise

    def _go_silent(self) -> None:
        """Least gain first, then the streams; all devices, also after one of them failed."""
        failed: DeviceError | None = None
        with finish_first():
            if self._loud or self._mode:
                for port in range(len(self._ports.where)):
                    try:
                        self._ports.attenuate(port, None)
                    except Refused as err:
                        failed = failed or ProtocolError(f"{self._uri}: silence: {err}", uri=self._uri)
                    except DeviceError as err:
                        failed = failed or err
            for stream in self._streams.values():
                stream.close()
            self._streams.clear()
            self._mode, self.repeated = "", None
            self._loud = failed is not None
            if failed is None:
                _SENDING.discard(self)
        if failed is not None:
            failed.hint = MAY_TRANSMIT
            raise failed

    # ---- settings -------------------------------------------------------------------------------------

    def configure(self, want: TxConfig) -> TxConfig:
        """Apply and read back. A change of the channels ends what is being sent.

        Raises UnsupportedSetting (nothing was written), ConnectionLost (all is silent, or the hint says so).
        """
        with self._control, self._lock:
            self._check_open("configure")
            caps = self.caps
            channels = check_tx_channels(want.channels, self._channels, caps.n_channels, self._uri)
            levels = check_attenuation(want.attenuation_db, len(channels), caps.attenuation_db, self._uri)
            self._check_rate_and_carrier(want, caps, channels)
            with self._hardware("configure"):
                if channels != self._channels:
                    self._change_channels(channels)
                if want.fc_hz is not None:
                    for port in channels:
                        self._ports.tune(port, want.fc_hz)
                for port, level in zip(channels, levels or (), strict=False):
                    self._loud = True
                    _SENDING.add(self)  # from now on there is something to put back
                    self._ports.attenuate(port, level)
                return self._read_back()

    def _check_rate_and_carrier(self, want: TxConfig, caps: TxCaps, channels: tuple[int, ...]) -> None:
        fs_hz = caps.fs_hz.minimum
        if want.fs_hz is not None and not abs(want.fs_hz - fs_hz) <= max(4.0, 2e-6 * fs_hz):
            raise UnsupportedSetting(
                "fs_hz", want.fs_hz, f"{fs_hz:.10g} (that of the receiver)", uri=self._uri,
                hint="set the rate of the receiver (--fs), or use a waveform made for this one",
            )  # fmt: skip
        check_in_range("fc_hz", want.fc_hz, caps.fc_hz, self._uri)
        for port in channels if want.fc_hz is not None else ():
            with self._hardware("read the carriers"):
                allowed = self._ports.carriers(port)
            if not within(allowed, want.fc_hz or 0.0):
                raise UnsupportedSetting("fc_hz", f"{want.fc_hz:.10g}", say(allowed), uri=self._uri)

    def _change_channels(self, channels: tuple[int, ...]) -> None:
        """Channels no longer selected go to the least gain; the others keep theirs."""
        kept = {p: self._ports.attenuation_db(p) for p in channels if p in self._channels}
        self._go_silent()
        self._channels = channels
        for port, level in kept.items():
            if level < self._ports.greatest_db(port):
                self._loud = True
                _SENDING.add(self)
                self._ports.attenuate(port, level)

    def _read_back(self) -> TxConfig:
        first = self._channels[0]
        return TxConfig(
            fc_hz=self._ports.fc_hz(first),
            fs_hz=self._radios[self._ports.where[first][0]].fs_hz(),
            attenuation_db=tuple(self._ports.attenuation_db(port) for port in self._channels),
            channels=self._channels,
        )

    # ---- samples --------------------------------------------------------------------------------------

    def _open_streams(self, mode: str) -> dict[int, list[int]]:
        """Streams of all devices with selected channels: device -> rows of what is sent."""
        rows: dict[int, list[int]] = {}
        for row, port in enumerate(self._channels):
            rows.setdefault(self._ports.where[port][0], []).append(row)
        _SENDING.add(self)
        self._mode, self.repeated, self.error = mode, None, None
        for radio, selected in rows.items():
            ports = [self._channels[row] for row in selected]
            for port in ports:
                self._ports.match_rate(port)
            channels = tuple(self._ports.where[port][1] for port in ports)
            self._streams[radio] = TxStream(
                self._radios[radio], channels, cyclic=mode == "cyclic", failed=self._stream_failed
            )
        return rows

    def send_cyclic(self, samples: NDArray[np.complex64]) -> None:
        """Repeat samples (C, n) complex64 of full scale 1 without a seam until `stop` or the next call.

        Raises ShapeError, DeviceError.
        """
        with self._control, self._lock:
            self._check_open("send_cyclic")
            samples = check_tx_samples(samples, len(self._channels))
            with self._hardware("send a waveform"):
                self._close_streams()
                rows = self._open_streams("cyclic")
                deadline = time.monotonic() + _CYCLIC_S
                for radio, selected in rows.items():
                    self._streams[radio].repeat(samples[selected], deadline)
                self.repeated = samples

    def replace(self, present: NDArray[np.complex64], samples: NDArray[np.complex64]) -> None:
        """`send_cyclic`, but only if `present` is still the very array that is being repeated."""
        with self._control, self._lock:
            if self.repeated is present and self.error is None:
                self.send_cyclic(samples)

    def _close_streams(self) -> None:
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def write(self, samples: NDArray[np.complex64], timeout_s: float) -> None:
        """Stream samples (C, n) complex64 of full scale 1 after those of the last call.

        Raises ShapeError, DeviceTimeout, ConnectionLost, CaptureError if the device ran dry in between or got the
        first samples too late; after each of these but the first the transmitter is silent.
        """
        with self._lock:
            self._check_open("write")
            samples = check_tx_samples(samples, len(self._channels))
            deadline = time.monotonic() + timeout_s
            with self._hardware("send samples"):
                if self._mode != "stream":
                    self._close_streams()
                    self._open_streams("stream")
                ports = [self._ports.where[port] for port in self._channels]
                for low in range(0, samples.shape[1], _CHUNK):  # all devices get theirs in turn
                    for stream in self._streams.values():
                        stream.check()
                    for radio, stream in self._streams.items():
                        selected = [row for row, (r, _) in enumerate(ports) if r == radio]
                        stream.write(stream.planar(samples[selected, low : low + _CHUNK]), deadline)

    # ---- end ------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Silence, least gain. Idempotent.

        Raises ConnectionLost if the device cannot be reached: its hint says that it may go on transmitting.
        """
        with self._lock:
            self._untold.discard("sender")
            if not self._closed and (self._mode or self._loud):
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

    def disconnected(self) -> None:
        """The receiver is about to connect again: let go of the old connection."""
        with self._lock:
            self._close_streams()

    def reconnected(self) -> None:
        """The receiver has connected again: silence what the old connection left on. Raises DeviceError."""
        with self._lock:
            if not self._closed:
                self._loud = True
                self._go_silent()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
