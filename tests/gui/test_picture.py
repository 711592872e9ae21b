"""The painter: what each method of the list makes of frames whose truth is known, and of frames that are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gui.doa_sources import DoaSource, Setup, Solver, doa_sources, get_source, make_solver, register
from gui.picture import Painter, Picture, View
from gui.station import Station
from hil.core.errors import ConfigError
from tests.gui.echo_scene import TARGETS, scene, sending, streaming, until, write_scene
from tests.gui.pictures import calibration_of, frame_of, paint, picture_of, stream_of

#: Those that work on samples alone, on every array.
ANYWHERE = ("music", "capon", "bartlett", "omp", "diffmusic")


@pytest.mark.parametrize(("array", "n_angles"), [("ula:8:0.5", 1801), ("uca:8:0.6", 3601)])
def test_the_grid_has_tenths_of_a_degree(array: str, n_angles: int) -> None:
    picture = picture_of(array, [-20.3, 41.7])
    assert picture.angles_deg is not None
    assert len(picture.angles_deg) == n_angles
    assert np.allclose(np.diff(picture.angles_deg), 0.1)


@pytest.mark.parametrize("method", ANYWHERE)
@pytest.mark.parametrize(
    ("array", "doa_deg"), [("ula:8:0.5", [-20.3, 31.7]), ("uca:8:0.6", [170.2, -60.0]), ("ula:4:1.0", [8.2])]
)
def test_every_method_finds_what_is_there(array: str, doa_deg: list[float], method: str) -> None:
    picture = picture_of(array, doa_deg, view=View(method))
    assert picture.method == method
    assert picture.problem == ""
    found = np.sort(picture.doa_deg)
    # the sidelobes of one source pull the peak of another in a beam scan, by degrees on a small circle
    allowed_deg = 3.0 if method in ("bartlett", "omp") and len(doa_deg) > 1 else 0.3
    assert np.allclose(found, np.sort(doa_deg), atol=allowed_deg)
    assert picture.angles_deg is not None
    assert picture.calibrated_db is not None
    assert picture.calibrated_db.max() == 0.0
    peak = picture.angles_deg[np.argmax(picture.calibrated_db)]
    assert np.min(np.abs(picture.doa_deg - peak)) <= 0.1


def test_directions_are_those_of_the_calibrated_array_and_the_nominal_one_is_wrong() -> None:
    stream = stream_of("ula:8:0.5")
    calibration = calibration_of(stream)
    frame, painter = frame_of(stream, [-20.3], calibration), Painter()
    before = paint(painter, frame)
    painter.use(calibration=calibration)
    after = paint(painter, frame)
    assert before.calibrated_db is None
    assert after.calibration is calibration
    assert abs(before.doa_deg[0] + 20.3) > 1.0
    assert abs(after.doa_deg[0] + 20.3) < 5 * after.sigma_deg[0]
    assert before.nominal_db is not None
    assert after.nominal_db is not None
    assert np.array_equal(before.nominal_db, after.nominal_db)
    # phases of the channels, as the calibration has them, are what is left of the nominal array
    turned = before.phase_deg - np.rad2deg(np.angle(calibration.impairments.gain))
    assert before.lobes is not None
    assert np.ptp(after.phase_deg) < 3.0 < np.ptp((turned + 180) % 360 - 180)


@pytest.mark.parametrize("method", ANYWHERE)
def test_the_deviation_of_one_source_holds(method: str) -> None:
    stream, painter = stream_of("ula:8:0.5"), Painter()
    painter.use(View(method, n_sources=1))
    ratios = []
    for seed in range(60):
        picture = paint(painter, frame_of(stream, [12.34], snr_db=5.0, seed=seed))
        ratios.append((picture.doa_deg[0] - 12.34) / picture.sigma_deg[0])
    # rms of 60 draws: 1 +- 0.09
    assert 0.73 < np.sqrt(np.mean(np.square(ratios))) < 1.27


def test_what_a_calibration_leaves_open_counts() -> None:
    stream = stream_of("ula:8:0.5")
    calibration, painter = calibration_of(stream), Painter()
    painter.use(View(n_sources=1), calibration=calibration)
    assert paint(painter, frame_of(stream, [3.0], calibration, snr_db=60.0)).sigma_deg[0] == pytest.approx(
        calibration.gauge.angle_sigma_deg, rel=0.01
    )


def test_methods_that_lean_towards_neighbours_state_no_deviation_beside_one() -> None:
    for method in ("capon", "bartlett", "omp"):
        assert np.all(np.isnan(picture_of("ula:8:0.5", [-20.3, 31.7], view=View(method)).sigma_deg))


def test_echoes_of_one_signal_are_found_by_matching_and_not_by_subspaces() -> None:
    stream, doa_deg, missed = stream_of("ula:8:0.5"), [-40.0, 0.0, 35.0], {"music": 0, "omp": 0}
    for seed in range(20):
        frame = frame_of(stream, doa_deg, one_signal=True, snr_db=20.0, seed=seed)
        for method in missed:
            painter = Painter()
            painter.use(View(method, n_sources=3))
            found = np.sort(paint(painter, frame).doa_deg)
            missed[method] += len(found) < 3 or bool(np.max(np.abs(found - doa_deg)) > 5.0)
    assert missed["omp"] == 0
    assert missed["music"] > 10


def test_root_music_needs_equal_spacing_and_says_so() -> None:
    nominal = stream_of("ula:8:0.5")
    painter = Painter()
    painter.use(View("root-music"))
    picture = paint(painter, frame_of(nominal, [-20.3, 31.7]))
    assert np.allclose(np.sort(picture.doa_deg), [-20.3, 31.7], atol=0.2)
    moved = picture_of("ula:8:0.5", [-20.3, 31.7], view=View("root-music"))
    assert "equal spacing" in moved.problem
    assert len(moved.doa_deg) == 0
    assert np.isfinite(moved.snr_db)


def test_a_method_without_what_it_needs_says_so_and_the_rest_goes_on() -> None:
    picture = picture_of("ula:8:0.5", [-20.3], view=View("gpi"))
    assert "GPI needs a known waveform" in picture.problem
    assert picture.nominal_db is None
    assert picture.n_sources == 1
    assert picture.psd_dbfs.shape[0] == 8


@pytest.mark.parametrize("broken", ["nan", "stuck", "huge"])
def test_a_broken_channel_is_left_out_and_named(broken: str) -> None:
    stream = stream_of("ula:8:0.5")
    calibration = calibration_of(stream)
    frame, painter = frame_of(stream, [-20.3, 31.7], calibration), Painter()
    frame.samples[3] = {"nan": np.nan, "stuck": 0.2 + 0.1j, "huge": 1e30}[broken]
    painter.use(calibration=calibration)
    picture = paint(painter, frame)
    assert "channel 3" in picture.problem
    assert np.allclose(np.sort(picture.doa_deg), [-20.3, 31.7], atol=0.3)
    assert np.flatnonzero(np.isnan(picture.phase_deg)).size in (1, 8)
    assert np.all(np.isfinite(picture.level_dbfs[[0, 1, 2, 4, 5, 6, 7]]))


def test_a_channel_that_hears_nothing_is_left_out_when_that_is_known() -> None:
    stream = stream_of("ula:8:0.5")
    frame, painter = frame_of(stream, [-20.3]), Painter()
    rng = np.random.default_rng(5)
    frame.samples[6] = 1e-2 * (rng.standard_normal(8192) + 1j * rng.standard_normal(8192))
    painter.paint(frame, {6})
    picture = painter.take()
    assert picture is not None
    assert picture.n_sources == 1
    assert abs(picture.doa_deg[0] + 20.3) < 5 * picture.sigma_deg[0]
    assert "channel 6 is silent" in picture.problem


def test_a_board_with_a_dead_channel_still_finds_directions(tmp_path: Path) -> None:
    station = Station()
    try:
        faulty = (
            "[[emitter]]\nangle_deg = 12.0\n[faults]\ndead_at_s = 0.6\ndead_s = 900.0\ndead_channel = 2\n"
        )
        streaming(station, write_scene(tmp_path, f"[array]\nn_elements = 4\n{faulty}"), "ula:4:0.5")
        seen: list[Picture] = []

        def named() -> bool:
            seen[:] = [picture] if (picture := station.picture()) is not None else seen
            return bool(seen) and "channel 2" in seen[0].problem

        until(named, station.poll)
    finally:
        assert station.close()
    assert "silent" in seen[0].problem
    assert np.isnan(seen[0].phase_deg[2])
    assert np.isfinite(seen[0].sigma_deg).all()


def test_noise_alone_has_no_direction() -> None:
    stream = stream_of("ula:4:0.5")
    picture = paint(Painter(), frame_of(stream, [], snr_db=0.0))
    assert picture.n_sources == 0
    assert len(picture.doa_deg) == 0
    assert picture.nominal_db is None


def test_more_sources_than_can_be_told_are_the_most_that_can() -> None:
    assert picture_of("ula:4:0.5", [5.0], view=View(n_sources=9)).n_sources == 3


def test_the_list_grows_by_itself_and_names_are_unique() -> None:
    assert [s.name for s in doa_sources()][:3] == ["music", "capon", "bartlett"]
    assert all(s.words and s.label for s in doa_sources())
    with pytest.raises(ConfigError, match="already"):
        register(get_source("music"))
    with pytest.raises(ConfigError, match="unknown method"):
        Painter().use(View("musik"))


def test_a_source_that_adds_itself_is_used_by_the_painter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gui.doa_sources._SOURCES", {s.name: s for s in doa_sources()})

    def make(setup: Setup) -> Solver:
        return make_solver("bartlett", setup)

    register(DoaSource("mine", "Mine", "a beam scan under another name", make, needs=("calibration",)))
    learned = picture_of("ula:8:0.5", [10.0], view=View("mine"))
    assert learned.nominal_db is None  # it needs a calibration, the nominal array has none
    assert abs(learned.doa_deg[0] - 10.0) < 0.3
    without = picture_of("ula:8:0.5", [10.0], view=View("mine"), calibrated=False)
    assert "Mine needs a calibrated array" in without.problem


def test_gpi_shows_the_echoes_of_what_is_sent_on_the_array_that_is_in_use(tmp_path: Path) -> None:
    station = Station()
    try:
        sending(station, write_scene(tmp_path, scene()), "ula:4:0.5")
        station.painter.use(View("gpi"))
        seen: list[Picture] = []

        def all_targets() -> bool:
            picture = station.picture()
            if picture is not None:
                seen.append(picture)
            return bool(seen) and len(seen[-1].doa_deg) == len(TARGETS)

        until(all_targets, station.poll)
    finally:
        assert station.close()
    picture = seen[-1]
    assert picture.problem == ""
    for (angle_deg, *_), doa, sigma in zip(TARGETS, picture.doa_deg, picture.sigma_deg, strict=True):
        assert abs(doa - angle_deg) < 5 * sigma + 0.05  # both in the order of their strength
        assert 0 < sigma < 0.5
    assert picture.angles_deg is not None
    assert picture.nominal_db is not None
    strongest = picture.angles_deg[np.argmax(picture.nominal_db)]
    assert abs(strongest - TARGETS[0][0]) < 2.0
