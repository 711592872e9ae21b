"""What the stages of `hil bench` rest on: right answers, honest notes, fits and comparisons. Nothing is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hil.bench import angle_delay_map, disk, gradient, live, long_recording, scaling, start
from hil.bench.against import compare, read_report
from hil.bench.disk_limit import disk_limit
from hil.bench.gradient_peers import PEERS
from hil.bench.measure import Row, StageReport
from hil.bench.processes import MemoryWatch
from hil.bench.scaling_cases import CASES, Growth, hops
from hil.bench.scaling_plot import save_scaling
from hil.bench.table import STAGES
from hil.bench.tables import as_dict
from hil.core.errors import ConfigError
from hil.pipeline.ring import pages
from hil.processing.where import HERE

ROOT = Path(__file__).resolve().parents[2]


def test_every_map_is_the_same_and_a_wrong_one_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(angle_delay_map, "GRIDS", ((31, 20),))
    rows = angle_delay_map.run(True).rows
    ours = [r for r in rows if r.who == "ours"]
    assert len(ours) == 2
    assert all("off by" not in r.note for r in rows)
    assert all("x the two products" in r.bar for r in ours)
    want = np.ones((3, 3))
    assert angle_delay_map.wrong_by(want, want) == ""
    assert "off by 5.0e-01" in angle_delay_map.wrong_by(0.5 * want, want)


def test_every_way_to_the_gradient_is_the_same_and_ours_finds_at_least_their_maxima() -> None:
    batch, truth = gradient.blocks(4)
    kappa = truth * np.exp(0.3j * np.random.default_rng(3).standard_normal(len(truth)))
    found = [prepare(batch)(kappa) for prepare in PEERS.values()]
    for loss, slope in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-4)
        assert np.linalg.norm(slope - found[0][1]) < 1e-3 * np.linalg.norm(slope)
    whole, _ = gradient.blocks()
    ours = gradient.GradientStep(whole)
    loss, slope = ours.loss_and_gradient(kappa)
    other, grid = PEERS["gradient through the maximum"](whole)(kappa)
    assert gradient._against(loss, slope, other, grid) == ""
    assert "lower" in gradient._against(0.5 * loss, slope, other, grid)
    assert "direction" in gradient._against(loss, slope, other, 1j * grid)
    moved = ours.steps(kappa, 2)
    assert np.linalg.norm(moved) == pytest.approx(np.sqrt(len(kappa)))


def test_exponents_are_those_of_the_larger_sizes() -> None:
    sizes = (1, 2, 4, 8, 16, 32)
    seconds = [1e-3 + 1e-4 * n**2 for n in sizes]
    assert scaling.exponent(sizes, seconds) == pytest.approx(2.0, abs=0.15)
    assert scaling.exponent((1, 2), (1.0, 8.0)) == pytest.approx(3.0)
    growth = Growth("work", "size", sizes, 1.0, "why", lambda n: lambda: None)
    rows = scaling.case_rows(growth, sizes, seconds)
    assert [r.who for r in rows] == [*map(str, sizes), scaling.EXPONENT]
    assert rows[-1].reached is False
    assert scaling.case_rows(growth, sizes, [1e-3 * n for n in sizes])[-1].reached


@pytest.mark.parametrize("growth", CASES, ids=lambda g: f"{g.what} {g.size}")
def test_every_case_can_be_made(growth: Growth) -> None:
    assert list(growth.sizes) == sorted(growth.sizes)
    if not growth.once:
        growth.make(growth.sizes[0])()


def test_learning_that_is_timed_learns() -> None:
    batch, _, _ = hops(4, 300)
    assert batch.covariance.shape == (300, 4, 4)
    assert np.allclose(batch.covariance, batch.covariance.conj().transpose(0, 2, 1))
    assert CASES[-1].make(400)().converged


def test_picture_of_the_growth(tmp_path: Path) -> None:
    rows = scaling.case_rows(CASES[0], (2, 4, 8), (1e-4, 2e-4, 9e-4))
    stage = next(s for s in STAGES if s.name == "scaling")
    told = as_dict({stage: StageReport(tuple(rows))})["scaling"]["rows"]
    save_scaling(told, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 5000


def report(path: Path, **ratios: float | None) -> Path:
    rows = [{"case": "c", "who": who, "ratio": ratio, "value": 1.0} for who, ratio in ratios.items()]
    path.write_text(json.dumps({"stages": {"map": {"rows": rows}}}))
    return path


def test_ratios_are_compared_and_times_are_not(tmp_path: Path) -> None:
    before = read_report(report(tmp_path / "a.json", fell=10.0, held=2.0, ours=None, gone=3.0, rose=1.0))
    now = read_report(report(tmp_path / "b.json", fell=5.0, held=1.7, ours=None, new=1.0, rose=4.0))
    found = compare(now, before)
    assert found.compared == 3
    assert [(w.who, w.before, w.now) for w in found.worse] == [("fell", 10.0, 5.0)]
    assert "fell took 10 x our time, now 5 x" in str(found.worse[0])
    assert compare(now, before, allowed=2.5).worse == ()
    assert [w.who for w in compare(now, before, allowed=1.1).worse] == ["fell", "held"]
    for text in ("", "[]", '{"stages": {"map": {}}}', '{"stages": {"map": {"rows": [{"case": "c"}]}}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConfigError, match="no report"):
            read_report(tmp_path / "bad.json")
    with pytest.raises(ConfigError, match="cannot read"):
        read_report(tmp_path / "none.json")


def test_command_lists_stages_and_fails_for_a_ratio_that_fell(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "hil.cli", "bench"]
    done = subprocess.run(
        [*command, "--list", "--json", "-"], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert set(json.loads(done.stdout)["stages"]) == {s.name for s in STAGES}
    before = tmp_path / "before.json"
    row = {"case": "100 x 100, all delays", "who": "left-to-right products", "ratio": 1e6}
    before.write_text(json.dumps({"stages": {"map": {"rows": [row]}}}))
    asked = [
        *command,
        "map",
        "--quick",
        "--out",
        str(tmp_path / "speed"),
        "--against",
        str(before),
        "--json",
        "-",
    ]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 1, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["exit_code"], len(answer["worse"])) == ("failed", 1, 1)
    assert sorted(f.name for f in (tmp_path / "speed").iterdir()) == ["speed.json", "speed.md", "speed.png"]
    assert json.loads((tmp_path / "speed" / "speed.json").read_text())["stages"]["map"]["rows"]


def test_recorder_alone_writes_what_it_was_given_and_the_limit_leaves_nothing(tmp_path: Path) -> None:
    limit = disk_limit(tmp_path, 1 << 24)
    assert limit.bytes_per_s > 0
    rows = disk._alone(tmp_path, 3, limit)
    assert "not what was written" not in rows[0].note
    assert [r.who for r in rows] == ["ours", "machine limit"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dense", [True, False])
def test_long_recordings_are_judged_by_their_directions(tmp_path: Path, dense: bool) -> None:
    work = long_recording._recorded(tmp_path, dense, 0.1)
    assert work.seconds == pytest.approx(0.1, rel=0.05)
    seconds, wrong = long_recording._timed(tmp_path / "d.csv", work, HERE)
    assert (seconds > 0, wrong) == (True, "")
    (tmp_path / "d.csv").write_text("time_s,first_sample,doa_deg,sigma_deg\n0.0,0,3.0,\n")
    assert "1 directions only" in long_recording._judged(tmp_path / "d.csv", work)


def test_live_figures_become_rows() -> None:
    found = {
        "cores_used": 0.5, "learner_cores": 0.1, "lost_steady": 0, "skipped_steady": 0, "learning": "following", "lost": 0,
        "frames_per_s": 27.0, "learned": True, "antenna_to_screen_ms": {"median": 20.0, "p99": 200.0, "max": 300.0},
        "all_processes_mb": 600, "growth_mb": 0.1,
    }  # fmt: skip
    assert [r.reached for r in live._wide_rows(found, 0.1)] == [True, True]
    assert [r.reached for r in live._near_rows(found, 0.1)] == [True, False, True]
    assert live._wide_rows(found | {"learned": False}, 0.1)[0].reached is False


def test_window_says_when_it_is_visible() -> None:
    assert 0 < start._window() < 60


def test_memory_that_grows_is_seen() -> None:
    kept = []
    with MemoryWatch(0.005) as watch:
        for _ in range(30):
            kept.append(pages((1 << 20,), np.uint8))  # of its own: freed memory does not come back into use
            kept[-1][:] = 1
            watch._ended.wait(0.01)
    assert 5e6 < watch.growth_bytes < 40e6
    assert isinstance(Row("c", "w", 1.0, "s").bar, str)
