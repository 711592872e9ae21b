"""`hil learn --labels`: known directions alone, beside unlabelled data, and from the recording itself."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import store
from hil.evaluation.truth_match import scene_offset, true_directions
from sim_backend.truth import read_truth


@pytest.fixture(scope="module")
def recorded(shared_hil: Any, shared_board: Any, scene_text: Any) -> Any:
    """Four elements, 4 ms hops, and a table of true directions."""
    with shared_board(scene_text(4, seed=21), free_running=True) as server:
        done = shared_hil(
            "capture", f"iio:{server.iio[0]}", "four.sigmf-meta", "--seconds", 1.5, "--array", "ula:4:0.5"
        )
        assert done.code == 0, done
        truth = shared_hil.folder / "truth.jsonl"
        truth.write_bytes(server.truth.read_bytes())
    return shared_hil, _dwells(truth, 1_200_000)


def _dwells(truth_file: Path, n_samples: int) -> list[tuple[float, float, float]]:
    """(t0_s, t1_s, angle_deg) of the hops at 1 MS/s."""
    truth = read_truth(truth_file)
    at = np.arange(0, n_samples, 50)
    angle = true_directions(truth, at, scene_offset(truth), 1e6)[:, 0]
    edges = np.flatnonzero(np.diff(angle)) + 1
    bounds = np.concatenate(([0], edges, [len(at)]))
    # blocks are 256 samples long: one that begins later than that before the hop straddles it
    return [
        (float(at[a]) / 1e6, float(at[b - 1] - 300) / 1e6, float(angle[a]))
        for a, b in pairwise(bounds)
        if at[b - 1] - at[a] > 2000
    ]


def _table(path: Path, rows: list[tuple[float, ...]]) -> str:
    path.write_text("t0_s,t1_s,angle_deg\n" + "".join(",".join(map(repr, r)) + "\n" for r in rows))
    return path.name


def test_labels_alone_set_angles_without_a_gauge(recorded: Any) -> None:
    hil, dwells = recorded
    table = _table(hil.folder / "known.csv", dwells[:40])
    done = hil("learn", "four.sigmf-meta", "--labels", table, "--method", "pilot", "--out", "pilot.h5",
               "--truth", "truth.jsonl")  # fmt: skip
    assert done.code == 0, done
    assert done.json["method"] == "pilot"
    assert done.json["gauge"]["kind"] == "anchor"
    assert done.json["gauge"]["angle_sigma_deg"] < 0.1
    assert done.json["not_identifiable"] == []
    # absolute angles: as good as the true array
    after, known = done.json["after"]["doa_rmspe_deg"], done.json["known"]["doa_rmspe_deg"]
    assert after < 1.2 * known + 0.01
    assert store.load(hil.folder / "pilot.h5").id == done.json["calibration_id"]


def test_few_labels_beside_unlabelled_blocks_and_a_wrong_one_is_named(recorded: Any) -> None:
    hil, dwells = recorded
    rows = [dwells[i] for i in (3, 40, 90, 130, 170)]
    rows[2] = (rows[2][0], rows[2][1], rows[2][2] + 25.0)
    done = hil.here("learn", "four.sigmf-meta", "--labels", _table(hil.folder / "few.csv", rows),
                    "--out", "few.h5", "--truth", "truth.jsonl")  # fmt: skip
    assert done.code == 0, done
    assert done.json["method"] == "semi-supervised"
    assert any(f"label {rows[2][2]:g} degrees" in note and "left out" in note for note in done.json["notes"])
    after, known = done.json["after"]["doa_rmspe_deg"], done.json["known"]["doa_rmspe_deg"]
    assert after < 1.2 * known + 0.03


def test_too_few_labels_are_refused_with_counts(recorded: Any) -> None:
    hil, dwells = recorded
    done = hil.here("learn", "four.sigmf-meta", "--labels", _table(hil.folder / "one.csv", dwells[:1]),
                    "--method", "pilot", "--out", "one.h5")  # fmt: skip
    assert done.code == 4
    assert "needs 2 different known angles, there is 1" in done.json["reason"]
    assert "position" in " ".join(done.json["not_identifiable"])
    assert not (hil.folder / "one.h5").exists()


def test_directions_that_the_recording_states_are_labels(recorded: Any) -> None:
    hil, dwells = recorded
    meta = json.loads((hil.folder / "four.sigmf-meta").read_text())
    capture = meta["captures"][0]
    captures, zero = [], capture.get("core:global_index", 0)
    for t0, t1, angle in dwells[:30]:
        a, b = round(t0 * 1e6), round(t1 * 1e6) + 300
        stated = {"spatial:emitter_bearing": {"azimuth": angle}, "core:sample_start": a}
        captures.append(capture | stated | {"core:global_index": zero + a})
        captures.append(capture | {"core:sample_start": b, "core:global_index": zero + b})
    if captures[0]["core:sample_start"] > 0:
        captures.insert(0, capture)
    (hil.folder / "stated.sigmf-meta").write_text(json.dumps(meta | {"captures": captures}))
    (hil.folder / "stated.sigmf-data").write_bytes((hil.folder / "four.sigmf-data").read_bytes())
    done = hil.here("learn", "stated.sigmf-meta", "--labels", "recording", "--method", "pilot", "--out", "s.h5",
                    "--truth", "truth.jsonl")  # fmt: skip
    assert done.code == 0, done
    assert done.json["after"]["doa_rmspe_deg"] < 1.2 * done.json["known"]["doa_rmspe_deg"] + 0.01
    done = hil.here("learn", "four.sigmf-meta", "--labels", "recording", "--out", "s.h5")
    assert done.code == 2
    assert "states no directions" in done.json["reason"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the first line must be"),
        ("angle,t0\n1,2\n", "the first line must be"),
        ("t0_s,t1_s,angle_deg\n", "0 rows"),
        ("t0_s,t1_s,angle_deg\n0,1\n", "line 2"),
        ("t0_s,t1_s,angle_deg\n0,1,north\n", "'north' is not a number"),
        ("t0_s,t1_s,angle_deg\n1,1,5\n", "line 2: label: 1 to 1 s is empty"),
        ("t0_s,t1_s,angle_deg\n0,0,05,5\n", "4 values for 3 columns"),
        ("t0_s,t1_s,angle_deg\n0,1,nan\n", "not finite"),
        ("t0_s,t1_s,angle_deg\n7,8,5\n", "none of 1 labels lies within"),
    ],
)
def test_a_wrong_table_is_one_line(recorded: Any, text: str, says: str) -> None:
    hil, _ = recorded
    (hil.folder / "bad.csv").write_text(text)
    done = hil.here("learn", "four.sigmf-meta", "--labels", "bad.csv", "--out", "bad.h5")
    assert done.code == 2
    assert says in done.json["reason"]
    done = hil.here("learn", "four.sigmf-meta", "--labels", "bad.csv", "--anchor", "5", "--out", "bad.h5")
    assert done.code == 2
