"""The direction panel: what stands on the screen against the picture it is drawn from, in each view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from gui.panels.compass import RoundView
from gui.panels.directions import DirectionsPanel, View
from gui.panels.directions_linear import LinearView
from gui.panels.directions_model import MOST_MARKERS, DirectionsModel, Trace, image_ranges, marker_text
from gui.picture import Painter, Picture
from gui.picture import View as MethodView
from gui.theme import apply_theme
from tests.gui.pictures import calibration_of, frame_of, paint, picture_of, stream_of


@pytest.fixture
def panel(qtbot) -> DirectionsPanel:
    made = DirectionsPanel()
    qtbot.addWidget(made)
    made.resize(760, 420)
    made.show()
    return made


@pytest.fixture
def themed() -> Iterator[Callable[[str], None]]:
    application = QApplication.instance()
    assert isinstance(application, QApplication)

    def change(theme: str) -> None:
        apply_theme(application, theme)  # type: ignore[arg-type]
        application.processEvents()  # the palettes of widgets follow by an event

    yield change
    apply_theme(application, "dark")


def _numbers(view: LinearView | RoundView) -> list[str]:
    return [n.toPlainText() for n in view.numbers if n.isVisible()]


def _curve(view: LinearView, name: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Angles and levels on the screen."""
    angles, levels = view._curves[name].getOriginalDataset()
    assert angles is not None
    assert levels is not None
    return angles, levels


def _levels(picture: Picture) -> np.ndarray:
    assert picture.calibrated_db is not None
    return picture.calibrated_db


def _peak(curve) -> tuple[float, float]:
    """Place of the highest point of a curve of a round view."""
    x, y = curve.getData()
    k = int(np.argmax(np.hypot(x, y)))
    return float(x[k]), float(y[k])


@pytest.mark.parametrize(("array", "doa_deg"), [("ula:8:0.5", [-20.3, 31.7]), ("uca:8:0.6", [170.2, -95.0])])
def test_the_linear_view_shows_the_curves_and_numbers_of_the_picture(
    panel: DirectionsPanel, array: str, doa_deg: list[float]
) -> None:
    picture = picture_of(array, doa_deg)
    panel.show_picture(picture)
    view = panel.linear
    assert picture.angles_deg is not None
    assert picture.nominal_db is not None
    assert np.array_equal(_curve(view, "nominal"), (picture.angles_deg, picture.nominal_db))
    assert np.array_equal(_curve(view, "calibrated"), (picture.angles_deg, _levels(picture)))
    expected = [f"{d:+.2f}° ± {s:.2g}°" for d, s in zip(picture.doa_deg, picture.sigma_deg, strict=True)]
    assert sorted(_numbers(view)) == sorted(expected)
    for k, (doa, sigma) in enumerate(zip(picture.doa_deg, picture.sigma_deg, strict=True)):
        assert view._lines[k].value() == pytest.approx(doa)
        bar = view._bars[k].rect()
        assert (bar.left(), bar.right()) == pytest.approx((doa - sigma, doa + sigma))
    (low, high), (floor, top) = view.viewRange()
    edge = 180 if "uca" in array else 90
    assert (low, high) == pytest.approx((-edge, edge))
    # all but the deepest twentieth is inside, and the peak has room above it for the numbers
    assert floor < np.percentile(_levels(picture), 5)
    assert top > 0


def test_numbers_never_leave_the_view_nor_cover_each_other(panel: DirectionsPanel) -> None:
    panel.show_picture(picture_of("ula:8:0.5", [-80.0, 50.0, 66.0]))
    view = panel.linear
    box = view.getViewBox()
    shown = [n for n in view.numbers if n.isVisible()]
    frames = [n.mapRectToScene(n.boundingRect()) for n in shown]
    limit = box.mapRectToScene(box.boundingRect())
    assert len(frames) == 3
    for i, frame in enumerate(frames):
        assert limit.left() - 1 <= frame.left()
        assert frame.right() <= limit.right() + 1
        assert not any(frame.adjusted(2, 2, -2, -2).intersects(other) for other in frames[i + 1 :])


def test_polar_has_zero_up_and_positive_clockwise_and_the_mirror_of_a_line(panel: DirectionsPanel) -> None:
    picture = picture_of("ula:8:0.5", [30.0])
    panel.show_view("polar")
    panel.show_picture(picture)
    doa = np.deg2rad(picture.doa_deg[0])
    view = panel.polar
    assert _peak(view._front["calibrated"]) == pytest.approx((np.sin(doa), np.cos(doa)), abs=2e-3)
    # behind: the same sin(angle), mirrored at the line
    assert _peak(view._back["calibrated"]) == pytest.approx((np.sin(doa), -np.cos(doa)), abs=2e-3)
    assert "front and back look the same" in panel.legend.text()
    panel.back_action.trigger()
    assert view._back["calibrated"].xData is None
    assert "front only" in panel.legend.text()
    assert _numbers(view) == [marker_text(picture.doa_deg[0], picture.sigma_deg[0])]


def test_radius_is_level(panel: DirectionsPanel) -> None:
    picture = picture_of("uca:8:0.6", [-100.0])
    panel.show_view("polar")
    panel.show_picture(picture)
    assert panel.drawing is not None
    x, y = panel.polar._front["calibrated"].getData()
    assert x is not None
    assert y is not None
    floor = panel.drawing.floor_db
    assert np.allclose(np.hypot(x, y), np.clip((_levels(picture) - floor) / -floor, 0, 1))
    assert panel.polar._back["calibrated"].xData is None  # a circle knows front from back


@pytest.mark.parametrize(("array", "doa"), [("ula:8:0.5", 20.0), ("uca:8:0.6", -150.0)])
def test_the_compass_shows_bearings(panel: DirectionsPanel, array: str, doa: float) -> None:
    panel.show_view("compass")
    panel.heading.setValue(300.0)
    picture = picture_of(array, [doa])
    panel.show_picture(picture)
    found, sigma = picture.doa_deg[0], picture.sigma_deg[0]
    bearing = (300.0 + found) % 360
    expected = [f"{bearing:06.2f}° ± {sigma:.2g}°"]
    if array.startswith("ula"):
        expected.append(f"or {(300.0 + 180.0 - found) % 360:06.2f}°")
    assert _numbers(panel.compass) == expected
    place = np.sin(np.deg2rad(bearing)), np.cos(np.deg2rad(bearing))
    assert _peak(panel.compass._front["calibrated"]) == pytest.approx(place, abs=2e-3)
    # a turn of the array shows at once, without a new picture
    panel.heading.setValue(0.0)
    assert _numbers(panel.compass)[0] == f"{found % 360:06.2f}° ± {sigma:.2g}°"


def test_a_click_shows_another_view_of_the_same_picture(panel: DirectionsPanel, qtbot) -> None:
    panel.show_picture(picture_of("ula:8:0.5", [20.0]))
    for name in ("compass", "polar", "linear"):
        button = panel.bar.widgetForAction(panel.view_actions[name])
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert [n for n, a in panel.view_actions.items() if a.isChecked()] == [name]
        assert panel.views[name].isVisible()
        qtbot.waitUntil(lambda n=name: panel.heading.isVisible() == (n == "compass"), timeout=5_000)
        assert _numbers(panel.views[name])


def test_a_bearing_close_to_north_is_never_360() -> None:
    assert marker_text(359.996, 0.01, bearing=True) == "000.00° ± 0.01°"
    assert marker_text(-0.5, float("nan"), bearing=True) == "359.50° ± ?"


@pytest.mark.parametrize("doa", [12.4, -35.0, 60.0])
def test_image_directions_of_a_wide_line_are_shaded(panel: DirectionsPanel, doa: float) -> None:
    picture = picture_of("ula:4:1.0", [doa], calibrated=True)
    # one wavelength apart: sin differs by 1
    sines = [np.sin(np.deg2rad(doa)) + step for step in (-1.0, 1.0)]
    twins = [np.rad2deg(np.arcsin(s)) for s in sines if abs(s) <= 1]
    assert picture.lobes is not None
    ranges = image_ranges(picture.lobes, doa, line=True)
    assert len(ranges) == len(twins)
    for (low, high), twin in zip(ranges, twins, strict=True):
        assert low - 3.0 < twin < high + 3.0
        assert high - low < 30.0
    panel.show_picture(picture)
    shaded = [r.rect() for r in panel.linear._images if r.isVisible()]
    assert np.allclose([(r.left(), r.right()) for r in shaded], ranges)
    assert "looks the same" in panel.legend.text()
    panel.shade_action.trigger()
    assert not [r for r in panel.linear._images if r.isVisible()]


def test_half_a_wavelength_has_no_image_and_endfire_is_blind(panel: DirectionsPanel) -> None:
    picture = picture_of("ula:8:0.5", [10.0])
    panel.show_picture(picture)
    assert not [r for r in panel.linear._images if r.isVisible()]
    shaded = sorted(r.rect().left() for r in panel.linear._blind if r.isVisible())
    # sigma grows as 1 / cos: three times the best from acos(1/3) = 70.5 degrees on
    assert shaded == pytest.approx([-90.0, 70.5], abs=0.6)
    assert picture_of("uca:8:0.6", [10.0]).lobes.blind_deg == []  # type: ignore[union-attr]


def test_max_hold_is_the_highest_of_all_and_starts_again_with_another_method(panel: DirectionsPanel) -> None:
    pictures = [picture_of("ula:8:0.5", [d]) for d in (-20.0, 0.0, 20.0)]
    panel.hold_action.trigger()
    for picture in pictures:
        panel.show_picture(picture)
    highest = np.max([_levels(p) for p in pictures], axis=0)
    assert np.array_equal(_curve(panel.linear, "hold")[1], highest)
    other = picture_of("ula:8:0.5", [20.0], view=MethodView("capon"))
    panel.show_picture(other)
    assert np.array_equal(_curve(panel.linear, "hold")[1], _levels(other))
    panel.hold_action.trigger()
    assert panel.linear._curves["hold"].xData is None


def test_frozen_traces_stay_and_are_named_with_their_time(panel: DirectionsPanel) -> None:
    first, second = (
        picture_of("ula:8:0.5", [-20.0]),
        picture_of("ula:8:0.5", [15.0], view=MethodView("bartlett")),
    )
    panel.freeze_actions["A"].trigger()  # nothing there yet
    assert not panel.freeze_actions["A"].isChecked()
    panel.show_picture(first)
    panel.freeze_actions["A"].trigger()
    panel.show_picture(second)
    panel.freeze_actions["B"].trigger()
    panel.show_picture(picture_of("ula:8:0.5", [0.0]))
    assert np.array_equal(_curve(panel.linear, "A")[1], _levels(first))
    assert np.array_equal(_curve(panel.linear, "B")[1], _levels(second))
    assert re.search(r"A \d\d:\d\d:\d\d MUSIC, calibrated", panel.legend.text())
    assert re.search(r"B \d\d:\d\d:\d\d Bartlett, calibrated", panel.legend.text())
    panel.freeze_actions["A"].trigger()
    assert panel.linear._curves["A"].xData is None
    panel.clear_action.trigger()
    assert panel.linear._curves["B"].xData is None
    assert not panel.freeze_actions["B"].isChecked()


def test_it_says_when_angles_cannot_be_trusted(panel: DirectionsPanel) -> None:
    panel.show_picture(picture_of("ula:8:0.5", [10.0], calibrated=False))
    assert "not calibrated" in panel.legend.text()
    panel.show_picture(picture_of("ula:8:0.5", [10.0]))
    assert "not calibrated" not in panel.legend.text()
    panel.show_picture(picture_of("ula:8:0.5", [10.0], view=MethodView("gpi")))
    assert "GPI needs a known waveform" in panel.legend.text()
    silent = paint(Painter(), frame_of(stream_of("ula:4:0.5"), []))
    panel.show_picture(silent)
    assert "no signal" in panel.legend.text()
    panel.show_picture(replace(silent, stream=replace(silent.stream, geometry=None)))
    assert "array is not known" in panel.legend.text()
    assert _numbers(panel.linear) == []


def test_the_range_fits_the_method_and_is_calm() -> None:
    model = DirectionsModel()
    music, bartlett = (
        picture_of("ula:8:0.5", [10.0]),
        picture_of("ula:8:0.5", [10.0], view=MethodView("bartlett")),
    )
    deep = model.take(music).floor_db
    shallow = model.take(bartlett).floor_db
    assert deep < -40.0 <= shallow - 10
    stream = stream_of("ula:8:0.5")
    calibration, painter = calibration_of(stream), Painter()
    painter.use(calibration=calibration)
    floors = [
        model.take(paint(painter, frame_of(stream, [10.0], calibration, seed=seed))).floor_db
        for seed in range(30)
    ]
    assert len(set(floors)) <= 2


@pytest.mark.parametrize("view", ["linear", "polar", "compass"])
def test_many_directions_stay_readable(panel: DirectionsPanel, view: View) -> None:
    stream = stream_of("ula:16:0.5")
    doa = np.rad2deg(np.arcsin(np.linspace(-0.9, 0.9, 10)))
    picture = paint(Painter(), frame_of(stream, list(doa)))
    panel.show_view(view)
    panel.show_picture(picture)
    panel.show_picture(picture)
    assert f"{MOST_MARKERS} of 10 directions marked" in panel.legend.text()
    sigma = picture.sigma_deg[:MOST_MARKERS]
    assert f"± {sigma.min():.2g}° to {sigma.max():.2g}°" in panel.legend.text()
    shown = [n for n in panel.views[view].numbers if n.isVisible()]
    assert len(shown) == (2 if view == "compass" else 1) * MOST_MARKERS
    frames = [n.mapRectToScene(n.boundingRect()).adjusted(2, 2, -2, -2) for n in shown]
    assert not any(a.intersects(b) for i, a in enumerate(frames) for b in frames[i + 1 :])


def test_targets_are_large_and_explain_themselves(panel: DirectionsPanel) -> None:
    panel.show_view("compass")
    buttons = [panel.bar.widgetForAction(a) for a in panel.bar.actions() if a.text()]
    assert len(buttons) == 9
    for button in [*buttons, panel.heading]:
        assert button.toolTip()
        assert min(button.minimumHeight(), 999 if button is panel.heading else button.minimumWidth()) >= 32


@pytest.mark.parametrize("view", ["linear", "polar", "compass"])
@pytest.mark.parametrize("array", ["ula:4:1.0", "uca:8:0.6"])
def test_every_view_survives_a_change_of_theme(
    panel: DirectionsPanel, themed: Callable[[str], None], array: str, view: str
) -> None:
    panel.show_view(view)  # type: ignore[arg-type]
    panel.show_picture(picture_of(array, [12.0]))
    papers = []
    for theme in ("dark", "light"):
        themed(theme)
        papers.append(panel.grab().toImage().pixelColor(3, panel.height() - 3).lightness())
    assert papers[0] < 80 < 200 < papers[1]
    assert len(_numbers(panel.views[view])) >= 1  # type: ignore[index]
