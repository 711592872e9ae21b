"""The transmitters over which their conformance kit runs. Emulators in processes of their own, seen from
outside through a second connection of the plain client library and through their truth files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from drivers.conformance_cases import emulator_scene, free_address, server
from drivers.conformance_tx import TX_CHECKS, TxCase, TxOutside
from drivers.registry import load, open_device
from hil.core.device import Transceiver

_BOARDS = (("pluto", 1), ("fmcomms5", 1), ("adrv9009", 1), ("adrv9009-zu11eg", 1), ("fmcomms5", 2))


@dataclass(frozen=True, slots=True)
class TxCaseSpec:
    """A case that still has to be set up: `with spec.enter() as case: ...`; `checks`: those that make sense."""

    name: str
    enter: Callable[[], AbstractContextManager[TxCase]]
    checks: tuple[str, ...] = tuple(TX_CHECKS)


def open_transceiver(uri: str) -> Transceiver:
    """A device that the kit expects to transmit."""
    return cast("Transceiver", open_device(uri))


def truth_events(path: Path) -> list[dict[str, Any]]:
    """The events of a truth file so far; a line that is being written is left out."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def sent_so_far(path: Path) -> tuple[bool, int, int]:
    """(something is being sent now, transmissions begun, underflows) by a truth file."""
    now: dict[int, bool] = {}
    starts = underflows = 0
    for event in truth_events(path):
        if event["event"] == "transmit":
            now[event["board"]] = event["samples"] > 0
            starts += event["samples"] > 0
        underflows += event["event"] == "tx_underflow"
    return any(now.values()), starts, underflows


# ---- the simulated array in this process ------------------------------------------------------------------


@contextmanager
def _simulated(free_running: bool) -> Iterator[TxCase]:
    from drivers.sim import SimDevice
    from sim_backend.engine import ArrayEngine
    from sim_backend.scene import load_scene

    with tempfile.TemporaryDirectory(prefix="hil-tx-") as folder:
        truth = Path(folder, "truth.jsonl")
        engine = ArrayEngine(load_scene(None), free_running=free_running, truth=truth)

        def look() -> TxOutside:
            sending, starts, underflows = sent_so_far(truth)
            return TxOutside(sending=sending, starts=starts, underflows=underflows)

        name = "sim free" if free_running else "sim"
        yield TxCase(
            name,
            lambda: SimDevice(engine, "sim:", free_running=free_running),
            real_time=not free_running,
            look=look,
        )
        engine.close()


def sim_tx_cases() -> list[TxCaseSpec]:
    """The simulated array in real time and free-running."""
    return [
        TxCaseSpec("sim", lambda: _simulated(False)),
        TxCaseSpec("sim free", lambda: _simulated(True)),
    ]


# ---- IIO boards -------------------------------------------------------------------------------------------


def _outputs(context: Any, attribute: str, prefix: str) -> list[Any]:
    """All output channels' attributes of a name, of devices whose name begins so."""
    return [
        channel.attrs[attribute]
        for device in context.devices
        if device.name and device.name.startswith(prefix)
        for channel in device.channels
        if channel.output
        and attribute in channel.attrs
        and (attribute != "powerdown" or channel.name != "RX_LO")
    ]


def look_at_boards(uris: list[str], truth: Path) -> TxOutside:
    """Boards seen through connections of the plain client library, and what goes out by the truth file."""
    import iio

    levels: list[float] = []
    powered = tones = False
    for uri in uris:
        context = iio.Context(uri)
        levels += [-float(a.value.split()[0]) for a in _outputs(context, "hardwaregain", "ad")]
        powered |= any(a.value.strip() == "0" for a in _outputs(context, "powerdown", "ad"))
        for prefix in ("cf-ad9361-dds", "axi-adrv9009-tx"):
            tones |= any(a.value.strip() == "1" for a in _outputs(context, "raw", prefix))
    sending, starts, underflows = sent_so_far(truth)
    return TxOutside(tuple(levels), powered, sending or tones, starts, underflows)


def _leave_on(uris: list[str]) -> None:
    """A program sets tones and full power, and dies."""
    import iio

    for uri in uris:
        context = iio.Context(uri)
        for attribute in _outputs(context, "hardwaregain", "ad"):
            attribute.value = "-3.0"
        for attribute in _outputs(context, "powerdown", "ad"):
            attribute.value = "0"
        for prefix in ("cf-ad9361-dds", "axi-adrv9009-tx"):
            for name, value in (("scale", "0.5"), ("frequency", "200000"), ("raw", "1")):
                for attribute in _outputs(context, name, prefix):
                    attribute.value = value


@contextmanager
def _emulated(board: str, n_boards: int) -> Iterator[TxCase]:
    with tempfile.TemporaryDirectory(prefix="hil-tx-") as folder:
        truth = Path(folder, "truth.jsonl")
        options = ("--iio", free_address("127.0.4.40"), "--truth", str(truth))
        scene = emulator_scene(board, n_boards)
        if not board.startswith("adrv9009"):  # its profiles begin at 3.84 MS/s
            scene = scene.replace("[receiver]\n", "[receiver]\nfs_hz = 1.0e6\n")
        with server(scene, *options) as (process, ready):
            uris = list(ready["iio"])

            def disconnect() -> None:
                process.kill()
                process.wait(10.0)

            yield TxCase(
                f"iio {board} x {n_boards}",
                lambda: open_transceiver("iio:" + ",".join(uris)),
                look=lambda: look_at_boards(uris, truth),
                leave_on=lambda: _leave_on(uris),
                disconnect=disconnect,
            )


def iio_tx_cases() -> list[TxCaseSpec]:
    """Every board behind an emulator, and an array of two boards."""
    return [
        TxCaseSpec(f"iio {board} x {n}", lambda board=board, n=n: _emulated(board, n)) for board, n in _BOARDS
    ]


#: By scheme; a driver that transmits is added here.
TX_CASES: dict[str, Callable[[], list[TxCaseSpec]]] = {
    "sim": sim_tx_cases,
    "iio": iio_tx_cases,
    "soapy": lambda: load("drivers.conformance_soapy_tx:soapy_tx_cases")(),
}
