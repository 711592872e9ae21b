"""Directions over time: what was found is kept as it was, bounded, and comes out as a table."""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt

from gui.facts import Facts
from gui.panels.doa_history import DoaHistoryPanel
from gui.panels.doa_log import COLUMNS, SLOT_S, SPAN_S, DoaLog
from gui.picture import Picture
from gui.station import Station
from hil.core.epoch import EpochEvent, EpochScope
from tests.gui.pictures import picture_of


@pytest.fixture
def panel(qtbot):
    station = Station()
    made = DoaHistoryPanel(station)
    qtbot.addWidget(made)
    made.show()
    yield made
    station.close()


def _at(picture: Picture, t_s: float, doa: list[float], sigma: list[float], **more: object) -> Picture:
    return replace(
        picture, t_mono_ns=round(1e9 * t_s), first_sample=round(1e6 * t_s), doa_deg=np.array(doa), sigma_deg=np.array(sigma),
        n_sources=len(doa), **more,
    )  # fmt: skip


def test_every_direction_is_a_dash_and_its_sigma_a_bar(panel: DoaHistoryPanel) -> None:
    picture = picture_of("ula:6:0.5", [-20.0, 31.0])
    shown = [([-20.0, 31.0], [0.1, 0.2]), ([-19.0], [np.nan]), ([-18.0, 33.0], [0.3, 0.4])]
    for k, (doa, sigma) in enumerate(shown):
        panel._next_draw_s = 0.0
        panel.show_picture(_at(picture, 100 + SLOT_S * (k + 0.5), doa, sigma))
    x, y = panel.dashes.getData()
    assert y[::2].tolist() == y[1::2].tolist() == [-20.0, 31.0, -19.0, -18.0, 33.0]
    assert (x[1::2] - x[::2]) == pytest.approx(SLOT_S)
    assert x[::2] == pytest.approx([-2 * SLOT_S] * 2 + [-SLOT_S] + [0.0] * 2)
    low, high = panel.bands.getData()[1].reshape(-1, 2).T
    assert (high + low) / 2 == pytest.approx([-20.0, 31.0, -18.0, 33.0])
    assert (high - low) / 2 == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert panel.words.text() == "2 directions now"


def test_five_moments_a_second_and_ten_minutes_are_kept() -> None:
    picture, log = picture_of("ula:4:0.5", [10.0]), DoaLog()
    for k in range(300):
        log.add(_at(picture, 100 + k / 30, [float(k)], [0.1]))
    assert len(log) == pytest.approx(10 / SLOT_S, abs=1)
    for k in range(round(2 * SPAN_S / SLOT_S)):
        log.add(_at(picture, 200 + SLOT_S * k, [1.0], [0.1]))
    assert len(log) == round(SPAN_S / SLOT_S)


def test_epochs_and_gaps_are_marked(panel: DoaHistoryPanel) -> None:
    picture = picture_of("ula:4:0.5", [10.0])
    panel.show_picture(_at(picture, 100.0, [1.0], [0.1]))
    epoch = picture.stream.epoch.after(EpochEvent.STREAM_RESTART, EpochScope.GROUP_PHASES)
    panel.show_picture(_at(picture, 101.0, [1.0], [0.1], stream=replace(picture.stream, epoch=epoch)))
    panel.show_facts(Facts(gaps=0))
    panel.show_facts(Facts(gaps=1))
    assert [m.words for m in panel.history.marks] == ["restart #1", "gap"]


def test_the_csv_has_stable_columns_and_the_numbers_that_were_seen(
    panel: DoaHistoryPanel, qtbot, tmp_path: Path
) -> None:
    assert COLUMNS[:10] == (
        "time_utc", "time_s", "epoch", "method", "calibration", "n_sources", "rank", "doa_deg", "sigma_deg", "snr_db",
    )  # fmt: skip
    picture = picture_of("ula:6:0.5", [-20.0, 31.0])
    assert picture.calibration is not None
    now_s = time.monotonic()
    panel.show_picture(_at(picture, now_s - 2.0, [-20.125, 31.5], [0.25, np.nan], snr_db=17.5))
    panel.show_picture(_at(picture, now_s - 1.0, [], [], calibration=None, method="capon"))
    file = tmp_path / "directions.csv"
    panel.export(file)
    station = panel._station
    qtbot.waitUntil(lambda: any("3 rows" in done.words for done in station.done()), timeout=10_000)
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["rank"], r["doa_deg"], r["sigma_deg"]) for r in rows] == [
        ("0", "-20.1250", "0.2500"), ("1", "31.5000", ""), ("", "", ""),
    ]  # fmt: skip
    assert [r["time_s"] for r in rows] == ["0.000", "0.000", "1.000"]
    assert [r["calibration"] for r in rows] == [picture.calibration.id] * 2 + [""]
    assert [r["method"] for r in rows] == ["music", "music", "capon"]
    assert rows[0]["snr_db"] == "17.5000"
    age_s = time.time() - datetime.fromisoformat(rows[0]["time_utc"]).timestamp()
    assert 1.9 < age_s < 30


def test_a_file_that_cannot_be_written_is_one_line_in_the_log(
    panel: DoaHistoryPanel, qtbot, tmp_path: Path
) -> None:
    panel.show_picture(_at(picture_of("ula:4:0.5", [10.0]), 100.0, [1.0], [0.1]))
    panel.export(tmp_path / "nowhere" / "directions.csv")
    found = []
    qtbot.waitUntil(lambda: bool(found.extend(panel._station.done()) or found), timeout=10_000)
    assert "cannot write" in str(found[0].error)


def test_clear_forgets_and_targets_are_large(panel: DoaHistoryPanel, qtbot) -> None:
    panel.show_picture(_at(picture_of("ula:4:0.5", [10.0]), 100.0, [1.0], [0.1]))
    qtbot.mouseClick(panel.clear, Qt.MouseButton.LeftButton)
    assert not len(panel.history)
    assert min(panel.clear.height(), panel.export_button.height(), panel.span.height()) >= 32


def test_many_followed_calibrations_do_not_pile_up() -> None:
    picture, log = picture_of("ula:4:0.5", [10.0]), DoaLog()
    assert picture.calibration is not None
    for k in range(10_000):
        known = replace(picture.calibration, id=f"c{k}")
        log.add(_at(picture, 100 + SLOT_S * k, [1.0], [0.1], calibration=known))
    assert len(log._words) <= 2 * len(log) + 1
    assert log.kept().table()[-1][4] == "c9999"


def test_a_picture_costs_little(panel: DoaHistoryPanel) -> None:
    picture = picture_of("ula:8:0.5", [5.0])
    for k in range(3000):
        panel.history.add(_at(picture, 100 + SLOT_S * k, [1.0, 2.0, 3.0], [0.1] * 3))
    panel.span.setCurrentIndex(1)
    began = time.process_time()
    for k in range(60):
        panel.show_picture(_at(picture, 701 + k / 30, [1.0, 2.0, 3.0], [0.1] * 3))
    assert (time.process_time() - began) / 60 < 0.03  # aim: 3 ms
