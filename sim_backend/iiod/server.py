"""Sockets and threads: one listening address per board, one thread per connection."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable

from hil.core.errors import ConfigError, DeviceError
from sim_backend.iiod.board import Board
from sim_backend.iiod.session import Session
from sim_backend.iiod.wire import LinkFaults, Wire

DEFAULT_PORT = 30431
#: Connections of one board. Beyond it one that never sent a command has to go, else the new one is refused.
MAX_CONNECTIONS = 256
_ACCEPT_RETRY_S = 0.05
_log = logging.getLogger(__name__)


def board_addresses(host: str, port: int, n_boards: int) -> list[tuple[str, int]]:
    """Addresses of the boards: HOST and the following ones, all on one port.

    Raises ConfigError if HOST is no IPv4 address and more than one board needs an address.
    """
    if n_boards == 1:
        return [(host, port)]
    try:
        first = ipaddress.IPv4Address(host)
    except ValueError:
        raise ConfigError(
            f"{n_boards} boards need {n_boards} addresses and {host!r} is no IPv4 address",
            where="--iio",
            hint="give the first address, such as 127.0.0.2",
        ) from None
    return [(str(first + k), port) for k in range(n_boards)]


def uri_of(address: tuple[str, int]) -> str:
    """libiio URI of a listening address; the default port is left out, which also old clients take."""
    host, port = address
    return f"ip:{host}" if port == DEFAULT_PORT else f"ip:{host}:{port}"


class _Connection:
    def __init__(self, wire: Wire, session: Session) -> None:
        self.wire, self.session = wire, session
        self.thread: threading.Thread | None = None


class BoardServer:
    """Accepts the clients of one board.

    Parameters
    ----------
    address : (host, port); port 0 takes a free one, see `uri`.
    shorten : (bytes) -> bytes, may shorten what one READBUF returns (fault injection).
    link_faults : what is wrong with the network, or None.
    """

    def __init__(
        self,
        board: Board,
        address: tuple[str, int],
        *,
        shorten: Callable[[int], int] = lambda n: n,
        link_faults: LinkFaults | None = None,
    ) -> None:
        self.board = board
        self._shorten, self._link_faults = shorten, link_faults
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._stopping = threading.Event()
        self._listener = _listen(address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._accept, name=f"iiod-{self.address[0]}", daemon=True)

    @property
    def uri(self) -> str:
        """What a libiio client opens."""
        return uri_of(self.address)

    @property
    def n_connections(self) -> int:
        """Connections that are open now."""
        with self._lock:
            return len(self._connections)

    def start(self) -> None:
        """Accept clients from now on."""
        self._thread.start()

    def disconnect_all(self) -> None:
        """Drop every connection, as when a cable is pulled; new ones are accepted at once."""
        with self._lock:
            for connection in self._connections:
                connection.wire.close()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop listening, drop the clients, join the threads. Idempotent."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disconnect_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._lock:
            threads = [connection.thread for connection in self._connections]
        for thread in threads:
            if thread is not None:
                thread.join(timeout_s)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except (
                OSError
            ):  # a client that left at once, or no descriptor is free: not to be retried in a hurry
                self._stopping.wait(_ACCEPT_RETRY_S)
                continue
            self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            wire = Wire(sock, self._link_faults)
        except OSError:
            sock.close()
            return
        connection = _Connection(wire, Session(self.board, wire, self._shorten))
        connection.thread = threading.Thread(
            target=self._run, args=(connection,), name="iiod-client", daemon=True
        )
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS and not self._make_room():
                wire.dispose()
                return
            try:
                connection.thread.start()
            except RuntimeError:  # no more threads: refuse this client, keep the others
                wire.dispose()
                return
            self._connections.append(connection)

    def _make_room(self) -> bool:
        idle = next((c for c in self._connections if c.session.commands == 0), None)
        if idle is None:
            return False
        idle.wire.close()
        self._connections.remove(idle)
        return True

    def _run(self, connection: _Connection) -> None:
        try:
            connection.session.run()
        except Exception:  # noqa: BLE001 - the top of a thread: one client's trouble must not reach the others
            _log.exception("connection to %s ended by an error", self.uri)
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._connections.remove(connection)
            connection.wire.dispose()


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as err:
        raise DeviceError(f"cannot listen on {host}:{port}: {err.strerror}", uri=uri_of(address)) from err
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(128)
    except OSError as err:
        sock.close()
        raise DeviceError(
            f"cannot listen on {host}:{port}: {err.strerror}",
            uri=uri_of(address),
            hint="another server runs there? choose another address with --iio HOST[:PORT]",
        ) from err
    return sock
