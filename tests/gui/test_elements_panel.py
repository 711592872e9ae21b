"""Circles, hands, arrows and the table say the calibration's numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gui.panels.elements import ElementsPanel
from gui.panels.learned_table import ElementTable, measured
from hil.core.calibration import Calibration
from tests.gui.pictures import WAVELENGTH_M, calibration_of, stream_of


@pytest.fixture
def panel(qtbot) -> ElementsPanel:
    made = ElementsPanel()
    qtbot.addWidget(made)
    made.show()
    return made


def _strokes(curve) -> list[np.ndarray]:
    """Lines of a curve as complex points, one array a line."""
    x, y = curve.getData()
    points = np.asarray(x) + 1j * np.asarray(y)
    cuts = np.flatnonzero(~np.isfinite(points))
    return [points[a:b] for a, b in zip([0, *(cuts[:-1] + 1)], cuts, strict=True)]


def _calibration(array: str) -> Calibration:
    return calibration_of(stream_of(array))


@pytest.mark.parametrize("array", ["ula:6:0.5", "uca:6:0.7"])
def test_radius_hand_and_arrow_are_gain_phase_and_displacement(panel: ElementsPanel, array: str) -> None:
    calibration = _calibration(array)
    panel.show_calibration(calibration)
    imp, gain = calibration.impairments, calibration.impairments.gain
    circles, ones = _strokes(panel.circles), _strokes(panel._ones)
    centres = np.array([ring[:-1].mean() for ring in circles])
    radii = np.array([np.abs(ring - c).mean() for ring, c in zip(circles, centres, strict=True)])
    one = np.abs(ones[0] - centres[0]).mean()
    assert radii / one == pytest.approx(np.abs(gain), rel=1e-6)
    hands = np.array([line[-1] - line[0] for line in _strokes(panel.hands)])
    # up is 0, clockwise is positive: a compass
    assert np.rad2deg(np.arctan2(hands.real, hands.imag)) == pytest.approx(
        np.rad2deg(np.angle(gain)), abs=1e-6
    )
    assert np.abs(hands) == pytest.approx(radii)
    nominal = calibration.geometry.positions_m
    gaps = np.abs(centres[:, None] - centres[None, :])
    apart = np.linalg.norm(nominal[:, None] - nominal[None, :], axis=2)
    per_m = gaps[0, 1] / apart[0, 1]
    assert gaps == pytest.approx(apart * per_m, abs=1e-9)
    arrows = np.array([line[1] - line[0] for line in _strokes(panel.arrows)])
    shift = imp.position_error_m[:, 0] + 1j * imp.position_error_m[:, 1]
    assert arrows / per_m / panel.exaggeration == pytest.approx(shift, abs=1e-9)
    assert np.abs(arrows).max() < 0.5  # of the distance to the neighbour
    assert f"× {panel.exaggeration:g}" in panel.words.text()


def test_bands_and_bars_are_one_sigma(panel: ElementsPanel) -> None:
    calibration = _calibration("uca:6:0.7")
    panel.show_calibration(calibration)
    fans = _strokes(panel._fans)
    centre = _strokes(panel.circles)[2][:-1].mean()
    spread = np.angle((fans[2][0] - centre) / (fans[2][-1] - centre))
    assert abs(np.rad2deg(spread)) == pytest.approx(2 * calibration.sigma.phase_deg[2])
    bars = _strokes(panel._bars)
    m = calibration.geometry.n_elements
    along_x, along_y = bars[0][1] - bars[0][0], bars[m][1] - bars[m][0]
    sigma_m = calibration.sigma.position_m[0]
    assert along_y.imag / along_x.real == pytest.approx(sigma_m[1] / sigma_m[0])
    assert (along_x.imag, along_y.real) == (0.0, 0.0)
    outer, inner = (_strokes(panel._gain_band)[k] for k in (0, m))
    ratio = np.abs(outer - outer[:-1].mean()).mean() / np.abs(inner - inner[:-1].mean()).mean()
    assert 20 * np.log10(ratio) == pytest.approx(2 * calibration.sigma.gain_db[0])


def test_the_reference_is_named(panel: ElementsPanel) -> None:
    panel.show_calibration(_calibration("ula:4:0.5"))
    assert [item.toPlainText() for item in panel._names] == ["0 ref", "1", "2", "3"]


def test_the_table_has_every_number_with_its_sigma(qtbot) -> None:
    table = ElementTable()
    qtbot.addWidget(table)
    calibration = _calibration("uca:5:0.7")
    sigma = calibration.sigma
    calibration = replace(
        calibration,
        sigma=replace(sigma, gain_db=np.array([0.02, 0.2, np.nan, 0.0, 2.0]), phase_deg=np.full(5, 0.5)),
    )
    table.show_calibration(calibration)
    imp, rows = calibration.impairments, table.texts()
    assert [table.verticalHeaderItem(m).text() for m in range(5)] == ["0 ref", "1", "2", "3", "4"]
    for m, row in enumerate(rows):
        assert float(row[0].split(" ±")[0]) == pytest.approx(20 * np.log10(abs(imp.gain[m])), abs=0.06)
        assert float(row[1].split(" ±")[0]) == pytest.approx(np.rad2deg(np.angle(imp.gain[m])), abs=0.01)
        assert float(row[2].split(" ±")[0]) == pytest.approx(1e3 * imp.position_error_m[m, 0], abs=0.01)
        assert float(row[6].split(" ±")[0]) == pytest.approx(
            imp.position_error_m[m, 1] / WAVELENGTH_M, abs=1e-4
        )
    assert rows[0][0].endswith("± 0.020")
    assert rows[1][1].endswith("± 0.50")
    assert rows[2][0].endswith("± ?")
    assert "±" not in rows[3][0]
    assert rows[0][2].endswith("± 0.40")  # 0.4 mm
    assert table.isColumnHidden(4)  # heights are neither learned nor wrong


def test_a_value_has_the_digits_that_it_deserves() -> None:
    assert measured(1.23456, 0.0123) == "1.235 ± 0.012"
    assert measured(-148.1234, 2.04) == "-148.1 ± 2.0"
    assert measured(12.3, 25.0) == "12 ± 25"
    assert measured(1.54704, 0.00086) == "1.547 ± 0.001"  # three decimals are enough for a decibel
    assert measured(-4e-16, 0.0) == "0"
    assert measured(0.0123456, 0.00012, 4) == "0.0123 ± 0.0001"
