"""The transmit stream of one device: planar buffers of the driver's format, written piece by piece."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.soapy.binding import native_format
from drivers.soapy.caller import DRIVER_ERRORS
from drivers.soapy.radio import Radio, Refused
from drivers.soapy.stream_errors import transmitter_broke, unreadable_arguments
from drivers.soapy.unstick import open_sockets, revive
from hil.core.errors import (
    CaptureError,
    ConnectionLost,
    DeviceError,
    DeviceStateError,
    DeviceTimeout,
    HilError,
    ProtocolError,
    UnsupportedSetting,
)

_LOG = logging.getLogger("hil.soapy")
_PIECE_S = 0.1
_KEPT_OPEN: list[Any] = []
_CLOSE_S = 5.0
_MAX_PIECE = 65536
_JOIN_S = 2.0
_WATCH_S = 0.05
_LEAD_NS = 100_000_000  # from the first write to the air: the driver's buffers fill meanwhile
_LOOK_S = 0.04  # for a refusal to come back, besides the round trip

Failed = Callable[[HilError], None]


class TxStream:
    """A transmit stream, active from construction on.

    Parameters
    ----------
    radio : the device. channels : its transmitters, in the order of the rows written.
    cyclic : let the device repeat what is written, where its driver offers that (`repeats` tells).
    failed : told, on a thread of this stream, what ended it by itself (`error`).

    Raises DeviceStateError, UnsupportedSetting, ConnectionLost; then nothing stays open.
    """

    def __init__(
        self, radio: Radio, channels: tuple[int, ...], *, cyclic: bool = False, failed: Failed
    ) -> None:
        self._radio = radio
        self._failed = failed
        self._soapy = radio.soapy
        self._channels = channels
        self._dry = False
        self._untimed = cyclic or not radio.has_time
        self._look_s = 0.0  # how long a refusal of the first samples may take to come back
        self.error: HilError | None = None
        self._ending = threading.Event()
        self._feeder: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._ends: list[Any] = []
        self._handle = radio.hold()
        try:
            self._device = self._handle.device
            self.repeats = cyclic and self._offers_cyclic()
            self._scale = self._code_scale()
            before = open_sockets() if radio.address.remote else {}
            self._stream: Any = self._open()
            after = open_sockets() if radio.address.remote else {}
            self._mtu = self._read_mtu()
        except BaseException:
            self._handle.let_go()
            raise
        self._sockets = {fd: name for fd, name in after.items() if before.get(fd) != name}
        if self._sockets:
            self._watcher = threading.Thread(
                target=self._watch, name=f"soapy-tx-watch {radio.uri}", daemon=True
            )
            self._watcher.start()

    def _offers_cyclic(self) -> bool:
        """Only a driver that lists the argument is asked for it: others would ignore it and send once."""
        if self._radio.address.stream_args.get("cyclic") == "false":
            return False
        known = self._radio.ask("getStreamArgsInfo", self._soapy.SOAPY_SDR_TX, self._channels[0])
        return any(str(info.key) == "cyclic" for info in known)

    def _code_scale(self) -> int:
        """Full scale of the converter where int16 is native and exact, else 0: float32."""
        tx, radio = self._soapy.SOAPY_SDR_TX, self._radio
        native = radio.call("native format", native_format, self._soapy, self._device, tx, self._channels[0])
        formats = [str(f) for f in radio.ask("getStreamFormats", tx, self._channels[0])]
        name, scale = native or ("", 0.0)
        if name == "CS16" and "CS16" in formats and scale > 1 and math.log2(scale).is_integer():
            return int(scale)
        if "CF32" not in formats:
            raise UnsupportedSetting("format", "CF32", ", ".join(formats), uri=radio.uri)
        return 0

    def _open(self) -> Any:
        radio, args = self._radio, dict(self._radio.address.stream_args)
        if self.repeats:
            args["cyclic"] = "true"
        name = "CS16" if self._scale else "CF32"
        stream = None
        try:
            stream = radio.ask("setupStream", self._soapy.SOAPY_SDR_TX, name, list(self._channels), args)
            code = int(radio.ask("activateStream", stream, 0, 0, 0))
            if code != 0:
                raise Refused(self._soapy.errToStr(code))
        except Refused as err:
            if stream is not None:
                radio.ask("closeStream", stream)
            elif err.arguments:
                raise unreadable_arguments(radio, err) from err
            raise DeviceStateError(
                f"{radio.uri}: the transmitter cannot be started ({err})",
                uri=radio.uri,
                hint="another program may be transmitting with this device",
            ) from err
        return stream

    def _read_mtu(self) -> int:
        try:
            return max(min(int(self._radio.ask("getStreamMTU", self._stream)), _MAX_PIECE), 1)
        except Refused as err:
            for method in ("deactivateStream", "closeStream"):
                self._radio.ask(method, self._stream, deadline_s=_CLOSE_S)
            raise ProtocolError(
                f"{self._radio.uri}: its driver does not say how much to write ({err})", uri=self._radio.uri
            ) from err

    def _fail(self, error: HilError) -> None:
        """On a thread of this stream: it has ended by itself."""
        if self.error is None and not self._ending.is_set():
            self.error = error
            self._failed(error)

    def _watch(self) -> None:
        """A writer whose server was killed would wait for an acknowledgement for ever, computing."""
        while not self._ending.wait(_WATCH_S):
            ends = revive(self._sockets, silent=True)
            if ends:
                self._ends += ends
                self._fail(
                    ConnectionLost(
                        f"{self._radio.uri}: the connection broke while transmitting",
                        uri=self._radio.uri,
                        hint="the server was killed or the cable pulled; open it again",
                    )
                )
                return

    # ---- samples --------------------------------------------------------------------------------------

    def planar(self, samples: NDArray[np.complex64]) -> list[NDArray[Any]]:
        """Rows of the driver's format: (n, 2) int16 rounded, or complex64 kept below the code that wraps."""
        if not self._scale:
            return [np.ascontiguousarray(row * np.float32(1.0 - 2.0**-15)) for row in samples]
        parts = np.ascontiguousarray(samples).view(np.float32).reshape(len(samples), -1, 2)
        codes = np.clip(np.rint(parts * np.float32(self._scale)), -self._scale, self._scale - 1)
        return list(codes.astype(np.int16))

    def write(self, rows: list[NDArray[Any]], deadline: float, *, last: bool = False) -> bool:
        """Write rows in pieces until the driver has taken all; False if the stream was ended meanwhile.

        last : the burst ends with them. Raises DeviceTimeout, ConnectionLost.
        """
        n, done = len(rows[0]), 0
        while done < n:
            if self._ending.is_set():
                return False
            if time.monotonic() > deadline:
                raise DeviceTimeout(
                    f"{self._radio.uri}: {done} of {n} samples taken in the time given", uri=self._radio.uri
                )
            step = min(n - done, self._mtu)
            flags = self._soapy.SOAPY_SDR_END_BURST if last and done + step == n else 0
            pointers = [int(row[done:].ctypes.data) for row in rows]
            done += self._written(pointers, step, flags)
        return True

    def _written(self, pointers: list[int], n: int, flags: int) -> int:
        soapy, time_ns, timed = self._soapy, 0, not self._untimed
        if not self._radio.has(self._handle):
            raise ConnectionLost(f"{self._radio.uri}: the connection was lost", uri=self._radio.uri)
        if timed:
            flags |= soapy.SOAPY_SDR_HAS_TIME
            time_ns = self._start_ns()
        try:
            result = self._device.writeStream(self._stream, pointers, n, flags, time_ns, int(_PIECE_S * 1e6))
        except DRIVER_ERRORS as err:
            raise ConnectionLost(f"{self._radio.uri}: writing failed: {err}", uri=self._radio.uri) from err
        code = int(result.ret)
        if self.error is not None:
            raise self.error
        if code > 0:
            self._untimed = True
            if timed:
                self.check(self._look_s)
            return code
        if code == soapy.SOAPY_SDR_UNDERFLOW:
            self._dry = True
        elif code == soapy.SOAPY_SDR_TIME_ERROR:
            raise self._late()
        elif code not in (0, soapy.SOAPY_SDR_TIMEOUT):
            raise transmitter_broke(soapy, self._radio.uri, code)
        return 0

    def _start_ns(self) -> int:
        """Hardware time for the first sample: the answer is old when it is here, and the samples travel, too."""
        asked_ns = time.monotonic_ns()
        now_ns = self._radio.time_ns()
        round_trip_ns = time.monotonic_ns() - asked_ns
        self._look_s = _LOOK_S + 1e-9 * round_trip_ns  # less than the lead
        return now_ns + _LEAD_NS + 2 * round_trip_ns

    def _late(self) -> CaptureError:
        return CaptureError(
            f"{self._radio.uri}: the start time had passed when the transmitter got the first samples: "
            "none of them went out",
            hint="the connection or the computer is too slow at times: try again, or lower the rate",
        )

    def check(self, wait_s: float = 0.0) -> None:
        """What the device has reported since the last call, or does within the time given.

        Raises CaptureError if it ran dry, or got its first samples too late; ConnectionLost.
        """
        soapy = self._soapy
        for _ in range(16):  # a few reports may be queued
            try:
                code = int(self._device.readStreamStatus(self._stream, int(wait_s * 1e6)).ret)
            except DRIVER_ERRORS:
                break
            wait_s = 0.0
            if code == soapy.SOAPY_SDR_UNDERFLOW:
                self._dry = True
            elif code == soapy.SOAPY_SDR_TIME_ERROR:
                raise self._late()
            elif code == soapy.SOAPY_SDR_STREAM_ERROR:
                raise transmitter_broke(soapy, self._radio.uri, code)
            elif code != 0:
                break
        dry, self._dry = self._dry, False
        if dry:
            hint = "write larger pieces sooner, or send the waveform cyclically"
            if self._feeder is not None:
                hint = "its waveform is fed by this computer, which is too slow at times: lower the rate"
            raise CaptureError(
                f"{self._radio.uri}: the transmitter ran dry: what it sends has a gap", hint=hint
            )

    # ---- cyclic ---------------------------------------------------------------------------------------

    def repeat(self, samples: NDArray[np.complex64], deadline: float) -> None:
        """Repeat samples (C, n) without a seam until closed, by the device or by a thread that feeds it."""
        rows = self.planar(samples)
        if self.repeats:
            self.write(rows, deadline, last=True)
            self.check(_LOOK_S)
            return
        # a short period would mean a call for a few samples each
        copies = -(-self._mtu // len(rows[0]))
        rows = [np.ascontiguousarray(np.concatenate([row] * copies)) for row in rows]
        self._feeder = threading.Thread(
            target=self._feed, args=(rows,), name=f"soapy-tx {self._radio.uri}", daemon=True
        )
        self._feeder.start()

    def _feed(self, rows: list[NDArray[Any]]) -> None:
        try:
            while self.write(rows, time.monotonic() + 10.0 + self._seconds(rows)):
                self.check()
        except HilError as err:
            self._fail(err)
        except Exception as err:  # noqa: BLE001 - top of the thread; the transmitter gets it
            self._fail(DeviceError(f"{self._radio.uri}: {type(err).__name__}: {err}", uri=self._radio.uri))

    def _seconds(self, rows: list[NDArray[Any]]) -> float:
        """Generous time for a period at its rate: ten times that at 1 MS/s."""
        return len(rows[0]) * 1e-5

    # ---- end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the burst and free the stream; nothing is raised."""
        self._ending.set()
        if self._watcher is not None:
            self._watcher.join(_JOIN_S)
        if self._feeder is not None:
            self._feeder.join(2 * _PIECE_S)
            if self._feeder.is_alive():
                # its server may have died after the last look of the watcher
                self._ends += revive(self._sockets, silent=True)
                self._feeder.join(_JOIN_S)
            if self._feeder.is_alive():
                self._radio.abandon(self._handle, f"the thread {self._feeder.name} does not end")
                _KEPT_OPEN.extend(self._ends)  # at their end it would compute for ever
                self._ends.clear()
        for end in self._ends:
            end.close()
        self._ends.clear()
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            for method in ("deactivateStream", "closeStream"):
                if self._radio.has(self._handle):
                    self._radio.ask(method, stream, deadline_s=_CLOSE_S)
        except (Refused, DeviceError) as err:
            _LOG.info("%s: closing the transmit stream: %s", self._radio.uri, err)
        finally:
            if self._feeder is None or not self._feeder.is_alive():
                self._handle.let_go()
