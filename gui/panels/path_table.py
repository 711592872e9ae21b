"""The paths of an angle-delay map in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from hil.dsp.angle_delay_paths import Path

_ROW_PX = 24


class PathTable(QTableWidget):
    """One row a path, strongest first, each value with one standard deviation; cells are made once and reused."""

    def __init__(self) -> None:
        super().__init__(0, 5)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.verticalHeader().setVisible(True)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for column in (2, 3, 4):
            self.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.verticalHeader().setDefaultSectionSize(_ROW_PX)
        self.setMinimumSize(200, 60)
        self._unit = ""

    def show_paths(self, paths: Sequence[Path], unit: str) -> None:
        """unit : "m" or "ns", of the second column."""
        if unit != self._unit:
            self._unit = unit
            second = "range / m" if unit == "m" else "delay / ns"
            self.setHorizontalHeaderLabels(["angle / °", second, "dB", "SNR", "m/s"])
        if self.rowCount() != len(paths):
            self.setRowCount(len(paths))
        for row, path in enumerate(paths):
            for column, text in enumerate(_cells(path, unit)):
                item = self.item(row, column)
                if item is None:
                    item = QTableWidgetItem()
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                    self.setItem(row, column, item)
                item.setText(text)


def _cells(path: Path, unit: str) -> tuple[str, ...]:
    late, sigma = (
        (path.range_m, path.range_sigma_m) if unit == "m" else (path.delay_s * 1e9, path.delay_sigma_s * 1e9)
    )
    speed = "-" if math.isnan(path.range_rate_m_s) else f"{path.range_rate_m_s:+.2f}"
    return (
        _with_sigma(path.angle_deg, path.angle_sigma_deg, sign=True), _with_sigma(late, sigma), f"{path.power_db:.1f}",
        f"{path.snr_db:.0f}", speed,
    )  # fmt: skip


def _with_sigma(value: float, sigma: float, *, sign: bool = False) -> str:
    """The value to the last digit that two figures of sigma know, at most three."""
    if not (math.isfinite(sigma) and sigma > 0):
        return f"{value:+.2f}" if sign else f"{value:.2f}"
    digits = min(max(1 - math.floor(math.log10(sigma)), 0), 3)
    return f"{value:{'+' if sign else ''}.{digits}f} ± {sigma:.{digits}f}"
