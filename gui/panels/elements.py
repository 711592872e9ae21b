"""What was learned of each element, drawn where the element stands."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QLabel, QVBoxLayout

from gui.panels.panel import Panel
from hil.core.calibration import Calibration

_CIRCLE = np.exp(2j * np.pi * np.linspace(0, 1, 49))
_ARC = np.linspace(-1, 1, 13)
#: Largest circle, and largest displacement, in distances between neighbours.
_RADIUS, _SHIFT = 0.42, 0.45
_HEAD = 0.09
_NAME = 0.65
_GAIN, _PHASE, _PLACE, _NOMINAL = "#4c9be8", "#e8814c", "#58b368", "#9aa5b1"


class ElementsPanel(Panel):
    """A circle for each element: radius is the gain (dotted: 1), the hand the phase (up is 0, clockwise positive), the arrow
    the displacement, drawn larger as stated. Bands and bars are one standard deviation."""

    title = "Elements"

    def __init__(self) -> None:
        super().__init__()
        self.plot = pg.PlotWidget()
        self.plot.setAspectLocked(True)
        self.plot.hideAxis("left")
        self.plot.hideAxis("bottom")
        self.plot.setMouseEnabled(x=False, y=False)
        self.words = QLabel("Nothing is learned yet.")
        self.words.setWordWrap(True)
        self.setToolTip(
            "Circle: gain (dotted: 1). Hand: phase (up: 0°, clockwise). Arrow: displacement, drawn larger as stated. "
            "Bands and bars: one standard deviation."
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.plot, stretch=1)
        column.addWidget(self.words)
        dotted = pg.mkPen(_NOMINAL, width=1, style=Qt.PenStyle.DotLine)
        self._ones = self._curve(dotted)
        self._gain_band = self._curve(pg.mkPen(_GAIN + "80", width=1))
        self.circles = self._curve(pg.mkPen(_GAIN, width=2))
        self._fans = self._curve(pg.mkPen(_PHASE + "90", width=5))
        self.hands = self._curve(pg.mkPen(_PHASE, width=2))
        self.arrows = self._curve(pg.mkPen(_PLACE, width=3))
        self._bars = self._curve(pg.mkPen(_PLACE, width=1))
        self._names: list[pg.TextItem] = []
        self.exaggeration = 1.0

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Another theme has other ink."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_names"):
            for item in self._names:
                item.setColor(self.palette().text().color())
        super().changeEvent(event)

    def show_calibration(self, calibration: Calibration) -> None:
        """Draw its elements."""
        imp, sigma = calibration.impairments, calibration.sigma
        nominal = calibration.geometry.positions_m
        place = nominal[:, 0] + 1j * nominal[:, 1]
        pitch_m = _pitch(place)
        # the picture's unit is the distance of the nearest neighbours
        at = (place - place.mean()) / pitch_m
        gain = imp.gain
        scale = _RADIUS / max(float(np.abs(gain).max()), 1.0)
        # 0 degrees points up, positive turns clockwise, like a compass
        turn = 1j * np.conj(gain) * scale
        spread = 10 ** (np.nan_to_num(sigma.gain_db) / 20)
        radius = scale * np.abs(gain)
        self._ones.setData(*_rings(at, np.full(len(at), scale)))
        self.circles.setData(*_rings(at, radius))
        self._gain_band.setData(
            *_rings(np.concatenate((at, at)), np.concatenate((radius * spread, radius / spread)))
        )
        self.hands.setData(*_strokes(np.column_stack((at, at + turn))))
        wide = np.deg2rad(np.nan_to_num(sigma.phase_deg))
        self._fans.setData(*_strokes(at[:, None] + turn[:, None] * np.exp(1j * wide[:, None] * _ARC)))
        shift_m = imp.position_error_m[:, 0] + 1j * imp.position_error_m[:, 1]
        self.exaggeration = _exaggeration(shift_m, pitch_m)
        self._draw_shifts(
            at, shift_m * self.exaggeration / pitch_m, sigma.position_m * self.exaggeration / pitch_m
        )
        self._draw_names(at, calibration)
        self.plot.getViewBox().setRange(
            xRange=(at.real.min() - _NAME, at.real.max() + _NAME),
            yRange=(at.imag.min() - _NAME, at.imag.max() + _NAME),
            padding=0.05,
        )
        self.words.setText(self._legend(calibration))

    def _draw_shifts(
        self, at: NDArray[np.complex128], shift: NDArray[np.complex128], sigma: NDArray[np.float64]
    ) -> None:
        tip = at + shift
        size = np.abs(shift)
        along = np.divide(shift, size, out=np.zeros_like(shift), where=size > 0) * np.minimum(_HEAD, size)
        head = [tip - along * np.exp(1j * a) for a in (0.5, -0.5)]
        self.arrows.setData(*_strokes(np.column_stack((at, tip, head[0], tip, head[1]))))
        x, y = np.nan_to_num(sigma[:, 0]), np.nan_to_num(sigma[:, 1])
        self._bars.setData(
            *_strokes(
                np.concatenate(
                    (np.column_stack((tip - x, tip + x)), np.column_stack((tip - 1j * y, tip + 1j * y)))
                )
            )
        )

    def _draw_names(self, at: NDArray[np.complex128], calibration: Calibration) -> None:
        while len(self._names) > len(at):
            self.plot.removeItem(self._names.pop())
        while len(self._names) < len(at):
            self._names.append(pg.TextItem(color=self.palette().text().color(), anchor=(0.5, 0.5)))
            self.plot.addItem(self._names[-1])
        flat = bool(np.ptp(at.imag) < 1e-9)
        for m, (item, place) in enumerate(zip(self._names, at, strict=True)):
            item.setText(f"{m} ref" if m == calibration.reference_element else str(m))
            # away from the array's middle; below a line
            away = -1j if flat or abs(place) == 0 else place / abs(place)
            where = place + _NAME * away
            item.setPos(where.real, where.imag)

    def _legend(self, calibration: Calibration) -> str:
        shifted = np.any(calibration.impairments.position_error_m)
        tall = np.any(calibration.geometry.positions_m[:, 2])
        arrows = f"Arrows × {self.exaggeration:g}. " if shifted else ""
        return arrows + "Bands: one σ." + (" From above: heights are in Numbers." if tall else "")

    def _curve(self, pen: object) -> pg.PlotCurveItem:
        curve = pg.PlotCurveItem(pen=pen, connect="finite")
        self.plot.addItem(curve)
        return curve


def _pitch(place: NDArray[np.complex128]) -> float:
    """Distance of the nearest neighbours; 1 where all stand on one spot."""
    gaps = np.abs(place[:, None] - place[None, :])
    apart = gaps[gaps > 1e-9]
    return float(apart.min()) if len(apart) else 1.0


def _exaggeration(shift_m: NDArray[np.complex128], pitch_m: float) -> float:
    """1, 2, 5, 10, ... times: the largest displacement stays within reach of its element."""
    largest = float(np.abs(shift_m).max())
    if largest <= 0:
        return 1.0
    room = _SHIFT * pitch_m / largest
    step = 10.0 ** math.floor(math.log10(room))
    return min(max(step * max(s for s in (1, 2, 5) if s * step <= room * (1 + 1e-9)), 1.0), 1000.0)


def _rings(
    at: NDArray[np.complex128], radius: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _strokes(at[:, None] + radius[:, None] * _CIRCLE)


def _strokes(points: NDArray[np.complex128]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x, y of one line a row (L, P), NaN between them."""
    apart = np.column_stack((points, np.full(len(points), complex(np.nan, np.nan))))
    return np.real(apart).ravel(), np.imag(apart).ravel()
