"""Errors on points of known directions, who may judge, and what is left out."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.campaign.folder import open_campaign
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.response import array_response
from hil.jobs.learn_campaign import learn_campaign
from hil.jobs.report import ReportRequest, make_report
from hil.jobs.report_measure import _apart, bound_deg
from hil.jobs.report_points import held_out_of, points_of_campaign, sample_files, spread
from hil.learning.settings import LearnSettings
from tests.campaign_folders import FC_HZ, SNR_DB, M, make_campaign
from tests.report_cases import ERRORS, calibration, saved, spoil

ANGLES = np.linspace(-60, 60, 25)
HELD = [2, 7, 12, 17, 22]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("c") / "night", ANGLES, samples=16384, errors=ERRORS)


def report(folder: Path, out: Path, *calibrations: Path, source: Path | None = None) -> dict[str, Any]:
    return make_report(ReportRequest(source or folder, [out], calibrations))


def line_crb_deg(angle_deg: float, snr_db: float, n: int) -> float:
    """Closed form for one emitter on a half-wavelength line: Stoica and Nehorai 1990 with K = 1."""
    x = np.arange(M) * 0.5 * 2 * np.pi * math.cos(math.radians(angle_deg))
    snr = 10 ** (snr_db / 10)
    return math.degrees(math.sqrt((1 + M * snr) / (2 * n * M * snr**2 * np.sum((x - x.mean()) ** 2))))


def test_errors_are_at_the_bound_and_the_bound_is_the_closed_form(folder: Path, tmp_path: Path) -> None:
    cal = saved(calibration(folder, held_out=HELD), tmp_path / "a.h5")
    found = report(folder, tmp_path / "r.html", cal)
    assert found["judged_points"] == len(HELD)
    accuracy = found["accuracy"]
    true = accuracy["true_deg"][:, 0]
    assert np.allclose(true, [p.truth_deg[0] for p in open_campaign(folder).points if p.index in HELD])
    expected = [line_crb_deg(a, SNR_DB, 256) for a in true]
    # the power over noise is measured: 4 % of its root after 64 blocks
    assert np.allclose(accuracy["point_crb_deg"][:, 0], expected, rtol=0.05)
    learned, nominal = accuracy["arrays"]["learned"], accuracy["arrays"]["nominal"]
    # 5 points of 64 blocks: the scatter is known to 1 / sqrt(2 * 315), 4 %
    assert learned["scatter_rms_deg"] == pytest.approx(float(np.sqrt(np.mean(np.square(expected)))), rel=0.15)
    assert learned["bias_rms_deg"] < 0.02
    assert learned["within_2_sigma"] >= 0.6
    assert nominal["doa_rmspe_deg"] > 5
    page = (tmp_path / "r.html").read_text()
    assert "Accepted" in page
    assert "not used to judge" in page


def test_points_that_taught_never_judge(folder: Path, tmp_path: Path) -> None:
    """Noise in their place changes no figure."""
    spoilt = make_campaign(tmp_path / "spoilt", ANGLES, samples=16384, errors=ERRORS)
    spoil(spoilt, set(range(len(ANGLES))) - set(HELD))
    values = []
    for where in (folder, spoilt):
        cal = saved(calibration(where, held_out=HELD), tmp_path / f"{where.name}.h5")
        values.append(report(where, tmp_path / "r.html", cal)["accuracy"]["arrays"]["learned"])
    assert values[0]["doa_rmspe_deg"] == pytest.approx(values[1]["doa_rmspe_deg"], rel=1e-9)


def test_two_calibrations_are_judged_on_what_neither_has_seen(folder: Path, tmp_path: Path) -> None:
    a = saved(calibration(folder, held_out=[2, 7, 12]), tmp_path / "a.h5")
    b = saved(calibration(folder, held_out=[7, 12, 17], method="cold-start"), tmp_path / "b.h5")
    found = report(folder, tmp_path / "r.html", a, b)
    assert found["judged_points"] == 2
    assert set(found["accuracy"]["arrays"]) == {"nominal", "a", "b"}
    assert found["calibration_ids"].keys() == {"a", "b"}


def judges(folder: Path, **changed: Any) -> set[int]:
    campaign = open_campaign(folder)
    points = points_of_campaign(campaign)
    held = changed.pop("held_out", None)
    cal = calibration(folder, held_out=held, **changed)
    files = sample_files(points, lambda text: None)
    return set(held_out_of(cal, points, files, campaign.file.plan.fingerprint).indices)


def test_who_may_judge(folder: Path) -> None:
    everyone = set(range(len(ANGLES)))
    assert judges(folder, held_out=HELD) == set(HELD)
    assert judges(folder, captures=("0" * 64,)) == everyone  # other recordings, by their hash
    before = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert judges(folder, created_utc=before) == everyone  # made before they were measured
    assert judges(folder, captures=()) == set()  # it does not say what it was learned from
    # of this plan, but the recordings have changed since
    assert judges(folder, held_out=HELD, captures=("0" * 64,)) == set()
    split = judges(folder)  # of a recording: the last fifth of the samples
    assert split == {20, 21, 22, 23, 24}


def test_without_a_judge_no_error_is_shown(folder: Path, tmp_path: Path) -> None:
    cal = saved(calibration(folder, captures=()), tmp_path / "a.h5")
    found = report(folder, tmp_path / "r.html", cal)
    assert found["accuracy"] is None
    page = (tmp_path / "r.html").read_text()
    assert "Not judged by these data" in page
    assert "Direction errors" not in page


def test_without_truth_no_error_is_shown(tmp_path: Path) -> None:
    folder = make_campaign(tmp_path / "dark", [-20, 0, 20], samples=4096, emitters_deg=())
    cal = saved(calibration(folder, held_out=[1]), tmp_path / "a.h5")
    found = report(folder, tmp_path / "r.html", cal)
    assert found["accuracy"] is None
    page = (tmp_path / "r.html").read_text()
    assert "true directions are not known" in page
    assert "Spectra before and after" in page
    assert "Direction errors" not in page


def test_points_of_another_epoch_do_not_judge(tmp_path: Path) -> None:
    folder = make_campaign(tmp_path / "two", ANGLES, samples=8192, runs=2, errors=ERRORS)
    with open_recording(folder / "run-001.sigmf-collection") as recording:
        epoch = recording.stream.epoch
    cal = saved(calibration(folder, captures=("0" * 64,), epoch=epoch), tmp_path / "a.h5")
    found = report(folder, tmp_path / "r.html", cal)
    assert found["judged_points"] == 13
    assert [len(v) for k, v in found["left_out"].items() if "epoch" in k] == [12]


def test_missing_and_short_recordings_are_named_and_the_rest_is_judged(tmp_path: Path) -> None:
    folder = make_campaign(tmp_path / "torn", ANGLES, samples=8192, runs=2, errors=ERRORS)
    cal = saved(calibration(folder, captures=("0" * 64,)), tmp_path / "a.h5")
    for file in folder.glob("run-002*"):
        file.unlink()
    short = folder / "run-001-ch02.sigmf-data"
    with short.open("r+b") as data:
        data.truncate(short.stat().st_size - 4 * 8192 - 4 * 8000)
    found = report(folder, tmp_path / "r.html", cal)
    assert found["judged_points"] == 11
    assert sum(len(v) for v in found["left_out"].values()) == 14
    assert "run-002" in (tmp_path / "r.html").read_text()


def test_a_recording_with_bearings_is_judged_like_a_campaign(folder: Path, tmp_path: Path) -> None:
    cal = saved(calibration(folder, captures=("0" * 64,)), tmp_path / "a.h5")
    found = report(folder, tmp_path / "r.html", cal, source=folder / "run-001.sigmf-collection")
    assert found["kind"] == "recording"
    assert found["judged_points"] >= len(ANGLES)
    assert found["accuracy"]["arrays"]["learned"]["doa_rmspe_deg"] < 0.3


def test_no_bound_where_there_is_none() -> None:
    """Of silence, and at endfire of a line: not known, and nothing is divided by zero."""
    response = array_response(calibration_of_nothing(), FC_HZ)
    assert np.isnan(bound_deg(np.zeros((M, M), complex), response, np.array([0.0]))).all()
    assert np.isnan(bound_deg(np.eye(M, dtype=complex), response, np.array([90.0]))).all()


def calibration_of_nothing() -> np.ndarray:
    wavelength_m = SPEED_OF_LIGHT_M_S / FC_HZ
    return np.column_stack((np.arange(M) * wavelength_m / 2, np.zeros((M, 2))))


def test_points_for_spectra_lie_apart(folder: Path) -> None:
    points = points_of_campaign(open_campaign(folder))
    true = [p.truth_deg[0] for p in spread(points, 3)]
    assert len(true) == 3
    assert np.allclose(sorted(true), [-40, 0, 40], atol=6)
    assert spread([], 3) == []


def test_phases_of_other_epochs_are_undone_where_learning_has_found_them(tmp_path: Path) -> None:
    turn_deg = [0.0, 40.0, -75.0, 120.0]
    turned = ERRORS * np.exp(1j * np.deg2rad(turn_deg))
    folder = make_campaign(tmp_path / "turned", ANGLES, samples=8192, errors=turned)
    with open_recording(folder / "run-001.sigmf-collection") as recording:
        epoch = recording.stream.epoch.id
    errors = []
    for settings in ({}, {"epoch_turns_deg": {epoch: turn_deg}}):
        cal = saved(calibration(folder, captures=("0" * 64,), settings=settings), tmp_path / "a.h5")
        errors.append(
            report(folder, tmp_path / "r.html", cal)["accuracy"]["arrays"]["learned"]["doa_rmspe_deg"]
        )
    assert errors[0] > 5
    assert errors[1] < 0.3


def test_a_campaign_of_three_starts_learned_and_judged_on_all_of_them(tmp_path: Path) -> None:
    folder = make_campaign(tmp_path / "three", np.linspace(-60, 60, 31), samples=8192, runs=3, errors=ERRORS)
    learned = learn_campaign(folder, LearnSettings(method="pilot"), labels=None)
    assert learned.calibration is not None
    cal = saved(learned.calibration, tmp_path / "a.h5")
    found = report(folder, tmp_path / "r.html", cal)
    assert found["judged_points"] == len(learned.held_points) == 6
    arrays = found["accuracy"]["arrays"]
    assert arrays["learned"]["rms_deg"] < 1.3 * found["accuracy"]["crb_deg"]
    assert arrays["nominal"]["rms_deg"] > 5


def test_emitters_that_cannot_be_told_apart_judge_nothing() -> None:
    true = np.array([10.0, 11.0])
    assert _apart(true[:1], np.array([np.nan]))
    assert _apart(true, np.array([0.1, 0.2]))
    assert not _apart(true, np.array([0.1, 0.6]))
    assert not _apart(np.array([10.0, 10.0]), np.array([np.nan, np.nan]))
    assert _apart(np.array([-179.9, 179.9]), np.array([0.05, 0.05]))
    assert not _apart(np.array([-179.9, 179.9]), np.array([0.2, 0.05]))


def test_a_learned_table_judges_inside_its_range_alone(folder: Path, tmp_path: Path) -> None:
    campaign = open_campaign(folder)
    true = sorted(p.truth_deg[0] for p in campaign.points)
    table = np.array([true[3], 0.0, true[-4]])  # ends on points: no slope there
    plain = calibration(folder, captures=("0" * 64,))
    imp = replace(plain.impairments, angle_table_deg=table, angle_response=np.ones((M, 3), complex))
    cal = saved(replace(plain, impairments=imp), tmp_path / "a.h5")
    found = report(folder, tmp_path / "r.html", cal)
    assert found["judged_points"] == len(ANGLES) - 6
    assert [len(v) for k, v in found["left_out"].items() if "table" in k] == [6]
    assert "not extrapolated" in (tmp_path / "r.html").read_text()


def test_receiver_errors_that_a_calibration_knows_are_undone(tmp_path: Path) -> None:
    """Strong DC on one channel spoils directions, and does not with a calibration that knows it."""
    folder = make_campaign(tmp_path / "dc", ANGLES[::3], samples=8192, errors=ERRORS)
    for data in folder.glob("*-ch01.sigmf-data"):
        samples = np.memmap(data, "<i2", "r+")
        samples[:] = np.clip(samples + 600, -2047, 2047)
        samples.flush()
    plain = calibration(folder, captures=("0" * 64,))
    offset = np.zeros(M, complex)
    offset[1] = (600 + 600j) / 2048
    known = replace(plain, impairments=replace(plain.impairments, dc_offset=offset))
    error = [
        report(folder, tmp_path / "r.html", saved(cal, tmp_path / "a.h5"))["accuracy"]["arrays"]["learned"][
            "rms_deg"
        ]
        for cal in (plain, known)
    ]
    assert error[0] > 5 * error[1]
    assert error[1] < 0.3
