"""The spectrum shows the levels of the picture; channels can be hidden, peaks held, the floor is that of the noise."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt

from gui.panels.spectrum import SpectrumPanel
from gui.picture import Picture
from tests.gui.pictures import picture_of


@pytest.fixture
def panel(qtbot) -> SpectrumPanel:
    made = SpectrumPanel()
    made.resize(1400, 300)
    qtbot.addWidget(made)
    made.show()
    return made


def _noise(picture: Picture, rng: np.random.Generator, floor_dbfs: float) -> Picture:
    """Seven averages of noise with a signal 40 dB above it in a quarter of the band."""
    m, f = picture.psd_dbfs.shape
    level = floor_dbfs + 10 * np.log10(rng.gamma(7, 1 / 7, (m, f)))
    level[:, f // 4 : f // 2] += 40.0
    return replace(picture, psd_dbfs=level)


def test_the_curves_are_the_levels_of_the_picture(panel: SpectrumPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    panel.show_picture(picture)
    assert len(panel._curves) == 4
    for m, curve in enumerate(panel._curves):
        x, y = curve.getData()
        assert np.array_equal(x, picture.frequency_hz)
        assert np.array_equal(y, picture.psd_dbfs[m])


def test_a_narrow_plot_keeps_every_line(panel: SpectrumPanel, qtbot) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    level = np.full_like(picture.psd_dbfs, -100.0)
    level[:, 437] = -20.0
    panel.resize(360, 200)
    qtbot.waitUntil(lambda: panel.plot.width() < 370, timeout=5_000)
    panel.show_picture(replace(picture, psd_dbfs=level))
    x, y = panel._curves[0].getData()
    assert len(x) <= panel.plot.width()
    assert y.max() == -20.0
    assert abs(x[np.argmax(y)] - picture.frequency_hz[437]) < 4e6 / len(x)


def test_a_click_hides_a_channel_and_another_shows_it(panel: SpectrumPanel, qtbot) -> None:
    panel.show_picture(picture_of("ula:4:0.5", [10.0]))
    button = panel.channels.buttons[2]
    assert button.text() == "2"
    assert min(button.width(), button.height()) >= 32
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert [c.isVisible() for c in panel._curves] == [True, True, False, True]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert panel._curves[2].isVisible()


def test_max_hold_keeps_the_largest_of_the_shown_channels_until_it_is_cleared(
    panel: SpectrumPanel, qtbot
) -> None:
    picture, rng = picture_of("ula:4:0.5", [10.0]), np.random.default_rng(1)
    pictures = [_noise(picture, rng, -90.0) for _ in range(5)]
    panel.hold.setChecked(True)
    for p in pictures:
        panel.show_picture(p)
    expected = np.max([p.psd_dbfs for p in pictures], axis=(0, 1))
    assert np.array_equal(panel.highest.getData()[1], expected)
    qtbot.mouseClick(panel.clear, Qt.MouseButton.LeftButton)
    assert not panel.highest.isVisible()
    panel.show_picture(pictures[0])
    assert np.array_equal(panel.highest.getData()[1], pictures[0].psd_dbfs.max(axis=0))


def test_the_floor_is_the_noise_beside_the_signal(panel: SpectrumPanel) -> None:
    picture, rng = picture_of("ula:4:0.5", [10.0]), np.random.default_rng(2)
    for _ in range(60):
        panel.show_picture(_noise(picture, rng, -87.0))
    assert panel.floor_dbfs == pytest.approx(-87.0, abs=0.5)
    assert panel.floor.value() == pytest.approx(panel.floor_dbfs)
    assert panel.floor_words.text() == "floor\n-87 dBFS"


def test_another_rate_and_another_number_of_channels_begin_anew(panel: SpectrumPanel) -> None:
    first = picture_of("ula:4:0.5", [10.0])
    panel.hold.setChecked(True)
    panel.show_picture(first)
    panel.show_picture(replace(first, frequency_hz=2 * first.frequency_hz, psd_dbfs=first.psd_dbfs - 30))
    assert panel.highest.getData()[1].max() == pytest.approx(first.psd_dbfs.max() - 30)
    panel.show_picture(picture_of("ula:2:0.5", [10.0]))
    assert len(panel._curves) == 2
    assert [b.isVisible() for b in panel.channels.buttons] == [True, True, False, False]


def test_a_picture_costs_little(panel: SpectrumPanel) -> None:
    picture = picture_of("ula:8:0.5", [10.0])
    panel.show_picture(picture)
    began = time.process_time()
    for _ in range(50):
        panel.show_picture(picture)
    assert (time.process_time() - began) / 50 < 0.03  # aim: 3 ms
