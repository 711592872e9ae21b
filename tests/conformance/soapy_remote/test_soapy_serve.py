"""`hil sim serve --soapy`, alone and beside IIO, with the tools that Debian ships."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import warnings
from pathlib import Path

import pytest

from hil.core.errors import ConfigError
from hil.sim_server import serve
from sim_backend.scene import parse_scene
from sim_backend.serve import parse_address
from sim_backend.serve import serve as serve_scene
from tests.conformance.soapy_remote.clients import HOST, client, running_client

_SCENE = 'seed = 11\n[array]\nn_elements = 4\n[receiver]\nboard = "adrv9009"\nfs_hz = 3.84e6\n'


def _tool(*options: str) -> str:
    assert shutil.which("SoapySDRUtil"), "SoapySDRUtil is missing: apt-get install soapysdr-tools"
    done = subprocess.run(["SoapySDRUtil", *options], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.toml"
    path.write_text(_SCENE, encoding="utf-8")
    return path


def test_the_stock_tools_find_and_probe_the_device(tmp_path: Path, scene: Path) -> None:
    with serve(tmp_path, scene=scene, iio=None, soapy=f"{HOST}:0") as server:
        assert server.iio == ()
        assert server.soapy.startswith(f"tcp://{HOST}:")
        args = f"driver=remote,remote={server.soapy}"
        found = _tool(f"--find={args}")
        assert all(f"serial = SIM0000000b{tail}" in found for tail in ("\n", "-0\n", "-1\n")), found
        probed = _tool(f"--probe={args}")
        for words in (
            "Channels: 4 Rx, 2 Tx",
            "Timestamps: YES",
            "Native format: CS16 [full-scale=32768]",
            "Full gain range: [0, 30, 0.5] dB",
            "Sample rates: 3.84, 7.68, 15.36, 30.72, 61.44, 122.88, 245.76 MSps",
            "hardware=adrv9009",
        ):
            assert words in probed, probed
        rate = subprocess.run(
            [
                "timeout",
                "-s",
                "INT",
                "1.5",
                "SoapySDRUtil",
                f"--args={args}",
                "--rate=3.84e6",
                "--channels=0,1",
                "--direction=RX",
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "Begin RX rate test at 3.84 Msps" in rate.stdout, rate.stdout + rate.stderr
        assert "\b|\b/" in rate.stdout  # it spins while samples come
        assert "rror" not in rate.stderr


def test_both_protocols_serve_one_scene(tmp_path: Path, scene: Path) -> None:
    """What a Soapy client sets is what the IIO contexts of the same boards say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import iio

    with serve(tmp_path, scene=scene, iio=f"{HOST}:45105", soapy=f"{HOST}:0") as server:
        assert len(server.iio) == 2
        told = client(server.soapy, "d = make(); d.setGain(RX, 3, 12.5); tell(fc=d.getFrequency(RX, 0))")
        context = iio.Context(server.iio[1])
        assert context.find_device("axi-adrv9009-rx-hpc") is not None
        assert told[0]["fc"] == 2.45e9
        del context
    events = [json.loads(line) for line in server.truth.read_text(encoding="utf-8").splitlines()]
    gains = [e for e in events if e["event"] == "gain_write" and e["gain_db"] == 12.5]
    assert [(e["board"], e["channel"]) for e in gains] == [(1, 1)]
    assert {"make", "unmake"} <= {e["event"] for e in events}


def test_sigterm_ends_the_streams_in_order(tmp_path: Path, scene: Path) -> None:
    with serve(tmp_path, scene=scene, iio=None, soapy=f"{HOST}:0") as server:
        code = """
d = make(); s = d.setupStream(RX, CS16, [0]); n = d.getStreamMTU(s); out = bufs(CS16, [0], n); d.activateStream(s)
print("streaming", flush=True)
while True:
    r = d.readStream(s, out, n, timeoutUs=1_000_000)
    if r.ret < 0 and r.ret != -4: break
tell(ret=r.ret)
"""
        with running_client(server.soapy, code) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "streaming\n"
            server.process.send_signal(signal.SIGTERM)
            assert json.loads(reader.stdout.readline()) == {"ret": -2}
            assert server.process.wait(10) == 0


def test_truth_says_where_a_stream_begins(tmp_path: Path, scene: Path) -> None:
    """The "open" event is the scene sample of the first one that the client reads."""
    with serve(tmp_path, scene=scene, iio=None, soapy=f"{HOST}:0") as server:
        told = client(
            server.soapy,
            """
            d = make(); s = d.setupStream(RX, CS16, [0]); n = d.getStreamMTU(s); d.activateStream(s)
            tell(ns=d.readStream(s, bufs(CS16, [0], n), n, timeoutUs=2_000_000).timeNs)
            """,
        )
    events = [json.loads(line) for line in server.truth.read_text(encoding="utf-8").splitlines()]
    opened = next(e for e in events if e["event"] == "open")
    assert opened["scene_sample"] == round(told[0]["ns"] * 3.84e6 / 1e9)
    assert opened["device_time_ns"] == told[0]["ns"]


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1", ("127.0.0.1", 55132)), ("[::1]:7", ("::1", 7)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, "--soapy", 55132) == address


@pytest.mark.parametrize("text", ["", ":1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1"])
def test_bad_addresses_name_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match="--soapy"):
        parse_address(text, "--soapy", 55132)


def test_addresses_that_others_can_reach_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--soapy.*other machines"):
        serve_scene(parse_scene(_SCENE), iio=None, soapy="0.0.0.0:0", stop_event=threading.Event())
