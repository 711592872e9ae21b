"""What is lost is counted, what was recorded stays readable, whatever ends the capture."""

from __future__ import annotations

import resource
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.frame import Frame
from hil.session import open_session


def _readable(path: Path) -> int:
    """Samples per channel of a recording, all of them read."""
    with open_recording(path) as recording:
        n, at = recording.n_samples, 0
        while at < n:
            part = recording.read(at, min(1_000_000, n - at))
            assert len(part)
            at += len(part)
        return n


def _bytes_of(folder: Path, pattern: str) -> int:
    return sum(f.stat().st_size for f in folder.glob(pattern))


@pytest.fixture
def real_time(scene_text: Any) -> str:
    return scene_text(4)


def test_overflows_of_the_device_are_gaps_with_an_honest_count(hil: Any, board: Any, scene_text: Any) -> None:
    """IIO tells that samples are missing, not how many: `lost` is the least that it can be, not 0."""
    with board(scene_text(4, more="[faults]\noverflow_every_s = 0.4\n")) as server:
        uri = f"iio:{server.iio[0]}"
        kept = hil("capture", uri, "gaps.sigmf-meta", "--seconds", 2, "--gaps")
        assert kept.code == 0, kept
        assert kept.json["gaps"] >= 3
        assert kept.json["lost_exact"] is False
        assert kept.json["lost"] == kept.json["lost_unknown"] == kept.json["gaps"]
        assert f"an unknown number of samples lost in {kept.json['gaps']} gaps" in kept.stderr
        assert "an unknown number of samples" in kept.json["health"][0]["cause"]
        known = hil.here("info", "gaps.sigmf-meta").json
        for key in ("lost", "lost_exact", "lost_unknown", "gaps"):
            assert known[key] == kept.json[key]
        assert all("unknown number" in e["comment"] for e in known["events"] if e["kind"] == "overflow")
        assert "an unknown number of samples lost" in hil.finish(hil.start("info", "gaps.sigmf-meta")).stderr
        assert kept.json["samples"] == 2_000_000
        with open_recording(hil.folder / "gaps.sigmf-meta") as recording:
            assert len(recording.segments) == kept.json["gaps"] + 1
        edge = kept.json["edges"]["reader -> recorder"]
        assert edge["produced"] == edge["delivered"] == 2_000_000
        strict = hil("capture", uri, "strict.sigmf-meta", "--seconds", 20)
    assert strict.code == 3
    assert strict.json["error"] == "CaptureOverrun"
    assert "an unknown number of samples lost" in strict.json["reason"]
    assert "--gaps" in strict.json["hint"]
    n = _readable(hil.folder / "strict.sigmf-meta")
    assert 0 < n < 20_000_000
    assert f"{n} samples per channel are kept in strict.sigmf-meta" in strict.json["hint"]


@pytest.mark.parametrize(
    ("loss", "unknown", "words"),
    [
        ("drop_every=3", False, "samples lost in"),
        ("drop_every=3,inexact=1", True, "an unknown number of samples lost in"),
    ],
)
def test_what_is_known_of_a_loss_is_told_and_no_more(hil: Any, loss: str, unknown: bool, words: str) -> None:
    done = hil.here("capture", f"faults:{loss}:sim:?free", "g.sigmf-meta", "--samples", "400k", "--gaps")
    assert done.code == 0
    found = done.json
    assert found["gaps"] >= 4
    assert (found["lost_exact"], found["lost_unknown"]) == (not unknown, found["gaps"] if unknown else 0)
    assert found["lost"] == found["gaps"] if unknown else found["lost"] > 1000 * found["gaps"]
    assert words in done.stderr
    known = hil.here("info", "g.sigmf-meta").json
    assert [known[key] for key in ("lost", "lost_exact", "gaps")] == [
        found[key] for key in ("lost", "lost_exact", "gaps")
    ]


@pytest.mark.parametrize("name", ["new.sigmf-collection"])
def test_a_capture_without_a_sample_leaves_no_recording(
    hil: Any, board: Any, scene_text: Any, name: str
) -> None:
    (hil.folder / "s.toml").write_text("seed = 1\n")
    with board(scene_text(4, more="[faults]\nstall_at_s = 0.0\nstall_s = 1000.0\n")) as server:
        done = hil("capture", f"iio:{server.iio[0]}", name, "--samples", 100)
    assert done.code == 3
    assert f"nothing was recorded, no {name} is left" in done.json["hint"]
    assert list(hil.folder.glob("new*")) == []
    again = hil.here("capture", "sim:s.toml?free", name, "--samples", "1k")
    assert (again.code, again.json["samples"]) == (0, 1000)


def test_boards_that_cannot_be_aligned_leave_no_recording(hil: Any, board: Any) -> None:
    """A carrier repeats: there is nothing to align by."""
    carrier = "seed = 3\n[array]\nn_elements = 8\n[receiver]\nfs_hz = 1.0e6\n[[emitter]]\nwaveform = 'cw'\n"
    with board(carrier) as server:
        done = hil("capture", f"iio:{','.join(server.iio)}", "a.sigmf-collection", "--seconds", 0.2)
    assert (done.code, done.json["error"]) == (3, "CaptureError")
    assert "could not be aligned" in done.json["reason"]
    assert "more strongly than its echoes" in done.json["hint"]
    assert "nothing was recorded" in done.json["hint"]
    assert list(hil.folder.glob("a*")) == []


def test_the_ledger_adds_up_when_the_consumer_hangs(tmp_path: Path, scene_text: Any, until: Any) -> None:
    scene = tmp_path / "s.toml"
    scene.write_text(scene_text(4))
    release, seen = threading.Event(), [0]

    def hang(frame: Frame, clipped: object) -> None:
        del clipped
        seen[0] += frame.samples.shape[1]
        release.wait(60.0)

    with open_session(f"sim:{scene}?free", None, lambda n: RxConfig()) as session:
        session.start(on_frame=hang, n_samples=3_000_000)
        until(lambda: session.finished, 60.0)
        release.set()
        summary = session.stop()
        session.raise_error()
    edge = summary.edges["reader -> dsp"]
    assert summary.samples == edge["produced"] == 3_000_000
    assert edge["dropped"] > 1_000_000
    assert edge["delivered"] == seen[0]
    assert edge["produced"] == edge["delivered"] + edge["dropped"] + edge["superseded"] + edge["in_flight"]
    assert summary.lost == 0  # what our own display missed is not lost by the device


def test_a_server_killed_in_the_middle_ends_the_capture(
    hil: Any, board: Any, real_time: str, until: Any
) -> None:
    with board(real_time) as server:
        process = hil.start(
            "capture", f"iio:{server.iio[0]}", "cut.sigmf-collection", "--seconds", 600, "--json", "-"
        )
        until(lambda: _bytes_of(hil.folder, "cut-ch*.sigmf-data") > 1_000_000)
        server.process.send_signal(signal.SIGKILL)
        done = hil.finish(process, timeout_s=60.0)
    assert done.code == 3
    assert done.json["error"] in ("ConnectionLost", "DeviceTimeout"), done
    n = _readable(hil.folder / "cut.sigmf-collection")
    assert n >= 60_000
    assert f"{n} samples per channel are kept" in done.json["hint"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_closes_a_valid_recording(
    hil: Any, real_time: str, until: Any, how: signal.Signals
) -> None:
    (hil.folder / "s.toml").write_text(real_time)
    process = hil.start("capture", "sim:s.toml", "int.sigmf-meta", "--seconds", 600, "--json", "-")
    until(lambda: _bytes_of(hil.folder, "int.sigmf-data") > 1_000_000)
    process.send_signal(how)
    done = hil.finish(process, timeout_s=60.0)
    assert done.code == 130
    assert done.json["status"] == "interrupted"
    assert done.json["samples"] == _readable(hil.folder / "int.sigmf-meta")
    assert "core:sha512" in (hil.folder / "int.sigmf-meta").read_text()  # closed, not cut off


def test_kill_9_leaves_a_readable_recording(hil: Any, real_time: str, until: Any) -> None:
    (hil.folder / "s.toml").write_text(real_time)
    process = hil.start("capture", "sim:s.toml", "dead.sigmf-collection", "--seconds", 600)
    until(lambda: _bytes_of(hil.folder, "dead-ch*.sigmf-data") > 2_000_000)
    process.kill()
    process.wait(30)
    n = _readable(hil.folder / "dead.sigmf-collection")
    assert n >= 100_000
    info = hil.here("info", "dead.sigmf-collection")
    assert info.code == 0
    learned = hil.here("spectrum", "dead.sigmf-collection", "--array", "ula:4:0.5")
    assert learned.code == 0


def test_a_full_disk_ends_the_capture_clearly(hil: Any, real_time: str) -> None:
    (hil.folder / "s.toml").write_text(real_time)
    limit = 6_000_000

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # write() then says EFBIG, as a full disk says ENOSPC

    done = hil("capture", "sim:s.toml?free", "full.sigmf-meta", "--samples", "2M", preexec_fn=small_files)
    assert done.code == 3
    assert done.json["error"] == "RecordingError"
    n = _readable(hil.folder / "full.sigmf-meta")
    assert 0 < n <= limit // 16
    assert n > limit // 16 - 200_000
    assert f"{n} samples per channel are kept" in done.json["hint"]
