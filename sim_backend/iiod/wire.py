"""Bytes of one IIOD connection: bounded lines and payloads in, status, values and chunks out."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Any, Protocol

MAX_LINE_BYTES = 4096
#: A client that begins a line or a payload must end it within this time.
UNFINISHED_TIMEOUT_S = 30.0
#: A client that asked for samples must take them within this time.
SEND_TIMEOUT_S = 120.0
#: How often a slow link is asked whether more may go out, and how long a pause looks away from its peer.
_SLOW_STEP_S, _POLL_S = 0.002, 0.05
_RECV_BYTES = 65536


class ConnectionDone(Exception):
    """The peer closed the connection, or has to be dropped."""


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


class Wire:
    """Buffered reads and writes on a connected socket. Reading belongs to one thread.

    faults : makes the link slow or lets it break within a reply; None: a good link.
    """

    def __init__(self, sock: socket.socket, faults: LinkFaults | None = None) -> None:
        self._sock = sock
        self._faults = faults
        self._buffer = bytearray()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()
        self._poll.register(sock, getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR)

    def read_line(self) -> str:
        """Next line without its end. Waits without limit for its first byte, then UNFINISHED_TIMEOUT_S.

        Raises ConnectionDone at EOF, on a line that is too long or takes too long.
        """
        deadline: float | None = time.monotonic() + UNFINISHED_TIMEOUT_S if self._buffer else None
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                if len(line) > MAX_LINE_BYTES:
                    raise ConnectionDone
                return line.decode("ascii", errors="replace").strip()
            searched = len(self._buffer)
            if searched > MAX_LINE_BYTES:
                raise ConnectionDone
            self._receive(deadline)
            if deadline is None:
                deadline = time.monotonic() + UNFINISHED_TIMEOUT_S

    def read_exact(self, n: int) -> bytes:
        """Exactly n bytes that follow the line; the caller bounds n."""
        deadline = time.monotonic() + UNFINISHED_TIMEOUT_S
        out = bytearray(self._buffer[:n])
        del self._buffer[: len(out)]
        while len(out) < n:
            self._receive(deadline, n - len(out))
            take = min(n - len(out), len(self._buffer))
            out += self._buffer[:take]
            del self._buffer[:take]
        return bytes(out)

    def _receive(self, deadline: float | None, wanted: int = 0) -> None:
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise ConnectionDone
        try:
            self._sock.settimeout(remaining)
            data = self._sock.recv(min(max(_RECV_BYTES, wanted), 1 << 20))
        except OSError as err:
            raise ConnectionDone from err
        if not data:
            raise ConnectionDone
        self._buffer += data

    def hung_up(self) -> bool:
        """True if the peer has closed its side."""
        return bool(self._poll.poll(0))

    def send(self, *parts: Any) -> None:
        """Send byte strings and contiguous buffers one after the other, without joining them."""
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        if self._faults is not None:
            self._send_badly(views, self._faults)
            return
        self._send(views)

    def _send_badly(self, views: list[memoryview], faults: LinkFaults) -> None:
        hang_s = faults.half_reply_due(sum(map(len, views)))
        self._pause(faults.latency_s())
        if hang_s is not None:
            whole = b"".join(views)
            views = [memoryview(whole[: len(whole) // 2])]
        while views:
            allowed = faults.allow(sum(map(len, views)))
            if allowed:
                now, views = _split(views, allowed)
                self._send(now)
            else:
                self._pause(_SLOW_STEP_S)
        if hang_s is not None:
            self._pause(hang_s)
            raise ConnectionDone

    def _pause(self, seconds: float) -> None:
        """Wait, but not for a peer that has gone."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._poll.poll(1000 * min(left, _POLL_S)):
                raise ConnectionDone

    def _send(self, views: list[memoryview]) -> None:
        try:
            self._sock.settimeout(SEND_TIMEOUT_S)
            while views:
                sent = self._sock.sendmsg(views)
                while views and sent >= len(views[0]):
                    sent -= len(views.pop(0))
                if sent:
                    views[0] = views[0][sent:]
        except OSError as err:
            raise ConnectionDone from err

    def send_status(self, value: int) -> None:
        """A status line: >= 0 success, else -errno."""
        self.send(b"%d\n" % value)

    def send_value(self, text: str) -> None:
        """A value as iiod sends it: the final newline of the file replaced by a NUL that counts."""
        data = text.encode() + b"\0"
        self.send(b"%d\n%s\n" % (len(data), data))

    def close(self) -> None:
        """Shut the connection down, from any thread; a blocked read ends."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def dispose(self) -> None:
        """Release the socket; only for the thread that reads."""
        self.close()
        self._sock.close()


def _split(views: list[memoryview], n: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first n bytes, and the rest."""
    head: list[memoryview] = []
    for k, view in enumerate(views):
        if n < len(view):
            return [*head, view[:n]] if n else head, [view[n:], *views[k + 1 :]]
        head.append(view)
        n -= len(view)
    return head, []
