"""The fixtures for other people's projects, used as they would: a project of theirs, the real client libraries."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hil.sim_scene import toml_text
from hil.sim_server import free_address
from sim_backend.scene import parse_scene

THEIRS = '''
import subprocess
import sys
import time

import pytest


def test_one_board(simulated_iio_board):
    import adi

    sdr = adi.Pluto(uri=simulated_iio_board.uri)
    sdr.rx_buffer_size = 1 << 15
    assert len(sdr.rx()) == 1 << 15
    sdr.rx_destroy_buffer()
    assert simulated_iio_board.events()[0]["board"] == "pluto"


SOAPY_CLIENT = """
import sys, numpy, SoapySDR
from SoapySDR import SOAPY_SDR_RX, SOAPY_SDR_CF32
device = SoapySDR.Device(dict(item.split("=", 1) for item in sys.argv[1:]))
stream = device.setupStream(SOAPY_SDR_RX, SOAPY_SDR_CF32, [0, 1, 2, 3])
device.activateStream(stream)
buffers = [numpy.zeros(4096, numpy.complex64) for _ in range(4)]
found = device.readStream(stream, buffers, 4096, timeoutUs=5000000)
assert found.ret > 0, found
assert all(b[: found.ret].any() for b in buffers)
device.deactivateStream(stream)
device.closeStream(stream)
"""


def test_one_soapy_device(simulated_soapy_device):
    arguments = [f"{k}={v}" for k, v in simulated_soapy_device.soapy_args.items()]
    subprocess.run(["/usr/bin/python3", "-c", SOAPY_CLIENT, *arguments], check=True, timeout=60)


@pytest.mark.simulated({"receiver": {"board": "fmcomms5"}, "faults": {"disconnect_at_s": [0.5]}})
def test_a_fault_on_demand(simulated_array):
    import iio

    context = iio.Context(simulated_array.uri)
    context.set_timeout(2000)
    phy = context.find_device("ad9361-phy")
    deadline = time.monotonic() + 30
    with pytest.raises(OSError):
        while time.monotonic() < deadline:
            phy.attrs["calib_mode"].value
            time.sleep(0.02)
    assert any(event["event"] == "disconnect" for event in simulated_array.events())
    assert len(simulated_array.iio) == 2  # eight elements, four channels a board


def test_two_at_once(simulated_iio_board, simulated_array):
    assert set(simulated_iio_board.iio).isdisjoint(simulated_array.iio)
    simulated_array.kill()
    assert simulated_iio_board.process.poll() is None


def test_two_by_hand_and_both_at_work(hil_sim):
    import iio

    pluto = {"array": {"n_elements": 2}, "receiver": {"board": "pluto"}}
    with hil_sim(scene=pluto) as one, hil_sim(scene=pluto | {"seed": 8}) as two:
        assert set(one.iio).isdisjoint(two.iio)
        assert one.truth != two.truth
        contexts = [iio.Context(server.uri) for server in (one, two)]
        assert all(context.find_device("ad9361-phy") for context in contexts)
        assert [server.events()[0]["seed"] for server in (one, two)] == [7, 8]
        one.kill()
        assert iio.Context(two.uri).find_device("cf-ad9361-lpc")
    assert two.process.poll() is not None
    del contexts


def test_ports_that_the_system_chooses(hil_sim):
    with hil_sim(iio=None, soapy="free") as one, hil_sim(iio=None, soapy="free") as two:
        assert one.soapy != two.soapy
        assert one.truth != two.truth
        assert (one.iio, two.iio) == ((), ())


@pytest.mark.simulated("seed = 3\\nnonsense = 1\\n")
def test_a_wrong_scene_says_so(request):
    with pytest.raises(RuntimeError, match="nonsense"):
        request.getfixturevalue("simulated_array")


def test_nothing_else_is_imported():
    assert not [m for m in sys.modules if m.split(".")[0] in ("sim_backend", "calib", "torch", "drivers")]
'''


def test_their_project(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    options = ["-q", "-p", "no:cacheprovider", "-W", "error", "--strict-markers"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_theirs.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "8 passed" in done.stdout


def test_scenes_from_plain_values() -> None:
    scene = parse_scene(
        toml_text({
            "seed": 4, "array": {"n_elements": 4}, "emitter": [{"angle_deg": 10.0, "waveform": "cw"},
            {"hop": {"period_s": 0.01, "min_deg": -50.0, "max_deg": 50.0}}], "faults": {"stall_at_s": [1.0, 2.5]},
        })
    )  # fmt: skip
    assert scene.seed == 4
    assert scene.array.n_elements == 4
    assert [e.waveform for e in scene.emitters] == ["cw", "qpsk"]
    assert scene.emitters[1].hop is not None
    assert scene.faults.stall_at_s == (1.0, 2.5)
    assert parse_scene(toml_text({"emitter": []})).emitters == ()
    with pytest.raises(TypeError, match="None"):
        toml_text({"seed": None})


def test_an_address_where_a_server_is_is_not_free_until_it_ends() -> None:
    with contextlib.ExitStack() as held:
        taken, listeners = [], []
        for _ in range(15):
            taken.append(free_address())
            listeners.append(held.enter_context(socket.create_server((taken[-1], 30431))))
        assert len(set(taken)) == 15
        with pytest.raises(RuntimeError, match="15 simulated arrays"):
            free_address()
        listeners[-1].close()
        assert free_address() == taken[-1]
