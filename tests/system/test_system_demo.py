"""The main job, as a newcomer runs it: one command, a simulated array behind a real network context."""

from __future__ import annotations

import base64
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import store
from hil.core.calibration import Calibration
from hil.core.errors import DriverUnavailable
from hil.core.frame import Block
from hil.recorder import Recorder


class _Links(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loads = {"src", "data", "poster", "srcset"} | ({"href"} if tag == "link" else set())
        self.links += [value or "" for name, value in attrs if name in loads]


def check_self_contained(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parser = _Links()
    parser.feed(text)
    assert parser.links, "a report without a picture"
    assert all(link.startswith("data:") for link in parser.links)
    # an XML namespace is a name, not a reference
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    assert "@import" not in text
    for link in parser.links:
        head, _, body = link.partition(",")
        if "png" in head:
            assert base64.b64decode(body)[:8] == b"\x89PNG\r\n\x1a\n"


def test_demo_learns_the_array_over_a_real_network_context(hil: Any) -> None:
    done = hil("demo", "--no-gui", "--seed", 1, "--out", "out ü")
    assert done.code == 0, done
    found = done.json
    assert found["real_time"] in (True, False)  # False where this machine is too busy
    assert found["transport"] == "iio"
    assert found["n_elements"] == 8
    assert found["samples_lost"] == 0
    assert found["lost_exact"] is True
    assert found["converged"] is True
    before, after = found["before"]["doa_rmspe_deg"], found["after"]["doa_rmspe_deg"]
    assert after <= 0.5
    assert after <= before / 20
    assert found["known"]["doa_rmspe_deg"] <= after
    assert found["assumptions"]
    for edge in found["edges"].values():
        rest = edge["delivered"] + edge["dropped"] + edge["superseded"] + edge["in_flight"]
        assert edge["produced"] == rest
    files = {name: hil.folder / path for name, path in found["files"].items()}
    assert {"recording", "calibration", "report"} <= files.keys()
    assert all(path.is_file() for path in files.values())
    calibration = store.load(files["calibration"])
    assert isinstance(calibration, Calibration)
    assert calibration.converged
    assert calibration.metrics["after_doa_rmspe_deg"] == pytest.approx(after)
    assert calibration.steering(np.array([-10.0, 20.0]), calibration.fc_hz).shape == (8, 2)
    check_self_contained(files["report"])
    assert json.loads(files["recording"].read_text(encoding="utf-8"))["captures"]


_SMALL = """
seed = 3
[array]
n_elements = 4
[receiver]
fs_hz = 1.0e6
[[emitter]]
hop = { period_s = 0.004, min_deg = -60.0, max_deg = 60.0 }
"""


class _SlowDisk(Recorder):
    """One write that takes longer than the recorder's ring of 2 s holds."""

    late = False

    def write(self, block: Block) -> None:
        if not self.late:
            self.late = True
            time.sleep(4.0)
        super().write(block)


def test_demo_on_a_machine_too_slow_for_real_time_goes_on_at_its_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hil.jobs import demo
    from sim_backend.scene import load_scene

    monkeypatch.setattr(demo, "Recorder", _SlowDisk)
    scene = tmp_path / "small.toml"
    scene.write_text(_SMALL)
    words: list[str] = []
    result = demo.run_demo(load_scene(scene), tmp_path / "out", words.append, capture_s=4.0)
    assert any("too busy for real time" in line for line in words)
    assert result.problem is None
    found = result.as_dict()
    assert found["real_time"] is False
    assert (found["samples_captured"], found["samples_lost"]) == (4_000_000, 0)
    assert all(edge["dropped"] == 0 for edge in found["edges"].values())


def test_demo_without_libiio_runs_in_process_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hil.jobs import demo
    from sim_backend.scene import load_scene

    def missing() -> None:
        raise DriverUnavailable("libiio is not installed", hint="apt-get install libiio0")

    monkeypatch.setattr("drivers.iio.context.import_iio", missing)
    scene = tmp_path / "small.toml"
    scene.write_text(_SMALL)
    words: list[str] = []
    result = demo.run_demo(load_scene(scene), tmp_path / "out", words.append, capture_s=2.5)
    assert result.transport == "sim"
    assert any("apt-get install libiio0" in line for line in words)
    assert result.problem is None
    assert result.outcome.after["doa_rmspe_deg"] < result.outcome.before["doa_rmspe_deg"] / 20


def test_demo_on_a_scene_that_teaches_nothing_refuses_in_words(tmp_path: Path) -> None:
    from hil.jobs.demo import run_demo
    from sim_backend.scene import load_scene

    scene = tmp_path / "still.toml"
    scene.write_text("[array]\nn_elements = 4\n[receiver]\nfs_hz = 1.0e6\n[[emitter]]\nangle_deg = 10.0\n")
    result = run_demo(load_scene(scene), tmp_path / "out", capture_s=1.0)
    assert result.transport == "iio"
    found = result.as_dict()
    assert found["exit_code"] == 4
    assert "one look determines no array" in found["reason"]
    assert found["converged"] is False
    assert found["not_identifiable"]
    assert found["files"].keys() == {"recording", "truth", "scene"}
