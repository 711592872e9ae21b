"""What changed between two calibrations, element by element."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from hil.store.difference import Difference

_COLUMNS = ("element", "gain / dB", "phase / °", "x / mm", "y / mm", "z / mm")
_PLAIN_SIGMAS = 3.0


class DifferenceTable(QWidget):
    """Hidden until there is something to show; what is more than three standard deviations is bold."""

    def __init__(self) -> None:
        super().__init__()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.close_button = QPushButton("Close")
        self.close_button.setMinimumHeight(32)
        self.close_button.clicked.connect(self.hide)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        top, column = QHBoxLayout(), QVBoxLayout(self)
        top.addWidget(self.words, stretch=1)
        top.addWidget(self.close_button, alignment=Qt.AlignmentFlag.AlignTop)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.table)
        self.hide()

    def show_difference(self, d: Difference) -> None:
        """Second minus first, both with reference phase 0, mean power 1 and mean position 0."""
        told = [f"{d.first[:12]} → {d.second[:12]}"]
        if not math.isnan(d.correlation_min):
            told.append(f"steering vectors agree to {d.correlation_min:.6f} at least (1: equal)")
        told += [
            words
            for same, words in (
                (d.same_device, "other device"), (d.same_geometry, "other nominal array"), (d.same_epoch, "other epoch"),
            )
            if not same
        ]  # fmt: skip
        self.words.setText("; ".join(told) + ".")
        self.table.setRowCount(len(d.gain_db))
        for m in range(len(d.gain_db)):
            self._put(m, 0, str(m), False)
            self._measured(m, 1, d.gain_db[m], d.sigma_gain_db[m], 2)
            self._measured(m, 2, d.phase_deg[m], d.sigma_phase_deg[m], 2)
            for k in range(3):
                self._measured(m, 3 + k, 1e3 * d.position_m[m, k], 1e3 * d.sigma_position_m[m, k], 3)
        self.table.resizeColumnsToContents()
        self.show()

    def _measured(self, m: int, k: int, value: float, sigma: float, digits: int) -> None:
        known = math.isfinite(sigma) and sigma > 0
        text = f"{value + 0.0:+.{digits}f}" + (f" ± {sigma:.2g}" if known else "")
        self._put(m, k, text, bool(known and abs(value) > _PLAIN_SIGMAS * sigma))

    def _put(self, m: int, k: int, text: str, bold: bool) -> None:
        item = QTableWidgetItem(text)
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        font = item.font()
        font.setBold(bold)
        item.setFont(font)
        self.table.setItem(m, k, item)
