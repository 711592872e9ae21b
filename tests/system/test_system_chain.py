"""Capture, learn and find directions: three processes that share nothing but files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hil import store
from hil.evaluation.truth_match import scene_offset, true_directions
from sim_backend.truth import read_truth

CONTRACT = {
    "method", "gauge", "converged", "score", "predicted_score", "seconds", "steps", "not_identifiable", "sigma",
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(shared_hil: Any, shared_board: Any, scene_text: Any) -> Any:
    """Four elements of one FMComms5, recorded over IIO, and the truth about them."""
    with shared_board(scene_text(4), free_running=True) as server:
        done = shared_hil(
            "capture", f"iio:{server.iio[0]}", "four.sigmf-meta", "--seconds", 2.5, "--array", "ula:4:0.5"
        )
        assert done.code == 0, done
        truth = shared_hil.folder / "truth.jsonl"
        truth.write_bytes(server.truth.read_bytes())
    assert (done.json["samples"], done.json["lost"], done.json["gaps"]) == (2_500_000, 0, 0)
    assert (done.json["lost_exact"], done.json["epochs"]) == (True, 1)
    learned = shared_hil(
        "learn", "four.sigmf-meta", "--support", "-60:60", "--out", "four.h5", "--truth", "truth.jsonl"
    )
    return shared_hil, learned, truth


def test_learn_says_everything_that_the_contract_lists(recorded: Any) -> None:
    hil, learned, _ = recorded
    assert learned.code == 0, learned
    assert learned.json.keys() >= CONTRACT
    found = learned.json
    assert found["converged"] is True
    assert found["score"] == pytest.approx(found["predicted_score"], abs=0.3)
    assert found["after"]["doa_rmspe_deg"] < max(0.5, found["before"]["doa_rmspe_deg"] / 20)
    assert found["after"]["manifold_error"] < 1e-3
    assert len(found["sigma"]["phase_deg"]) == 4
    assert found["gauge"]["kind"] == "support"
    stored = store.load(hil.folder / "four.h5")
    assert stored.id == found["calibration_id"]
    # the history in HIL_HOME has it too
    assert found["calibration_id"] in json.dumps(hil.here("calib", "history").json)


def test_directions_with_the_learned_array_are_right_and_valid(recorded: Any) -> None:
    hil, _, truth_file = recorded
    truth = read_truth(truth_file)
    offset, errors, nominal = scene_offset(truth), [], []
    for at_s in (0.0411, 0.9611, 2.0011):
        asked = ("spectrum", "four.sigmf-meta", "--at", at_s, "--sources", 1, "--snapshots", 256)
        done = (hil if not errors else hil.here)(*asked, "--calibration", "four.h5")
        assert done.code == 0
        assert done.json["calibration_status"] == "valid"  # same coherence epoch
        assert done.json["n_sources"] == 1
        first = np.array([done.json["first_sample"]])
        actual = true_directions(truth, first, offset, 1e6)[0, 0]
        errors.append(abs(done.json["doa_deg"][0] - actual))
        assert errors[-1] < 4 * done.json["doa_sigma_deg"][0]
        nominal.append(abs(hil.here(*asked).json["doa_deg"][0] - actual))
        if len(nominal) == 1:
            assert hil.here(*asked).json["calibration_status"] == "none"
    assert max(errors) < 1.0
    assert max(nominal) > 5 * max(errors)


def test_another_process_on_the_same_radio_verifies_the_calibration(
    hil: Any, board: Any, scene_text: Any
) -> None:
    """Nothing was retuned in between, so the live data confirm what another process has learned."""
    with board(scene_text(4, seed=9), free_running=True) as server:
        uri = f"iio:{server.iio[0]}"
        hil("capture", uri, "rec.sigmf-meta", "--seconds", 2, "--array", "ula:4:0.5")
        assert hil("learn", "rec.sigmf-meta", "--support", "-60:60", "--out", "a.h5").code == 0
        live = ("spectrum", uri, "--array", "ula:4:0.5", "--sources", 1, "--snapshots", 256)
        for _ in range(6):
            done = hil.here(*live, "--calibration", "a.h5")
            assert done.code == 0, done
            assert done.json["calibration_status"] == "verified"
            truth = read_truth(server.truth)
            ends = done.json["first_sample"] + np.array([0, 255])
            actual, last = true_directions(truth, ends, scene_offset(truth), 1e6)[:, 0]
            if actual == last:
                break
    assert actual == last, "one of 16 looks holds a hop and has no direction"
    assert done.json["doa_deg"][0] == pytest.approx(actual, abs=1.0)


def test_eight_elements_in_process_from_a_collection(hil: Any, scene_text: Any) -> None:
    (hil.folder / "acht Elemente ü.toml").write_text(scene_text(8, seed=21))
    out = "Aufnahme mit Ümläut é.sigmf-collection"
    done = hil("capture", "sim:acht Elemente ü.toml?free", out, "--seconds", 2, "--array", "ula:8:0.5")
    assert (done.code, done.json["n_channels"]) == (0, 8)
    assert len([f for f in done.json["files"] if f.endswith(".sigmf-data")]) == 8
    learned = hil("learn", out, "--support", "-60:60", "--out", "käl ib.h5")
    assert learned.code == 0, learned
    assert learned.json["n_elements"] == 8
    found = hil("spectrum", out, "--calibration", "käl ib.h5", "--at", 1.5, "--plot", "bild ö.png")
    assert (found.code, found.json["calibration_status"]) == (0, "valid")
    assert (hil.folder / "bild ö.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_an_assumption_the_file_is_written_but_the_command_exits_4(recorded: Any) -> None:
    hil, _, _ = recorded
    done = hil.here("learn", "four.sigmf-meta", "--out", "open.h5")
    assert done.code == 4
    assert "absolute angles are open by" in done.json["reason"]
    assert done.json["gauge"]["assumes"] in done.json["reason"]
    assert "--support" in done.json["hint"]
    assert done.json["converged"] is True
    assert done.json["not_identifiable"]
    kept = store.load(hil.folder / "open.h5")
    assert kept.gauge.angle_sigma_deg > 0.5
    # what is used of it states how much is open
    used = hil.here("spectrum", "four.sigmf-meta", "--calibration", "open.h5", "--sources", 1)
    assert used.json["doa_sigma_deg"][0] > 0.5


@pytest.mark.parametrize("sources", [2, 3])
def test_a_wrong_number_of_sources_does_not_converge(recorded: Any, sources: int) -> None:
    hil, _, _ = recorded
    done = hil.here(
        "learn", "four.sigmf-meta", "--sources", sources, "--support", "-60:60", "--out", "wrong.h5"
    )
    assert done.code == 4
    assert done.json["reason"].startswith("not converged")
    assert f"not {sources}" in done.json["reason"]
    assert done.json["converged"] is False


def test_too_few_blocks_are_named_and_nothing_is_written(recorded: Any) -> None:
    hil, _, _ = recorded
    done = hil.here("learn", "four.sigmf-meta", "--seconds", 0.01, "--support", "-60:60", "--out", "few.h5")
    assert done.code == 4
    assert "only 10 usable blocks; at least 20 are needed" in done.json["reason"]
    assert done.json["calibration"] is None
    assert not (hil.folder / "few.h5").exists()
    none = hil.here("learn", "four.sigmf-meta", "--seconds", 1e-5, "--support", "-60:60", "--out", "few.h5")
    assert none.code == 2
    assert "no block of 256 samples" in none.json["reason"]


def test_a_still_emitter_is_not_identifiable_in_words(hil: Any) -> None:
    (hil.folder / "still.toml").write_text(
        "[array]\nn_elements = 4\n[receiver]\nfs_hz = 1.0e6\n[[emitter]]\nangle_deg = 10.0\n"
    )
    hil.here("capture", "sim:still.toml?free", "still.sigmf-meta", "--seconds", 0.5, "--array", "ula:4:0.5")
    done = hil.here("learn", "still.sigmf-meta", "--support", "-60:60", "--out", "still.h5")
    assert done.code == 4
    assert "one look determines no array" in done.json["reason"]
    assert set(done.json["not_identifiable"]) == {"gain", "phase", "position"}
    assert "must move or hop" in done.json["hint"]
    assert not (hil.folder / "still.h5").exists()


def test_a_calibration_that_has_not_converged_is_refused(recorded: Any) -> None:
    from dataclasses import replace

    hil, _, _ = recorded
    store.save(replace(store.load(hil.folder / "four.h5"), converged=False), hil.folder / "bad.h5")
    done = hil.here("spectrum", "four.sigmf-meta", "--calibration", "bad.h5")
    assert done.code == 4
    assert "not converged" in done.json["reason"]
    forced = hil.here("spectrum", "four.sigmf-meta", "--calibration", "bad.h5", "--stale-ok", "a look")
    assert (forced.code, forced.json["calibration_status"]) == (0, "stale")
    assert forced.json["stale_reason"] == "a look"


def test_report_shows_the_recording_in_one_self_contained_page(recorded: Any) -> None:
    hil, _, _ = recorded
    done = hil.here(
        "report", "four.sigmf-meta", "--calibration", "four.h5", "--truth", "truth.jsonl", "--out", "r.html"
    )
    assert done.code == 0
    page = (hil.folder / "r.html").read_text(encoding="utf-8")
    assert page.count("data:image/") >= 3
    assert 'src="http' not in page
    assert "-60" in page
