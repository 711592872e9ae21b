"""[[target]] and [transmit] in scene files, and what `hil scene` says of them."""

from __future__ import annotations

import json

import pytest

from hil.cli.main import call
from hil.core.errors import SceneError
from sim_backend.echo_spec import Target, TargetHop, TransmitSpec
from sim_backend.scene import Scene, Track, load_scene, parse_scene

SCENE = """
[[target]]
angle_deg = -20.0
range_m = 250.0
speed_m_s = -3.5
[[target]]
rcs_db = -6.0
hop = { period_s = 0.02, min_m = 10.0, max_m = 40.0 }
[[target]]
track = { rate_deg_per_s = 3.0 }
[transmit]
leakage_db = 0.0
phase_std_deg = 5.0
"""


def test_targets_are_read_and_written_as_they_are():
    scene = parse_scene(SCENE)
    assert scene.targets == (
        Target(-20.0, 250.0, speed_m_s=-3.5),
        Target(rcs_db=-6.0, hop=TargetHop(0.02, min_m=10.0, max_m=40.0)),
        Target(track=Track(3.0)),
    )
    assert scene.transmit == TransmitSpec(0.0, phase_std_deg=5.0)
    assert parse_scene(scene.to_toml()) == scene
    assert [t.still for t in scene.targets] == [False, False, False]
    assert parse_scene("[[target]]").targets[0].still


def test_a_scene_of_targets_has_the_emitters_that_it_names():
    assert parse_scene("").emitters == Scene().emitters
    assert parse_scene("[[target]]").emitters == ()
    assert len(parse_scene("[[target]]\n[[emitter]]").emitters) == 1
    assert parse_scene("target = []").emitters == Scene().emitters
    assert load_scene(None).targets == ()
    assert parse_scene(SCENE).support_deg == (-60.0, 60.0)
    assert parse_scene("[[target]]").support_deg is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[target]]\nrange_m = 0.0", r"target\[0\].range_m: 0 must be more than 0"),
        ("[[target]]\n[[target]]\nrange = 5", r"target\[1\].range: unknown key"),
        ("[[target]]\nhop = {}\ntrack = {}", "either hop or track"),
        ("[[target]]\nhop = { min_m = 40.0, max_m = 10.0 }", "min_m: must be less than max_m"),
        (
            "[[target]]\nhop = { min_m = 4.0 }\nspeed_m_s = 3.0",
            "speed_m_s: a target whose range hops has no speed",
        ),
        ("[[target]]\nhop = { min_km = 4.0 }", "did you mean|unknown key"),
        ("[[target]]\ntrack = { rate_deg_per_s = 9999.0, max_deg = -59.0 }", "turns more than 1000 times"),
        ("[[target]]\nangle_deg = 70.0\ntrack = {}", "start of a track"),
        ("[[target]]\nspeed_m_s = nan", "speed_m_s: nan must be between"),
        ("[transmit]\nleakage = 3.0", "transmit.leakage: unknown key"),
        ("[transmit]\nphase_std_deg = 'normal'", 'neither a number nor "uniform"'),
        ("[transmit]\nleakage_delay_s = -1.0", "leakage_delay_s: -1 must be between"),
        ("target = 3", "target: must be a list"),
        ("target = [3]", r"target\[0\] must be a table"),
    ],
)
def test_what_is_wrong_is_named(text, says):
    with pytest.raises(SceneError, match=says):
        parse_scene(text)


def test_hil_scene_describes_and_draws_targets(tmp_path, capsys):
    path, picture = tmp_path / "s.toml", tmp_path / "s.png"
    path.write_text(SCENE)
    assert call(["scene", "show", str(path), "--plot", str(picture), "--json", "-"]) == 0
    out = capsys.readouterr()
    answer = json.loads(out.out)
    assert answer["n_targets"] == 3
    assert [t["motion"] for t in answer["targets"]] == ["static", "hop", "track"]
    assert answer["targets"][0]["range_m"] == 250.0
    assert answer["not_simulated"] == []
    assert "target 0  +0 dB, at -20 deg, 250 m, -3.5 m/s" in out.err
    assert "10..40 m" in out.err
    assert picture.read_bytes().startswith(b"\x89PNG")
