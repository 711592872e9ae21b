"""Turntable campaigns as a user runs them: killed, resumed, with faults of table, receiver and disk."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from drivers.positioner.positioner import Positioner
from drivers.positioner.registry import open_positioner
from drivers.sigmf_files import open_recording
from hil.campaign.folder import Campaign, open_campaign
from hil.campaign.journal import read_events
from hil.campaign.plan import Plan, parse_angles
from hil.campaign.plan_file import CampaignFile
from hil.core.errors import DeviceError
from hil.core.geometry import parse_array
from hil.session import Session, open_session
from hil.sweep.prepare import prepare
from hil.sweep.progress import SweepControl, SweepProgress
from hil.sweep.sweep import Sweep

SCENE = """
[array]
n_elements = 4
[[emitter]]
angle_deg = 0.0
"""
TABLE = "sim:?speed=400&acceleration=4000"
ANGLES = "-10:10:2"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.toml"
    path.write_text(SCENE, encoding="utf-8")
    return path


@pytest.fixture
def table() -> str:
    """Its URI; whatever was done to it, it is at 0 again."""
    with open_positioner(TABLE):
        pass
    return TABLE


def _plan(**other: object) -> Plan:
    given = {
        "samples": 20_000,
        "settle_s": 0.02,
        "dwell_s": 0.05,
        "emitters_deg": (0.0,),
        "layout": "interleaved",
    }
    return Plan(parse_angles(ANGLES), **(given | other))  # pyright: ignore[reportArgumentType]


def _sweep(
    folder: Path,
    plan: Plan,
    device: str,
    table: str,
    control: SweepControl | None = None,
    tell=lambda progress: None,
) -> Sweep:
    prepare(folder, CampaignFile(plan), resume=folder.exists())

    def receiver() -> Session:
        return open_session(device, lambda fc_hz: parse_array("ula:4:0.5", fc_hz))

    def positioner() -> Positioner:
        return open_positioner(table)

    return Sweep(folder, receiver, positioner, control=control, tell=tell)


def _check_samples(campaign: Campaign) -> None:
    """Every finished point has its samples and the truth, in one piece of one epoch."""
    for point in campaign.points:
        with open_recording(campaign.recording_path(point)) as recording:
            assert point.start + point.n <= recording.n_samples
            segment = recording.segment_at(point.start)
            assert (segment.start, segment.stream.epoch.id) == (point.start, point.epoch)
            assert segment.n >= point.n
            assert segment.keys["hil:point"] == point.index
            assert segment.keys["hil:table_azimuth_deg"] == point.table_deg
            assert segment.emitter_angles_deg == pytest.approx(point.truth_deg)
            assert point.truth_deg == pytest.approx((-point.table_deg,))
            assert np.ptp(recording.read(point.start, point.n)) > 0


def test_a_sweep_finishes_every_point_once(tmp_path: Path, scene: Path, table: str) -> None:
    seen: list[SweepProgress] = []
    result = _sweep(
        tmp_path / "c", _plan(order="random", approach="cw"), f"sim:{scene}", table, tell=seen.append
    ).run()
    campaign = result.campaign
    assert (result.finished, result.aborted, campaign.complete, campaign.runs) == (11, False, True, 1)
    assert [p.index for p in campaign.points] == list(range(11))
    assert len({p.epoch for p in campaign.points}) == 1, "the stream must not be restarted between points"
    _check_samples(campaign)
    assert {"opening", "moving", "settling", "recording", "done"} == {p.stage for p in seen}
    assert (seen[-1].done, seen[-1].total) == (11, 11)
    # nothing is left to do: nothing is opened
    again = _sweep(
        tmp_path / "c", _plan(order="random", approach="cw"), "iio:ip:127.0.99.1", "rotctld:127.0.99.1:1"
    ).run()
    assert again.finished == 0


def _command(folder: Path, scene: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-P", "-m", "hil.cli", "sweep", f"sim:{scene}", "--positioner", TABLE, "--angles", "-20:20:2",
        "--array", "ula:4:0.5", "--out", str(folder), "--samples", "20k", "--settle", "0.02", "--emitter", "0", *more,
    ]  # fmt: skip


def _finished(folder: Path) -> list[int]:
    return [int(e["index"]) for e in read_events(folder) if e["event"] == "point"]


@pytest.mark.slow  # tests/system/test_chamber.py does it over the whole chain
def test_killed_twice_and_resumed_no_finished_point_is_lost_or_made_again(
    tmp_path: Path, scene: Path
) -> None:
    folder = tmp_path / "night"
    command = _command(folder, scene)
    for done in (3, 9):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
        give_up = time.monotonic() + 120
        while len(_finished(folder)) < done:
            assert time.monotonic() < give_up
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.communicate()
        left = _finished(folder)
        _check_samples(open_campaign(folder))
        command = [*_command(folder, scene), "--resume"]
        assert len(left) < 21
    done = subprocess.run([*command, "--json", "-"], capture_output=True, text=True, check=True, timeout=200)
    told = json.loads(done.stdout)
    assert (told["done"], told["left"], told["runs"], told["points"]) == (21, 0, 3, 21)
    assert told["epochs"] == 3, "each opening of the device is an epoch of its own, and the points say which"
    assert _finished(folder)[: len(left)] == left
    assert sorted(_finished(folder)) == list(range(21))
    _check_samples(open_campaign(folder))


def test_interrupted_it_leaves_valid_data_and_says_how_to_go_on(tmp_path: Path, scene: Path) -> None:
    folder = tmp_path / "c"
    process = subprocess.Popen(
        [*_command(folder, scene), "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    give_up = time.monotonic() + 120
    while len(_finished(folder)) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    told = json.loads(out)
    assert (told["status"], told["exit_code"]) == ("interrupted", 130)
    assert told["done"] == len(_finished(folder)) >= 2
    assert "--resume" in told["hint"]
    assert "Traceback" not in err
    with open_recording(folder / "run-001.sigmf-collection") as recording:
        assert recording.complete


def test_points_with_lost_samples_are_made_again(tmp_path: Path, scene: Path, table: str) -> None:
    plan = _plan(samples=60_000, retries=20)
    result = _sweep(tmp_path / "c", plan, f"faults:drop_every=9:sim:{scene}", table).run()
    assert result.campaign.complete
    retries = [e for e in result.campaign.events if e["event"] == "retry"]
    assert retries
    assert all("samples were lost" in e["why"] for e in retries)
    _check_samples(result.campaign)


def test_what_the_table_does_not_reach_is_left_out_and_the_rest_is_done(tmp_path: Path, scene: Path) -> None:
    plan = _plan(stall_s=0.5, retries=1)
    result = _sweep(tmp_path / "c", plan, f"sim:{scene}", f"{TABLE}&stall_at=7").run()
    assert result.campaign.complete
    assert {p.set_deg for p in result.campaign.points} == {a for a in plan.angles_deg if a < 7}
    assert [b.set_deg for b in result.campaign.bad] == [8.0, 10.0]
    assert all("does not move on" in b.why for b in result.campaign.bad)
    # mended, they can be asked for again
    again = _sweep(tmp_path / "c", plan, f"sim:{scene}", TABLE).run(bad_again=True)
    assert again.finished == 2
    assert not again.campaign.bad


@pytest.mark.slow
def test_a_table_that_is_dead_ends_the_sweep_and_condemns_no_point(tmp_path: Path, scene: Path) -> None:
    plan = _plan(stall_s=0.5, retries=0)
    with pytest.raises(DeviceError) as caught:
        _sweep(tmp_path / "c", plan, f"sim:{scene}", f"{TABLE}&stall_at=-1&start=0", _Hasty()).run()
    assert "--resume" in caught.value.hint
    campaign = open_campaign(tmp_path / "c")
    assert not campaign.bad
    assert len(campaign.open_indices) == 11


class _Hasty(SweepControl):
    """Does not wait between starts."""

    def wait(self, seconds: float) -> bool:
        return super().wait(min(seconds, 0.6))


def test_a_receiver_that_is_lost_is_opened_again(tmp_path: Path, scene: Path, table: str) -> None:
    result = _sweep(tmp_path / "c", _plan(), f"faults:disconnect_after=60:sim:{scene}", table, _Hasty()).run()
    assert result.campaign.complete
    assert result.campaign.runs > 1
    assert sorted(_finished(tmp_path / "c")) == list(range(11))
    _check_samples(result.campaign)


def test_a_receiver_that_never_comes_back_ends_it_with_the_reason(
    tmp_path: Path, scene: Path, table: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        _sweep(tmp_path / "c", _plan(), f"faults:disconnect_after=2:sim:{scene}", table, _Hasty()).run()
    assert "--resume" in caught.value.hint


def test_pause_keeps_the_epoch_and_abort_keeps_the_points(tmp_path: Path, scene: Path, table: str) -> None:
    control = SweepControl()
    stages: list[str] = []

    def tell(progress: SweepProgress) -> None:
        stages.append(progress.stage)
        if progress.done == 3 and not stages.count("paused"):
            control.pause()
        if progress.stage == "paused":
            control.go_on()
        if progress.done == 6:
            control.abort()

    result = _sweep(tmp_path / "c", _plan(), f"sim:{scene}", table, control, tell).run()
    assert result.aborted
    assert stages.count("paused") == 1
    assert len(result.campaign.points) == 6
    assert len({p.epoch for p in result.campaign.points}) == 1
    _check_samples(result.campaign)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path: Path, scene: Path) -> None:
    """The size of a file is limited: the recording of all points does not fit."""
    folder = tmp_path / "c"
    command = [*_command(folder, scene)]
    limit = 20_000 * 4 * 5 + 1000  # bytes of one channel: five points
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "disk full" in done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(_finished(folder)) == 5
    _check_samples(open_campaign(folder))
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True, timeout=120)
    assert sorted(_finished(folder)) == list(range(21))
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--angles", "-400:10:5"], "outside the table's"), (["--approach", "left"], "any, cw, ccw"), (["--samples", "0"], "samples"),
        (["--blocks", "3"], "give --samples or --blocks"), (["--retry-bad"], "--resume"), (["--emitter", "north"], "--emitter"),
        (["--approach", "cw", "--angles", "-180:0:10"], "cannot be reached cw"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_a_folder_is_made(
    tmp_path: Path, scene: Path, options: list[str], says: str
) -> None:
    done = subprocess.run(
        [*_command(tmp_path / "c", scene), *options], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "c").exists()
