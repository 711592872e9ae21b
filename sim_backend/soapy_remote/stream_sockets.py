"""Makes the two sockets of a stream: the client connects twice (TCP), or both ends name their ports (UDP)."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Iterator

from sim_backend.soapy_remote.errors import SoapyRefusal
from sim_backend.soapy_remote.link import LinkFaults, StreamLink

ACCEPT_TIMEOUT_S = 5.0
MAX_WINDOW_BYTES = 64 << 20


def number(args: dict[str, str], key: str, default: float) -> float:
    """A number among stream arguments; clients write 1e5 as well. Raises SoapyRefusal."""
    try:
        value = float(args.get(key, "") or default)
        if math.isfinite(value):
            return value
    except ValueError:
        pass
    raise SoapyRefusal(f"{key} = {args[key]!r} is not a number")


class Sockets:
    """The sockets of a stream that is being set up. `port` is what the client connects to."""

    def __init__(self, peer: str, *, tcp: bool) -> None:
        self._peer, self._tcp = peer, tcp
        self._listener: socket.socket | None = None
        self._socks: list[socket.socket] = []
        self.port = ""

    @classmethod
    def listen(cls, rpc: socket.socket) -> Sockets:
        """Listen on a free port of the address that the client reached."""
        self = cls(rpc.getpeername()[0], tcp=True)
        listener = socket.socket(rpc.family, socket.SOCK_STREAM)
        self._listener = listener
        with self._or_refusal("listen for the stream"):
            listener.bind((rpc.getsockname()[0], 0))
            listener.listen(2)
            self.port = str(listener.getsockname()[1])
        return self

    @classmethod
    def udp(cls, rpc: socket.socket, client_port: str, status_port: str) -> Sockets:
        """UDP sockets connected to the client's ports."""
        self = cls(rpc.getpeername()[0], tcp=False)
        with self._or_refusal(f"reach UDP ports {client_port!r}, {status_port!r}"):
            for port in (client_port, status_port):
                sock = socket.socket(rpc.family, socket.SOCK_DGRAM)
                self._socks.append(sock)
                sock.bind((rpc.getsockname()[0], 0))
                if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                    raise OSError(f"{port!r} is no port")
                sock.connect((self._peer, int(port)))
        self.port = str(self._socks[0].getsockname()[1])
        return self

    @contextlib.contextmanager
    def _or_refusal(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            self.close()
            raise SoapyRefusal(f"cannot {what}: {err}") from err

    def accept(self) -> bool:
        """Wait for the client's stream and status connections, in this order; False if they do not come."""
        assert self._listener is not None
        deadline = time.monotonic() + ACCEPT_TIMEOUT_S
        try:
            while len(self._socks) < 2 and (left := deadline - time.monotonic()) > 0:
                self._listener.settimeout(left)
                sock, address = self._listener.accept()
                if address[0] != self._peer:
                    sock.close()
                    continue
                self._socks.append(sock)
        except OSError:
            pass
        self._listener.close()
        if len(self._socks) == 2:
            return True
        self.close()
        return False

    def set_window(self, n_bytes: float, *, sending: bool) -> int:
        """Size the buffer of the side that holds samples; bytes that the system granted."""
        option = socket.SO_SNDBUF if sending else socket.SO_RCVBUF
        stream = self._socks[0]
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, option, int(min(max(n_bytes, 4096), MAX_WINDOW_BYTES)))
        return stream.getsockopt(socket.SOL_SOCKET, option) // 2  # the kernel counts its own book-keeping too

    def link(self, faults: LinkFaults | None) -> StreamLink:
        """The finished link; it owns the sockets."""
        return StreamLink(self._socks[0], self._socks[1], tcp=self._tcp, faults=faults)

    def close(self) -> None:
        """Release everything. Idempotent."""
        for sock in (self._listener, *self._socks):
            if sock is not None:
                sock.close()
