"""Directions as a stream, on stdout and on a socket, and what may happen to its readers."""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

import pytest
import zmq


def _scene(hil: Any, text: str) -> None:
    (hil.folder / "s.toml").write_text(text)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


FOLLOW = ("spectrum", "sim:s.toml", "--array", "ula:4:0.5", "--sources", 1, "--snapshots", 256, "--follow")


def test_follow_streams_lines_and_publishes_the_same_until_interrupted(hil: Any, scene_text: Any) -> None:
    _scene(hil, scene_text(4))
    address = f"tcp://127.0.0.1:{_free_port()}"
    context = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    subscriber.setsockopt(zmq.RCVTIMEO, 30_000)
    subscriber.connect(address)
    try:
        process = hil.start(*FOLLOW, "--zmq", address)
        published = {subscriber.recv_string() for _ in range(4)}
        printed = [process.stdout.readline().rstrip("\n") for _ in range(8)]
        process.send_signal(signal.SIGINT)
        done = hil.finish(process)
    finally:
        subscriber.close(0)
        context.term()
    assert done.code == 130
    printed += done.stdout.splitlines()
    assert published <= set(printed)
    rows = [json.loads(line) for line in printed]
    firsts = [row["first_sample"] for row in rows]
    assert firsts == sorted(set(firsts))  # every estimate is of new samples
    for row in rows:
        assert row.keys() >= {"doa_deg", "doa_sigma_deg", "n_sources", "epoch", "calibration_status"}
        assert row["calibration_status"] == "none"
        assert len(row["doa_deg"]) == row["n_sources"] == 1


def test_a_reader_that_leaves_ends_the_stream_quietly(hil: Any, scene_text: Any) -> None:
    _scene(hil, scene_text(4))
    process = hil.start(*FOLLOW)
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.wait(30) == 0
    assert "Traceback" not in process.stderr.read()


def test_a_lost_device_ends_the_stream_with_exit_3(hil: Any, board: Any, scene_text: Any) -> None:
    with board(scene_text(4)) as server:
        process = hil.start("spectrum", f"iio:{server.iio[0]}", *FOLLOW[2:])
        assert json.loads(process.stdout.readline())
        server.process.kill()
        done = hil.finish(process, timeout_s=60.0)
    assert done.code == 3
    assert done.stderr.count("hil:") == 1


def test_a_followed_recording_ends_when_it_has_been_played(hil: Any, scene_text: Any) -> None:
    _scene(hil, scene_text(4))
    hil.here("capture", "sim:s.toml?free", "r.sigmf-meta", "--seconds", 1, "--array", "ula:4:0.5")
    done = hil.finish(hil.start("spectrum", "replay:r.sigmf-meta?realtime", *FOLLOW[2:]))
    assert done.code == 0
    assert len(done.stdout.splitlines()) >= 2


@pytest.mark.parametrize(
    "address", ["bad", "tcp://0.0.0.0:5556", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:x"]
)
def test_an_address_that_cannot_be_published_on_is_named(hil: Any, scene_text: Any, address: str) -> None:
    _scene(hil, scene_text(4))
    done = hil.here(*FOLLOW, "--zmq", address)
    assert done.code == 2
    assert done.json["where"] == "--zmq"


def test_an_address_in_use_is_named(hil: Any, scene_text: Any) -> None:
    _scene(hil, scene_text(4))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = hil.here(*FOLLOW, "--zmq", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert (done.code, done.json["where"]) == (2, "--zmq")


def test_doctor_and_devices_answer_in_json(hil: Any) -> None:
    found = hil.here("doctor", "--bundle", "bundle ü.zip")
    assert found.code in (0, 3)
    assert {"name", "ok", "found", "needed_for", "remedy", "required"} <= found.json["findings"][0].keys()
    missing = [f["name"] for f in found.json["findings"] if f["required"] and not f["ok"]]
    assert found.json["missing"] == missing
    assert (found.code == 3) == bool(missing)
    assert (hil.folder / "bundle ü.zip").stat().st_size > 100
    listed = hil.here("devices")
    assert listed.code == 0
    simulated = next(d for d in listed.json["devices"] if d["driver"] == "sim")
    assert simulated.keys() >= {"uri", "driver", "model", "serial", "n_channels"}
    assert simulated["n_channels"] == 8
