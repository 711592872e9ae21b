"""`hil bench` measures, names what is missing, and the live path keeps far within its budget."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hil.bench import music
from hil.bench.machine import describe_machine, machine_limit
from hil.bench.measure import Row, StageReport, at_least, at_most, interleaved
from hil.bench.music_peers import PEERS, Peer
from hil.bench.table import STAGES, chosen, run_stage
from hil.bench.tables import as_dict, markdown, missed, save_plot
from hil.core.errors import ConfigError
from hil.core.geometry import ula
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.covariance import block_covariances
from hil.dsp.doa import DoaFinder

ROOT = Path(__file__).resolve().parents[2]


def noise(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def test_covariances_of_eight_channels_live_cost_less_than_a_third_of_a_core() -> None:
    x = noise(8, 250_000)  # 0.1 s at 2.5 MS/s
    found = interleaved({"ours": lambda: block_covariances(x, 256)}, rounds=5)
    assert found["ours"].cpu_s < 0.3 * 0.1


def test_doas_of_a_block_are_found_within_a_display_frame() -> None:
    finder = DoaFinder(ula(8, 0.5 * SPEED_OF_LIGHT_M_S / 2.45e9), 2.45e9)
    r = block_covariances(noise(8, 256), 256)[0]
    assert interleaved({"ours": lambda: finder.find(r, 2)}, rounds=5)["ours"].cpu_s < 5e-3


def test_slower_candidate_is_reported_slower() -> None:
    x = np.ones(2000)
    found = interleaved({"ours": lambda: x.sum(), "other": lambda: [x.sum() for _ in range(50)]}, rounds=5)
    assert found["other"].cpu_s > 10 * found["ours"].cpu_s > 0
    assert found["ours"].rounds == 5


def test_music_stage_finds_the_sources_and_lists_absent_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(music, "CASES", ((8, 256, 181),))
    monkeypatch.delitem(PEERS, "acoular")  # compiles itself for half a minute

    def broken(*args: object):
        raise AttributeError("numpy has no attribute 'complex_'")

    monkeypatch.setitem(PEERS, "ancient", Peer("", "", broken))
    monkeypatch.setitem(PEERS, "absent", Peer("no_such_package_here", "pip install it", broken))
    report = music.run(True)
    rows = {row.who: row for row in report.rows}
    assert {"ours", "ours, grid only", "plain numpy", "loop over angles", "machine limit"} <= set(rows)
    for who in ("ours", "ours, grid only", "plain numpy", "loop over angles"):
        assert rows[who].note == "", f"{who}: {rows[who].note}"
    assert rows["ours"].ratio is None
    assert rows["loop over angles"].ratio == pytest.approx(
        rows["loop over angles"].cpu_s / rows["ours"].cpu_s
    )
    assert 0 < rows["machine limit"].cpu_s < rows["ours"].cpu_s
    assert report.missing["absent"] == "pip install it"
    assert "complex_" in report.missing["ancient"]


def test_wrong_answers_are_noted() -> None:
    assert music._judge(np.array([31.7, -20.3]), 0.5) == ""
    assert "off by" in music._judge(np.array([40.0, -20.3]), 0.5)
    assert "fewer" in music._judge(np.array([31.7]), 0.5)


def test_results_become_tables_json_and_a_picture(tmp_path: Path) -> None:
    stage = STAGES[0]
    rows = (Row("case", "ours", 5.0, "us", 5e-6, 5e-6), Row("case", "peer", 50.0, "us", 5e-5, 5e-5, 10.0))
    results = {stage: StageReport(rows, {"other": "pip install other"}, ("note",))}
    text = markdown(results, describe_machine())
    assert "| case | peer | 50 us | 10 |" in text
    assert missed(results) == []
    assert "- missing: other (pip install other)" in text
    json.dumps(as_dict(results))
    save_plot(results, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 5000
    save_plot({stage: StageReport(())}, tmp_path / "empty.svg")
    with pytest.raises(ConfigError):
        save_plot(results, tmp_path / "no" / "bench.png")


def test_bars_are_judged_and_named() -> None:
    row = Row("case", "ours", 5.0, "ms")
    good, bad, open_ = at_most(row, 7.0), at_least(row, 7.0), replace(at_most(row, 7.0), reached=None)
    assert (good.reached, good.bar, bad.reached, bad.bar) == (True, "at most 7 ms", False, "at least 7 ms")
    results = {STAGES[0]: StageReport((good, bad, open_))}
    text = markdown(results, describe_machine())
    assert [text.count(words) for words in ("reached |", "MISSED |", "not judged |")] == [1, 1, 1]
    assert missed(results) == ["music: case: 5 ms, at least 7 ms"]
    assert at_most(row, 1.4, 1.2, "at most 1.4 x the limit").reached


def test_stages_are_chosen_by_name() -> None:
    assert chosen([]) == STAGES
    assert [s.name for s in chosen(["iio", "music"])] == ["music", "iio"]
    with pytest.raises(ConfigError, match="nonsense"):
        chosen(["nonsense"])


#: Stages that take longer than 5 s also with `--quick`, or start other programs.
SLOW = ("start", "disk", "live", "long", "scaling")


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(s, marks=[pytest.mark.slow] if s.name in SLOW else [], id=s.name)
        for s in STAGES
        if s.name != "music"
    ],
)
def test_every_stage_measures_something(stage) -> None:
    report = run_stage(stage, True)
    assert report.rows or report.missing
    for row in report.rows:
        assert row.value >= 0, row
        assert bool(row.bar) or row.reached is None, row
        assert row.ratio is None or row.ratio > 0, row


def test_simulator_figures_are_rates_of_this_machine() -> None:
    limit = machine_limit()
    assert 1e8 < limit.flops_per_s < 1e13
    assert limit.least_s(limit.flops_per_s, 0) == pytest.approx(1.0)


def test_command_writes_one_json_object_and_refuses_unknown_stages() -> None:
    command = [sys.executable, "-P", "-m", "hil.cli", "bench", "--quick", "--json", "-"]
    start = time.monotonic()
    done = subprocess.run([*command, "simulator"], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["status"] == "ok"
    assert answer["machine"]["cores"] >= 1
    assert {row["case"] for row in answer["stages"]["simulator"]["rows"]} == {"4 channels", "16 channels"}
    assert time.monotonic() - start < 120
    done = subprocess.run([*command, "nonsense"], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2
