"""The waterfall: right levels in the right place, fixed memory, holes where nothing was shown."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from gui.panels.waterfall import COLOUR_MAPS, SPANS_S, WaterfallPanel
from gui.picture import Picture
from tests.gui.pictures import picture_of

ROWS = 200


@pytest.fixture
def panel(qtbot) -> WaterfallPanel:
    made = WaterfallPanel()
    qtbot.addWidget(made)
    made.show()
    return made


def _at(picture: Picture, seconds: float, level_db: float = -80.0) -> Picture:
    """Flat at a level."""
    return replace(
        picture, t_mono_ns=round(1e9 * (1000.0 + seconds)), psd_dbfs=np.full_like(picture.psd_dbfs, level_db)
    )


def _run(panel: WaterfallPanel, picture: Picture, begin_s: float, end_s: float, level_db: float) -> None:
    for t in np.arange(begin_s, end_s, 0.025):
        panel.show_picture(_at(picture, float(t), level_db))


def test_the_newest_is_on_top_and_rows_are_equal_pieces_of_time(panel: WaterfallPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    _run(panel, picture, 0, 2, -90.0)
    _run(panel, picture, 2, 3, -50.0)
    rows = panel.levels_dbfs
    assert rows.shape == (ROWS, picture.psd_dbfs.shape[1])
    per_s = ROWS / SPANS_S[0]
    assert np.sum(np.isclose(rows[:, 0], -50.0, atol=0.01)) == pytest.approx(per_s, abs=2)
    assert np.sum(np.isclose(rows[:, 0], -90.0, atol=0.01)) == pytest.approx(2 * per_s, abs=2)
    assert rows[-1, 0] == pytest.approx(-50.0, abs=0.01)
    # the last row of the image lies at 0 s, the first at 10 s
    corners = [panel.image.mapToParent(0, y).y() for y in (0, ROWS)]
    assert corners == pytest.approx([SPANS_S[0], 0.0])
    left, right = (panel.image.mapToParent(x, 0).x() for x in (0, rows.shape[1]))
    assert left < picture.frequency_hz[0] < picture.frequency_hz[-1] < right


def test_a_pause_is_a_hole_as_long_as_the_pause(panel: WaterfallPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    _run(panel, picture, 0, 1, -60.0)
    _run(panel, picture, 4, 5, -60.0)
    dark = np.isnan(panel.levels_dbfs[-100:, 0])
    assert dark[-15:].sum() == 0
    assert dark[-80:-20].sum() == pytest.approx(60, abs=2)
    assert np.array_equal(panel.image.image[-100:, 0] == 0, dark)


def test_the_mean_is_of_powers_and_a_channel_can_be_chosen(panel: WaterfallPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    level = np.tile(np.array([-40.0, -50.0, -60.0, -70.0])[:, None], (1, picture.psd_dbfs.shape[1]))
    for k in range(8):
        panel.show_picture(replace(_at(picture, 0.05 * k), psd_dbfs=level))
    expected = 10 * np.log10(np.mean(10 ** (level[:, 0] / 10)))
    assert panel.levels_dbfs[-1, 3] == pytest.approx(expected, abs=0.01)
    panel.channel.setCurrentText("channel 2")
    for k in range(8, 16):
        panel.show_picture(replace(_at(picture, 0.05 * k), psd_dbfs=level))
    assert panel.levels_dbfs[-1, 3] == pytest.approx(-60.0, abs=0.01)


def test_memory_is_bounded_and_a_day_old_row_is_forgotten(panel: WaterfallPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    panel.show_picture(_at(picture, 0.0))
    size = panel._levels._rows.nbytes + panel._indices._rows.nbytes
    for k in range(1000):
        panel.show_picture(_at(picture, 0.05 * k))
    panel.show_picture(_at(picture, 86_400.0))
    assert panel._levels._rows.nbytes + panel._indices._rows.nbytes == size
    assert size < 3e6
    assert np.isnan(panel.levels_dbfs).all()


def test_levels_follow_what_is_there_or_are_set(panel: WaterfallPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    _run(panel, picture, 0, 3, -72.0)
    assert panel.low.value() < -72.0 < panel.high.value()
    assert panel.high.value() - panel.low.value() <= 20.0
    panel.auto.setChecked(False)
    panel.low.setValue(-100.0)
    panel.high.setValue(-46.0)
    assert panel.image.image is not None
    panel.show_picture(_at(picture, 3.1, -72.0))
    index = panel._indices.rows[-2, 0]
    assert index == pytest.approx(1 + 254 * 28 / 54, abs=1)


def test_every_colour_map_can_be_chosen_and_viridis_is_first(panel: WaterfallPanel) -> None:
    assert panel.colours.itemText(0) == "viridis"
    panel.show_picture(_at(picture_of("ula:4:0.5", [10.0]), 0.0))
    tables = set()
    for name in COLOUR_MAPS:
        panel.colours.setCurrentText(name)
        tables.add(np.asarray(panel.image.lut).tobytes())
        assert panel.image.lut[0, 3] == 0
    assert len(tables) == len(COLOUR_MAPS)


def test_another_carrier_begins_anew(panel: WaterfallPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    _run(panel, picture, 0, 1, -60.0)
    stream = replace(picture.stream, config=replace(picture.stream.config, fc_hz=2.4e9))
    panel.show_picture(replace(_at(picture, 1.1), stream=stream))
    assert np.isnan(panel.levels_dbfs).all()


def test_a_picture_costs_little(panel: WaterfallPanel) -> None:
    picture = picture_of("ula:8:0.5", [10.0])
    panel.show_picture(_at(picture, 0.0))
    began = time.process_time()
    for k in range(50):
        panel.show_picture(_at(picture, 0.033 * k))
    assert (time.process_time() - began) / 50 < 0.03  # aim: 3 ms
