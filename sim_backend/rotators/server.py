"""A server of lines of ASCII over one simulated turntable, with the faults that lines and controllers have.

Commands act when they arrive, also where their answers are late.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from hil.core.errors import ConfigError, DeviceError
from sim_backend.turntable import Turntable

_LONGEST_LINE = 1024
_MOST_CLIENTS = 32
_TICK_S = 0.1

#: family -> usual port.
PORTS = {"rotctld": 4533, "maturo": 200, "scpi": 5025, "ets": 2090}


class Controller(Protocol):
    """One family's controller over a table. Thread-safe."""

    def session(self) -> Callable[[str], bytes]:
        """A new connection: what a line is answered with. Raises EOFError where it ends the connection."""
        ...


@dataclass(slots=True)
class WireFaults:
    """May be changed at any time. silent : commands are taken, but not answered. deaf : nor taken. half : the first half
    of an answer, and nothing then. drop : the connection breaks instead of an answer. delay_s : of every answer. answers :
    these bytes instead of what is right."""

    silent: bool = False
    deaf: bool = False
    half: bool = False
    drop: bool = False
    delay_s: float = 0.0
    answers: bytes | None = None

    def spoil(self, answer: bytes) -> bytes:
        """What goes out. Raises EOFError."""
        if self.drop:
            raise EOFError
        if self.silent or not answer:
            return b""
        if self.answers is not None:
            return self.answers
        return answer[: len(answer) // 2] if self.half else answer


class RotatorServer:
    """Serves a table at (host, port); port 0 takes a free one, see `address`.

    confirms : commands have an answer, too, as with the later ones of the families "maturo" and "ets".

    Raises DeviceError if the address is in use, ConfigError for an unknown family.
    """

    def __init__(
        self, table: Turntable, family: str, address: tuple[str, int], *, confirms: bool = True
    ) -> None:
        self.family, self.faults = family, WireFaults()
        self._controller = _controller(family, table, confirms)
        try:
            self._listener = socket.create_server(address, backlog=16)
        except OSError as err:
            raise DeviceError(
                f"cannot serve the table at {address[0]}:{address[1]}: {err.strerror}",
                hint="choose another address with --rotator, or end the program that has it",
            ) from err
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._stop = threading.Event()
        self._clients: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._accept, name="rotator-accept", daemon=True)

    @property
    def uri(self) -> str:
        """What a sweep takes for `--positioner`."""
        return f"{self.family}:{self.address[0]}:{self.address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Drop the clients and end all threads; the table moves on. Idempotent."""
        self._stop.set()
        for thread in (self._thread, *self._clients):
            if thread.is_alive():
                thread.join(5.0)
        self._listener.close()

    def _accept(self) -> None:
        self._listener.settimeout(_TICK_S)
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._clients = {t for t in self._clients if t.is_alive()}
            if len(self._clients) >= _MOST_CLIENTS:
                client.close()
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="rotator-client", daemon=True)
            self._clients.add(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        answer_to, got = self._controller.session(), b""
        waiting: deque[tuple[float, bytes]] = deque()
        with client, selectors.DefaultSelector() as selector:
            client.settimeout(1.0)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ)
            try:
                while not self._stop.is_set():
                    if waiting and waiting[0][0] <= time.monotonic():
                        client.sendall(waiting.popleft()[1])
                        continue
                    due_s = waiting[0][0] - time.monotonic() if waiting else _TICK_S
                    if not selector.select(min(max(due_s, 0.0), _TICK_S)):
                        continue
                    part = client.recv(4096)
                    if not part:
                        return
                    *lines, got = (got + part).replace(b"\r", b"").split(b"\n")
                    if len(got) > _LONGEST_LINE:
                        return
                    for line in lines:
                        if not self.faults.deaf:
                            answer = self.faults.spoil(answer_to(line[:_LONGEST_LINE].decode("latin-1")))
                            waiting.append((time.monotonic() + self.faults.delay_s, answer))
            except EOFError:
                while waiting:
                    client.sendall(waiting.popleft()[1])
            except OSError:
                return


def _controller(family: str, table: Turntable, confirms: bool) -> Controller:
    if family == "rotctld":
        from sim_backend.rotators.rotctld import RotctldController

        return RotctldController(table)
    if family == "maturo":
        from sim_backend.rotators.maturo import MaturoController

        return MaturoController(table, confirms=confirms)
    if family == "scpi":
        from sim_backend.rotators.scpi import ScpiController

        return ScpiController(table)
    if family == "ets":
        from sim_backend.rotators.ets import EtsController

        return EtsController(table, confirms=confirms)
    raise ConfigError(f"no simulated table speaks {family!r}", hint=f"one of {', '.join(PORTS)}")
