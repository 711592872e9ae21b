"""Methods that work apart: likelihood, networks, echoes picked one by one; what they need, and what they say without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QFileDialog

from gui.doa_sources import DoaSource, Look, Setup, Solver, doa_sources, make_solver, register
from gui.echoes import Echoes, scene_waveform
from gui.networks import Networks
from gui.picture import Painter, Picture, View
from gui.station import Station
from gui.window import StationWindow
from hil.core.epoch import new_epoch
from hil.core.errors import HilError
from hil.core.frame import Frame, StreamInfo
from hil.core.geometry import parse_array
from hil.core.waveform import Waveform
from hil.dsp.covariance import sample_covariance
from hil.dsp.response import array_response
from hil.jobs.directions import Estimator, SpectrumSettings
from hil.jobs.doa_vae import VaeFinder
from tests.gui.echo_scene import TARGETS, scene, sending, streaming, until, write_scene
from tests.gui.pictures import FC_HZ, calibration_of, frame_of, stream_of
from tests.small_networks import belongs_of, mod_dnn, vae

_OFDM = """
seed = 5
[array]
n_elements = 4
[receiver]
fs_hz = 9.6e5
[ofdm]
spacing_hz = 7.5e3
[impairments]
relock_phase = false
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
[[emitter]]
angle_deg = 23.0
waveform = "ofdm"
offset_hz = 0.0
"""


@pytest.fixture
def painter() -> Iterator[Painter]:
    made = Painter(networks=Networks())
    yield made
    assert made.close()


def _painted(painter: Painter, frame: Frame, n_found: int | None) -> Picture:
    """The first picture with so many directions; None: with words that there are none for good."""
    seen: list[Picture] = []

    def done() -> bool:
        painter.paint(frame)
        if (picture := painter.take()) is not None:
            seen.append(picture)
        if not seen or "first answer" in seen[-1].problem:
            return False
        return n_found in (None, len(seen[-1].doa_deg))

    until(done)
    return seen[-1]


def test_the_likeliest_directions_are_shown_beside_music(painter: Painter) -> None:
    stream = stream_of("ula:8:0.5")
    calibration = calibration_of(stream)
    painter.use(View("dual-path-vae"), calibration=calibration)
    picture = _painted(painter, frame_of(stream, [-20.3, 31.7], calibration), 2)
    assert picture.problem == ""
    assert np.all(
        np.abs(np.sort(picture.doa_deg) - [-20.3, 31.7]) < 5 * np.hypot(0.01, picture.sigma_deg.max())
    )
    assert np.all(picture.sigma_deg > calibration.gauge.angle_sigma_deg)
    assert picture.nominal_db is None
    assert picture.calibrated_db is not None
    assert picture.beside_db is not None
    assert picture.angles_deg is not None
    for level in (picture.calibrated_db, picture.beside_db):
        assert level.max() == 0.0
        assert np.min(np.abs(picture.doa_deg - picture.angles_deg[np.argmax(level)])) <= 0.1


def test_the_deviation_of_the_likeliest_direction_holds() -> None:
    stream = stream_of("ula:8:0.5")
    finder, ratios = VaeFinder(stream, None, np.linspace(-90, 90, 361)), []
    for seed in range(60):
        samples = frame_of(stream, [12.34], snr_db=5.0, seed=seed).samples[:, :1024]
        found = finder.look(sample_covariance(samples), 1024, 1)
        ratios.append((found.doa_deg[0] - 12.34) / found.sigma_deg[0])
    # rms of 60 draws: 1 +- 0.09
    assert 0.73 < np.sqrt(np.mean(np.square(ratios))) < 1.27


@pytest.mark.parametrize("method", ["diffmusic", "dual-path-vae"])
def test_scripts_have_the_same_methods(method: str, tmp_path: Path) -> None:
    stream = stream_of("ula:8:0.5")
    frame = frame_of(stream, [-20.3, 31.7])
    found = Estimator(stream, SpectrumSettings(method=method), None).estimate(frame.samples, 0)
    assert np.allclose(np.sort(found.doa_deg), [-20.3, 31.7], atol=0.1)
    assert np.all((found.sigma_deg > 0) & (found.sigma_deg < 0.05))
    assert np.min(np.abs(found.doa_deg - found.angles_deg[np.argmax(found.spectrum)])) < 0.3
    assert stream.geometry is not None
    vae(belongs_of(stream.geometry.positions_m, FC_HZ, None), 2).save(tmp_path / "n.safetensors")
    settings = SpectrumSettings(method=method, network=tmp_path / "n.safetensors")
    if method == "diffmusic":
        with pytest.raises(HilError, match="a network of dual-path-vae, not of the method diffmusic"):
            Estimator(stream, settings, None)
    else:
        again = Estimator(stream, settings, None).estimate(frame.samples, 0)
        assert np.allclose(np.sort(again.doa_deg), np.sort(found.doa_deg), atol=0.01)


def test_echoes_of_one_signal_are_found_by_their_likelihood(painter: Painter) -> None:
    stream = stream_of("ula:8:0.5")
    painter.use(View("dual-path-vae", n_sources=3))
    picture = _painted(painter, frame_of(stream, [-40.0, 0.0, 35.0], one_signal=True, snr_db=20.0, seed=4), 3)
    assert np.max(np.abs(np.sort(picture.doa_deg) - [-40.0, 0.0, 35.0])) < 5.0


def test_a_trained_path_is_used_for_as_many_sources_as_it_knows(painter: Painter, tmp_path: Path) -> None:
    stream = stream_of("ula:8:0.5")
    calibration = calibration_of(stream)
    vae(belongs_of(calibration.positions_m, FC_HZ, calibration), 2).save(tmp_path / "two.safetensors")
    assert painter._networks is not None
    words = painter._networks.load(tmp_path / "two.safetensors")
    assert "dual-path-vae: 8 elements at 2450 MHz, -60 to 60 degrees, trained with a calibration" in words
    painter.use(View("dual-path-vae"), calibration=calibration)
    for doa in ([-20.3, 31.7], [12.0]):
        picture = _painted(painter, frame_of(stream, doa, calibration), len(doa))
        assert np.allclose(np.sort(picture.doa_deg), doa, atol=0.3)
    painter.use(clear=True)
    picture = _painted(painter, frame_of(stream, [12.0]), None)
    assert "needs a calibration" in picture.problem


def test_a_circle_has_no_likelihood_here_and_music_stays(painter: Painter) -> None:
    painter.use(View("dual-path-vae"))
    picture = _painted(painter, frame_of(stream_of("uca:8:0.6"), [20.0]), None)
    assert "lines of elements only" in picture.problem
    assert picture.beside_db is not None


def test_a_missing_channel_is_left_out_of_the_likelihood(painter: Painter) -> None:
    stream = stream_of("ula:8:0.5")
    frame = frame_of(stream, [-20.3, 31.7])
    frame.samples[3] = np.nan
    painter.use(View("dual-path-vae"))
    picture = _painted(painter, frame, 2)
    assert "channel 3" in picture.problem
    assert np.allclose(np.sort(picture.doa_deg), [-20.3, 31.7], atol=0.3)


def test_pictures_never_wait_for_a_method_that_works_apart(
    monkeypatch: pytest.MonkeyPatch, painter: Painter
) -> None:
    monkeypatch.setattr("gui.doa_sources._SOURCES", {s.name: s for s in doa_sources()})
    stuck, looked = threading.Event(), threading.Event()

    class Slow:
        def spectrum_db(self, look: Look) -> np.ndarray | None:
            looked.set()
            assert look.frame.samples.shape[1] == 0  # they are overwritten meanwhile
            stuck.wait(60)
            return np.zeros(1801)

        def find(self, look: Look) -> tuple[np.ndarray, np.ndarray]:
            return np.array([1.0]), np.array([0.1])

    def make(setup: Setup) -> Solver:
        return Slow()

    register(DoaSource("slow", "Slow", "takes a minute", make, apart=True))
    painter.use(View("slow"))
    frame = frame_of(stream_of("ula:8:0.5"), [10.0])
    pictures: list[Picture] = []

    def several() -> bool:
        painter.paint(frame)
        if (picture := painter.take()) is not None and looked.is_set():
            pictures.append(picture)
        return len(pictures) >= 5

    until(several)
    assert all(p.beside_db is not None and "at work on its first answer" in p.problem for p in pictures)
    stuck.set()
    assert _painted(painter, frame, 1).doa_deg == pytest.approx([1.0])


def _tones(waveform: Waveform) -> np.ndarray:
    assert waveform.layout is not None
    columns = waveform.layout.columns * waveform.layout.spacing_hz
    return np.asarray(columns[:: max(1, len(columns) // 12)][:12], float)


def test_mod_dnn_hears_the_emitter_whose_waveform_is_known(tmp_path: Path) -> None:
    uri, positions_m = write_scene(tmp_path, _OFDM), parse_array("ula:4:0.5", FC_HZ).positions_m
    waveform = scene_waveform(uri)
    assert waveform is not None
    mod_dnn(belongs_of(positions_m, FC_HZ, None), _tones(waveform), steps=25).save(
        tmp_path / "room.safetensors"
    )
    station = Station()
    try:
        streaming(station, uri, "ula:4:0.5")
        station.painter.use(View("mod-dnn"))
        seen: list[Picture] = []

        def shown(words: str) -> bool:
            if (picture := station.picture()) is not None:
                seen.append(picture)
            return bool(seen) and (words in seen[-1].problem if words else len(seen[-1].doa_deg) > 0)

        until(lambda: shown("needs a trained network"), station.poll)
        station.networks.load(tmp_path / "room.safetensors")
        until(lambda: shown(""), station.poll)
    finally:
        assert station.close()
    picture = seen[-1]
    assert abs(picture.doa_deg[0] - 23.0) < 1.0
    assert picture.sigma_deg[0] >= 0.5  # what the network itself was wrong by
    assert picture.nominal_db is not None
    assert picture.angles_deg is not None
    assert abs(picture.angles_deg[np.argmax(picture.nominal_db)] - picture.doa_deg[0]) < 2.0
    assert picture.beside_db is not None


def _refusal(painter: Painter, stream: StreamInfo, name: str = "mod-dnn") -> str:
    assert stream.geometry is not None
    echoes = Echoes()
    echoes._waveform = object()  # type: ignore[assignment] - known is all that is asked
    response = array_response(stream.geometry, stream.fc_hz)
    setup = Setup(stream, response, np.linspace(-90, 90, 181), painter.calibration, echoes, painter._networks)
    with pytest.raises(HilError) as error:
        make_solver(name, setup)
    return str(error.value)


def test_a_network_that_does_not_fit_says_why(painter: Painter, tmp_path: Path) -> None:
    stream = stream_of("ula:4:0.5")
    assert stream.geometry is not None
    positions = stream.geometry.positions_m
    assert painter._networks is not None
    tones = np.arange(4) * 1e5

    def load(belongs_from: object) -> None:
        assert painter._networks is not None
        network = mod_dnn(belongs_from, tones, steps=1)  # type: ignore[arg-type]
        network.save(tmp_path / "n.safetensors")
        painter._networks.load(tmp_path / "n.safetensors")

    assert "needs a trained network" in _refusal(painter, stream)
    load(belongs_of(positions, FC_HZ, calibration_of(stream)))
    assert "needs a calibration" in _refusal(painter, stream)
    load(belongs_of(positions * 1.3, FC_HZ, None))
    assert "another array" in _refusal(painter, stream)
    load(belongs_of(stream_of("ula:3:0.5").geometry.positions_m, FC_HZ, None))  # type: ignore[union-attr]
    assert "3 elements, the data have 4" in _refusal(painter, stream)
    load(belongs_of(positions, 0.8 * FC_HZ, None))
    assert "1960 MHz" in _refusal(painter, stream)
    load(replace(belongs_of(positions, FC_HZ, None), epochs=(new_epoch("S1").id,)))
    assert "coherence epoch" in _refusal(painter, stream)


def test_differentiable_omp_shows_the_echoes_of_what_is_sent(tmp_path: Path) -> None:
    station = Station()
    try:
        sending(station, write_scene(tmp_path, scene()), "ula:4:0.5")
        station.painter.use(View("differentiable-omp"))
        seen: list[Picture] = []

        def all_targets() -> bool:
            if (picture := station.picture()) is not None:
                seen.append(picture)
            return bool(seen) and len(seen[-1].doa_deg) == len(TARGETS)

        until(all_targets, station.poll)
    finally:
        assert station.close()
    picture = seen[-1]
    assert picture.problem == ""
    # the soft read-out of one echo leans towards the others: half a degree with four elements
    assert np.allclose(picture.doa_deg, [t[0] for t in TARGETS], atol=1.5)
    assert np.all(np.isnan(picture.sigma_deg))


def test_the_menu_loads_a_network_and_the_next_window_remembers_it(qtbot, tmp_path: Path) -> None:
    positions = stream_of("ula:4:0.5").geometry.positions_m  # type: ignore[union-attr]
    good, bad = tmp_path / "two.safetensors", tmp_path / "none.safetensors"
    vae(belongs_of(positions, FC_HZ, None), 2).save(good)
    bad.write_bytes(b"no network")
    window = StationWindow(Station())
    qtbot.addWidget(window)
    (action,) = [a for a in window.actions() if a.text().replace("&", "") == "Load network..."]
    for path in (bad, good):
        action.trigger()
        (dialog,) = window.findChildren(QFileDialog)
        dialog.fileSelected.emit(str(path))
        dialog.close()
        qtbot.waitUntil(lambda: not window.findChildren(QFileDialog), timeout=20_000)
    until(lambda: window.station.networks.vae is not None, lambda: qtbot.wait(10))
    until(lambda: "two.safetensors" in window.log.text(), lambda: qtbot.wait(10))
    told = window.log.text()
    assert "none.safetensors" in told
    window.close()
    again = StationWindow(Station())
    qtbot.addWidget(again)
    until(lambda: again.station.networks.vae is not None, lambda: qtbot.wait(10))
    again.close()
