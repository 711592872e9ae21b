"""Transmit stream: a thread that takes a client's datagrams and hands them to the scene in order, without a seam.

The device has a FIFO of FIFO_S; while it is full nothing is read, and the client's window holds it back. Where it
runs dry within a burst, UNDERFLOW is reported. With the stream argument `cyclic` what is written up to END_BURST
is one period, repeated until the stream is deactivated or the next period comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import HilError
from sim_backend.soapy_remote.board import N_TX, RadioBoard
from sim_backend.soapy_remote.datagram import END_BURST, HAS_TIME, HEADER, Layout
from sim_backend.soapy_remote.errors import (
    NOT_SUPPORTED,
    STREAM_ERROR,
    TIME_ERROR,
    UNDERFLOW,
    LinkClosed,
)
from sim_backend.soapy_remote.link import StreamLink

FIFO_S = 0.25
#: A burst without a time begins so much after its first datagram, so that the second one is not late.
LEAD_S = 0.02
#: Longest period of a cyclic transmission, and how far a free-running client may write ahead.
MAX_SAMPLES = 1 << 22
_POLL_S = 0.05
_MAX_LATE_PIECES = 64
_ACK_AGAIN_S = 0.1
_WARNING = 4
_log = logging.getLogger(__name__)


class TxStream:
    """Samples from one client to the transmitters `channels` of `board`. Methods may be called from any thread.

    Parameters
    ----------
    window : datagrams that may be on the way. owner : for whom the transmitters were claimed. cyclic : see above. log(level, text) : to clients that forward logs.
    """

    def __init__(
        self,
        board: RadioBoard,
        channels: list[int],
        layout: Layout,
        link: StreamLink,
        window: int,
        owner: object,
        *,
        free_running: bool,
        cyclic: bool,
        log: Callable[[int, str], None] = lambda _level, _text: None,
    ) -> None:
        self.board, self._channels, self._layout, self._link = board, channels, layout, link
        self._window, self._free_running, self._cyclic, self._log = window, free_running, cyclic, log
        self._owner = owner
        self._mask = sum(1 << channel for channel in channels)
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._active = self._used = False
        self._begins_ns: int | None = None  # time given with the activation
        self._end: int | None = None  # scene sample after the last one that was queued
        self._in_burst = self._dropping = self._sounds = False
        self._period: list[NDArray[np.complex64]] = []
        self._period_at: int | None = None
        self._buffer = bytearray()
        self._received = self._acknowledged = 0
        self._thread = threading.Thread(target=self._run, name="soapy-tx", daemon=True)

    def start(self) -> None:
        """Tell the client that it may send."""
        self.board.followers.append(self)
        self._acknowledge()
        self._thread.start()

    # -- control -----------------------------------------------------------------------------------------------
    def activate(self, flags: int, time_ns: int, n_elems: int) -> int:
        """Transmit what is written from now on; with HAS_TIME from that time on. 0 or a SoapySDR code."""
        del n_elems
        with self._lock:
            if flags & ~(HAS_TIME | END_BURST):
                return NOT_SUPPORTED
            if flags & HAS_TIME and not self.board.is_ahead(time_ns):
                return TIME_ERROR
            self._begins_ns = time_ns if flags & HAS_TIME else None
            self._active = self._used = True
        return 0

    def deactivate(self) -> int:
        """Stop: a burst that was not ended and a cyclic transmission are cut off, an ended burst plays out."""
        with self._lock:
            if not self._active:
                return 0
            with suppress(LinkClosed):  # what was written before, up to a whole window, is still on its way
                for _ in range(_MAX_LATE_PIECES):
                    data = self._link.receive()
                    if data is None:
                        break
                    self._add(data)
            self._active = False
            if self._cyclic or self._in_burst:
                self._silence()
        return 0

    @contextmanager
    def rate_change(self) -> Iterator[None]:
        """Around a change of the sample rate: what is queued is cut off."""
        with self._lock:
            if self._end is not None:
                self._silence()
            yield

    def close(self, *, poison: bool) -> None:
        """Silence the transmitters and end the thread; the sockets stay open until `dispose`. Idempotent."""
        del poison  # the client only sends here
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        with self._lock:
            self._active = False
            self._silence()
        self.board.release(self._owner)
        if self in self.board.followers:
            self.board.followers.remove(self)

    def dispose(self, wait_s: float = 1.0, *, first: bool = False) -> None:
        """Release the sockets once the client has closed its own (see StreamLink.close), or after `wait_s`."""
        self._link.close(wait_s, first=first)

    def _silence(self) -> None:
        if self._sounds:
            with self.board.lock:
                self.board.transmit(None, self.board.now(), cyclic=False)
        self._sounds = False
        self._end, self._in_burst = None, False
        self._period, self._period_at = [], None

    # -- the thread --------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            asked_s = time.monotonic()
            while not self._ended.is_set():
                if self._received == 0 and time.monotonic() - asked_s > _ACK_AGAIN_S:
                    self._acknowledge()
                    asked_s = time.monotonic()
                if not self._used or self._is_full():
                    self._ended.wait(0.005 if self._used else _POLL_S / 5)
                    continue
                self._link.wait_data(_POLL_S / 5)
                with self._lock:  # bytes are taken and read in one go: `deactivate` takes them, too
                    data = self._link.receive()
                    if data is not None:
                        self._add(data)
                    self._check_underflow()
        except LinkClosed:
            pass
        except HilError as err:
            self._log(_WARNING, f"stream ended: {err}")
            _log.warning("stream ended: %s", err)
        except Exception:  # noqa: BLE001 - the top of a thread: one stream must not stop the others
            _log.exception("stream ended by an error")
        finally:
            with self._lock:
                self._active = False
                if self._cyclic or self._in_burst:  # the writer has gone
                    self._silence()
            self.board.release(self._owner)

    def _acknowledge(self) -> None:
        self._acknowledged = self._received
        self._link.acknowledge(self._received & 0xFFFFFFFF, self._window)

    def _is_full(self) -> bool:
        with self._lock:
            if self._end is None or self._cyclic:
                return False
            fs_hz = self.board.source.fs_hz(self.board.index)
            depth = MAX_SAMPLES if self._free_running else round((FIFO_S + LEAD_S) * fs_hz)
            return self._end - self.board.now() > depth

    def _check_underflow(self) -> None:
        if self._free_running or self._cyclic or not self._in_burst or self._end is None:
            return
        now = self.board.now()
        if now > self._end:
            self.board.note("tx_underflow", self._end, lost_samples=now - self._end)
            self._link.status(
                UNDERFLOW, channels=self._mask, flags=HAS_TIME, time_ns=self.board.time_ns(self._end)
            )
            self._log(_WARNING, "underflow: the transmitter ran dry")
            self._in_burst, self._end = False, None

    def _add(self, data: bytes) -> None:
        """Take all complete datagrams of the bytes that have come; neighbours go on as one piece."""
        self._buffer += data
        pieces: list[NDArray[np.complex64]] = []
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            size, _, elems, flags, time_ns = HEADER.unpack_from(self._buffer, at)
            if not 0 <= elems <= self._layout.buff_elems or not 24 <= size <= self._layout.n_bytes(
                self._layout.buff_elems
            ):
                raise LinkClosed(f"datagram of {size} bytes with {elems} elements")
            if elems and size < self._layout.n_bytes(elems):
                raise LinkClosed(f"datagram of {size} bytes is too short for {elems} elements")
            if len(self._buffer) - at < size:
                break
            payload = bytes(self._buffer[at + HEADER.size : at + size])
            at += size
            self._received += 1
            if self._active:
                if flags & HAS_TIME and pieces:
                    self._write(pieces, None)
                    pieces = []
                if elems:
                    pieces.append(self._layout.unpack(payload, elems))
                if flags & (HAS_TIME | END_BURST):
                    self._write(pieces, time_ns if flags & HAS_TIME else None)
                    pieces = []
                if flags & END_BURST:
                    self._end_burst()
        del self._buffer[:at]
        if not self._link.tcp:
            self._buffer.clear()
        if pieces:
            self._write(pieces, None)
        if self._received - self._acknowledged >= max(1, self._window // 8):
            self._acknowledge()

    def _write(self, pieces: list[NDArray[np.complex64]], time_ns: int | None) -> None:
        if not pieces:
            return
        samples = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
        rows = np.zeros((N_TX, samples.shape[1]), np.complex64)
        # values over full scale clip in the converter, NaN would poison the scene
        clipped = np.nan_to_num(samples.view(np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
        rows[self._channels] = np.clip(clipped, -1.0, 1.0).view(np.complex64)
        if time_ns is None and not self._in_burst:
            time_ns, self._begins_ns = self._begins_ns, None
        if self._cyclic:
            self._collect(rows, time_ns)
        else:
            self._stream(rows, time_ns)

    def _stream(self, rows: NDArray[np.complex64], time_ns: int | None) -> None:
        """Queue rows after those before, or from a time on."""
        with self.board.lock:  # what is sent from now on must not be missing in samples that are being made
            self._queue(rows, time_ns)

    def _queue(self, rows: NDArray[np.complex64], time_ns: int | None) -> None:
        now = self.board.now()
        if time_ns is not None:
            at = self.board.sample_at(time_ns)
            begun = self._end is not None and at < self._end
            self._dropping = begun or not self.board.is_ahead(time_ns)
            if self._dropping:
                self._link.status(TIME_ERROR, channels=self._mask, flags=HAS_TIME, time_ns=time_ns)
                self._log(_WARNING, f"a burst for {time_ns} ns came too late and is dropped")
        elif self._in_burst and self._end is not None:
            at = max(self._end, now) if self._free_running else self._end
        else:
            lead = 0 if self._free_running else round(LEAD_S * self.board.source.fs_hz(self.board.index))
            at = max(now + lead, self._end or 0)
        if self._dropping:
            return
        self.board.transmit(rows, at, cyclic=False)
        self._sounds = True
        self._end, self._in_burst = at + rows.shape[1], True

    def _collect(self, rows: NDArray[np.complex64], time_ns: int | None) -> None:
        if not self._period and not self._dropping:
            self._period_at = None if time_ns is None else self.board.sample_at(time_ns)
        if not self._dropping and sum(piece.shape[1] for piece in self._period) + rows.shape[1] > MAX_SAMPLES:
            self._dropping, self._period = True, []
            self._link.status(STREAM_ERROR, channels=self._mask)
            self._log(_WARNING, f"a cyclic period is longer than {MAX_SAMPLES} samples and is dropped")
        if not self._dropping:
            self._period.append(rows)

    def _end_burst(self) -> None:
        if self._cyclic and self._period and not self._dropping:
            period = np.concatenate(self._period, axis=1)
            with self.board.lock:
                at = max(self.board.now(), self._period_at or 0)
                self.board.transmit(period, at, cyclic=True)
            self._sounds = True
        self._period, self._period_at = [], None
        self._in_burst = self._dropping = False
