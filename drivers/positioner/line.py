"""A line of ASCII to a controller: bounded answers, a deadline on every call, and a new connection after any trouble.

Answers have no number, so after one that is late, cut or not understood nobody knows what the next bytes answer: the
connection is closed, and the next call opens another one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from hil.core.errors import ConnectionLost, DeviceNotFound, DeviceTimeout, ProtocolError

_MOST_BYTES = 16_384
_WORDS = 60


class Line:
    """One controller. `ask` and `tell` belong to one thread at a time, `shout` to any.

    Parameters
    ----------
    greet : called with a deadline on every new connection, to set the controller up.
    """

    def __init__(self, host: str, port: int, uri: str, greet: Callable[[float], None]) -> None:
        self._address, self._uri, self._greet = (host, port), uri, greet
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()
        self._shouted = False
        self._found = False

    def tell(self, text: str, until: float) -> None:
        """Send a line that has no answer. until : monotonic second. Raises DeviceError."""
        self._fresh()
        sock = self._connected(until)
        try:
            with self._sending:
                sock.settimeout(max(until - time.monotonic(), 1e-3))
                sock.sendall(text.encode("ascii") + b"\n")
        except TimeoutError:
            raise self._late() from None
        except OSError as err:
            raise self._lost(err) from err

    def ask(self, text: str, whole: Callable[[bytes], bool], until: float) -> str:
        """Send a line and return its answer, once `whole` takes it for complete.

        Raises ConnectionLost, DeviceTimeout, ProtocolError; DeviceNotFound before the first connection.
        """
        self.tell(text, until)
        sock, answer = self._connected(until), b""
        while not whole(answer):
            left = until - time.monotonic()
            if left <= 0:
                raise self._late(answer)
            try:
                sock.settimeout(left)
                part = sock.recv(4096)
            except TimeoutError:
                raise self._late(answer) from None
            except OSError as err:
                raise self._lost(err) from err
            if not part:
                raise self._lost(None)
            answer += part
            if len(answer) > _MOST_BYTES or not all(32 <= b < 127 or b in b"\r\n\t" for b in part):
                raise self.nonsense(answer, text)
        return answer.decode("ascii")

    def answers(self, text: str, wait_s: float, until: float) -> bool:
        """Send a line and tell whether a line comes back within a while. Raises DeviceError."""
        self.tell(text, until)
        sock, answer = self._connected(until), b""
        wait_until = time.monotonic() + wait_s
        while not answer.endswith(b"\n"):
            try:
                sock.settimeout(max(wait_until - time.monotonic(), 1e-3))
                part = sock.recv(256)
            except TimeoutError:
                return False
            except OSError as err:
                raise self._lost(err) from err
            if not part:
                raise self._lost(None)
            answer += part
            if len(answer) > _MOST_BYTES:
                raise self.nonsense(answer, text)
        return True

    def shout(self, text: str) -> None:
        """Send a line at once, whatever is being asked on this connection; what it answers is thrown away."""
        with self._sending:
            sock, self._shouted = self._socket, True
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.send(text.encode("ascii") + b"\n")

    def nonsense(self, answer: bytes, text: str) -> ProtocolError:
        """The error for an answer that cannot be; the connection is not used any more."""
        self.close()
        shown = answer[:_WORDS].decode("ascii", "backslashreplace").strip()
        return ProtocolError(
            f"{self._uri}: {text!r} was answered with {shown!r}" + ("..." if len(answer) > _WORDS else ""),
            uri=self._uri, hint="check that the URI names the right kind of controller",
        )  # fmt: skip

    def close(self) -> None:
        """Close the connection; the next call opens another one. Idempotent."""
        with self._sending:
            sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _fresh(self) -> None:
        """Leave a connection on which answers may come that nobody asked for now."""
        sock = self._socket
        if sock is None:
            return
        waits = self._shouted
        if not waits:
            sock.setblocking(False)
            try:
                waits = bool(sock.recv(1, socket.MSG_PEEK))
            except BlockingIOError:
                pass
            except OSError as err:
                raise self._lost(err) from err
            else:
                if not waits:
                    raise self._lost(None)
        if waits:
            self.close()

    def _connected(self, until: float) -> socket.socket:
        if self._socket is not None:
            return self._socket
        left = until - time.monotonic()
        try:
            made = socket.create_connection(self._address, max(left, 1e-3))
        except TimeoutError:
            raise self._absent("no answer in time") from None
        except OSError as err:
            raise self._absent(err.strerror or str(err)) from err
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._sending:
            self._socket, self._shouted = made, False
        self._greet(until)
        self._found = True
        if self._socket is None:  # the greeting found that it is lost
            raise self._lost(None)
        return self._socket

    def _absent(self, why: str) -> DeviceNotFound | ConnectionLost:
        kind = ConnectionLost if self._found else DeviceNotFound
        host, port = self._address
        return kind(
            f"{self._uri}: nothing answers at {host}:{port}: {why}", uri=self._uri,
            hint="check that the controller, or its server, runs there and that the port is right",
        )  # fmt: skip

    def _lost(self, err: OSError | None) -> ConnectionLost:
        self.close()
        why = "it was closed there" if err is None else (err.strerror or str(err))
        return ConnectionLost(
            f"{self._uri}: the connection broke: {why}", uri=self._uri, hint="check cable and controller; it is opened anew"
        )  # fmt: skip

    def _late(self, answer: bytes = b"") -> DeviceTimeout:
        self.close()
        got = f", only {answer[:_WORDS].decode('ascii', 'backslashreplace')!r}" if answer else ""
        return DeviceTimeout(
            f"{self._uri}: no answer in time{got}", uri=self._uri, hint="check power and cable of the controller"
        )  # fmt: skip
