"""The learning panel on a simulated array: what it shows is what was learned, and nothing is used that nobody accepted."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from calib import race
from drivers.sim import SimDevice
from gui.facts import Facts
from gui.learn_compare import compare
from gui.learn_desk import LearnDesk
from gui.panels.learn_form import LearnForm
from gui.panels.learning import LearningPanel
from gui.station import Station
from hil.core.device import RxConfig
from hil.core.errors import ConfigError
from hil.evaluation.truth_match import known_array, scene_offset
from hil.jobs.demo import scene_geometry
from hil.learning.observe import CovarianceBatch, CovarianceTap, join
from hil.learning.process import LearnJob, Setup, attempt
from hil.learning.settings import LearnSettings
from hil.pipeline.shared_latest import SharedSpec
from hil.session import open_session
from sim_backend.engine import ArrayEngine
from sim_backend.scene import load_scene
from sim_backend.truth import read_truth
from tests.gui.pictures import FC_HZ, calibration_of, stream_of

SCENE = "seed = 5\n[array]\nn_elements = 4\n[impairments]\nposition_std_wavelengths = 0.05\n"


def _scene_file(folder: Path) -> Path:
    file = folder / "scene.toml"
    file.write_text(SCENE)
    return file


@pytest.fixture
def panel(qtbot, tmp_path: Path) -> Iterator[LearningPanel]:
    scene = _scene_file(tmp_path)
    station = Station()
    made = LearningPanel(station)
    qtbot.addWidget(made)
    made.show()
    station.connect(f"sim:{scene}", None)
    station.configure(RxConfig(fs_hz=1e6))
    station.start()
    _until(qtbot, made, lambda: made.start.isEnabled())
    yield made
    station.close()


def _look(panel: LearningPanel) -> None:
    panel._station.poll()
    panel._station.picture()
    panel.show_facts(panel._station.facts())


def _until(qtbot, panel: LearningPanel, true, seconds: float = 60.0) -> None:
    def looked() -> bool:
        _look(panel)
        return bool(true())

    qtbot.waitUntil(looked, timeout=round(1e3 * seconds))


def _click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_it_learns_and_shows_what_it_has_learned(panel: LearningPanel, qtbot) -> None:
    station, desk = panel._station, panel._station.desk
    assert not panel.accept.isEnabled()
    _click(qtbot, panel.start)
    _until(qtbot, panel, lambda: station.calibration is not None)
    _until(qtbot, panel, lambda: desk.compared is not None and panel.compared.rowCount())
    known, compared = station.calibration, desk.compared
    assert known is not None
    assert compared is not None
    for m, row in enumerate(panel.numbers.texts()):
        assert float(row[0].split(" ±")[0]) == pytest.approx(
            20 * math.log10(abs(known.impairments.gain[m])), abs=0.01
        )
    shown = dict(zip(_names(panel.compared), panel.compared.texts(), strict=True))
    assert shown["null depth / dB"] == [
        f"{v:.1f}" for v in (compared.nominal.null_db, compared.calibrated.null_db, compared.predicted_db)
    ]
    assert compared.calibrated.null_db < compared.nominal.null_db - 20
    # the median over n blocks of the log of a sum of M - 1 exponential terms, four standard deviations
    spread_db = 1.25 * 10 / math.log(10) / math.sqrt((known.geometry.n_elements - 1) * compared.n_blocks)
    assert compared.calibrated.null_db == pytest.approx(compared.predicted_db, abs=4 * spread_db)
    assert compared.calibrated.peak_db > compared.nominal.peak_db + 20
    assert "angle error / °" not in shown  # nobody asked for the truth
    score = panel.score.dots.getData()[1]
    converged = [a for a in desk.attempts if math.isfinite(a.score)]
    assert score == pytest.approx([10 / math.log(10) * a.score for a in converged])
    limits = panel.unknown.text()
    assert "Cannot be known" in limits
    assert "fill -60 to 60 degrees" in limits
    assert "the phase and level that all elements share" in limits
    assert panel.tabs.currentIndex() == 0

    _click(qtbot, panel.pause)
    _until(qtbot, panel, lambda: panel.pause.text() == "Resume")
    assert station.facts().learning == "paused"
    _click(qtbot, panel.pause)
    _click(qtbot, panel.start)
    _until(qtbot, panel, lambda: panel.start.text() == "Start learning")
    assert station.calibration is not None


def _names(table) -> list[str]:
    return [table.verticalHeaderItem(i).text() for i in range(table.rowCount())]


def test_when_asked_an_offer_waits_until_it_is_accepted_or_discarded(panel: LearningPanel, qtbot) -> None:
    station = panel._station
    panel.accepting.setCurrentText("when asked")
    panel.accepting.textActivated.emit("when asked")
    _click(qtbot, panel.start)
    _until(qtbot, panel, lambda: panel.accept.isEnabled())
    offered = station.desk.offered
    assert offered is not None
    assert station.calibration is None
    assert panel.state.text().startswith("Offered:")
    assert panel._shown == offered.id  # what is drawn is the offer
    _click(qtbot, panel.discard)
    assert station.desk.offered is None
    _until(qtbot, panel, lambda: panel.accept.isEnabled())  # of a later attempt
    offered = station.desk.offered
    _click(qtbot, panel.accept)
    assert station.calibration is offered


def test_targets_are_large_and_impossible_buttons_are_off(qtbot) -> None:
    station = Station()
    panel = LearningPanel(station)
    qtbot.addWidget(panel)
    panel.resize(340, 560)
    panel.show()
    panel.show_facts(Facts())
    for button in (panel.start, panel.race, panel.pause, panel.accept, panel.discard, panel.accepting):
        assert button.height() >= 32
    for button in (panel.start, panel.race, panel.pause, panel.accept, panel.discard):
        assert not button.isEnabled()
    station.close()


def test_the_form_is_read_like_the_command_line(qtbot) -> None:
    form = LearnForm()
    qtbot.addWidget(form)
    form.support.setText("-45:50")
    form.sources.setCurrentText("auto")
    form.anchors.setText("20 -35,5; 10/5")
    form.method.setCurrentText("planar-2d")
    assert form.settings() == LearnSettings(
        method="planar-2d", n_sources=None, support_deg=(-45.0, 50.0),
        anchors_deg=((20.0, None, None), (-35.5, None, None), (10.0, None, None)), anchor_elevations_deg=(0.0, 0.0, 5.0),
    )  # fmt: skip
    assert form.settings("race").method == "race"
    form.support.setText("")
    assert form.settings().support_deg is None


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("support", "60:-60", "Support: '60:-60' is not an interval"),
        ("support", "north", "Support: cannot read 'north'"),
        ("anchors", "20@0:1", "belongs to a recording"),
        ("anchors", "twenty", "Anchors: cannot read 'twenty'"),
        ("sources", "many", "Sources: cannot read 'many'"),
    ],
)
def test_a_mistake_is_one_line_in_the_words_of_the_form(qtbot, field: str, text: str, words: str) -> None:
    form = LearnForm()
    qtbot.addWidget(form)
    box = getattr(form, field)
    (box.setCurrentText if field == "sources" else box.setText)(text)
    with pytest.raises(ConfigError) as caught:
        form.settings()
    assert words in str(caught.value)
    assert "--" not in str(caught.value) + caught.value.hint
    assert caught.value.hint


def test_the_script_says_what_the_form_says(qtbot) -> None:
    station = Station()
    panel = LearningPanel(station)
    qtbot.addWidget(panel)
    panel.form.sources.setCurrentText("auto")
    panel.form.anchors.setText("20/5")
    panel.form.method.setCurrentText("planar-2d")
    _click(qtbot, panel.form.copy)
    script = QApplication.clipboard().text()
    assert "--method planar-2d --sources auto --support -60:60 --anchor 20/5 " in script
    station.close()


# ---- what lies behind it ------------------------------------------------------------------------------------


def _blocks(n_blocks: int, seed: int, calibrated: bool = True, m: int = 4) -> CovarianceBatch:
    """Covariances of 256 snapshots of one emitter that hops, 20 dB above the noise."""
    calibration, rng = calibration_of(stream_of(f"ula:{m}:0.5")), np.random.default_rng(seed)
    angles = rng.uniform(-60, 60, n_blocks)
    a = calibration.steering(angles)

    def gauss(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)

    x = a.T[:, :, None] * gauss(n_blocks, 1, 256) + 0.1 * gauss(n_blocks, m, 256)
    first = 10_000 * np.arange(n_blocks, dtype=np.int64)
    return CovarianceBatch(x @ x.conj().transpose(0, 2, 1) / 256, first, 256, 1e6)


def test_the_comparison_tells_a_right_array_from_a_wrong_one() -> None:
    calibration = calibration_of(stream_of("ula:4:0.5"))
    batch = _blocks(100, 1)
    found = compare(batch, calibration, 1)
    assert found is not None
    assert found.calibrated.null_db == pytest.approx(found.predicted_db, abs=1.0)
    assert found.calibrated.phase_error_deg < 0.5
    assert found.nominal.phase_error_deg > 10
    assert found.calibrated.width_deg < found.nominal.width_deg
    # an error of 2 degrees on every phase is seen as such: 1 - correlation^2 is the variance of the phases
    turn = np.exp(1j * np.deg2rad(2.0 * np.array([1, -1, -1, 1])))
    off = replace(
        calibration, impairments=replace(calibration.impairments, gain=calibration.impairments.gain * turn)
    )
    worse = compare(batch, off, 1)
    assert worse is not None
    assert worse.calibrated.phase_error_deg == pytest.approx(2.0, rel=0.3)


def test_a_truth_file_that_cannot_be_read_is_told_and_the_rest_stays(tmp_path: Path) -> None:
    batch = _blocks(100, 1)
    found = compare(batch, calibration_of(stream_of("ula:4:0.5")), 1, tmp_path / "none.jsonl")
    assert found is not None
    assert "none.jsonl" in found.problem
    assert math.isfinite(found.nominal.null_db)
    assert math.isnan(found.nominal.doa_error_deg)


def test_with_a_truth_file_the_errors_of_the_directions_are_told(tmp_path: Path) -> None:
    scene, file = load_scene(_scene_file(tmp_path)), tmp_path / "truth.jsonl"
    blocks, tap = [], CovarianceTap()
    with closing(ArrayEngine(scene, free_running=True, truth=file)) as engine:
        session = open_session(SimDevice(engine, free_running=True, geometry=scene_geometry(scene)))
        with session:
            session.start(on_frame=lambda frame, _clipped: blocks.append(tap.take(frame)), n_samples=500_000)
            while not session.wait(0.2):
                pass
    batch, truth = join(blocks), read_truth(file)
    known = known_array(
        truth, scene_geometry(scene), truth.fc_hz, int(batch.first_sample[0]) + scene_offset(truth)
    )
    found = compare(batch, known, 1, file)
    assert found is not None
    assert not found.problem
    assert found.calibrated.doa_error_deg == pytest.approx(found.known_doa_error_deg)
    assert found.calibrated.doa_error_deg < 0.1 < found.nominal.doa_error_deg


def test_a_race_is_run_in_the_learner_and_its_winner_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "RACERS", ("cold-start", "eigen-scan"))  # two are a race
    batch = _blocks(300, 2)
    stream = stream_of("ula:4:0.5")
    assert stream.geometry is not None
    settings = LearnSettings(method="race", support_deg=(-60.0, 60.0))
    told = []
    job = LearnJob(SharedSpec.__new__(SharedSpec), stream.geometry, Setup(0, FC_HZ, 1e6, 1000), 256, settings)
    update = attempt(job, batch, FC_HZ, final=False, progress=told.append)
    assert {row["method"] for row in update.race} == {"cold-start", "eigen-scan"}
    assert any(p.stage.startswith("cold-start") for p in told)
    assert update.result is not None
    assert update.result.converged
    assert update.method == next(row["method"] for row in update.race if row["winner"])

    station = Station()
    desk = station.desk
    desk.must_ask, desk._settings = True, settings
    desk._note(update, stream)
    assert desk.offered is not None
    assert desk.offered.method == update.method
    station.poll()
    assert station.calibration is None  # at once is not for races
    desk._note(replace(update, tracked=True, method="", race=()), stream)
    station.poll()
    assert station.calibration is None
    station.accept()
    accepted = station.calibration
    assert accepted is not None
    desk._note(replace(update, tracked=True, method="", race=()), stream)
    assert desk.offered is None  # who uses one makes tables of it: not for every block
    desk._offered_s -= 2.0
    desk._note(replace(update, tracked=True, method="", race=()), stream)
    followed = desk.offered
    assert followed is not accepted
    assert followed is not None
    assert followed.method == update.method
    station.poll()
    assert station.calibration is followed  # what follows belongs to what was accepted
    station.close()


def test_what_is_kept_of_a_long_run_is_bounded() -> None:
    desk = LearnDesk()
    batch = _blocks(100, 3)
    for k in range(20):
        desk._keep(replace(batch, first_sample=batch.first_sample + k * 1_000_000))
    assert len(desk._blocks) == 200
    began = time.process_time()
    for _ in range(100):
        assert not desk.comparison_due()
    assert time.process_time() - began < 1.0
