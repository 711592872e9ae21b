"""The receive stream of one device: a thread that only reads, sample clock, loss detection, watchdog."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.board_blocks import Interrupted, WireBlock
from drivers.rate_watch import RateWatch
from drivers.soapy.caller import DRIVER_ERRORS
from drivers.soapy.radio import Radio, Refused
from drivers.soapy.sample_clock import SampleClock
from drivers.soapy.stream_errors import receiver_broke, set_up_refused
from drivers.soapy.unstick import open_sockets, revive
from hil.core.device import WireFormat
from hil.core.errors import (
    ConnectionLost,
    DeviceError,
    DeviceStateError,
    DeviceTimeout,
    ProtocolError,
)

_LOG = logging.getLogger("hil.soapy")
_CALL_TIMEOUT_S = 0.05  # a stop waits that long at most
_SPIN_CPU_S = 0.1  # no single read computes that long: the client library spins
_HANG_S = 3.0
_JOIN_S = 0.5
_QUEUE_S = 0.5
_QUEUE_MAX_BYTES = 256 * 2**20
_FREE_BLOCKS = 4


class RadioStream:
    """Sets a stream up and, once activated, keeps reading until closed.

    Parameters
    ----------
    radio : the device; its settings must not be touched while the stream is active.
    channels : receivers of this device, ascending.
    wire : CI16 or CF32.
    block_samples : samples per channel of one block handed out.
    link_timeout_s : silence after which the connection counts as lost.
    """

    def __init__(
        self,
        radio: Radio,
        channels: tuple[int, ...],
        wire: WireFormat,
        fs_hz: float,
        block_samples: int,
        link_timeout_s: float,
    ) -> None:
        self._radio = radio
        self._soapy = radio.soapy
        self._channels = channels
        self._wire = wire
        self._word = np.dtype(np.int32) if wire is WireFormat.CI16 else np.dtype(np.complex64)
        self._fs_hz = fs_hz
        self._block = block_samples
        self._link_timeout_s = max(link_timeout_s, 8.0 * block_samples / fs_hz)
        block_bytes = self._word.itemsize * len(channels) * block_samples
        self._block_bytes = block_bytes
        self._queue_blocks = int(
            max(min(_QUEUE_S * fs_hz // block_samples, _QUEUE_MAX_BYTES // block_bytes), 2)
        )
        self._queue_limit = self._queue_blocks
        self._ready = threading.Condition()
        self._queue: deque[WireBlock] = deque()
        self._free: list[NDArray[Any]] = []
        self._error: DeviceError | None = None
        self._closing = False
        self._stuck = False
        self._clock = SampleClock(fs_hz)
        # without hardware time a loss that the driver does not report shows only as a deficit of samples
        self._watch = RateWatch(fs_hz, int(_QUEUE_S * fs_hz), True) if not radio.has_time else None
        self._thread: threading.Thread | None = None
        self._call: tuple[float, float] | None = None  # when the present read began: clock, CPU time
        self._cpu_clock: int | None = None
        self._last_data = time.monotonic()
        self._sockets: dict[int, int] = {}  # those that the client opened for this stream
        self._handle = radio.hold()
        try:
            self._device = self._handle.device
            self._stream = self._set_up()
            self._mtu = self._read_mtu()
        except BaseException:
            self._handle.let_go()
            raise
        # one whole datagram each time: only its first read has a time stamp
        self._scratch = np.zeros((len(channels), self._mtu), self._word)
        self._pointers = [int(row.ctypes.data) for row in self._scratch]
        self._filling: NDArray[Any] = np.empty(0)
        self._filled = 0
        self._header: tuple[bool, int | None, float | None] = (False, None, None)

    def _set_up(self) -> Any:
        name = "CS16" if self._wire is WireFormat.CI16 else "CF32"
        before = open_sockets() if self._radio.address.remote else {}
        try:
            stream = self._radio.ask(
                "setupStream",
                self._soapy.SOAPY_SDR_RX,
                name,
                list(self._channels),
                dict(self._radio.address.stream_args),
            )
            after = open_sockets() if self._radio.address.remote else {}
            self._sockets = {fd: name for fd, name in after.items() if before.get(fd) != name}
            return stream
        except Refused as err:
            raise set_up_refused(self._radio, self._channels, err) from err

    def _read_mtu(self) -> int:
        try:
            return max(int(self._radio.ask("getStreamMTU", self._stream)), 1)
        except Refused as err:
            self._radio.ask("closeStream", self._stream, deadline_s=_CLOSE_S)
            raise ProtocolError(f"{self.uri}: its driver does not say how much to read ({err})") from err

    def activate(self, at_ns: int | None = None) -> None:
        """Start, at a hardware time if one is given, and begin to read. Raises DeviceError."""
        flags = self._soapy.SOAPY_SDR_HAS_TIME if at_ns is not None else 0
        try:
            code = int(self._radio.ask("activateStream", self._stream, flags, at_ns or 0, 0))
        except Refused as err:
            code = 0
            raise DeviceStateError(f"{self.uri}: the stream cannot be started ({err})", uri=self.uri) from err
        if code != 0:
            raise DeviceStateError(
                f"{self.uri}: the stream cannot be started ({self._soapy.errToStr(code)})", uri=self.uri
            )
        self._last_data = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"soapy-rx {self.uri}", daemon=True)
        self._thread.start()

    # ---- the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if hasattr(time, "pthread_getcpuclockid"):
                self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
            self._begin_block(False, None, None)
            while not (self._closing or self._stuck):
                self._read_once()
        except DeviceError as err:
            self._fail(err)
        except Exception as err:  # noqa: BLE001 - top of the thread; the reader gets it
            self._fail(ProtocolError(f"{self.uri}: {type(err).__name__}: {err}", uri=self.uri))

    def _fail(self, err: DeviceError) -> None:
        with self._ready:
            if not self._closing:
                self._error = self._error or err
            self._ready.notify_all()

    def _read_once(self) -> None:
        soapy, began = self._soapy, time.monotonic()
        self._call = (began, time.thread_time())
        try:
            got = self._device.readStream(
                self._stream, self._pointers, self._mtu, 0, int(_CALL_TIMEOUT_S * 1e6)
            )
        except DRIVER_ERRORS as err:
            raise ConnectionLost(f"{self.uri}: reading failed: {err}", uri=self.uri) from err
        finally:
            self._call = None
        n = int(got.ret)
        if self._stuck:
            return  # the rest of a datagram that was made up
        if n > self._mtu:
            raise ProtocolError(f"{self.uri}: {n} samples into a buffer of {self._mtu}", uri=self.uri)
        if n > 0:
            now = time.monotonic()
            self._last_data = now
            stamp = int(got.timeNs) if int(got.flags) & soapy.SOAPY_SDR_HAS_TIME else None
            if self._watch is not None and self._watch.block_arrived(n, began, now):
                self._clock.loss_reported()
            self._take(n, stamp)
        elif n in (soapy.SOAPY_SDR_OVERFLOW, soapy.SOAPY_SDR_CORRUPTION):
            self._last_data = time.monotonic()
            self._clock.loss_reported()
            if self._watch is not None:
                self._watch.forget()
        elif n in (0, soapy.SOAPY_SDR_TIMEOUT):
            self._nothing_came(began)
        else:
            raise receiver_broke(soapy, self.uri, n)

    def _nothing_came(self, began: float) -> None:
        now = time.monotonic()
        if now - self._last_data > self._link_timeout_s:
            raise ConnectionLost(
                f"{self.uri}: no samples for {now - self._last_data:.1f} s",
                uri=self.uri,
                hint="check cable and power of the device, and its server",
            )
        if now - began < 0.001:  # a driver that does not wait: do not spin
            time.sleep(0.001)

    def _take(self, n: int, stamp_ns: int | None) -> None:
        """Put n samples of the scratch buffer into blocks; a loss begins a new one."""
        lost, lost_samples = self._clock.arrived(n, stamp_ns, self._last_data)
        if self._watch is None and not self._clock.trusted:
            self._watch = RateWatch(self._fs_hz, int(_QUEUE_S * self._fs_hz), True)
        if lost:
            self._finish_block()
            self._begin_block(True, lost_samples, self._clock.first_ns)
        elif self._filled == 0:
            self._header = (*self._header[:2], self._clock.first_ns)
        done = 0
        while done < n:
            step = min(n - done, self._block - self._filled)
            # planar on its way here, interleaved from here on; by columns this is three times faster than by rows
            piece = self._filling[self._filled : self._filled + step]
            for k, row in enumerate(self._scratch):
                piece[:, k] = row[done : done + step]
            self._filled += step
            done += step
            if self._filled == self._block:
                self._finish_block()
                first_ns = self._clock.first_ns
                self._begin_block(
                    False, None, None if first_ns is None else first_ns + done * 1e9 / self._fs_hz
                )

    def _begin_block(self, lost: bool, lost_samples: int | None, time_ns: float | None) -> None:
        with self._ready:
            memory = self._free.pop() if self._free else None
        self._filling = np.empty((self._block, len(self._channels)), self._word) if memory is None else memory
        self._filled = 0
        self._header = (lost, lost_samples, time_ns)

    def _finish_block(self) -> None:
        if self._filled == 0:
            return
        n_channels = len(self._channels)
        values = self._filling.view(self._wire.dtype).reshape(self._block, n_channels, 2)
        lost, lost_samples, time_ns = self._header
        block = WireBlock(
            values[: self._filled], lost, False, time.monotonic_ns(), time.time_ns(), lost_samples, time_ns
        )
        with self._ready:
            while len(self._queue) >= self._queue_limit and not self._closing:
                self._ready.wait()  # the device's own buffer fills, and it reports what it loses
            self._queue.append(block)
            self._ready.notify_all()

    # ---- the reader -----------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """The device's URI."""
        return self._radio.uri

    @property
    def failed(self) -> bool:
        """True if the stream ended by an error."""
        return self._error is not None

    @property
    def waiting(self) -> bool:
        """Whether a block waits in the queue."""
        return bool(self._queue)

    @property
    def queued_samples(self) -> int:
        """Samples that wait in the queue."""
        with self._ready:
            return sum(len(block.wire) for block in self._queue)

    def hold_everything(self, on: bool) -> None:
        """Let the queue grow up to 1 GiB, for a reader that is busy aligning devices."""
        with self._ready:
            self._queue_limit = max(2**30 // self._block_bytes, 2) if on else self._queue_blocks
            self._ready.notify_all()

    def head(
        self, timeout_s: float, interrupted: Interrupted, room: NDArray[Any] | None = None
    ) -> WireBlock | None:
        """The oldest block (left in the queue), or None when `interrupted()` became true.

        room : not used, the library writes where it was told before. Raises DeviceTimeout, or the error that ended the stream once the queue is empty.
        """
        deadline = time.monotonic() + timeout_s
        with self._ready:
            while not self._queue:
                if interrupted():
                    return None
                self._watch_thread()
                if self._error is not None:
                    raise self._error
                left = deadline - time.monotonic()
                if left <= 0:
                    raise DeviceTimeout(f"{self.uri}: no block within {timeout_s:g} s", uri=self.uri)
                self._ready.wait(min(left, 0.1))
            return self._queue[0]

    def pop(self) -> None:
        """Drop the oldest block; its memory is used again."""
        with self._ready:
            if not self._queue:
                return  # closed while the last block was being copied
            values = self._queue.popleft().wire
            memory = values.base
            while memory is not None and memory.base is not None:
                memory = memory.base
            if (
                memory is not None
                and memory.shape == (self._block, len(self._channels))
                and len(self._free) < _FREE_BLOCKS
            ):
                self._free.append(memory)
            self._ready.notify_all()

    def wake(self) -> None:
        """Make a waiting `head` look at `interrupted` again."""
        with self._ready:
            self._ready.notify_all()

    def _watch_thread(self) -> None:
        """A client library whose server was killed may spin, or hang, inside one read."""
        call, clock = self._call, self._cpu_clock
        if call is None or self._error is not None:
            return
        silent_s = time.monotonic() - call[0] - _CALL_TIMEOUT_S
        spins = False
        if silent_s > 0.1 and clock is not None:
            try:
                spins = time.clock_gettime(clock) - call[1] > _SPIN_CPU_S
            except OSError:
                return  # the thread has ended
        if (spins or silent_s > max(_HANG_S, self._link_timeout_s)) and call is self._call:
            self._stuck = True
            verb = "spins" if spins else "hangs"
            self._error = ConnectionLost(
                f"{self.uri}: the connection broke: a read {verb} in the driver",
                uri=self.uri,
                hint="the server was killed or the cable pulled; open it again",
            )

    def end(self) -> None:
        """Tell the thread to end after the read that is under way."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()

    def close(self) -> None:
        """End the thread, stop and free the stream. A thread that cannot be ended is reported and left behind."""
        self.end()
        thread = self._thread
        if thread is not None:
            thread.join(0.0 if self._stuck else _JOIN_S)
            ends = revive(self._sockets) if thread.is_alive() else []
            if ends:
                thread.join(_JOIN_S)
            for end in ends:
                end.close()
            if thread.is_alive():
                _LEFT_BEHIND.append(self)  # the driver writes into its buffers
                self._radio.abandon(
                    self._handle,
                    f"the thread {thread.name} does not end: its driver never returns from a read",
                )
                return
        self._queue.clear()
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            if not self._radio.has(self._handle):
                return
            if thread is not None:
                self._radio.ask("deactivateStream", stream, deadline_s=_CLOSE_S)
            self._radio.ask("closeStream", stream, deadline_s=_CLOSE_S)
        except (Refused, DeviceError) as err:
            _LOG.info("%s: closing the stream: %s", self.uri, err)
        finally:
            self._handle.let_go()


_CLOSE_S = 5.0
_LEFT_BEHIND: list[RadioStream] = []
