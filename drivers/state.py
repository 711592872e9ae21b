"""The legal order of calls, shared by the drivers: closed <- idle <-> running."""

from __future__ import annotations

import enum
import math
import threading
from typing import NoReturn

from hil.core.device import WireBuffer, WireFormat
from hil.core.errors import DeviceStateError, ShapeError, StreamStopped


class Phase(enum.StrEnum):
    """Where a device is in its life."""

    IDLE = "idle"
    RUNNING = "running"
    CLOSED = "closed"


class CallOrder:
    """Guards the order of calls of one device; thread-safe.

    A stop that arrives while a read waits is told to that read as StreamStopped; reads that begin later
    get DeviceStateError.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._phase = Phase.IDLE
        self._lock = threading.Lock()
        self._stops = 0

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self._phase

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._phase is Phase.RUNNING

    def _refuse(self, call: str, hint: str) -> NoReturn:
        raise DeviceStateError(f"{self._uri}: {call} while {self._phase}", uri=self._uri, hint=hint)

    def check_open(self, call: str) -> None:
        """Raise DeviceStateError if the device was closed."""
        if self._phase is Phase.CLOSED:
            self._refuse(call, "open the device again")

    def check_startable(self) -> None:
        """Raise DeviceStateError unless idle."""
        self.check_open("start")
        if self.running:
            self._refuse("start", "call stop first")

    def started(self) -> None:
        """idle -> running."""
        with self._lock:
            self.check_startable()
            self._phase = Phase.RUNNING

    def stopped(self) -> bool:
        """running -> idle; False if it was not running."""
        with self._lock:
            was_running = self.running
            if was_running:
                self._phase = Phase.IDLE
                self._stops += 1
            return was_running

    def closed(self) -> bool:
        """any -> closed; False if it was closed already."""
        with self._lock:
            was_open = self._phase is not Phase.CLOSED
            if self.running:
                self._stops += 1
            self._phase = Phase.CLOSED
            return was_open

    def begin_read(self) -> int:
        """Token for `check_read`; raises DeviceStateError unless running."""
        with self._lock:
            if not self.running:
                self._refuse("read", "call start first")
            return self._stops

    def interrupted(self, token: int) -> bool:
        """True if the stream was stopped since `begin_read`."""
        return self._stops != token

    def check_read(self, token: int) -> None:
        """Raise StreamStopped if the stream was stopped since `begin_read`."""
        if self.interrupted(token):
            raise StreamStopped(f"{self._uri}: the stream was stopped", uri=self._uri)


def check_wire_buffer(out: WireBuffer, n_channels: int, wire: WireFormat) -> None:
    """Raise ShapeError unless `out` is (n >= 1, n_channels, 2) of the wire's dtype and writeable."""
    wanted = f"({n_channels} channels, I and Q) {wire.dtype}"
    if out.ndim != 3 or out.shape[1:] != (n_channels, 2) or len(out) < 1:
        raise ShapeError(f"read buffer has shape {out.shape}, expected (n, {n_channels}, 2): {wanted}")
    if out.dtype != wire.dtype or not out.flags.writeable:
        raise ShapeError(f"read buffer is {out.dtype}, expected a writeable array of {wire.dtype}")


def default_block_samples(fs_hz: float) -> int:
    """Samples of a hardware block when nobody asked: about 12 ms, a power of two, 1024..262144."""
    return 2 ** int(min(max(round(math.log2(max(fs_hz, 1.0) * 0.012)), 10), 18))
