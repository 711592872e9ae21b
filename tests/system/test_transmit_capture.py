"""`hil capture --transmit`: a waveform goes out while samples are recorded, and nothing afterwards."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.conformance_cases import free_address as conformance_address
from drivers.conformance_tx_cases import look_at_boards, truth_events
from drivers.sigmf_files import open_recording
from hil.core.waveform import cw, ofdm, save_waveform
from hil.jobs.transmit import waveform_beside
from hil.sim_server import SimServer, serve

SCENE = """
seed = 5
[array]
n_elements = 4
[receiver]
fs_hz = 1.0e6
board = "fmcomms5"
[[emitter]]
angle_deg = 10.0
"""
FS_HZ = 1e6


@pytest.fixture(scope="module")
def server(shared_board: Callable[..., Any]) -> Iterator[SimServer]:
    with shared_board(SCENE) as running:
        yield running


@pytest.fixture
def wave(hil: Any) -> Path:
    path = hil.folder / "ofdm.toml"
    save_waveform(ofdm(n_subcarriers=52, n_fft=64, spacing_hz=FS_HZ / 64, cp_samples=16), path)
    return path


def _sent(server: SimServer) -> list[dict[str, Any]]:
    return [event for event in truth_events(server.truth) if event["event"] == "transmit"]


def _assert_silent(server: SimServer, until: Callable[..., Any]) -> None:
    uris = list(server.iio)
    until(lambda: not look_at_boards(uris, server.truth).sending)
    seen = look_at_boards(uris, server.truth)
    assert seen.attenuation_db == (89.75,) * 4
    assert not seen.powered
    assert _sent(server)[-1]["samples"] == 0


def test_capture_with_a_waveform(hil: Any, server: SimServer, wave: Path, until: Callable[..., Any]) -> None:
    before = len(_sent(server))
    done = hil(
        "capture", f"iio:{server.iio[0]}", "r.sigmf-meta", "--samples", "200k", "--transmit", wave,
        "--tx-attenuation", "15.5", "--tx-channel", "2,0",
    )  # fmt: skip
    assert done.code == 0, done
    digest = hashlib.sha256(wave.read_bytes()).hexdigest()
    assert done.json["transmitted"] == {
        "waveform": "r.waveform.toml", "sha256": digest, "attenuation_db": [15.5, 15.5], "channels": [2, 0],
        "fc_hz": done.json["fc_hz"],
    }  # fmt: skip
    copy = waveform_beside(hil.folder / "r.sigmf-meta")
    assert copy == hil.folder / "r.waveform.toml"
    assert copy.read_bytes() == wave.read_bytes()
    segment = json.loads((hil.folder / "r.sigmf-meta").read_text())["captures"][0]
    assert segment["hil:transmitted"] == done.json["transmitted"]
    start, stop = _sent(server)[before:]
    assert start["cyclic"]
    assert start["samples"] % len(ofdm(52, n_fft=64, cp_samples=16, spacing_hz=FS_HZ / 64).samples) == 0
    assert [p is not None for p in start["power_dbfs"]] == [True, False, True, False]
    assert start["scale"][0] == pytest.approx(10 ** (-15.5 / 20))
    opened = [e for e in truth_events(server.truth) if e["event"] == "open"][-1]["scene_sample"]
    assert start["scene_sample"] <= opened
    assert stop["samples"] == 0
    assert stop["scene_sample"] >= opened + 200_000, "silenced before the last sample"
    _assert_silent(server, until)


def test_without_an_attenuation_nothing_is_raised(
    hil: Any, server: SimServer, wave: Path, until: Callable[..., Any]
) -> None:
    done = hil(
        "capture", f"iio:{server.iio[0]}", "r.sigmf-collection", "--samples", "20k", "--transmit", wave
    )
    assert done.code == 0, done
    assert done.json["transmitted"]["attenuation_db"] == [89.75]
    assert "greatest attenuation, 89.75 dB" in done.stderr
    assert waveform_beside(hil.folder / "r.sigmf-collection") == hil.folder / "r.waveform.toml"
    _assert_silent(server, until)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["INT", "TERM", "HUP"])
def test_an_interrupted_capture_ends_silent_and_readable(
    hil: Any, server: SimServer, wave: Path, until: Callable[..., Any], number: int
) -> None:
    before = len(_sent(server))
    uris = list(server.iio)
    process = hil.start(
        "capture", f"iio:{uris[0]}", "r.sigmf-meta", "--seconds", "600", "--transmit", wave,
        "--tx-attenuation", "20", "--json", "-",
    )  # fmt: skip
    until(lambda: len(_sent(server)) > before and look_at_boards(uris, server.truth).sending)
    data = hil.folder / "r.sigmf-data"
    until(lambda: data.exists() and data.stat().st_size > 0)
    assert look_at_boards(uris, server.truth).attenuation_db == (20.0, 89.75, 89.75, 89.75)
    process.send_signal(number)
    process.send_signal(number)  # an impatient user
    done = hil.finish(process)
    assert done.code == 130, done
    _assert_silent(server, until)
    with open_recording(hil.folder / "r.sigmf-meta") as recording:
        assert recording.n_samples > 0
        assert recording.read(0, 10).shape == (10, 4, 2)


def test_refusals_before_anything_is_sent(hil: Any, server: SimServer, wave: Path) -> None:
    uri = f"iio:{server.iio[0]}"
    before = len(_sent(server))
    save_waveform(cw(fs_hz=2e6), hil.folder / "cw.toml")
    rate = hil.here("capture", uri, "r.sigmf-meta", "--samples", "1k", "--transmit", "cw.toml")
    assert rate.code == 2
    assert "2000000" in rate.json["reason"]
    assert "1000000" in rate.json["reason"]
    assert "--fs 2000000" in rate.json["hint"]
    cases = (
        (("--transmit", wave, "--tx-attenuation", "99"), 2, "0 to 89.75 in steps of 0.25"),
        (("--transmit", wave, "--tx-attenuation", "10.1"), 2, "in steps of 0.25"),
        (("--transmit", wave, "--tx-attenuation", "loud"), 2, "--tx-attenuation"),
        (("--transmit", wave, "--tx-channel", "4"), 2, "0 to 3"),
        (("--transmit", wave, "--tx-channel", "0;1"), 2, "list of channels"),
        (("--transmit", wave, "--tx-channel", "0,1", "--tx-attenuation", "1 2 3"), 2, "one value, or 2"),
        (("--transmit", "none.toml"), 2, "none.toml"),
        (("--tx-attenuation", "10"), 2, "nothing is transmitted"),
        (("--tx-channel", "0"), 2, "nothing is transmitted"),
    )
    for options, code, words in cases:
        done = hil.here("capture", uri, "r.sigmf-meta", "--samples", "1k", *options)
        assert (done.code, words in done.json["reason"]) == (code, True), done
    assert not list(hil.folder.glob("r.*")), "a refused capture leaves no files"
    assert len(_sent(server)) == before


def test_a_board_that_vanishes_may_go_on_and_the_user_is_told(
    hil: Any, wave: Path, until: Callable[..., Any]
) -> None:
    scene = hil.folder / "s.toml"
    scene.write_text(SCENE, "utf-8")
    with serve(hil.folder, scene=scene, iio=conformance_address("127.0.4.90")) as server:
        process = hil.start(
            "capture", f"iio:{server.iio[0]}", "r.sigmf-meta", "--seconds", "600", "--transmit", wave,
            "--tx-attenuation", "20", "--json", "-",
        )  # fmt: skip
        data = hil.folder / "r.sigmf-data"
        until(lambda: data.exists() and data.stat().st_size > 0)
        server.process.kill()
        done = hil.finish(process)
    assert done.code == 3, done
    assert "may still be transmitting" in done.json["hint"]
    assert "samples per channel are kept" in done.json["hint"]
    with open_recording(hil.folder / "r.sigmf-meta") as recording:
        assert recording.n_samples > 0


def test_a_waveform_of_an_earlier_recording_is_not_taken_for_the_new_one(hil: Any, wave: Path) -> None:
    scene = hil.folder / "s.toml"
    scene.write_text(SCENE, "utf-8")
    sim = f"sim:{scene}?free"
    save_waveform(cw(fs_hz=FS_HZ), hil.folder / "cw.sigmf-meta")
    first = hil.here("capture", sim, "r.sigmf-meta", "--samples", "1k", "--transmit", "cw.sigmf-meta")
    assert first.code == 0, first
    assert (hil.folder / "r.waveform.sigmf-data").is_file()
    again = hil.here("capture", sim, "r.sigmf-meta", "--samples", "1k", "--transmit", wave, "--overwrite")
    assert again.code == 0, again
    assert sorted(p.name for p in hil.folder.glob("r.waveform*")) == ["r.waveform.toml"]
    without = hil.here("capture", sim, "r.sigmf-meta", "--samples", "1k", "--overwrite")
    assert without.code == 0, without
    assert "transmitted" not in without.json
    assert waveform_beside(hil.folder / "r.sigmf-meta") is None
    (hil.folder / "n.waveform.toml").write_bytes(wave.read_bytes())
    left = hil.here("capture", sim, "n.sigmf-meta", "--samples", "1k")
    assert left.code == 2
    assert "n.waveform.toml exists" in left.json["reason"]


def test_a_recording_cannot_transmit(hil: Any, wave: Path) -> None:
    scene = hil.folder / "s.toml"
    scene.write_text(SCENE, "utf-8")
    assert hil.here("capture", f"sim:{scene}?free", "r.sigmf-meta", "--samples", "1k").code == 0
    done = hil.here("capture", "replay:r.sigmf-meta", "q.sigmf-meta", "--samples", "1k", "--transmit", wave)
    assert done.code == 3
    assert "cannot transmit" in done.json["reason"]
    assert not list(hil.folder.glob("q.*"))
