"""Directions of arrays with channels that say nothing, and what the lines of `--follow` tell of them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.recorder import Recorder

FS_HZ, M, ANGLE_DEG, BLOCK = 500e3, 4, 20.0, 10_000
SECONDS, BROKEN_AT_S = 2.0, 0.8
BREAKS: dict[str, complex] = {"NaN": np.nan, "infinite": np.inf, "zero": 0.0, "constant": 0.25 + 0.1j}


def _samples(broken: dict[int, complex], begin_s: float) -> NDArray[np.float32]:
    """(n, M, 2): white noise from ANGLE_DEG at 20 dB on half a wavelength; channels broken from begin_s on."""
    rng = np.random.default_rng(7)
    n = round(SECONDS * FS_HZ)
    white = (rng.standard_normal((M + 1, n)) + 1j * rng.standard_normal((M + 1, n))) * 0.05
    a = np.exp(1j * np.pi * np.arange(M) * np.sin(np.deg2rad(ANGLE_DEG)))
    x = (a[:, None] * white[0] + 0.1 * white[1:]).astype(np.complex64)
    for channel, value in broken.items():
        x[channel, round(begin_s * FS_HZ) :] = value
    return np.ascontiguousarray(x.T).view(np.float32).reshape(n, M, 2)


def _record(path: Path, broken: dict[int, complex], begin_s: float) -> None:
    device = DeviceInfo("soapy:driver=x", "soapy", "x", "S", "1", (tuple(range(M)),), WireFormat.CF32, 16)
    config = RxConfig(2.4e9, FS_HZ, FS_HZ, (0.0,) * M, GainMode.MANUAL, tuple(range(M)), BLOCK)
    stream = StreamInfo(config, device, new_epoch("S"))
    wire = _samples(broken, begin_s)
    with Recorder(path, stream) as recorder:
        for k in range(0, len(wire), BLOCK):
            t_ns = 10**18 + round((k + BLOCK) / FS_HZ * 1e9)
            piece = wire[k : k + BLOCK]
            recorder.write(Block(piece, k, k // BLOCK, t_ns, t_ns, FrameFlag.NONE, stream))


@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize("sources", ["1", "auto"])
def test_a_channel_without_a_signal_is_left_out_and_named(hil: Any, what: str, sources: str) -> None:
    _record(hil.folder / "r.sigmf-meta", {2: BREAKS[what]}, 0.0)
    done = hil.here("spectrum", "r.sigmf-meta", "--array", "ula:4:0.5", "--sources", sources)
    assert (done.code, done.json["n_sources"]) == (0, 1)
    assert done.json["doa_deg"][0] == pytest.approx(ANGLE_DEG, abs=0.5)
    assert 0.005 < done.json["doa_sigma_deg"][0] < 0.2
    assert done.json["note"].startswith("channel 2 ")
    assert "left out" in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize("sources", ["1", "auto"])
def test_of_dead_channels_alone_nothing_is_determined(hil: Any, what: str, sources: str) -> None:
    _record(hil.folder / "r.sigmf-meta", dict.fromkeys(range(M), BREAKS[what]), 0.0)
    done = hil.here("spectrum", "r.sigmf-meta", "--array", "ula:4:0.5", "--sources", sources)
    assert done.code == 0
    assert (done.json["doa_deg"], done.json["doa_sigma_deg"], done.json["n_sources"]) == ([], [], 0)
    assert done.json["note"].startswith("directions not determined: channel 0 ")
    assert "no emitter" not in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("what", BREAKS)
def test_every_line_says_that_a_channel_is_broken_as_long_as_it_is(hil: Any, what: str) -> None:
    _record(hil.folder / "r.sigmf-meta", {1: BREAKS[what]}, BROKEN_AT_S)
    done = hil.finish(
        hil.start(
            "spectrum", "replay:r.sigmf-meta?realtime", "--array", "ula:4:0.5", "--sources", 1, "--follow"
        )
    )
    assert done.code == 0
    assert "Warning" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    kind = "no-numbers" if what in ("NaN", "infinite") else "dead-channel"
    told = [[h for h in line["health"] if h["kind"] == kind] for line in lines]
    first = next(i for i, events in enumerate(told) if events)
    assert [len(events) for events in told] == [0] * first + [1] * (len(told) - first)
    events = [events[0] for events in told[first:]]
    assert [e["ongoing"] for e in events] == [False] + [True] * (len(events) - 1)
    assert all(e["channels"] == [1] for e in events)
    assert len(events) >= 3
    assert 0 <= events[0]["last_sample"] / FS_HZ - BROKEN_AT_S < 0.2
    for line in lines:
        assert line["doa_deg"] == [pytest.approx(ANGLE_DEG, abs=1.0)]
        assert (line["note"] is None) == (line["time_s"] + 4096 / FS_HZ <= BROKEN_AT_S)


def test_a_dead_channel_that_keeps_its_noise_is_left_out_until_it_hears_again(hil: Any) -> None:
    (hil.folder / "s.toml").write_text(
        "seed = 5\n[array]\nn_elements = 4\n[receiver]\nfs_hz = 1.0e6\n[impairments]\ngain_std = 0.0\n"
        "phase_std_deg = 0.0\nposition_std_wavelengths = 0.0\n[[emitter]]\nangle_deg = 20.0\n"
        "[faults]\ndead_at_s = 1.0\ndead_s = 1.0\ndead_channel = 2\n"
    )
    process = hil.start("spectrum", "sim:s.toml", "--array", "ula:4:0.5", "--sources", 1, "--follow")
    lines: list[dict[str, Any]] = []
    told: list[list[dict[str, Any]]] = []
    while not (any(told) and not told[-1]) and not (lines and lines[-1]["time_s"] > 8.0):
        lines.append(json.loads(process.stdout.readline()))
        told.append([h for h in lines[-1]["health"] if h["kind"] == "dead-channel"])
    process.send_signal(signal.SIGINT)
    assert "Warning" not in hil.finish(process).stderr
    there = [line for line, events in zip(lines, told, strict=True) if events]
    assert there
    assert [h["ongoing"] for events in told for h in events] == [False] + [True] * (len(there) - 1)
    assert 1.0 < there[0]["time_s"] < 1.9
    assert there[-1]["time_s"] > 1.8
    assert all(line["note"] == "channel 2 is silent: left out" for line in there)
    assert told[-1] == []
    assert lines[-1]["note"] is None
