"""Tables for the positioner kit: every driver over its simulator, and Hamlib's own rotctld."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from drivers.positioner.arrival import ArrivalRule
from drivers.positioner.conformance import Rig
from drivers.positioner.positioner import Positioner
from drivers.positioner.registry import open_positioner
from sim_backend.rotators.server import RotatorServer
from sim_backend.turntable import TableSpec, Turntable

HOST = "127.0.61.2"
_SPEC = TableSpec(speed=40.0, acceleration=400.0, backlash=0.4)

_RULE = ArrivalRule(0.11, 0.1)


def free_port(host: str) -> int:
    """A port where nobody listens now."""
    with socket.create_server((host, 0)) as probe:
        return probe.getsockname()[1]


def until_answers(host: str, port: int, limit_s: float = 20.0) -> None:
    """Wait until somebody listens there."""
    give_up = time.monotonic() + limit_s
    while True:
        try:
            socket.create_connection((host, port), 1.0).close()
        except OSError:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        else:
            return


@contextmanager
def real_rotctld(host: str, *arguments: str, port: int = 0) -> Iterator[int]:
    """Hamlib's daemon with its dummy rotator (6 degrees a second); yields the port."""
    port = port or free_port(host)
    process = subprocess.Popen(
        ["rotctld", "-m", "1", "-T", host, "-t", str(port), *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until_answers(host, port)
        yield port
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def real_rig() -> Iterator[Rig]:
    """Over Hamlib's daemon."""
    with ExitStack() as stack:
        current = stack.enter_context(ExitStack())
        port = current.enter_context(real_rotctld(HOST))
        uri = f"rotctld:{HOST}:{port}"

        def restart(gone: Callable[[], None]) -> None:
            current.close()
            gone()
            current.enter_context(real_rotctld(HOST, port=port))

        yield Rig("real rotctld", lambda: open_positioner(uri), (0.0, 5.0), _RULE, uri=uri, restart=restart)


@contextmanager
def simulated_rig() -> Iterator[Rig]:
    """The table in this process."""
    yield Rig("sim", lambda: open_positioner("sim:?speed=40&acceleration=400&backlash=0.4"), rule=_RULE)


@contextmanager
def server_rig(family: str, *, confirms: bool = True) -> Iterator[Rig]:
    """A driver over the simulator of its family."""
    table = Turntable(_SPEC)
    with ExitStack() as stack:
        server = stack.enter_context(RotatorServer(table, family, (HOST, 0), confirms=confirms))
        servers, address, uri = [server], server.address, server.uri + "?deadline=0.8"

        def slow(seconds: float) -> None:
            servers[-1].faults.delay_s = seconds

        def fault(what: str | bytes) -> None:
            faults = servers[-1].faults
            faults.silent, faults.half, faults.drop = (what == word for word in ("silent", "half", "drop"))
            faults.answers = what if isinstance(what, bytes) else None

        def restart(gone: Callable[[], None]) -> None:
            servers[-1].stop()
            gone()
            servers.append(stack.enter_context(RotatorServer(table, family, address, confirms=confirms)))

        def stall(at_deg: float | None) -> None:
            table.become(replace(_SPEC, stall_at=float("nan") if at_deg is None else at_deg))

        def opened() -> Positioner:
            return open_positioner(uri)

        yield Rig(
            family, opened, rule=_RULE, deadline_s=0.8, uri=uri, slow=slow, fault=fault, restart=restart,
            stall=stall,
        )  # fmt: skip


RIGS: dict[str, Callable[[], object]] = {
    "sim": simulated_rig,
    "real rotctld": real_rig,
    **{family: lambda family=family: server_rig(family) for family in ("rotctld", "maturo", "scpi", "ets")},
    "maturo without confirmation": lambda: server_rig("maturo", confirms=False),
    "ets without confirmation": lambda: server_rig("ets", confirms=False),
}
