"""The devices over which the conformance kit runs: one function per line of the driver table.

Network devices are emulators in processes of their own, started as any user starts them. One that does not
start is a failure.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivers.conformance import CHECKS, Case, NonConformance
from drivers.registry import open_device

_READY_S = 60.0
_BOARD_CHANNELS = {"pluto": 2, "fmcomms5": 4, "adrv9009": 2, "adrv9009-zu11eg": 4}


@dataclass(frozen=True, slots=True)
class CaseSpec:
    """A case that still has to be set up: `with spec.enter() as case: ...`; `checks`: those that make sense."""

    name: str
    enter: Callable[[], AbstractContextManager[Case]]
    checks: tuple[str, ...] = tuple(CHECKS)


def emulator_scene(board: str, n_boards: int = 1) -> str:
    """A small scene: two modulated emitters."""
    return (
        f'seed = 11\n[array]\nkind = "ula"\nn_elements = {_BOARD_CHANNELS[board] * n_boards}\n'
        f'[receiver]\nboard = "{board}"\n'
        '[[emitter]]\nangle_deg = 10.0\nwaveform = "qpsk"\noffset_hz = 1.0e5\nsymbol_rate_hz = 5.0e5\n'
    )


def free_address(host: str = "127.0.21.1") -> str:
    """HOST:PORT with a port that is free there."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


@contextmanager
def emulator(scene: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`hil sim serve` over a scene (TOML text): the process and the libiio URIs of its boards.

    Raises NonConformance if it does not get ready.
    """
    with server(scene, "--iio", free_address(), *options) as (process, ready):
        yield process, list(ready["iio"])


@contextmanager
def soapy_emulator(scene: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`hil sim serve --soapy` over a scene (TOML text): the process and the URL of its server.

    Raises NonConformance if it does not get ready.
    """
    with server(scene, "--soapy", free_address("127.0.6.2"), *options) as (process, ready):
        yield process, str(ready["soapy"])


@contextmanager
def server(scene: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`hil sim serve` over a scene (TOML text): the process and its line of JSON.

    Raises NonConformance if it does not get ready.
    """
    with tempfile.TemporaryDirectory(prefix="hil-emulator-") as folder:
        path = Path(folder, "scene.toml")
        path.write_text(scene, "utf-8")
        command = [sys.executable, "-P", "-m", "hil.cli", "sim", "serve", "--scene", str(path)]
        process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # whatever happens here, the emulator does not outlive its time
        guard = threading.Timer(300.0, process.kill)
        guard.daemon = True
        guard.start()
        try:
            yield process, _ready(process)
        finally:
            guard.cancel()
            process.terminate()
            try:
                process.communicate(timeout=10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    patience = threading.Timer(_READY_S, process.kill)
    patience.start()
    try:
        line = process.stdout.readline()
    finally:
        patience.cancel()
    try:
        answer = json.loads(line)
        if answer["ready"] is not True:
            raise ValueError(line)
        return answer
    except (ValueError, KeyError, TypeError) as err:
        process.kill()
        reason = process.communicate()[1].strip() or "no answer"
        raise NonConformance(f"the emulator did not start: {reason}") from err


@contextmanager
def _emulated(board: str, n_boards: int) -> Iterator[Case]:
    with emulator(emulator_scene(board, n_boards)) as (process, uris):

        def disconnect() -> None:
            process.kill()
            process.wait(10.0)

        yield Case(
            name=f"iio {board} x {n_boards}",
            open=lambda: open_device("iio:" + ",".join(uris)),
            real_time=True,
            disconnect=disconnect,
            library="iio",
        )


@contextmanager
def _fixed(case: Case) -> Iterator[Case]:
    yield case


def _spec(case: Case) -> CaseSpec:
    return CaseSpec(case.name, lambda: _fixed(case))


def sim_cases() -> list[CaseSpec]:
    """The simulated array in real time and free-running."""
    return [
        _spec(Case("sim", lambda: open_device("sim:"), real_time=True)),
        _spec(Case("sim free", lambda: open_device("sim:?free"))),
    ]


def iio_cases() -> list[CaseSpec]:
    """Every board behind an emulator, and arrays of two boards with and without common start."""
    boards = [(name, 1) for name in _BOARD_CHANNELS] + [("fmcomms5", 2), ("adrv9009-zu11eg", 2)]
    return [
        CaseSpec(f"iio {board} x {n}", lambda board=board, n=n: _emulated(board, n)) for board, n in boards
    ]


@contextmanager
def _soapy(board: str, options: str, serials: int) -> Iterator[Case]:
    n_boards = max(serials, 1)
    with soapy_emulator(emulator_scene(board, n_boards)) as (process, url):
        uri = f"driver=remote,remote={url}{options}"
        if serials:
            uri = ";".join(f"{uri},serial={name}" for name in board_serials(url))

        def disconnect() -> None:
            process.kill()
            process.wait(10.0)

        yield Case(
            name="soapy",
            open=lambda: open_device(f"soapy:{uri}"),
            real_time=True,
            disconnect=disconnect,
            library="SoapySDR",
        )


def board_serials(url: str) -> list[str]:
    """Serial numbers of the single boards behind an emulator; the device of the whole array is left out."""
    from drivers.soapy.binding import import_soapy

    soapy, serials, deadline = import_soapy(), [], time.monotonic() + _READY_S
    # the client waits 0.1 s for an answer, which a busy machine misses
    while not serials and time.monotonic() < deadline:
        serials = [str(d["serial"]) for d in soapy.Device.enumerate({"driver": "remote", "remote": url})]
    if not serials:
        raise NonConformance(f"{url} lists no device")
    return serials if len(serials) == 1 else serials[1:]


def soapy_cases() -> list[CaseSpec]:
    """A SoapyRemote server over every board, in both sample formats, and an array of two devices."""
    plans = [(board, "", 0) for board in _BOARD_CHANNELS]
    plans += [("fmcomms5", ",format=CF32", 0), ("fmcomms5", "", 2)]
    return [
        CaseSpec(
            f"soapy {board}{options.replace(',format=', ' ')}" + (f" x {serials}" if serials else ""),
            lambda board=board, options=options, serials=serials: _soapy(board, options, serials),
        )
        for board, options, serials in plans
    ]


def faults_cases() -> list[CaseSpec]:
    """Faults around the simulator: the rules hold for what is left."""
    plans = ("drop_every=7", "drop_every=5,inexact=1,short_every=3", "overflow_every=4,short_every=2")
    specs = [
        _spec(Case(f"faults {plan}", lambda plan=plan: open_device(f"faults:{plan}:sim:?free")))
        for plan in plans
    ]
    cut = Case("faults cut", lambda: open_device("faults:disconnect_after=1:sim:"), disconnect=_nothing)
    return [*specs, CaseSpec(cut.name, lambda: _fixed(cut), ("disconnect", "close", "identity", "read_back"))]


def _nothing() -> None:
    """The plan disconnects by itself."""


def replay_cases() -> list[CaseSpec]:
    """A recording."""
    return [CaseSpec("replay", _recorded)]


@contextmanager
def _recorded() -> Iterator[Case]:
    n, n_channels = 60_000, 4
    rng = np.random.default_rng(5)
    wire = rng.normal(0.0, 300.0, (n, n_channels, 2)).round().astype("<i2")
    meta = {
        "global": {
            "core:datatype": "ci16_le",
            "core:version": "1.2.5",
            "core:num_channels": n_channels,
            "core:sample_rate": 2.5e6,
            "core:hw": "conformance kit",
        },
        "captures": [{"core:sample_start": 0, "core:frequency": 2.45e9}],
        "annotations": [],
    }
    with tempfile.TemporaryDirectory(prefix="hil-replay-") as folder:
        Path(folder, "kit.sigmf-data").write_bytes(wire.tobytes())
        path = Path(folder, "kit.sigmf-meta")
        path.write_text(json.dumps(meta), "utf-8")
        yield Case("replay", lambda: open_device(f"replay:{path}"), finite=True)
