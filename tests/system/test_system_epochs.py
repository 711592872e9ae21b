"""A retune makes a calibration's phases old; nobody uses it unknowingly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.frame import Frame, FrameFlag
from hil.core.geometry import parse_array
from hil.learning.observe import longest_epoch
from hil.recorder import Recorder
from hil.session import open_session


def _scene(tmp_path: Path, text: str) -> str:
    scene = tmp_path / "scene.toml"
    scene.write_text(text, encoding="utf-8")
    return f"sim:{scene}"


def _run_with_retune(uri: str, out: Path, until: Any) -> tuple[Any, list[Frame], Any]:
    """Record, retune while running, record on; returns (summary, first frame of each epoch, stream after)."""
    firsts: list[Frame] = []

    def on_frame(frame: Frame, clipped: object) -> None:
        del clipped
        if not firsts or frame.stream.epoch.id != firsts[-1].stream.epoch.id:
            firsts.append(frame)

    with open_session(uri, lambda fc_hz: parse_array("ula:4:0.5", fc_hz), lambda n: RxConfig()) as session:
        recorder = Recorder(out, session.stream, policy="gap")
        session.start(recorder=recorder, on_frame=on_frame)
        until(lambda: session.samples > 200_000)
        stream = session.configure(RxConfig(fc_hz=2.46e9))
        assert stream.fc_hz == pytest.approx(2.46e9)
        at = session.samples
        until(lambda: session.samples > at + 200_000)
        summary = session.stop()
        session.raise_error()
    return summary, firsts, stream


@pytest.mark.parametrize("transport", ["sim", "iio"])
def test_a_retune_in_the_middle_is_a_new_epoch_in_frames_and_recording(
    tmp_path: Path, scene_text: Any, until: Any, board: Any, transport: str
) -> None:
    out = tmp_path / "two.sigmf-meta"
    if transport == "sim":
        found = _run_with_retune(_scene(tmp_path, scene_text(4)) + "?free", out, until)
    else:
        with board(scene_text(4)) as server:
            found = _run_with_retune(f"iio:{server.iio[0]}", out, until)
    summary, firsts, stream = found
    assert summary.epochs == 2
    assert [f.stream.fc_hz for f in firsts] == pytest.approx([2.45e9, 2.46e9])
    assert len({f.stream.epoch.id for f in firsts}) == 2
    assert firsts[1].stream.epoch.cause == "lo"
    assert FrameFlag.RETUNED in firsts[1].flags
    # the elements stay where they are when the carrier changes
    before, after = (f.stream.geometry for f in firsts)
    assert before is not None
    assert after is not None
    assert after.equals(before, 0.0)
    with open_recording(out) as recording:
        epochs = [s.stream.epoch.id for s in recording.segments]
        assert len(epochs) == 2
        assert epochs == [f.stream.epoch.id for f in firsts]
        assert recording.segments[1].stream.epoch.id == stream.epoch.id
        assert recording.segments[1].global_index == firsts[1].first_sample
        # what learns from it must not mix them
        start, end = longest_epoch(recording)
        assert recording.segment_at(start).stream.epoch.id == recording.segment_at(end - 1).stream.epoch.id
        assert end - start < recording.n_samples


@pytest.fixture(scope="module")
def retuned(shared_hil: Any, shared_board: Any, scene_text: Any) -> Any:
    """A calibration, and the radio on which it was learned, retuned since by somebody else."""
    hil = shared_hil
    with shared_board(scene_text(4, seed=30), free_running=True) as server:
        uri = f"iio:{server.iio[0]}"
        done = hil("capture", uri, "before.sigmf-meta", "--seconds", 2, "--array", "ula:4:0.5")
        assert done.code == 0
        assert hil.here("learn", "before.sigmf-meta", "--support", "-60:60", "--out", "old.h5").code == 0
        with open_session(uri, None, lambda n: RxConfig(fc_hz=2.44e9)) as session:
            session.configure(RxConfig(fc_hz=2.45e9))
        yield hil, ("spectrum", uri, "--array", "ula:4:0.5", "--sources", 1, "--calibration", "old.h5")


def test_after_a_retune_the_data_refute_the_calibration(retuned: Any) -> None:
    hil, asked = retuned
    done = hil(*asked)
    assert done.code == 4
    assert "refuted by these data" in done.json["reason"]
    assert "--relearn-phase" in done.json["hint"]
    assert "--stale-ok" in done.json["hint"]


def test_a_stale_calibration_can_be_forced_and_the_reason_is_kept(retuned: Any) -> None:
    hil, asked = retuned
    done = hil.here(*asked, "--stale-ok", "only a look ü")
    assert (done.code, done.json["calibration_status"]) == (0, "stale")
    assert done.json["stale_reason"] == "only a look ü"
    assert hil.here(*asked, "--stale-ok", "  ").code == 4  # no reason is no reason


def test_relearning_the_group_phases_repairs_it(retuned: Any) -> None:
    hil, asked = retuned
    inside = []
    for _ in range(3):
        done = hil.here(*asked, "--relearn-phase", "--snapshots", 256)
        assert done.code == 0, done
        assert done.json["calibration_status"] == "relearned"
        assert done.json["doa_sigma_deg"][0] < 1.0
        inside.append(-61 < done.json["doa_deg"][0] < 61)
    assert sum(inside) >= 2  # one of 16 looks holds a hop and has no direction
