"""What a newcomer may type: every mistake gets one clear line and the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def files(shared_hil: Any, scene_text: Any) -> Any:
    """A folder with two scenes, two recordings and a text file."""
    hil = shared_hil
    (hil.folder / "s.toml").write_text(scene_text(4))
    (hil.folder / "pluto.toml").write_text(
        '[array]\nn_elements = 2\n[receiver]\nboard = "pluto"\n[[emitter]]\nangle_deg = 0.0\n'
    )
    (hil.folder / "notes.txt").write_text("not a calibration\n")
    (hil.folder / "folder").mkdir()
    assert (
        hil.here("capture", "sim:s.toml?free", "r.sigmf-meta", "--seconds", 1, "--array", "ula:4:0.5").code
        == 0
    )
    assert (
        hil.here(
            "capture", "sim:pluto.toml?free", "p.sigmf-meta", "--samples", "50k", "--array", "ula:2:0.5"
        ).code
        == 0
    )
    assert hil.here("learn", "r.sigmf-meta", "--support", "-60:60", "--out", "c.h5").json["converged"]
    return hil


LEARN = ("learn", "r.sigmf-meta", "--support", "-60:60", "--out", "x.h5")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("spectrum", "r.sigmf-meta", "--at", "nan"), 2, "--at"),
        (("spectrum", "r.sigmf-meta", "--at", "-1"), 2, "--at"),
        (("spectrum", "r.sigmf-meta", "--sources", "4"), 2, "4 elements separate at most 3"),
        (("spectrum", "r.sigmf-meta", "--zmq", "tcp://127.0.0.1:5556"), 2, "--follow"),
        (("spectrum", "r.sigmf-meta", "--plot", "folder/none/x.png"), 2, "--plot"),
        (("spectrum", "p.sigmf-meta", "--calibration", "c.h5"), 4, "2 channels"),
        (("spectrum", "p.sigmf-meta", "--calibration", "c.h5", "--stale-ok", "x"), 4, "2 channels"),
        (("spectrum", "folder"), 2, "not a SigMF recording"),
        (("spectrum", "notes.txt"), 2, "not a SigMF recording"),
        (("spectrum", "r.sigmf-meta", "--calibration", "notes.txt"), 2, "not a calibration"),
        (("spectrum", "r.sigmf-meta", "--calibration", "folder"), 2, "folder"),
        (("report", "p.sigmf-meta", "--calibration", "c.h5", "--out", "x.html"), 2, "the recording has 2 channels"),
        (("report", "c.h5", "--out", "folder/none/x.html"), 2, "--out"),
        (("report", "r.sigmf-meta", "--calibration", "c.h5", "--truth", "notes.txt", "--out", "x.html"), 2, "notes.txt"),
        ((*LEARN[:-1], "folder"), 2, "folder"),
        ((*LEARN[:-1], "notes.txt"), 2, "exists and is not a calibration"),
        ((*LEARN[:-1], "none/x.h5"), 2, "no folder"),
        ((*LEARN, "--seed", "-1"), 2, "--seed"),
        ((*LEARN, "--sources", "4"), 2, "4 elements separate 1 to 3"),
        ((*LEARN, "--array", "ula:8:0.5"), 2, "the recording has 4 channels"),
        ((*LEARN, "--truth", "notes.txt"), 2, "notes.txt"),
        ((*LEARN, "--seconds", "0"), 2, "--seconds"),
        (("learn", "p.sigmf-meta", "--support", "-60:60", "--out", "x.h5"), 2, "at least 3 elements, this array has 2"),
        (("learn", "sim:pluto.toml", "--array", "ula:2:0.5", "--out", "x.h5"), 2, "at least 3 elements, this array has 2"),
        (("demo", "--no-gui", "--scene", "pluto.toml", "--out", "d"), 2, "at least 3 elements, this array has 2"),
        (("demo", "--no-gui", "--out", "notes.txt"), 2, "--out"),
        (("demo", "--no-gui", "--out", "notes.txt/x"), 2, "--out"),
        (("demo", "--no-gui", "--seed", "-1"), 2, "--seed"),
        (("capture", "sim:s.toml?free", "y.sigmf-meta", "--samples", "1e15"), 3, "MB are free"),
        (("capture", "sim:s.toml?free", "r.sigmf-meta", "--samples", "10"), 2, "exists"),
        (("capture", "sim:s.toml?free", "y.sigmf-meta", "--samples", "1.5"), 2, "--samples"),
        (("capture", "sim:s.toml?free", "y.sigmf-meta", "--seconds", "1e-9"), 2, "--seconds"),
        (("capture", "sim:s.toml?free", "y.sigmf-meta", "--samples", "10", "--array", "ula:5:0.5"), 2, "5 elements on 4 channels"),
        (("capture", "iio:ip:127.0.9.9", "y.sigmf-meta", "--samples", "10"), 3, "no IIO device answers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_mistake_is_one_line_and_the_right_exit_code(
    files: Any, args: tuple[str, ...], code: int, words: str
) -> None:
    done = files.here(*args)
    assert done.code == code, done
    assert words in done.json["reason"]
    told = [line for line in done.stderr.splitlines() if line.startswith("hil:")]
    assert len(told) == 1
    assert not (files.folder / "x.h5").exists()
    assert (files.folder / "notes.txt").read_text() == "not a calibration\n"


def test_json_goes_to_a_file(files: Any) -> None:
    done = files.finish(files.start("spectrum", "r.sigmf-meta", "--json", "Ergebnis ü.json"))
    assert (done.code, done.stdout) == (0, "")
    assert json.loads((files.folder / "Ergebnis ü.json").read_text())["status"] == "ok"


@pytest.mark.parametrize("how", ["closed", "full", "reader has gone"])
def test_a_stdout_that_takes_nothing_is_no_traceback(files: Any, how: str) -> None:
    command = [sys.executable, "-P", "-m", "hil.cli", "info", "r.sigmf-meta", "--json", "-"]
    options: dict[str, Any] = {"cwd": files.folder, "env": files.env, "stderr": subprocess.PIPE, "text": True}
    if how == "closed":
        done = subprocess.run(command, preexec_fn=lambda: os.close(1), check=False, timeout=60, **options)
    elif how == "full":
        with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
            done = subprocess.run(command, stdout=full, check=False, timeout=60, **options)
    else:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(command, stdout=write, check=False, timeout=60, **options)
        os.close(write)
    assert "Traceback" not in done.stderr, done.stderr
    assert "unexpected" not in done.stderr
    assert done.returncode == (0 if how == "reader has gone" else 2)


def test_a_foreign_recording_needs_an_array_and_then_works(files: Any) -> None:
    """Interleaved SigMF of another program: none of our extension, float samples, no geometry."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 4)) + 1j * rng.normal(size=(20_000, 4))
    (files.folder / "foreign.sigmf-data").write_bytes(x.astype("<c8").tobytes())
    meta = {
        "global": {
            "core:datatype": "cf32_le",
            "core:sample_rate": 1e6,
            "core:version": "1.0.0",
            "core:num_channels": 4,
        },
        "captures": [{"core:sample_start": 0, "core:frequency": 1e9}],
        "annotations": [],
    }
    (files.folder / "foreign.sigmf-meta").write_text(json.dumps(meta))
    asked = ("learn", "foreign.sigmf-meta", "--support", "-60:60", "--out", "x.h5")
    without = files.here(*asked)
    assert (without.code, without.json["where"]) == (2, "--array")
    noise = files.here(*asked, "--array", "ula:4:0.5")
    assert noise.code == 4  # noise teaches nothing, and says so
    assert noise.json["converged"] is False
    assert files.here("spectrum", "foreign.sigmf-meta", "--array", "ula:4:0.5").json["n_sources"] == 0


def test_a_recording_is_replaced_only_when_asked(files: Any) -> None:
    done = files.here("capture", "sim:s.toml?free", "again.sigmf-meta", "--samples", "1000")
    assert done.code == 0
    assert files.here("capture", "sim:s.toml?free", "again.sigmf-meta", "--samples", "500").code == 2
    second = files.here("capture", "sim:s.toml?free", "again.sigmf-meta", "--samples", "500", "--overwrite")
    assert (second.code, second.json["samples"]) == (0, 500)


def test_a_calibration_is_replaced_and_never_lost(files: Any) -> None:
    """Two learnings to one name: the first file stays, since no support leaves it out of the store."""
    asked = ("learn", "r.sigmf-meta", "--out", "twice.h5")
    assert files.here(*asked).code == 4
    before = (files.folder / "twice.h5").read_bytes()
    identity = files.here("info", "twice.h5").json["id"]
    second = files.here(*asked)
    aside = files.folder / f"twice.{identity[:8]}.h5"
    assert aside.name in second.stderr
    assert aside.read_bytes() == before
    assert files.here("info", "twice.h5").json["id"] != identity
