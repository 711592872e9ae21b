"""`hil learn --method race`: a table, an offer, nothing applied."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from calib.csi import ChannelResponses
from hil import store

ENTRY = {
    "method", "converged", "reason", "held_out_excess", "held_out_score", "predicted_score", "seconds", "steps",
    "angle_sigma_deg", "winner",
}  # fmt: skip


def _only_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods with gradients take most of a race's time and are tested on their own."""
    monkeypatch.setattr("calib.race.RACERS", ("cold-start", "weiss-friedlander"))


def test_the_winner_is_offered_and_not_applied(
    hil: Any, board: Any, scene_text: Any, monkeypatch: Any
) -> None:
    _only_quick(monkeypatch)
    with board(scene_text(4, seed=22), free_running=True) as server:
        uri = f"iio:{server.iio[0]}"
        assert hil("capture", uri, "r.sigmf-meta", "--seconds", 2.5, "--array", "ula:4:0.5").code == 0
        live = hil.here("learn", uri, "--array", "ula:4:0.5", "--support", "-60:60", "--seconds", 3,
                        "--method", "race", "--out", "live.h5")  # fmt: skip
    done = hil.here("learn", "r.sigmf-meta", "--support", "-60:60", "--method", "race", "--out", "offered.h5")
    for found, name in ((done, "offered.h5"), (live, "live.h5")):
        assert found.code == 0, found
        table = {row["method"]: row for row in found.json["race"]}
        assert all(row.keys() >= ENTRY for row in table.values())
        assert [m for m, row in table.items() if row["winner"]] == ["cold-start"]
        assert not table["weiss-friedlander"]["converged"]
        assert table["weiss-friedlander"]["reason"]
        assert table["weiss-friedlander"]["held_out_excess"] > 1
        assert abs(table["cold-start"]["held_out_excess"]) < 0.3
        assert found.json["method"] == "cold-start"
        assert "has not been applied" in found.json["offer"]
        assert "held out" in found.json["held_out"]
        assert store.load(hil.folder / name).id == found.json["calibration_id"]
        assert "offered, not applied" in found.stderr
    # the store does not know it
    assert done.json["calibration_id"] not in json.dumps(hil.here("calib", "history").json)


def test_no_method_converges_on_noise(hil: Any, monkeypatch: Any) -> None:
    _only_quick(monkeypatch)
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((200, 4, 64)) + 1j * rng.standard_normal((200, 4, 64))
    ChannelResponses(noise, 15e3).save(hil.folder / "noise.npz")
    done = hil.here(
        "learn", "noise.npz", "--array", "ula:4:0.5", "--fc", "2.45G", "--method", "race", "--out", "n.h5"
    )
    assert done.code == 4
    assert done.json["reason"]


def test_channel_responses_are_an_input(hil: Any) -> None:
    """One path per block: the covariance over subcarriers teaches like that over time."""
    rng = np.random.default_rng(4)
    n, b, s = 4, 400, 64
    x = (np.arange(n) - 1.5) * 0.5 + 0.05 * rng.standard_normal(n)
    gain = np.exp(2j * np.pi * rng.random(n))
    u = np.sin(np.deg2rad(rng.uniform(-60, 60, b)))
    delay = rng.uniform(0, 0.5, b)
    a = gain * np.exp(2j * np.pi * np.outer(u, x))
    csi = a[:, :, None] * np.exp(-2j * np.pi * delay[:, None] * np.arange(s))[:, None, :]
    csi = csi + 0.07 * (rng.standard_normal(csi.shape) + 1j * rng.standard_normal(csi.shape))
    ChannelResponses(csi, 15e3).save(hil.folder / "paths.npz")
    asked = ("learn", "paths.npz", "--array", "ula:4:0.5", "--support", "-60:60", "--out", "p.h5")
    done = hil.here(*asked, "--fc", "2.45G")
    assert done.json["converged"] is True, done
    assert hil.here(*asked).code == 2  # no carrier
    assert "OFDM channel responses" in hil.here(
        "learn", "sim:", "--array", "ula:4:0.5", "--method", "gain-phase-isac", "--out", "p.h5"
    ).json["reason"]  # fmt: skip
