"""Network servers over one scene, as `hil sim serve` runs them."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hil.core.errors import ConfigError
from sim_backend.faults import Faults
from sim_backend.iiod.board import Board
from sim_backend.iiod.board_faults import BoardFaults
from sim_backend.iiod.server import DEFAULT_PORT, BoardServer, board_addresses
from sim_backend.iiod.sync import SyncBus
from sim_backend.scene import Scene
from sim_backend.source import SampleSource

DEFAULT_HOST = "127.0.0.2"
_TICK_S = 0.02
_log = logging.getLogger(__name__)


def parse_address(text: str) -> tuple[str, int]:
    """HOST[:PORT] -> (host, port), default port 30431. Raises ConfigError."""
    host, colon, port = text.partition(":")
    if not host or (colon and not (port.isascii() and port.isdigit() and 0 <= int(port) <= 65535)):
        raise ConfigError(
            f"{text!r} is not HOST[:PORT]", where="--iio", hint="for example 127.0.0.2 or 127.0.0.2:45001"
        )
    return host, int(port) if colon else DEFAULT_PORT


def check_loopback(host: str) -> None:
    """Raise ConfigError unless every address of `host` is on the loopback interface."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as err:
        raise ConfigError(f"unknown host {host!r}: {err.strerror}", where="--iio") from err
    if not all(ipaddress.ip_address(address).is_loopback for address in found):
        raise ConfigError(
            f"{host} can be reached from other machines",
            where="--iio",
            hint="the protocol has no authentication; add --allow-remote if that is wanted",
        )


class IioServers:
    """One IIO context per board of a simulated array, each on its own address.

    Parameters
    ----------
    source : the simulated radio. host, port : of board 0; the others take the following addresses. Port 0:
        a free one for each.
    free_running : blocks are ready when they are asked for. seed : of what the transport draws.

    Raises DeviceError (exit 3) if an address is in use, ConfigError if it may not be used.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        free_running: bool = False,
        faults: Faults | None = None,
        seed: int = 0,
        allow_remote: bool = False,
    ) -> None:
        self.boards: list[Board] = []
        self.servers: list[BoardServer] = []
        self._faults: list[BoardFaults] = []
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="iiod-tick", daemon=True)
        sync = SyncBus(source)
        addresses = board_addresses(host, port, source.n_boards)
        if not allow_remote:
            for address, _ in addresses:
                check_loopback(address)
        with ExitStack() as cleanup:
            cleanup.callback(self.stop)
            for index, address in enumerate(addresses):
                board_faults = BoardFaults(source, index, faults or Faults(), seed)
                board = Board(source, index, sync, free_running=free_running, seed=seed, losses=board_faults)
                self.servers.append(BoardServer(board, address, shorten=board_faults.shorten))
                self.boards.append(board)
                self._faults.append(board_faults)
            cleanup.pop_all()  # all addresses could be taken: keep them

    @property
    def uris(self) -> list[str]:
        """libiio URIs, one per board."""
        return [server.uri for server in self.servers]

    def start(self) -> None:
        """Accept clients."""
        for server in self.servers:
            server.start()
        self._ticker.start()

    def stop(self) -> None:
        """Drop the clients and end all threads. Idempotent."""
        self._stop.set()
        for server in self.servers:
            server.stop()
        if self._ticker.is_alive():
            self._ticker.join(5.0)

    def __enter__(self) -> IioServers:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_S):
            for board, server, faults in zip(self.boards, self.servers, self._faults, strict=True):
                try:
                    board.advance()
                    if faults.disconnect_due():
                        board.note("disconnect")
                        server.disconnect_all()
                except Exception:  # noqa: BLE001 - the top of a thread: one board must not stop the others
                    _log.exception("board %s", server.uri)


def serve(
    scene: Scene,
    *,
    iio: str = DEFAULT_HOST,
    truth_path: str | Path | None = None,
    free_running: bool = False,
    allow_remote: bool = False,
    stop_event: threading.Event,
    on_ready: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Serve a scene until `stop_event` is set; `on_ready` gets {"ready": True, "iio": [...]}.

    Raises
    ------
    ConfigError : a bad or remote address. DeviceError : an address in use. SceneError : the truth file.
    """
    from sim_backend.engine import ArrayEngine
    from sim_backend.truth import TruthWriter

    host, port = parse_address(iio)
    truth = TruthWriter(truth_path) if truth_path is not None else None
    try:
        engine = ArrayEngine(scene, free_running=free_running, truth=truth)
        servers = IioServers(
            engine,
            host=host,
            port=port,
            free_running=free_running,
            faults=scene.faults,
            seed=scene.seed,
            allow_remote=allow_remote,
        )
        with servers:
            on_ready({"ready": True, "iio": servers.uris})
            stop_event.wait()
    finally:
        if truth is not None:
            truth.close()
