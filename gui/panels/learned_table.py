"""Numbers of what was learned: a table of the elements, and nominal against calibrated."""

from __future__ import annotations

import math

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from gui.learn_compare import ArrayFit, Compared
from hil.core.calibration import Calibration
from hil.core.units import SPEED_OF_LIGHT_M_S

_AXES = "xyz"


class _Table(QTableWidget):
    """Not edited, made of texts."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        super().__init__(0, len(columns))
        self.setHorizontalHeaderLabels(list(columns))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

    def show_rows(self, names: list[str], rows: list[list[str]]) -> None:
        """Texts, right aligned."""
        self.setRowCount(len(rows))
        self.setVerticalHeaderLabels(names)
        for i, row in enumerate(rows):
            for j, text in enumerate(row):
                item = self.item(i, j)
                if item is None:
                    item = QTableWidgetItem()
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                    self.setItem(i, j, item)
                if item.text() != text:
                    item.setText(text)

    def texts(self) -> list[list[str]]:
        """What is shown."""
        shown = []
        for i in range(self.rowCount()):
            items = [self.item(i, j) for j in range(self.columnCount())]
            shown.append([item.text() if item else "" for item in items])
        return shown


class ElementTable(_Table):
    """Gain in dB, phase in degrees, displacement in mm and wavelengths of every element, one standard deviation each."""

    def __init__(self) -> None:
        super().__init__(("gain / dB", "phase / °", *(f"d{a} / {u}" for u in ("mm", "λ") for a in _AXES)))

    def show_calibration(self, calibration: Calibration) -> None:
        """A row for each element; the reference is marked."""
        imp, sigma = calibration.impairments, calibration.sigma
        wavelength_m = SPEED_OF_LIGHT_M_S / calibration.fc_hz
        names, rows = [], []
        for m in range(imp.n_elements):
            ref = m == calibration.reference_element
            names.append(f"{m} ref" if ref else str(m))
            row = [
                measured(20 * math.log10(abs(imp.gain[m])), float(sigma.gain_db[m])),
                measured(float(np.rad2deg(np.angle(imp.gain[m]))), float(sigma.phase_deg[m])),
            ]
            for unit_m, digits in ((1e-3, 2), (wavelength_m, 4)):
                row += [
                    measured(
                        float(imp.position_error_m[m, a]) / unit_m,
                        float(sigma.position_m[m, a]) / unit_m,
                        digits,
                    )
                    for a in range(3)
                ]
            rows.append(row)
        self.show_rows(names, rows)
        for k, axis in enumerate(_AXES):
            learned = bool(
                np.any(imp.position_error_m[:, k]) or np.any(np.nan_to_num(sigma.position_m[:, k]) > 0)
            )
            self.setColumnHidden(2 + k, not learned)
            self.setColumnHidden(5 + k, not learned)
            header = self.horizontalHeaderItem(2 + k)
            if header is not None:
                header.setToolTip(f"true minus nominal {axis}, the mean over the elements taken out")


class ComparedTable(_Table):
    """Nominal array, calibrated array and the best there can be, on blocks that nothing was learned from."""

    def __init__(self) -> None:
        super().__init__(("nominal", "calibrated", "best"))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.setToolTip(
            "On blocks that came after those learned from; the truth is not needed, where it is not named"
        )

    def show_compared(self, c: Compared) -> None:
        """A row for each figure."""
        rows = {
            "null depth / dB": [
                _figure(c.nominal.null_db),
                _figure(c.calibrated.null_db),
                _figure(c.predicted_db),
            ],
            "phase error / °": [*_both(c, "phase_error_deg", 2), "0"],
            "peak / dB": [*_both(c, "peak_db"), ""],
            "width / °": [*_both(c, "width_deg"), ""],
        }
        if math.isfinite(c.nominal.doa_error_deg):
            rows["angle error / °"] = [*_both(c, "doa_error_deg", 3), _figure(c.known_doa_error_deg, 3)]
        self.show_rows(list(rows), list(rows.values()))


def measured(value: float, sigma: float, most_digits: int = 3) -> str:
    """A value with its standard deviation, to the digits that it has; without one where it is fixed or not known."""
    if not math.isfinite(sigma):
        return f"{value:.{most_digits}g} ± ?"
    if sigma <= 0:
        return f"{round(value, most_digits) + 0.0:g}"
    digits = min(max(1 - math.floor(math.log10(sigma)), 0), most_digits)
    return f"{round(value, digits) + 0.0:.{digits}f} ± {max(sigma, 10.0**-digits):.{digits}f}"


def _both(c: Compared, name: str, digits: int = 1) -> list[str]:
    return [_figure(_value(fit, name), digits) for fit in (c.nominal, c.calibrated)]


def _value(fit: ArrayFit, name: str) -> float:
    return getattr(fit, name)


def _figure(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
