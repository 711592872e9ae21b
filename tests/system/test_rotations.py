"""The simulated turntable, and learning absolute angles from its turns alone: capture, `hil learn --rotations`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import store
from hil.core.errors import SceneError
from sim_backend.engine import ArrayEngine
from sim_backend.scene import load_scene, parse_scene
from sim_backend.truth import read_truth

STEPS = list(range(-60, 61, 8))
STEP_S = 0.04
ZERO_DEG = 33.0  # the table's own scale starts anywhere

SCENE = """
seed = {seed}
[array]
n_elements = {n}
[receiver]
fs_hz = 1.0e6
snr_db = {snr}
[impairments]
gain_std = {errors}
phase_std_deg = {phase}
position_std_wavelengths = {errors}
{emitter}
[chamber]
steps_deg = {steps}
step_s = {step_s}
"""


def scene_text(
    seed: int = 11, n: int = 4, emitter: str = "[[emitter]]\nangle_deg = 5.0", steps: Any = STEPS,
    step_s: float = STEP_S, ideal: bool = False, snr: float = 20.0,
) -> str:  # fmt: skip
    errors, phase = (0.0, 0.0) if ideal else (0.1, '"uniform"')
    return SCENE.format(
        seed=seed, n=n, emitter=emitter, steps=steps, step_s=step_s, errors=errors, phase=phase, snr=snr
    )


def table_csv(steps: list[int] = STEPS, step_s: float = STEP_S, sign: int = 1) -> str:
    rows = [
        f"{i * step_s + 2e-3:.6f},{(i + 1) * step_s - 2e-3:.6f},{sign * s + ZERO_DEG}"
        for i, s in enumerate(steps)
    ]
    return "\n".join(["t0_s,t1_s,angle_deg", *rows]) + "\n"


def phase_steps(engine: ArrayEngine, first: int, n: int = 512) -> np.ndarray:
    """Phase from element to element of board 0 at scene samples first..first+n, radians."""
    x = engine.read(0, first, n).astype(float).reshape(n, -1, 2)
    z = x[..., 0] + 1j * x[..., 1]
    return np.angle(np.sum(z[:, 1:] * z[:, :-1].conj(), axis=0))


@pytest.mark.parametrize("motion", ["", "hop = { period_s = 0.01, min_deg = -20.0, max_deg = 20.0 }",
                                    "track = { rate_deg_per_s = 40.0, min_deg = -20.0, max_deg = 20.0 }"])  # fmt: skip
def test_the_table_turns_the_array_against_every_motion(tmp_path: Path, motion: str) -> None:
    text = scene_text(
        emitter=f"[[emitter]]\nangle_deg = 12.0\nwaveform = 'cw'\n{motion}", steps=[0, 25, -10], step_s=0.0153,
        ideal=True, snr=40.0,
    )  # fmt: skip
    truth_file = tmp_path / "truth.jsonl"
    engine = ArrayEngine(parse_scene(text), free_running=True, truth=truth_file)
    room = ArrayEngine(
        parse_scene(text.replace("[0, 25, -10]", "[]")), free_running=True, truth=tmp_path / "room.jsonl"
    )
    starts = [100, 14_000, 15_310, 20_300, 30_610, 44_000, 1_200_000]
    lo = np.exp(1j * phase_steps(ArrayEngine(parse_scene(scene_text(
        emitter="[[emitter]]\nangle_deg = 0.0\nwaveform = 'cw'", steps=[], ideal=True, snr=40.0)), free_running=True), 0))  # fmt: skip
    found = []
    for first in starts:
        found.append(np.angle(np.exp(1j * phase_steps(engine, first)) / lo).mean())
        room.read(0, first, 1)
    engine.close(), room.close()
    middle = np.array(starts) + 256
    seen = read_truth(truth_file).angles_deg(middle)[:, 0]
    heading = np.array([0, 0, 25, 25, -10, -10, -10])
    np.testing.assert_allclose(
        seen, read_truth(tmp_path / "room.jsonl").angles_deg(middle)[:, 0] - heading, atol=1e-6
    )
    # half a wavelength at the carrier; the tone lies 100 kHz beside it
    wave = np.pi * (1 + 1e5 / 2.45e9)
    np.testing.assert_allclose(found, wave * np.sin(np.deg2rad(seen)), atol=0.02)


def test_a_path_turns_with_the_room_and_the_truth_names_the_headings(tmp_path: Path) -> None:
    emitter = (
        "[[emitter]]\nangle_deg = 40.0\nwaveform = 'cw'\npaths = [ { angle_deg = -20.0, power_db = 10.0 } ]"
    )
    text = scene_text(emitter=emitter, steps=[0, 30], step_s=0.01, ideal=True, snr=60.0)
    engine = ArrayEngine(parse_scene(text), free_running=True, truth=tmp_path / "t.jsonl")
    before, after = phase_steps(engine, 0), phase_steps(engine, 12_000)
    engine.close()
    wave = np.pi * (1 + 1e5 / 2.45e9)
    x = np.arange(4) - 1.5

    def expected(direct_deg: float, path_deg: float) -> np.ndarray:
        direct, path = (np.exp(1j * wave * x * np.sin(np.deg2rad(d))) for d in (direct_deg, path_deg))
        a = direct + np.sqrt(10) * path
        return a[1:] * a[:-1].conj()

    turned = np.exp(1j * (after - before)) / (expected(10.0, -50.0) / expected(40.0, -20.0))
    np.testing.assert_allclose(np.angle(turned), 0, atol=0.01)
    table = [e for e in read_truth(tmp_path / "t.jsonl").events if e["event"] == "table"]
    assert [(e["t_s"], e["scene_sample"], e["heading_deg"]) for e in table] == [
        (0.0, 0, 0.0),
        (0.01, 10_000, 30.0),
    ]


def test_samples_do_not_depend_on_how_they_are_asked_for() -> None:
    text = scene_text(steps=[0, 25, -10], step_s=0.0153)
    whole = ArrayEngine(parse_scene(text), free_running=True).read(0, 0, 50_000)
    pieces = ArrayEngine(parse_scene(text), free_running=True)
    np.testing.assert_array_equal(
        whole, np.concatenate([pieces.read(0, at, 2_500) for at in range(0, 50_000, 2_500)])
    )


def test_scene_keys_of_the_table() -> None:
    scene = parse_scene(scene_text())
    assert (scene.chamber.steps_deg, scene.chamber.step_s) == (tuple(map(float, STEPS)), STEP_S)
    assert parse_scene(scene.to_toml()) == scene
    assert scene.support_deg == (5.0 - 60.0, 5.0 + 60.0)
    assert scene.not_simulated == ()
    assert load_scene(None).chamber.steps_deg == ()
    for bad in ("steps_deg = 3", "steps_deg = ['x']", "steps_deg = [400]", "step_s = 0"):
        with pytest.raises(SceneError, match=r"chamber\.step"):
            parse_scene(f"[chamber]\n{bad}\n")


@pytest.fixture(scope="module")
def turned(shared_hil: Any) -> Any:
    """One static emitter recorded while the table goes through its programme, and its truth."""
    from hil.sim_server import free_address, serve

    folder = shared_hil.folder
    (folder / "table.toml").write_text(scene_text())
    (folder / "table.csv").write_text(table_csv())
    (folder / "back.csv").write_text(table_csv(sign=-1))
    seconds = STEP_S * len(STEPS) / 0.8  # the last fifth is held out
    with serve(folder, scene=folder / "table.toml", iio=free_address(), free_running=True) as server:
        # reading from scene sample 0 on: the file's times are those of the recording
        done = shared_hil(
            "capture", f"iio:{server.iio[0]}", "r.sigmf-meta", "--seconds", seconds, "--array", "ula:4:0.5"
        )
        assert done.code == 0, done
        (folder / "truth.jsonl").write_bytes(server.truth.read_bytes())
    first = read_truth(folder / "truth.jsonl").opens[-1][1]
    if first:  # the scene began before the capture: move the file's times
        moved = [
            f"{float(a) - first / 1e6:.6f},{float(b) - first / 1e6:.6f},{d}"
            for a, b, d in (row.split(",") for row in table_csv().splitlines()[1:])
        ]
        (folder / "table.csv").write_text("\n".join(["t0_s,t1_s,angle_deg", *moved]) + "\n")
    return shared_hil


def test_learning_from_turns_alone_gives_absolute_angles(turned: Any) -> None:
    done = turned(
        "learn", "r.sigmf-meta", "--rotations", "table.csv", "--out", "a.h5", "--truth", "truth.jsonl"
    )
    assert done.code == 0, done
    assert done.json["converged"]
    assert done.json["gauge"]["kind"] == "rotation"
    assert done.json["gauge"]["angle_sigma_deg"] < 0.1
    assert done.json["after"]["doa_rmspe_deg"] < 0.2
    assert done.json["after"]["doa_rmspe_deg"] < done.json["before"]["doa_rmspe_deg"] / 5
    stored = store.load(turned.folder / "a.h5")
    assert stored.gauge.kind == "rotation"
    assert "stood still" in stored.gauge.assumes
    assert len(stored.settings["rotations"]) == len(STEPS)


def test_the_wrong_sense_is_refused_in_one_line(turned: Any) -> None:
    done = turned.here("learn", "r.sigmf-meta", "--rotations", "back.csv", "--out", "b.h5")
    assert done.code == 4
    assert "against the stated turns" in done.json["reason"]
    assert "clockwise" in done.json["hint"]


def test_bad_tables_are_usage_errors(turned: Any) -> None:
    (turned.folder / "bad.csv").write_text("t0_s,angle_deg\n0,1\n")
    done = turned.here("learn", "r.sigmf-meta", "--rotations", "bad.csv", "--out", "c.h5")
    assert (done.code, "t1_s is missing" in done.json["reason"]) == (2, True)
    done = turned.here("learn", "r.sigmf-meta", "--rotations", "none.csv", "--out", "c.h5")
    assert done.code == 2


def test_a_few_degrees_of_turn_exit_4_and_say_how_far(turned: Any) -> None:
    few = (turned.folder / "table.csv").read_text().splitlines()
    (turned.folder / "few.csv").write_text("\n".join([few[0], few[8], few[9]]) + "\n")
    done = turned.here("learn", "r.sigmf-meta", "--rotations", "few.csv", "--out", "d.h5")
    assert done.code == 4
    assert "3 positions" in done.json["hint"]
    (turned.folder / "three.csv").write_text("\n".join([few[0], few[8], few[9], few[10]]) + "\n")
    done = turned.here("learn", "r.sigmf-meta", "--rotations", "three.csv", "--out", "d.h5")
    assert done.code in (0, 4)
    if done.code == 4:
        assert "turn by at least" in done.json["hint"]


def test_diagnose_says_the_ports_are_right_and_an_array_alone_shows_its_lobes(turned: Any) -> None:
    done = turned.here("diagnose", "r.sigmf-meta", "--rotations", "table.csv")
    kinds = {f["kind"]: f for f in done.json["findings"]}
    assert done.code == 0
    assert done.json["faults"] == 0
    assert "stated order" in kinds["swapped-ports"]["words"]
    assert "not mirrored" in kinds["mirror"]["words"]
    (turned.folder / "swapped.toml").write_text('kind = "ula"\nn_elements = 4\nports = [0, 2, 1, 3]\n')
    swapped = turned.here("diagnose", "r.sigmf-meta", "--array", "swapped.toml")
    found = {f["kind"]: f for f in swapped.json["findings"]}["swapped-ports"]
    assert (found["fault"], sorted(found["channels"])) == (True, [1, 2])
    assert "ports = [0, 2, 1, 3]" in found["advice"] or "ports = [0, 1, 2, 3]" in found["advice"]
    turned("learn", "r.sigmf-meta", "--rotations", "table.csv", "--out", "e.h5")
    held = turned.here("diagnose", "r.sigmf-meta", "--calibration", "e.h5", "--sources", 1)
    assert held.json["faults"] == 0, held.json
    assert {f["kind"] for f in held.json["findings"]} >= {"flipped-cable", "coherence", "channels"}
    lobes = turned.here("diagnose", "ula:8:0.7", "--fc", "2.4e9", "--plot", "lobes.png")
    assert lobes.json["lobes"]["pairs"]
    assert (turned.folder / "lobes.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    for wrong in (("diagnose", "ula:8:0.7"), ("diagnose", "none.sigmf-meta"), ("diagnose", "ula:8"),
                  ("diagnose", "ula:8:0.7", "--fc", "1e9", "--wiggle"), ("diagnose", "r.sigmf-meta", "--fc", "1e9")):  # fmt: skip
        assert turned.here(*wrong).code == 2, wrong
