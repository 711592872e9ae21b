"""The array drawing: places, ports, displacements and rays against the calibration and the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from gui.facts import Facts
from gui.panels.array_drawing import ArrayDrawingPanel, magnification
from gui.panels.directions_model import marker_text
from gui.station import Station
from gui.theme import CHANNEL_COLOURS
from tests.gui.pictures import WAVELENGTH_M, picture_of


@pytest.fixture
def panel(qtbot) -> Iterator[ArrayDrawingPanel]:
    station = Station()
    made = ArrayDrawingPanel(station)
    qtbot.addWidget(made)
    made.resize(560, 420)
    made.show()
    yield made
    station.close()


@pytest.mark.parametrize("array", ["ula:4:1.0", "ula:8:0.5", "uca:8:0.6"])
def test_ports_stand_where_the_elements_are(panel: ArrayDrawingPanel, array: str) -> None:
    picture = picture_of(array, [20.0])
    panel.show_picture(picture)
    geometry = picture.stream.geometry
    assert geometry is not None
    x, y = panel.elements.getData()
    assert np.allclose(np.column_stack((x, y)), geometry.positions_m[:, :2])
    shown = [p for p in panel.ports if p.isVisible()]
    assert [p.toPlainText() for p in shown] == [str(m) for m in range(geometry.n_elements)]
    assert np.allclose([(p.pos().x(), p.pos().y()) for p in shown], geometry.positions_m[:, :2])
    # channels 0 and 1 share an oscillator, 2 and 3 another one
    colours = [point.pen().color().name() for point in panel.elements.points()]
    assert colours[:4] == [CHANNEL_COLOURS[g] for g in (0, 0, 1, 1)]


@pytest.mark.parametrize("array", ["ula:8:0.5", "uca:8:0.6"])
def test_displacements_are_magnified_by_the_factor_that_is_stated(
    panel: ArrayDrawingPanel, array: str
) -> None:
    picture = picture_of(array, [20.0])
    panel.show_picture(picture)
    calibration, factor = picture.calibration, panel.magnified
    assert calibration is not None
    nominal = calibration.geometry.positions_m[:, :2]
    error = calibration.impairments.position_error_m[:, :2]
    x, y = panel.learned.getData()
    assert np.allclose(np.column_stack((x, y)), nominal + factor * error)
    arrow_x, arrow_y = panel.arrows.getData()
    ends = np.column_stack((arrow_x, arrow_y)).reshape(len(nominal), 7, 2)[:, :2]
    assert np.allclose(ends[:, 0], nominal)
    assert np.allclose(ends[:, 1], nominal + factor * error)
    ring_x, ring_y = (v.reshape(len(nominal), -1) for v in panel.ellipses.getData())
    sigma = calibration.sigma.position_m
    assert np.allclose(np.nanmax(ring_x, axis=1) - np.nanmin(ring_x, axis=1), 2 * factor * sigma[:, 0])
    assert np.allclose(np.nanmax(ring_y, axis=1) - np.nanmin(ring_y, axis=1), 2 * factor * sigma[:, 1])
    largest_mm = 1e3 * np.linalg.norm(error, axis=1).max()
    assert f"× {factor}; largest {largest_mm:.2g} mm, σ up to 0.4 mm" in panel.legend.text()


def test_the_factor_keeps_elements_apart() -> None:
    spacing_m = 0.06
    for largest_m in (1e-6, 3e-4, 4e-3, 0.02):
        moved = np.zeros((4, 3))
        moved[2, 0] = largest_m
        factor = magnification(moved, spacing_m)
        assert factor * largest_m <= 0.45 * spacing_m
        assert factor * largest_m > 0.45 * spacing_m / 2.1
    assert magnification(np.zeros((4, 3)), spacing_m) >= 1
    moved[2, 0] = 0.1
    assert magnification(moved, spacing_m) == 1


def test_without_anything_learned_it_says_so(panel: ArrayDrawingPanel) -> None:
    panel.show_picture(picture_of("ula:4:1.0", [12.4], calibrated=True))
    panel.show_picture(picture_of("ula:4:1.0", [12.4], calibrated=False))
    assert "nothing learned" in panel.legend.text()
    assert panel.arrows.xData is None
    assert len(panel.learned.points()) == 0


def test_a_deviation_that_is_not_known_is_told(panel: ArrayDrawingPanel) -> None:
    picture = picture_of("ula:8:0.5", [5.0])
    calibration = picture.calibration
    assert calibration is not None
    unknown = replace(calibration.sigma, position_m=np.full((8, 3), np.nan))
    panel.show_picture(replace(picture, calibration=replace(calibration, sigma=unknown)))
    assert "σ not known" in panel.legend.text()


@pytest.mark.parametrize(("array", "doa"), [("ula:8:0.5", 30.0), ("uca:8:0.6", -150.0)])
def test_rays_point_to_the_directions_found(panel: ArrayDrawingPanel, array: str, doa: float) -> None:
    picture = picture_of(array, [doa])
    panel.show_picture(picture)
    x, y = panel.rays.getData()
    az = np.rad2deg(np.arctan2(x[1], y[1]))  # from +y towards +x
    assert az == pytest.approx(picture.doa_deg[0])
    assert [n.toPlainText() for n in panel.numbers if n.isVisible()] == [
        marker_text(picture.doa_deg[0], picture.sigma_deg[0])
    ]
    behind, _ = panel.rays_behind.getData()
    if array.startswith("ula"):
        bx, by = panel.rays_behind.getData()
        assert (bx[1], by[1]) == pytest.approx((x[1], -y[1]))
        assert [s.toPlainText() for s in panel.signs] == ["0° broadside", "+", "back: looks the same"]
    else:
        assert behind is None or len(behind) == 0
        assert not panel.signs[2].isVisible()
    # the arc of positive angles leads from +y to the right
    assert panel.signs[1].pos().x() > 0


def test_both_scales_are_true(panel: ArrayDrawingPanel) -> None:
    panel.show_picture(picture_of("ula:4:1.0", [0.0]))
    axis = panel.plot.getAxis("top")
    (low, high), _ = panel.plot.getViewBox().viewRange()
    (spacing, values), *_ = axis.tickValues(low, high, 500)
    assert axis.tickStrings(values, 1.0, spacing) == [f"{v / WAVELENGTH_M:.3g}" for v in values]
    waves = np.array(values) / WAVELENGTH_M
    assert np.allclose(waves, np.round(waves, 2))


def test_the_array_shows_before_samples_flow(panel: ArrayDrawingPanel, qtbot) -> None:
    station = panel._station
    station.connect("sim:", "ula:4:0.5")
    qtbot.waitUntil(lambda: station.session is not None, timeout=20_000)
    panel.show_facts(Facts())
    assert len(panel.elements.points()) == 4
