"""The sockets of one stream: sample datagrams one way, acknowledgements (flow control) the other way.

An ACK carries the next expected sequence number and the receiver's window in datagrams; at most `window`
datagrams may be on the way. Status messages go to the client on a second socket.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import Any, Protocol

from sim_backend.soapy_remote.datagram import END_ABRUPT, HEADER, MAX_MTU_BYTES, control
from sim_backend.soapy_remote.errors import STREAM_ERROR, LinkClosed

_WRAP = 1 << 32
_LEAST_WINDOW = 2
_CLOSE_WAIT_S = 1.0
_SLOW_STEP_S = 0.002
_DRAIN_STEP_S = 0.02
_MAX_HANG_S = 60.0
_RECV_BYTES = 1 << 16


class LinkFaults(Protocol):
    """Says how badly a link sends (sim_backend.fault_transport)."""

    def half_reply_due(self, n_bytes: int) -> float | None:
        """None, or seconds to wait after the first half of a reply before the connection ends."""
        ...

    def latency_s(self) -> float:
        """Seconds by which a reply is held back."""
        ...

    def allow(self, n_bytes: int) -> int:
        """How many of these bytes may go out now."""
        ...


class StreamLink:
    """Stream and status sockets of one stream, TCP or connected UDP. Sending and receiving belong to one thread.

    faults : makes the link slow or lets it break within a datagram.
    """

    def __init__(
        self,
        stream: socket.socket,
        status: socket.socket,
        *,
        tcp: bool,
        faults: LinkFaults | None = None,
    ) -> None:
        self._sock, self._status, self.tcp = stream, status, tcp
        self._faults = faults
        self._granted = 0  # bytes that the slow network has let pass, and that were not sent yet
        self._breaks_after_s: float | None = None
        self._pending: list[tuple[memoryview, int]] = []  # (unsent bytes, bytes of one datagram)
        self._ack = bytearray()
        self._acked = 0
        self._window = 0
        self._status_lock = threading.Lock()
        self.sequence = 0  # of the next datagram to be queued
        for sock in (stream, status):
            sock.setblocking(False)
            if tcp:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- sending samples ---------------------------------------------------------------------------------------
    def credit(self) -> int:
        """Datagrams that may be queued: the receiver's window less what is on the way; 0 before its first ACK.

        Raises LinkClosed when the receiver has gone.
        """
        self._read_acks()
        if self._window == 0:
            return 0
        return max(0, self._window - (self.sequence - self._acked) % _WRAP)

    def queue(self, data: Any, datagram_bytes: int) -> None:
        """Take datagrams of equal size for sending; `sequence` counts on."""
        view = memoryview(data).cast("B")
        self._pending.append((view, datagram_bytes))
        self.sequence = (self.sequence + len(view) // datagram_bytes) % _WRAP

    def push(self, timeout_s: float) -> bool:
        """Send what is queued, waiting up to `timeout_s` for room; True when nothing is left."""
        deadline = time.monotonic() + timeout_s
        while self._pending:
            view, size = self._pending[0]
            n = self._passes(len(view) if self.tcp else size, size)
            sent = self._send(view[:n]) if n else 0
            if sent:
                self._granted = max(0, self._granted - sent)
                self._pending[0] = (view[sent:], size)
                if sent == len(view):
                    del self._pending[0]
                if self._breaks_after_s is not None:
                    self._break()
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if n:
                select.select([], [self._sock], [], left)
            else:
                time.sleep(min(left, _SLOW_STEP_S))
            self._read_acks()
        return True

    def _passes(self, n: int, datagram_bytes: int) -> int:
        """How many of the next n bytes may be sent now; UDP: all or none."""
        if self._faults is None:
            return n
        if self.tcp and self._breaks_after_s is None:
            self._breaks_after_s = self._faults.half_reply_due(datagram_bytes)
            if self._breaks_after_s is not None:
                return max(1, (n - 1) % datagram_bytes // 2)
        if n > self._granted:
            self._granted += self._faults.allow(n - self._granted)
        passes = min(n, self._granted)
        return passes if self.tcp or passes == n else 0

    def _break(self) -> None:
        """The end of a link that breaks within a datagram."""
        time.sleep(min(self._breaks_after_s or 0.0, _MAX_HANG_S))
        self.reset()
        raise LinkClosed("the link breaks, as the scene orders")

    def reset(self) -> None:
        """Close without an orderly end (RST), as when the server dies."""
        for sock in (self._sock, self._status):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def _send(self, view: memoryview) -> int:
        try:
            return self._sock.send(view)
        except (BlockingIOError, InterruptedError):
            return 0
        except ConnectionRefusedError:
            raise LinkClosed("the receiver has gone") from None
        except OSError as err:
            raise LinkClosed(str(err)) from err

    def cut(self) -> None:
        """Forget queued datagrams of which no byte was sent; the sequence goes back to them."""
        kept: list[tuple[memoryview, int]] = []
        for view, size in self._pending:
            begun = len(view) % size
            self.sequence = (self.sequence - len(view) // size) % _WRAP
            if begun:
                kept.append((view[:begun], size))
        self._pending = kept

    def _read_acks(self) -> None:
        while True:
            try:
                data = self._sock.recv(_RECV_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as err:
                raise LinkClosed(str(err)) from err
            if not data and self.tcp:
                raise LinkClosed("the receiver closed the stream")
            self._ack += data
            whole = len(self._ack) // HEADER.size * HEADER.size
            if whole:
                _, sequence, window, _, _ = HEADER.unpack(self._ack[whole - HEADER.size : whole])
                del self._ack[:whole]
                if (self.sequence - sequence) % _WRAP <= (self.sequence - self._acked) % _WRAP:
                    self._acked = sequence
                self._window = max(window, _LEAST_WINDOW) if self.tcp else max(window, 0)

    def wait_ack(self, timeout_s: float) -> None:
        """Wait for an acknowledgement."""
        select.select([self._sock], [], [], timeout_s)

    # -- receiving samples -------------------------------------------------------------------------------------
    def acknowledge(self, received: int, window: int) -> None:
        """Send an ACK: next expected sequence, and datagrams that may be on the way."""
        with contextlib.suppress(BlockingIOError):
            try:
                self._sock.send(control(received, window))
            except BlockingIOError:
                raise
            except OSError as err:
                raise LinkClosed(str(err)) from err

    def wait_data(self, timeout_s: float) -> None:
        """Wait for samples."""
        with contextlib.suppress(OSError, ValueError):
            select.select([self._sock], [], [], timeout_s)

    def receive(self) -> bytes | None:
        """What has come, at most one datagram of UDP; None: nothing. Raises LinkClosed at EOF."""
        try:
            data = self._sock.recv(_RECV_BYTES if not self.tcp else MAX_MTU_BYTES // 8)
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionRefusedError:
            return None  # UDP: an ACK met a port that is not open yet
        except (OSError, ValueError) as err:
            raise LinkClosed(str(err)) from err
        if not data and self.tcp:
            raise LinkClosed("the sender closed the stream")
        return data

    # -- status and end ----------------------------------------------------------------------------------------
    def status(self, code: int, *, channels: int = 0, flags: int = 0, time_ns: int = 0) -> None:
        """Send a status message; dropped where the client does not read them."""
        with self._status_lock, contextlib.suppress(OSError):
            self._status.send(control(channels, code, flags, time_ns))

    def finish(self, *, poison: bool, timeout_s: float) -> None:
        """End the stream in order: complete a datagram that was begun, then tell the receiver that it is over.

        A stock receiver that meets the bare end of a TCP stream spins for ever; after an error datagram of
        length 0 it returns that error at every later read instead.
        """
        self.cut()
        with contextlib.suppress(LinkClosed, OSError, ValueError):
            if self.push(timeout_s) and poison:
                self.queue(control(self.sequence, STREAM_ERROR, END_ABRUPT, n_bytes=0), HEADER.size)
                self.push(timeout_s)

    def close(self, wait_s: float = _CLOSE_WAIT_S, *, first: bool = False) -> None:
        """Wait for the client's end of the sockets, then release them. Idempotent.

        first : the server ends first. Then it is enough that the client's system has all that was sent; a close
        before that would answer the client's next ACK with a reset, and the last datagram would be lost.
        """
        deadline = time.monotonic() + wait_s
        for sock in (self._sock, self._status):
            with contextlib.suppress(OSError, ValueError):
                if self.tcp:
                    sock.shutdown(socket.SHUT_WR)
                    self._drain(sock, deadline, first)
            sock.close()

    def _drain(self, sock: socket.socket, deadline: float, first: bool) -> None:
        while (left := deadline - time.monotonic()) > 0:
            if select.select([sock], [], [], min(left, _DRAIN_STEP_S))[0]:
                if not sock.recv(_RECV_BYTES):
                    return
            elif first and _unsent_bytes(sock) == 0:
                return


def _unsent_bytes(sock: socket.socket) -> int | None:
    """Bytes that the peer's system has not acknowledged; None where this system does not say."""
    try:
        import fcntl
        import termios

        return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]
    except (ImportError, OSError):
        return None
