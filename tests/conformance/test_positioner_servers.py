"""Simulated controllers against Hamlib's own programs, their traps, old servers, and emitters that turn over IIOD."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from drivers.convert import wire_buffer
from drivers.positioner.arrival import ArrivalRule, drive_to
from drivers.positioner.registry import open_positioner
from drivers.registry import open_device
from hil.core.device import RxConfig, WireFormat
from hil.core.errors import (
    ConfigError,
    DeviceError,
    DeviceNotFound,
    DeviceStateError,
    DeviceTimeout,
    ProtocolError,
)
from hil.dsp.doa import music_spectrum
from hil.sim_server import free_address, serve
from sim_backend.rotators.server import RotatorServer
from sim_backend.truth import read_truth
from sim_backend.turntable import TableSpec, Turntable

sys.path.insert(0, str(Path(__file__).parent))
from positioner_rigs import free_port, real_rotctld

HOST = "127.0.61.3"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_HOME", str(tmp_path))


class Wire:
    """A line to a server. `ask` reads until nothing comes any more."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, 5.0)

    def ask(self, text: str, quiet_s: float = 0.1, *, last: bytes = b"") -> str:
        """What comes until it is quiet, or until `last`."""
        self._socket.sendall(text.encode() + b"\n")
        self._socket.settimeout(10.0 if last else quiet_s)
        out = b""
        while not last or not out.endswith(last):
            try:
                part = self._socket.recv(65_536)
            except TimeoutError:
                return out.decode()
            if not part:
                return out.decode() + "<closed>"
            out += part
        return out.decode()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def _served(
    family: str, spec: TableSpec | None = None, *, confirms: bool = False
) -> Iterator[tuple[Turntable, RotatorServer, Wire]]:
    table = Turntable(spec or TableSpec(high=450.0))
    with RotatorServer(table, family, (HOST, 0), confirms=confirms) as server:
        wire = Wire(server.address)
        try:
            yield table, server, wire
        finally:
            wire.close()


_END = b"reset: 9\nRPRT 0\n"
#: In this order, on one connection; nothing moves.
DIALOGUE = (
    "p", r"\get_pos", r"+\get_pos", ";p", "|p", ",p", "pp", "  p", "+s", "s", r"+\get_status", r"\dump_state",
    r"+\dump_state", "S", "+S", "P 0 0", "+P 0.0 0.0", "P 500 0", "+P 500 0", "+P 10 -20", "+P abc 0", r"+\nope", "zz", "?",
    "+\\set_pos 0\n0", "v SPEED", "+v SPEED", "V SPEED 4", "+V SPEED 4", "v SPEED", "R 1", "+R 1", "C a b", "", "# P 9 9",
    "+p\n+p", "C 1 2",
)  # fmt: skip


def test_the_simulated_rotctld_answers_as_hamlibs() -> None:
    with real_rotctld(HOST) as port, _served("rotctld") as (_, _, ours), ExitStack() as stack:
        theirs = stack.enter_context(closing(Wire((HOST, port))))
        for command in DIALOGUE:
            ends = f"{command}\n+R 9"
            assert (command, ours.ask(ends, last=_END)) == (command, theirs.ask(ends, last=_END))
        assert ours.ask("q") == theirs.ask("q") == "<closed>"


def test_hamlibs_client_turns_the_simulated_table() -> None:
    with _served("rotctld", TableSpec(speed=200.0)) as (table, server, _):
        client = ["rotctl", "-m", "2", "-r", f"{server.address[0]}:{server.address[1]}"]
        done = subprocess.run(
            [*client, "P", "30", "0"], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        give_up = time.monotonic() + 20
        while table.moving():
            assert time.monotonic() < give_up
        done = subprocess.run([*client, "p"], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.split() == ["30.00", "0.00"]


def test_busy_rises_late_and_pulses_where_the_table_is_already() -> None:
    with _served("maturo", TableSpec(speed=20.0)) as (table, server, wire):
        assert wire.ask("CP") == "", "no device is selected"
        assert wire.ask("LD 0 DV\nCP") == " +0.0\n"
        assert wire.ask("LD 0 DG NP GO\nBU", 0.05) == "    0\n", "not yet"
        seen = ""
        while len(seen) < 60 and not seen.endswith("10"):
            seen += wire.ask("BU", 0.02).strip()
        assert seen.endswith("10"), "it pulses all the same"
        assert wire.ask("LD 900 DG NP GO\nBU") == "    0\n", "outside: not a word"
        wire.ask("LD 7 GP")
        assert wire.ask("CP") == "", "another device is addressed"
        with open_positioner(f"{server.uri}?sigma=0.05") as driver:
            driver.move_to(4.0)
            assert driver.read_back().moving, "although BU has not risen"
            assert drive_to(driver, 4.0, rule=ArrivalRule(0.11, 0.1)).azimuth_deg == 4.0
            assert driver.info.sigma_deg == 0.05
            driver.stop()
        assert table.plate_deg() == 4.0


def test_scpi_errors_queue_and_the_offset_leaves_the_limits() -> None:
    with _served("scpi", TableSpec(speed=200.0, low=-90, high=90)) as (table, server, wire):
        assert wire.ask("POS:ANGL 95;:SYST:ERR?") == '-222,"Data out of range"\n'
        assert wire.ask("NONSENSE 3") == ""
        assert wire.ask(":SYSTEM:ERROR?;SYST:ERR?") == '-113,"Undefined header";0,"No error"\n'
        assert wire.ask("OFFS 10;:POSITION:ANGLE?;LIM:HIGH?") == "-10.00;90.00\n"
        with open_positioner(server.uri) as driver:
            drive_to(driver, 20.0, rule=ArrivalRule(0.1, 0.05))
            assert table.motor_deg() == 30.0
            with pytest.raises(DeviceError, match="Data out of range"):
                driver.move_to(85.0)


def test_ets_tables_stand_until_their_errors_are_read() -> None:
    with _served("ets", TableSpec(speed=100.0, stall_at=10.0)) as (table, server, wire):
        wire.ask("SK 20")
        give_up = time.monotonic() + 10
        while not table.held():
            assert time.monotonic() < give_up
        assert wire.ask("1A*OPC?") == "1\n", "stopped is not arrived"
        assert wire.ask("SK -20\n*OPC?") == "1\n", "it is blocked"
        assert wire.ask("1AERR?\nERR?") == "4\n0\n"
        with open_positioner(f"{server.uri}?axis=1A") as driver:
            assert drive_to(driver, -20.0, rule=ArrivalRule(0.11, 0.05)).azimuth_deg == -20.0
            with pytest.raises(DeviceTimeout, match="does not move on"):
                drive_to(driver, 20.0, rule=ArrivalRule(0.11, 0.05, 0.3))
        wire.ask("ST\nERR?")
        assert wire.ask("SK 500\nERR?") == "32\n"


def test_controllers_that_confirm_say_what_they_do_not_take() -> None:
    with _served("maturo", TableSpec(speed=200.0), confirms=True) as (_, server, wire):
        assert [wire.ask(line, 0.05) for line in ("GO", "LD 0 DV", "LD 5 DG NP", "GO", "LD 900 DG NP GO")] == [
            "E - no device\n", "    0\n", "    1\n", "    1\n", "E - limit\n",
        ]  # fmt: skip
        with open_positioner(f"{server.uri}?low=-720&high=720") as driver:
            with pytest.raises(DeviceError, match="'GO' was refused with 'E - limit'"):
                driver.move_to(700.0)
            drive_to(driver, 7.0, rule=ArrivalRule(0.11, 0.05))
    with _served("ets", TableSpec(speed=200.0), confirms=True) as (_, server, wire):
        assert (wire.ask("SK 3", 0.05), wire.ask("NO 3", 0.05), wire.ask("\u00e4", 0.05)) == (
            "OK\n", "ERROR 5\n", "ERROR 3\n",
        )  # fmt: skip
        with (
            open_positioner(f"{server.uri}?low=-720&high=720") as driver,
            pytest.raises(DeviceError, match="ERROR 5"),
        ):
            driver.move_to(700.0)


class _Scripted(socketserver.StreamRequestHandler):
    """A home-made server that knows a few commands."""

    answers: Mapping[bytes, bytes]

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(self.answers.get(line.strip(), b""))


@contextmanager
def _scripted(answers: dict[bytes, bytes]) -> Iterator[str]:
    class Handler(_Scripted):
        pass

    Handler.answers = answers
    with socketserver.ThreadingTCPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"rotctld:{HOST}:{server.server_address[1]}?deadline=0.2"
        finally:
            server.shutdown()
            thread.join(10)


POSITION = rb"+\get_pos"


def test_old_and_home_made_servers() -> None:
    old = {
        POSITION: b"get_pos:\nAzimuth: 359.500000\nElevation: 0.000000\nRPRT 0\n",
        rb"+\dump_state": b"dump_state:\n0\n2\n-90.000000\n450.000000\n0.000000\n180.000000\nRPRT 0\n",
        rb"+\stop": b"stop:\nRPRT 0\n",
    }
    with _scripted(old) as uri, open_positioner(uri) as table:
        assert (table.info.limits_deg.minimum, table.info.limits_deg.maximum) == (-90.0, 450.0)
        assert table.info.model == "rotctld"
        assert table.read_back().azimuth_deg == 359.5
        assert table.read_back().moving is None
    del old[rb"+\dump_state"]
    with _scripted(old) as uri:
        with pytest.raises(ProtocolError, match="does not state its limits") as caught:
            open_positioner(uri)
        assert "?low=" in caught.value.hint
        with open_positioner(f"{uri}&low=0&high=360") as table:
            assert table.info.limits_deg.maximum == 360
    with _scripted({}) as uri, pytest.raises(DeviceTimeout):
        open_positioner(uri)
    with _scripted({POSITION: b"SSH-2.0-OpenSSH_9.2\r\n"}) as uri, pytest.raises(DeviceError):
        open_positioner(uri)
    with pytest.raises(DeviceNotFound):
        open_positioner(f"rotctld:{HOST}:{free_port(HOST)}")


@pytest.mark.parametrize(
    "uri", ["rotctld:", "rotctld:a b", "rotctld:h:99999", "rotctld:h?axis=3", "maturo:h?axis=x", "scpi:h?low=a",
            "ets:h?colour=1", "rotctld:h?deadline=0", "rotctld:h?sigma=nan", "maturo:[::1", "sim:there"],
)  # fmt: skip
def test_a_wrong_uri_is_one_clear_line(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_positioner(uri)
    assert "\n" not in str(caught.value)


def test_the_lock_dies_with_its_holder() -> None:
    with _served("rotctld") as (_, server, _):
        program = (
            "import sys; from drivers.positioner.registry import open_positioner\n"
            "table = open_positioner(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, server.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            with pytest.raises(DeviceStateError, match=f"process {other.pid}"):
                open_positioner(server.uri)
            other.kill()
            other.wait(10)
        open_positioner(server.uri).close()


CHAMBER = """
[array]
n_elements = 4
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
relock_phase = false
[[emitter]]
angle_deg = 0.0
[chamber]
positioner = "{family}"
speed_deg_per_s = 40.0
"""
_GRID = np.arange(-80.0, 80.0, 0.02)


@pytest.mark.parametrize(("family", "free"), [("rotctld", False), ("rotctld", True), ("maturo", True)])
def test_emitters_really_turn_over_iiod(tmp_path: Path, family: str, free: bool) -> None:
    scene = tmp_path / "chamber.toml"
    scene.write_text(CHAMBER.format(family=family))
    positions = np.arange(4)[:, None] * [299_792_458 / 2.45e9 / 2, 0.0, 0.0]
    with serve(tmp_path, scene=scene, iio=free_address(), rotator="free", free_running=free) as server:
        assert server.rotator.startswith(f"{family}:127.0.0.1:")
        with open_positioner(server.rotator) as table, open_device(server.device_uris["iio"]) as device:
            for target in (30.0, -12.0):
                drive_to(table, target, rule=ArrivalRule(0.11, 0.1))
                device.configure(RxConfig(block_samples=4096))
                device.start()
                out = wire_buffer(4096, 4, WireFormat.CI16)
                for _ in range(4):
                    device.read(out, 5.0)
                device.stop()
                x = (out[..., 0] + 1j * out[..., 1]).astype(complex).T
                heard = _GRID[int(np.argmax(music_spectrum(x, positions, 2.45e9, _GRID, 1)))]
                assert heard == pytest.approx(-target, abs=0.3)
        truth = read_truth(server.truth)
        opened = [sample for _, sample in truth.opens]
        assert truth.angles_deg([s + 9000 for s in opened])[:, 0] == pytest.approx([-30.0, 12.0], abs=0.01)
        rests = [e["heading_deg"] for e in server.events() if e["event"] == "table"]
        assert 30.0 in rests
        assert rests[-1] == -12.0


def test_a_programme_and_a_commanded_table_exclude_each_other(tmp_path: Path) -> None:
    scene = tmp_path / "steps.toml"
    scene.write_text("[chamber]\nsteps_deg = [0, 10]\n")
    with pytest.raises(RuntimeError, match="--rotator"), serve(tmp_path, scene=scene, rotator="free"):
        pass
    done = subprocess.run(
        [sys.executable, "-m", "hil.cli", "scene", "new", "c.toml", "--chamber", "--json", "-"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["files"] == {"scene": "c.toml"}
    from sim_backend.scene import load_scene

    made = load_scene(tmp_path / "c.toml")
    assert (made.chamber.positioner, made.emitters[0].range_deg) == ("rotctld", (0.0, 0.0))
