"""However a device goes, stderr holds the program's own words only: libiio and SoapySDR log elsewhere."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.sim_server import serve

SCENE = '[array]\nn_elements = 2\n[receiver]\nboard = "pluto"\nfs_hz = 1.0e6\n'
STALL = SCENE + "[faults]\nstall_at_s = [0.2]\nstall_s = 60.0\n"
OURS = ("hil: ", "  ", "fault: ", "warning: ")


def _capture(hil: Any, until: Callable[..., Any], protocol: str, how: str, *options: str) -> str:
    scene = hil.folder / "scene.toml"
    scene.write_text(STALL if how == "stalls" else SCENE)
    where: dict[str, Any] = {"iio": "free"} if protocol == "iio" else {"iio": None, "soapy": "free"}
    with serve(hil.folder, scene=scene, **where) as server:
        uri = server.device_uris[protocol]
        client = hil.start(*options, "capture", uri, "r.sigmf-meta", "--seconds", "60")
        samples = hil.folder / "r.sigmf-data"
        if how != "stalls":
            until(lambda: samples.exists() and samples.stat().st_size > 100_000)
        if how == "is killed":
            server.kill()
        elif how == "is interrupted":
            client.send_signal(signal.SIGINT)
        ended = hil.finish(client)
        assert ended.code == (130 if how == "is interrupted" else 3), ended
        return ended.stderr


@pytest.mark.parametrize("protocol", ["iio", "soapy"])
@pytest.mark.parametrize("how", ["is killed", "stalls", "is interrupted"])
def test_no_line_is_of_a_library(hil: Any, until: Callable[..., Any], protocol: str, how: str) -> None:
    said = _capture(hil, until, protocol, how).splitlines()
    foreign = [line for line in said if line and not line.startswith(OURS)]
    if how == "is interrupted":
        assert len(foreign) == 1
        assert "samples per channel" in foreign[0]
    else:
        assert foreign == []
        assert len([line for line in said if line.startswith("hil: ")]) == 1


def test_verbose_shows_what_libiio_says(hil: Any, until: Callable[..., Any]) -> None:
    said = _capture(hil, until, "iio", "is killed", "--verbose").splitlines()
    assert [line for line in said if " ms hil.iio.driver: " in line]
    assert not [line for line in said if line.startswith("ERROR")]


def test_an_interrupted_command_says_so(hil: Any, until: Callable[..., Any]) -> None:
    scene = hil.folder / "scene.toml"
    scene.write_text(SCENE.replace("n_elements = 2", "n_elements = 4"))
    with serve(hil.folder, scene=scene) as server:
        client = hil.start(
            "learn", server.device_uris["iio"], "--array", "ula:4:0.5", "--support", "-60:60", "--seconds", "60",
            "--out", "x.h5", "--json", "-",
        )  # fmt: skip
        until(lambda: any(event.get("event") == "open" for event in server.events()))
        client.send_signal(signal.SIGINT)
        ended = hil.finish(client)
    assert (ended.code, ended.stderr.strip()) == (130, "hil: interrupted")
    assert (ended.json["status"], ended.json["reason"], ended.json["exit_code"]) == (
        "interrupted",
        "interrupted",
        130,
    )
    assert not (hil.folder / "x.h5").exists()


OTHERS = """
import ctypes, os, sys, time
from drivers.iio.messages import to_logging
to_logging()
to_logging()
c = ctypes.CDLL(None)
write = c.fprintf
stream = ctypes.c_void_p.in_dll(c, "stderr")
for text in (b"ERROR: of libiio\\n", b"of another", b" library\\n", b"WARNING: of libiio\\n", b"last\\n"):
    write(stream, b"%s", text)
os.write(2, b"of descriptor 2\\n")
print("of Python", file=sys.stderr)
end = time.monotonic() + 10
while "last" not in open(sys.argv[1]).read() and time.monotonic() < end:
    time.sleep(0.01)
"""


def test_words_of_other_libraries_go_where_they_went(tmp_path: Path) -> None:
    with (tmp_path / "err").open("w") as err:
        subprocess.run(
            [sys.executable, "-c", OTHERS, str(tmp_path / "err")], stderr=err, check=True, timeout=60
        )
    said = (tmp_path / "err").read_text().splitlines()
    assert sorted(said) == ["last", "of Python", "of another library", "of descriptor 2"]
