"""Phases over time: known drifts come out with their uncertainty, what cannot be known is said, memory is bounded."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from gui.facts import Facts
from gui.panels.phase_history import SLOT_S, SPAN_S, Drift, PhaseHistory, drift_words
from gui.panels.phases import PhasesPanel
from gui.picture import Picture
from gui.station import Station
from hil.core.epoch import EpochEvent, EpochScope
from hil.core.gauge import canonical
from tests.gui.pictures import picture_of

HOUR_S = 3600.0


@pytest.fixture
def panel(qtbot):
    station = Station()
    made = PhasesPanel(station)
    qtbot.addWidget(made)
    made.show()
    yield made
    station.close()


def _visible(rate: np.ndarray, positions_m: np.ndarray) -> np.ndarray:
    """Rates without the ramp along the line, against channel 0: an independent least squares fit."""
    x = positions_m[:, 0]
    basis = np.column_stack((np.ones_like(x), x))
    rest = rate - basis @ np.linalg.lstsq(basis, rate, rcond=None)[0]
    return rest - rest[0]


def _moment(picture: Picture, t_s: float, phase_deg: np.ndarray, **more: object) -> Picture:
    wrapped = np.remainder(phase_deg - phase_deg[0] + 180, 360) - 180
    return replace(
        picture, t_mono_ns=round(1e9 * (500 + t_s)), first_sample=round(1e6 * t_s), phase_deg=wrapped, **more
    )


def _drifting(
    history: PhaseHistory, picture: Picture, rate_deg_h: np.ndarray, end_s: float, sigma_deg: float = 0.0
) -> None:
    rng, start = np.random.default_rng(5), np.linspace(-170, 170, len(rate_deg_h))
    for t in np.arange(0, end_s, 0.1):
        noise = sigma_deg * rng.standard_normal(len(start))
        history.add(_moment(picture, float(t), start + rate_deg_h * t / HOUR_S + noise))


def test_the_drift_comes_out_without_the_ramp_that_no_signal_shows() -> None:
    picture, history = picture_of("ula:6:0.5", [12.0], calibrated=False), PhaseHistory()
    rate = np.array([0.0, 300.0, -900.0, 100.0, 2500.0, -40.0])
    _drifting(history, picture, rate, 60.0, sigma_deg=1.0)
    drift = history.drift("receivers")
    assert drift is not None
    geometry = picture.stream.geometry
    assert geometry is not None
    expected = _visible(rate, geometry.positions_m)
    assert drift.rate_deg_per_h[0] == 0.0
    sigma = drift.sigma_deg_per_h[1:]
    assert np.all(np.abs(drift.rate_deg_per_h - expected)[1:] < 4 * sigma)
    # 1 degree on both channels, 600 pictures over 60 s: sigma^2 of a slope is 12 s^2 / (n T^2), and the ramp's part
    assert np.all((sigma > 0.3 * 12.0) & (sigma < 3 * HOUR_S * np.sqrt(2 * 12 / 600) / 60))


def test_as_received_the_whole_drift_shows() -> None:
    picture, history = picture_of("ula:6:0.5", [12.0], calibrated=False), PhaseHistory()
    rate = np.array([0.0, 300.0, -900.0, 100.0, 2500.0, -40.0])
    _drifting(history, picture, rate, 40.0)
    drift = history.drift("received")
    assert drift is not None
    assert drift.rate_deg_per_h == pytest.approx(rate, abs=1e-3)


def test_phases_are_unwrapped_over_turns() -> None:
    picture, history = picture_of("ula:3:0.5", [0.0], calibrated=False), PhaseHistory()
    rate = np.array([0.0, 90_000.0, 0.0])  # 25 degrees a second
    _drifting(history, picture, rate, 60.0)
    phase = history.phases_deg("received")
    assert np.nanmax(np.abs(np.diff(phase, axis=0))) < 180
    assert phase[-1, 1] - phase[0, 1] == pytest.approx(25.0 * (len(phase) - 1) * SLOT_S, rel=0.01)


def test_with_a_calibration_the_phase_is_that_of_the_receivers() -> None:
    picture = picture_of("ula:6:0.5", [12.0])
    assert picture.calibration is not None
    gain = picture.calibration.impairments.gain
    history = PhaseHistory()
    for t in np.arange(0, 2, 0.1):
        history.add(replace(picture, t_mono_ns=round(1e9 * (500 + t))))
    shown = history.phases_deg("receivers")[-1]
    own = np.rad2deg(np.angle(gain * np.conj(gain[0])))
    assert np.abs(np.remainder(shown - own + 180, 360) - 180).max() < 1.0  # 15 dB, 4096 samples


def test_a_calibration_that_follows_the_drift_does_not_hide_it() -> None:
    picture = picture_of("uca:6:0.6", [12.0])
    calibration, history = picture.calibration, PhaseHistory()
    assert calibration is not None
    rate = np.array([0.0, 300.0, -900.0, 100.0, 1200.0, -40.0])
    for t in np.arange(0, 20, 0.1):
        turn = np.exp(1j * np.deg2rad(rate * t / HOUR_S))
        imp = canonical(replace(calibration.impairments, gain=calibration.impairments.gain * turn))
        followed = replace(calibration, impairments=imp)
        history.add(_moment(picture, float(t), np.zeros(6), calibration=followed))
    drift = history.drift("receivers")
    assert drift is not None
    assert drift.rate_deg_per_h == pytest.approx(rate, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_sources": 0}, "no signal"),
        ({"n_sources": 3}, "3 signals at once"),
        ({"phase_deg": np.full(4, np.nan)}, "no direction was found"),
    ],
)
def test_where_there_is_no_phase_the_reason_is_told(change: dict[str, object], words: str) -> None:
    picture, history = picture_of("ula:4:0.5", [5.0]), PhaseHistory()
    for k in range(20):
        history.add(replace(picture, t_mono_ns=round(1e9 * (500 + 0.1 * k)), **change))
    assert np.isnan(history.phases_deg("receivers")).all()
    assert words in history.why["receivers"]
    assert words in drift_words(history.drift("receivers"), history.why["receivers"])[0]


def test_without_an_array_there_is_a_reason_and_no_phase() -> None:
    picture, history = picture_of("ula:4:0.5", [5.0]), PhaseHistory()
    bare = replace(picture, stream=replace(picture.stream, geometry=None))
    for k in range(20):
        history.add(replace(bare, t_mono_ns=round(1e9 * (500 + 0.1 * k))))
    assert "the array is not known" in history.why["receivers"]


def test_a_channel_that_says_nothing_is_left_out_alone() -> None:
    picture, history = picture_of("ula:5:0.5", [5.0], calibrated=False), PhaseHistory()
    rate = np.array([0.0, 400.0, 0.0, -700.0, 50.0])
    for t in np.arange(0, 30, 0.1):
        phase = rate * t / HOUR_S
        phase[2] = np.nan
        history.add(_moment(picture, float(t), phase))
    drift = history.drift("received")
    assert drift is not None
    assert np.isnan(drift.rate_deg_per_h[2])
    assert drift.rate_deg_per_h[[0, 1, 3, 4]] == pytest.approx(rate[[0, 1, 3, 4]], abs=1e-3)
    assert "Channel 2" not in "".join(drift_words(drift, ""))


def test_a_new_epoch_is_marked_and_the_rate_begins_anew() -> None:
    picture, history = picture_of("ula:4:0.5", [5.0], calibrated=False), PhaseHistory()
    rate = np.array([0.0, 500.0, -200.0, 100.0])
    epoch = picture.stream.epoch.after(EpochEvent.LO, EpochScope.GROUP_PHASES)
    after = replace(picture, stream=replace(picture.stream, epoch=epoch))
    for t in np.arange(0, 40, 0.1):
        jump = 0.0 if t < 20 else np.array([0.0, 0.0, 90.0, 90.0])
        history.add(_moment(picture if t < 20 else after, float(t), rate * t / HOUR_S + jump))
    assert [m.words for m in history.marks] == ["retune #1"]
    drift = history.drift("received")
    assert drift is not None
    assert drift.span_s < 20
    assert drift.rate_deg_per_h == pytest.approx(rate, abs=1e-3)
    assert np.nanmax(np.abs(history.changes_deg("received"))) < 5  # each part from its own start


def test_ten_minutes_are_kept_and_no_more() -> None:
    picture, history = picture_of("ula:3:0.5", [5.0], calibrated=False), PhaseHistory()
    for k in range(round(2.5 * SPAN_S / SLOT_S)):
        history.add(_moment(picture, SLOT_S * k, np.zeros(3)))
    times = history.times_s("receivers")
    assert len(times) == round(SPAN_S / SLOT_S)
    assert np.ptp(times) == pytest.approx(SPAN_S, rel=0.01)


def test_the_words_name_the_worst_channel_or_say_that_none_is_seen() -> None:
    sigma = np.array([0.0, 2.0, 2.0])
    verdict, rates = drift_words(Drift(np.array([0.0, 3.0, -60.0]), sigma, 300.0), "")
    assert verdict == "Channel 2 drifts most: -60.0 ± 2.0 °/h over 5.0 min, against channel 0."
    assert "Channel 1: +3.0 ± 2.0 °/h" in rates
    calm, _ = drift_words(Drift(np.array([0.0, 3.0, -1.0]), sigma, 30.0), "no signal")
    assert calm == "No drift beyond ± 4.0 °/h is seen over 30 s. Now: no signal."


def test_the_panel_draws_what_the_history_holds_with_marks(panel: PhasesPanel) -> None:
    picture = picture_of("ula:4:0.5", [5.0], calibrated=False)
    rate = np.array([0.0, 5000.0, -2000.0, 1000.0])
    for t in np.arange(0, 15, 0.1):
        panel.show_picture(_moment(picture, float(t), rate * t / HOUR_S))
    panel.show_facts(Facts(gaps=0))
    panel.show_facts(Facts(gaps=2))
    assert [m.words for m in panel.history.marks] == ["gap"]
    for way, values in (("receivers", panel.history.changes_deg("receivers")), ("received", None)):
        panel.way.setCurrentIndex(panel.way.findData(way))
        values = panel.history.changes_deg(way)
        for m, curve in enumerate(panel._curves):
            assert np.array_equal(curve.getData()[1], values[:, m])
    panel.absolute.setChecked(True)
    assert np.array_equal(panel._curves[1].getData()[1], panel.history.phases_deg("received")[:, 1])
    panel.way.setCurrentIndex(panel.way.findData("followed"))
    panel.show_facts(Facts(learning="off"))
    assert "start learning" in panel.words.text()


def test_a_picture_costs_little(panel: PhasesPanel) -> None:
    picture = picture_of("ula:8:0.5", [5.0])
    for k in range(3000):  # a full history
        panel.history._histories or panel.history.add(picture)
        panel.history._append("receivers", SLOT_S * k, np.zeros(8))
    began = time.process_time()
    for k in range(60):
        panel.show_picture(replace(picture, t_mono_ns=round(1e9 * (2000 + k / 30))))
    assert (time.process_time() - began) / 60 < 0.03  # aim: 3 ms
