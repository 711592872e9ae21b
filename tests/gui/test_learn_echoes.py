"""Learning from echoes behind the window: OFDM goes out, the places of the elements are learned, the calibration is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gui.learn_desk import LearnDesk
from gui.panels.learn_form import LearnForm
from gui.scripts import learn_script
from gui.station import Station
from hil.core.device import RxConfig, TxConfig
from hil.core.errors import ConfigError
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.learning.settings import LearnSettings
from sim_backend.drawn import draw
from sim_backend.scene import load_scene
from tests.gui.echo_scene import streaming, until, waveform_for
from tests.gui.pictures import stream_of

SCENE = """
seed = 3
[array]
n_elements = 4
[receiver]
board = "fmcomms5"
[impairments]
position_std_wavelengths = 0.05
gain_std = 0.0
phase_std_deg = 0.0
relock_phase = false
[transmit]
leakage_db = 0.0
[[target]]
hop = { period_s = 0.004, min_deg = -60.0, max_deg = 60.0 }
range_m = 1000.0
"""
SETTINGS = LearnSettings("differentiable-omp", support_deg=(-60.0, 60.0), angle_sigma_limit_deg=2.0)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    (tmp_path / "scene.toml").write_text(SCENE)
    made = Station()
    stream = streaming(made, f"sim:{tmp_path / 'scene.toml'}", "ula:4:0.5")
    made.configure(RxConfig(fs_hz=1e6))
    until(lambda: made.session is not None and made.session.stream.fs_hz == 1e6)
    del stream
    yield made
    assert made.close()


def test_places_are_learned_while_a_waveform_goes_out(station: Station, tmp_path: Path) -> None:
    assert station.session is not None
    wave = waveform_for(station.session.stream, 128)
    station.transmit(wave, "w.toml", TxConfig(attenuation_db=10.0, channels=(0,)))
    until(lambda: station.transmit_desk.facts is not None and station.transmit_desk.facts.state == "on")
    station.learn(SETTINGS)
    until(lambda: station.calibration is not None, station.poll)
    used = station.calibration
    assert used is not None
    assert used.method == "differentiable-omp"
    scene = load_scene(tmp_path / "scene.toml")
    true = draw(scene)
    x_true = (true.positions_m + true.position_error_m)[:, 0]
    wavelength_m = SPEED_OF_LIGHT_M_S / used.fc_hz
    error = used.positions_m[:, 0] - used.positions_m[:, 0].mean() - (x_true - x_true.mean())
    assert np.all(np.abs(error) < 4 * used.sigma.position_m[:, 0]), error / wavelength_m
    assert np.abs(used.impairments.position_error_m[:, 0]).max() > 0.02 * wavelength_m
    assert station.desk.state == "converged"


def test_without_a_known_waveform_it_is_refused_in_words() -> None:
    desk = LearnDesk()
    with pytest.raises(ConfigError, match="OFDM waveform"):
        desk.begin(stream_of("ula:4:0.5"), SETTINGS)
    assert desk.state == "refused"
    assert "transmit panel" in desk.remedy


def test_the_form_offers_it_and_the_script_records_first(qtbot) -> None:
    form = LearnForm()
    qtbot.addWidget(form)
    for name, std in (("differentiable-omp", 0.1), ("gain-phase-isac", 0.0)):
        form.method.setCurrentText(name)
        assert form.method.currentText() == name
        assert form.settings().position_std_wavelengths == std
    script = learn_script("iio:ip:192.168.2.1", "ula:4:0.5", SETTINGS)
    assert script.startswith("hil capture iio:ip:192.168.2.1 echoes.sigmf-meta")
    assert "hil learn echoes.sigmf-meta --waveform w.toml --method differentiable-omp" in script
