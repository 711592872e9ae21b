"""Spectrum over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QRectF
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout

from gui.history import History
from gui.panels.panel import Panel
from gui.picture import Picture

_HEIGHT_PX = 32
_ROWS = 200
_MOST_COLUMNS = 1024
SPANS_S = (10.0, 60.0, 600.0)
#: Name on screen -> map of pyqtgraph, or colours.
COLOUR_MAPS: dict[str, str | tuple[str, ...]] = {
    "viridis": "viridis", "inferno": "inferno", "magma": "magma", "plasma": "plasma", "turbo": "turbo",
    "grey": "CET-L1",
    "classic": ("#000020", "#000070", "#0040c0", "#00a0ff", "#ffff40", "#ff8000", "#c00000", "#ffffff"),
}  # fmt: skip
_AUTO_S = 1.0
_AUTO_STEP_DB = 3.0
_NOTHING = -300.0
#: A shorter pause is a late picture, not a hole.
_LATE_S = 0.5


@dataclass(slots=True)
class _Slot:
    """Power that gathers for the next row."""

    index: int
    power: NDArray[np.float64]
    count: int = 0


class WaterfallPanel(Panel):
    """Spectrum of one channel or the mean of all over time, the newest on top; no colour where nothing was shown.

    Memory is fixed: 200 rows of levels and as many of colour indices. Every row is an equal piece of time, the mean
    power of its pictures.
    """

    title = "Waterfall"

    def __init__(self) -> None:
        super().__init__()
        self.plot = pg.PlotWidget()
        self.plot.setLabel("bottom", "frequency from the carrier", units="Hz")
        self.plot.setLabel("left", "seconds ago")
        self.plot.invertY(True)
        self.plot.getViewBox().setDefaultPadding(0)
        self.image = pg.ImageItem(axisOrder="row-major")
        self.plot.addItem(self.image)
        self.bar = pg.ColorBarItem(width=12, interactive=False)
        item = self.plot.getPlotItem()
        assert item is not None
        item.layout.addItem(self.bar, 2, 5)  # pyright: ignore[reportAttributeAccessIssue]
        self.channel = self._combo(("mean of all",), "Which channel")
        self.span = self._combo(tuple(_span_words(s) for s in SPANS_S), "How far back")
        self.colours = self._combo(tuple(COLOUR_MAPS), "Colour map")
        self.auto = QCheckBox("Auto")
        self.auto.setChecked(True)
        self.auto.setToolTip("Levels follow what is there; else they are set, dBFS")
        self.auto.setMinimumHeight(_HEIGHT_PX)
        self.to = QLabel("to")
        self.low, self.high = (
            self._level(-100.0, "Lowest level, dBFS"),
            self._level(-20.0, "Highest level, dBFS"),
        )
        row = QHBoxLayout()
        for widget in (self.channel, self.span, self.colours, self.auto, self.low, self.to, self.high):
            row.addWidget(widget)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 4, 0)
        column.addLayout(row)
        column.addWidget(self.plot, stretch=1)
        self._axis: tuple[float, float, float, int] | None = None
        self._levels = History(1, _ROWS, np.float32)
        self._indices = History(1, _ROWS, np.uint8)
        self._slot: _Slot | None = None
        self._next_auto_s = 0.0
        self.channel.currentIndexChanged.connect(self.forget)
        self.span.currentIndexChanged.connect(self.forget)
        self.colours.currentTextChanged.connect(self._recolour)
        self.auto.toggled.connect(self._auto_toggled)
        for box in (self.low, self.high):
            box.valueChanged.connect(self._requantise)
        self._auto_toggled(True)
        self._recolour(self.colours.currentText())

    @property
    def levels_dbfs(self) -> NDArray[np.float32]:
        """(rows, columns), newest last; NaN where nothing was shown."""
        rows = self._levels.rows.copy()
        rows[rows <= _NOTHING] = np.nan
        return rows

    def forget(self) -> None:
        """Begin again."""
        self._axis = None

    def show_picture(self, picture: Picture) -> None:
        """Take its spectrum and draw what there is."""
        self._count_channels(len(picture.psd_dbfs))
        now_s = picture.t_mono_ns / 1e9
        frequency = picture.frequency_hz
        axis = (picture.stream.fc_hz, float(frequency[0]), float(frequency[-1]), len(frequency))
        if axis != self._axis:
            self._begin(axis)
        self._take(self._power(picture.psd_dbfs), int(now_s / self._slot_s()))
        if self.auto.isChecked() and now_s >= self._next_auto_s:
            self._next_auto_s = now_s + _AUTO_S
            self._auto()
        self.image.setImage(self._indices.rows, autoLevels=False, levels=None)

    def _take(self, power: NDArray[np.float64], index: int) -> None:
        """Into the row of this moment; a row is written once its time is over."""
        slot = self._slot
        if slot is None or index < slot.index:
            self._slot = slot = _Slot(index, np.zeros(len(power)))
        if index > slot.index:
            level = 10 * np.log10(np.maximum(slot.power / max(slot.count, 1), 1e-29))
            self._write(level)
            missing = index - slot.index - 1
            hole = np.full(len(power), _NOTHING) if missing * self._slot_s() > _LATE_S else level
            for _ in range(min(missing, _ROWS)):
                self._write(hole)
            self._slot = slot = _Slot(index, np.zeros(len(power)))
        slot.power += power
        slot.count += 1

    def _write(self, level: NDArray[np.float64]) -> None:
        self._levels.append(0.0, level)
        self._indices.append(0.0, self._quantised(level))

    def _power(self, psd_dbfs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(columns,) of the chosen channel; the largest of neighbours where there are more bins than columns."""
        m = self.channel.currentIndex() - 1
        level = psd_dbfs if m < 0 else psd_dbfs[m : m + 1]
        power = (10 ** (level / 10)).mean(axis=0)
        n = -(-len(power) // _MOST_COLUMNS)
        return power if n == 1 else np.maximum.reduceat(power, np.arange(0, len(power), n))

    def _begin(self, axis: tuple[float, float, float, int]) -> None:
        self._axis, self._slot = axis, None
        _, low, high, n = axis
        columns = -(-n // -(-n // _MOST_COLUMNS))
        self._levels = History(columns, _ROWS, np.float32)
        self._indices = History(columns, _ROWS, np.uint8)
        for _ in range(_ROWS):
            self._levels.append(0.0, _NOTHING)
            self._indices.append(0.0, 0)
        self.image.setImage(self._indices.rows, autoLevels=False, levels=None)
        span_s = self._slot_s() * _ROWS
        # the newest row is the last one: at 0 s
        half = (high - low) / max(n - 1, 1) / 2
        self.image.setRect(QRectF(low - half, span_s, high - low + 2 * half, -span_s))
        box = self.plot.getViewBox()
        box.setRange(xRange=(low - half, high + half), yRange=(0, span_s), padding=0)
        self._next_auto_s = 0.0

    def _slot_s(self) -> float:
        return SPANS_S[self.span.currentIndex()] / _ROWS

    def _quantised(self, level: NDArray[np.floating]) -> NDArray[np.uint8]:
        """0: nothing; 1 to 255: from the lowest to the highest level."""
        low, high = self.low.value(), max(self.high.value(), self.low.value() + 1.0)
        index = np.clip((level - low) * (254.0 / (high - low)) + 1.0, 1.0, 255.0)
        index[level <= _NOTHING] = 0
        return index.astype(np.uint8)

    def _requantise(self) -> None:
        self.bar.setLevels((self.low.value(), max(self.high.value(), self.low.value() + 1.0)))
        if len(self._levels):
            self._indices.rows[:] = self._quantised(self._levels.rows)

    def _auto(self) -> None:
        """Levels from just below the floor to the strongest bin, moved only when they are clearly wrong."""
        rows = self._levels.rows[-_ROWS // 3 :]
        there = rows[rows[:, 0] > _NOTHING]
        if not len(there):
            if self._slot is None or not self._slot.count:
                return
            there = (10 * np.log10(np.maximum(self._slot.power / self._slot.count, 1e-29)))[None]
        low = 5 * np.floor((np.quantile(there, 0.05) - 3) / 5)
        high = 5 * np.ceil((float(there.max()) + 1) / 5)
        if max(abs(low - self.low.value()), abs(high - self.high.value())) >= _AUTO_STEP_DB:
            for box, value in ((self.low, low), (self.high, high)):
                box.blockSignals(True)
                box.setValue(float(value))
                box.blockSignals(False)
            self._requantise()

    def _auto_toggled(self, on: bool) -> None:
        for box in (self.low, self.to, self.high):
            box.setVisible(not on)
        self._next_auto_s = 0.0

    def _recolour(self, name: str) -> None:
        colours = COLOUR_MAPS[name]
        found = pg.colormap.get(colours) if isinstance(colours, str) else pg.ColorMap(None, list(colours))
        assert found is not None
        table = np.empty((256, 4), np.uint8)
        table[1:] = np.asarray(found.getLookupTable(nPts=255, alpha=True))
        table[0] = 0
        self.image.setLookupTable(table)
        self.bar.setColorMap(found)
        self.bar.setLevels((self.low.value(), self.high.value()))

    def _count_channels(self, n: int) -> None:
        if self.channel.count() == n + 1:
            return
        chosen = self.channel.currentIndex()
        self.channel.blockSignals(True)
        self.channel.clear()
        self.channel.addItems(["mean of all", *(f"channel {m}" for m in range(n))])
        self.channel.setCurrentIndex(chosen if chosen <= n else 0)
        self.channel.blockSignals(False)
        self.forget()

    def _combo(self, items: tuple[str, ...], tip: str) -> QComboBox:
        box = QComboBox()
        box.addItems(list(items))
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(6)
        box.setMinimumHeight(_HEIGHT_PX)
        box.setToolTip(tip)
        return box

    def _level(self, value: float, tip: str) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setDecimals(0)
        box.setRange(-200.0, 20.0)
        box.setValue(value)
        box.setToolTip(tip)
        box.setMinimumHeight(_HEIGHT_PX)
        return box


def _span_words(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
