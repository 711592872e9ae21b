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
from sim_backend.rotators.server import PORTS, RotatorServer
from sim_backend.scene import Scene
from sim_backend.soapy_remote.server import DEFAULT_PORT as SOAPY_PORT
from sim_backend.soapy_remote.server import SoapyServer
from sim_backend.source import SampleSource
from sim_backend.turntable import Turntable

DEFAULT_HOST = "127.0.0.2"
_TICK_S = 0.02
_log = logging.getLogger(__name__)


def parse_address(text: str, option: str = "--iio", port: int = DEFAULT_PORT) -> tuple[str, int]:
    """HOST[:PORT] or [HOST]:PORT -> (host, port), with the default port. Raises ConfigError naming the option."""
    host, colon, digits = text.rpartition(":") if ":" in text else (text, "", "")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    known = digits.isascii() and digits.isdigit() and int(digits) <= 65535
    if not host or (":" in host and not text.startswith("[")) or (colon and not known):
        raise ConfigError(
            f"{text!r} is not HOST[:PORT]", where=option, hint=f"for example 127.0.0.2 or 127.0.0.2:{port}"
        )
    return host, int(digits) if colon else port


def check_loopback(host: str, option: str = "--iio") -> None:
    """Raise ConfigError unless every address of `host` is on the loopback interface."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as err:
        raise ConfigError(f"unknown host {host!r}: {err.strerror}", where=option) from err
    if not all(ipaddress.ip_address(address).is_loopback for address in found):
        raise ConfigError(
            f"{host} can be reached from other machines",
            where=option,
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
                self.servers.append(
                    BoardServer(board, address, shorten=board_faults.shorten, link_faults=board_faults)
                )
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
    iio: str | None = DEFAULT_HOST,
    soapy: str | None = None,
    rotator: str | None = None,
    truth_path: str | Path | None = None,
    free_running: bool = False,
    loop_s: float | None = None,
    allow_remote: bool = False,
    stop_event: threading.Event,
    on_ready: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Serve a scene as IIO contexts, as a SoapyRemote server, or both over one engine, until `stop_event` is set.

    rotator : HOST[:PORT] where the turntable under the array is commanded; None: it is not.

    `on_ready` gets {"ready": True, "iio": [...]}, with "soapy": "tcp://HOST:PORT" and "rotator": "rotctld:HOST:PORT"
    where they are served.

    Raises
    ------
    ConfigError : a bad or remote address. DeviceError : an address in use. SceneError : the truth file.
    """
    from sim_backend.engine import ArrayEngine
    from sim_backend.looped import LoopedEngine
    from sim_backend.truth import TruthWriter

    iio_address = None if iio is None else parse_address(iio)
    soapy_address = None if soapy is None else parse_address(soapy, "--soapy", SOAPY_PORT)
    if soapy_address is not None and not allow_remote:
        check_loopback(soapy_address[0], "--soapy")
    family = {"": "rotctld", "sim": "rotctld"}.get(scene.chamber.positioner, scene.chamber.positioner)
    rotator_address = None if rotator is None else parse_address(rotator, "--rotator", PORTS[family])
    if rotator_address is not None:
        if scene.chamber.steps_deg:
            raise ConfigError(
                "the scene turns the array by a programme", where="--rotator",
                hint="take steps_deg out of its [chamber], or leave out --rotator",
            )  # fmt: skip
        if not allow_remote:
            check_loopback(rotator_address[0], "--rotator")
    table = None if rotator_address is None else Turntable(scene.chamber.table)
    truth = TruthWriter(truth_path) if truth_path is not None else None
    try:
        if loop_s is None:
            engine = ArrayEngine(scene, free_running=free_running, truth=truth, table=table)
        else:
            engine = LoopedEngine(scene, loop_s, free_running=free_running, truth=truth, table=table)
        ready: dict[str, Any] = {"ready": True, "iio": []}
        with ExitStack() as stack:
            if iio_address is not None:
                iio_servers = IioServers(
                    engine,
                    host=iio_address[0],
                    port=iio_address[1],
                    free_running=free_running,
                    faults=scene.faults,
                    seed=scene.seed,
                    allow_remote=allow_remote,
                )
                ready["iio"] = stack.enter_context(iio_servers).uris
            if soapy_address is not None:
                server = SoapyServer(
                    engine, soapy_address, free_running=free_running, faults=scene.faults, seed=scene.seed
                )
                ready["soapy"] = stack.enter_context(server).url
            if rotator_address is not None and table is not None:
                rotator_server = RotatorServer(table, family, rotator_address)
                ready["rotator"] = stack.enter_context(rotator_server).uri
            on_ready(ready)
            stop_event.wait()
    finally:
        if truth is not None:
            truth.close()
