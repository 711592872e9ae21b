"""The transmit stream of one device: planar buffers of the driver's format, written piece by piece."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.soapy.binding import native_format
from drivers.soapy.radio import Radio, Refused
from drivers.soapy.unstick import open_sockets, revive
from hil.core.errors import ConnectionLost, DeviceError, DeviceStateError, DeviceTimeout, UnsupportedSetting

_LOG = logging.getLogger("hil.soapy")
_PIECE_S = 0.1
_CLOSE_S = 5.0
_MAX_PIECE = 65536
_JOIN_S = 2.0
_WATCH_S = 0.05
_LEAD_NS = 100_000_000  # from the first write to the air: the driver's buffers fill meanwhile


class TxStream:
    """A transmit stream, active from construction on.

    Parameters
    ----------
    radio : the device. channels : its transmitters, in the order of the rows written.
    cyclic : let the device repeat what is written, where its driver offers that (`repeats` tells).

    Raises DeviceStateError, UnsupportedSetting, ConnectionLost; then nothing stays open.
    """

    def __init__(self, radio: Radio, channels: tuple[int, ...], *, cyclic: bool = False) -> None:
        self._radio = radio
        self._soapy = radio.soapy
        self._device = radio.device
        self._channels = channels
        self.repeats = cyclic and self._offers_cyclic()
        self.underflows = 0
        self.error: DeviceError | None = None
        self._ending = threading.Event()
        self._feeder: threading.Thread | None = None
        self._scale = self._code_scale()
        before = open_sockets() if radio.address.remote else {}
        self._stream: Any = self._open()
        self._mtu = max(min(int(radio.ask("getStreamMTU", self._stream)), _MAX_PIECE), 1)
        self._untimed = cyclic or not radio.has_time
        self._ends: list[Any] = []
        self._watcher: threading.Thread | None = None
        after = open_sockets() if radio.address.remote else {}
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
            raise DeviceStateError(
                f"{radio.uri}: the transmitter cannot be started ({err})",
                uri=radio.uri,
                hint="another program may be transmitting with this device",
            ) from err
        return stream

    def _watch(self) -> None:
        """A writer whose server was killed would wait for an acknowledgement for ever, computing."""
        while not self._ending.wait(_WATCH_S):
            ends = revive(self._sockets, silent=True)
            if ends:
                self._ends += ends
                self.error = self.error or ConnectionLost(
                    f"{self._radio.uri}: the connection broke while transmitting",
                    uri=self._radio.uri,
                    hint="the server was killed or the cable pulled; open it again",
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
        soapy, time_ns = self._soapy, 0
        if not self._radio.connected or self._radio.device is not self._device:
            raise ConnectionLost(f"{self._radio.uri}: the connection was lost", uri=self._radio.uri)
        if not self._untimed:
            flags |= soapy.SOAPY_SDR_HAS_TIME
            time_ns = self._radio.time_ns() + _LEAD_NS
        try:
            result = self._device.writeStream(self._stream, pointers, n, flags, time_ns, int(_PIECE_S * 1e6))
        except RuntimeError as err:
            raise ConnectionLost(f"{self._radio.uri}: writing failed: {err}", uri=self._radio.uri) from err
        code = int(result.ret)
        if self.error is not None:
            raise self.error
        if code > 0:
            self._untimed = True
            return code
        if code == soapy.SOAPY_SDR_UNDERFLOW:
            self.underflows += 1
        elif code not in (0, soapy.SOAPY_SDR_TIMEOUT):
            raise ConnectionLost(
                f"{self._radio.uri}: the transmit stream broke ({soapy.errToStr(code)})",
                uri=self._radio.uri,
                hint="check the device and its server, then open it again",
            )
        return 0

    def ran_dry(self) -> bool:
        """True if the device reported an underflow since the last call."""
        soapy = self._soapy
        for _ in range(16):  # a few reports may be queued
            try:
                status = self._device.readStreamStatus(self._stream, 0)
            except RuntimeError:
                break
            if int(status.ret) == soapy.SOAPY_SDR_UNDERFLOW:
                self.underflows += 1
            elif int(status.ret) != 0:
                break
        dry, self.underflows = self.underflows > 0, 0
        return dry

    # ---- cyclic ---------------------------------------------------------------------------------------

    def repeat(self, samples: NDArray[np.complex64], deadline: float) -> None:
        """Repeat samples (C, n) without a seam until closed, by the device or by a thread that feeds it."""
        rows = self.planar(samples)
        if self.repeats:
            self.write(rows, deadline, last=True)
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
                if self.ran_dry():
                    _LOG.warning("%s: the transmitter ran dry: its waveform has a gap", self._radio.uri)
        except DeviceError as err:
            self.error = err
        except Exception as err:  # noqa: BLE001 - top of the thread; the next call gets it
            self.error = DeviceError(f"{self._radio.uri}: {type(err).__name__}: {err}", uri=self._radio.uri)

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
                self._radio.abandon(f"the thread {self._feeder.name} does not end")
        for end in self._ends:
            end.close()
        self._ends.clear()
        stream, self._stream = self._stream, None
        if stream is None or not self._radio.connected or self._radio.device is not self._device:
            return
        try:
            for method in ("deactivateStream", "closeStream"):
                self._radio.ask(method, stream, deadline_s=_CLOSE_S)
        except (Refused, DeviceError) as err:
            _LOG.info("%s: closing the transmit stream: %s", self._radio.uri, err)
