"""`hil learn FOLDER`: the command on a campaign, its JSON, its files, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import store
from tests.physics.campaign_learn_scenes import chamber_scene, make_campaign

ANGLES_DEG = tuple(float(a) for a in range(-60, 61, 3))


@pytest.fixture(scope="module")
def swept(shared_hil: Any) -> Any:
    """Four elements, two starts, in the folder "night"."""
    make_campaign(shared_hil.folder / "night", chamber_scene(31, 4), ANGLES_DEG, 8192, runs=2)
    return shared_hil


def test_pilot_calibration_of_a_campaign(swept: Any) -> None:
    done = swept("learn", "night", "--method", "pilot", "--out", "a.h5", "--truth", "night/truth.jsonl")
    assert done.code == 0, done
    found = done.json
    assert found["method"] == "pilot"
    campaign = found["campaign"]
    assert (campaign["points"], campaign["learned"], campaign["epochs"], campaign["directions"]) == (
        41,
        33,
        2,
        "recording",
    )
    held = found["held_out"]
    assert np.array_equal(np.sort(np.ravel(held["angle_deg"])), np.sort(-np.array(campaign["held_out_deg"])))
    errors = held["errors"]
    assert errors["learned"]["rms_deg"] < 1.1 * errors["known"]["rms_deg"]
    assert len(errors["learned"]["residual_deg"]) == len(held["crb_deg"]) == 8
    assert found["before"]["doa_rmspe_deg"] > 5 > found["after"]["doa_rmspe_deg"]
    calibration = store.load(swept.folder / "a.h5")
    assert calibration.settings["held_out_deg"] == campaign["held_out_deg"]
    assert calibration.converged
    lines = (swept.folder / "a.bias.csv").read_text().splitlines()
    assert lines[0] == "angle_deg,bias_deg,sigma_deg"
    assert len(lines) == 34


def test_turns_alone(swept: Any) -> None:
    done = swept("learn", "night", "--out", "b.h5")
    assert done.code == 0, done
    assert done.json["gauge"]["kind"] == "rotation"
    assert done.json["campaign"]["directions"] == "rotation"
    assert done.json["known"]["doa_rmspe_deg"] is None
    assert done.json["after"]["doa_rmspe_deg"] < 0.1
    assert not (swept.folder / "b.bias.csv").exists()
    settings = store.load(swept.folder / "b.h5").settings
    assert len(settings["rotations"]) == 33


def test_held_out_angles_are_the_users_to_choose(swept: Any) -> None:
    done = swept("learn", "night", "--method", "pilot", "--hold-out", "0", "--out", "c.h5")
    assert done.code == 0, done
    assert done.json["campaign"]["learned"] == 41
    assert "held_out" not in done.json


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--anchor", "0"], "a campaign says itself where its table stood"),
        (["--seconds", "1"], "a campaign says itself"),
        (["--labels", "rotation", "--method", "pilot"], "turns are not enough"),
        (["--response", "spline"], "not a kind of table"),
        (["--method", "gain-phase-isac"], "learns from OFDM channel responses"),
        (["--fs", "1M"], "--fs"),
    ],
)
def test_what_a_campaign_cannot_use_is_refused(swept: Any, options: list[str], words: str) -> None:
    done = swept("learn", "night", *options, "--out", "no.h5")
    assert done.code == 2, done
    assert words in done.stderr
    assert not (swept.folder / "no.h5").exists()


def test_options_of_campaigns_are_refused_elsewhere(swept: Any) -> None:
    recording = "night/run-001.sigmf-collection"
    for option, value in (("--hold-out", "5"), ("--response", "none")):
        done = swept("learn", recording, option, value, "--out", "no.h5")
        assert done.code == 2
        assert f"{option}: only for the folder of a campaign" in done.stderr
    done = swept("learn", recording, "--labels", "rotation", "--out", "no.h5")
    assert done.code == 2
    assert "only a campaign says how its table turned" in done.stderr


def test_damaged_campaigns_are_one_line(swept: Any) -> None:
    broken = swept.folder / "broken"
    shutil.copytree(swept.folder / "night", broken)
    (broken / "journal.jsonl").write_text("")
    done = swept("learn", "broken", "--method", "pilot", "--out", "no.h5")
    assert (done.code, "no finished point" in done.stderr) == (2, True)
    lines = (swept.folder / "night" / "journal.jsonl").read_text().splitlines()
    changed = json.loads(lines[1]) | {"start": 10**9}
    (broken / "journal.jsonl").write_text("\n".join([lines[0], json.dumps(changed), *lines[2:]]) + "\n")
    done = swept("learn", "broken", "--method", "pilot", "--out", "no.h5")
    assert done.code == 2, done
    assert "Traceback" not in done.stderr


def test_the_table_stands_in_the_file_and_directions_use_it(swept: Any) -> None:
    more = {"angle_dependent_phase_deg": 20.0}
    angles = tuple(float(a) for a in range(-60, 61, 2))
    folder: Path = swept.folder / "angle"
    make_campaign(folder, chamber_scene(32, 4, (0.0,), **more), angles, 8192)
    done = swept("learn", "angle", "--method", "pilot", "--out", "t.h5")
    assert done.code == 0, done
    assert "depends on the angle" in " ".join(done.json["notes"])
    shown = swept("calib", "show", "t.h5")
    assert shown.json["angle_table"] is True
    found = swept("spectrum", "angle/run-001.sigmf-collection", "--calibration", "t.h5", "--sources", "1")
    assert found.code == 0, found
