"""The heat map of an angle-delay panel: power over angle and delay, rings around paths, one resolution cell, read-out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal

from gui.echo_map import EchoMap
from gui.panels.waterfall import COLOUR_MAPS
from hil.core.units import SPEED_OF_LIGHT_M_S

_RING = "#e8814c"
_MOST_LABELS = 8
#: With more paths than this only numbers have room beside the rings.
_FEW = 4
_ROOMY_PX = 220
#: The greatest level follows only when it is clearly another one.
_STEP_DB = 2.0
_MOVES_HZ = 30


class EchoPlot(pg.PlotWidget):
    """Drawn anew only for a new map; `pointed` says what lies under the mouse."""

    pointed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setLabel("bottom", "direction / °")
        self.setMenuEnabled(False)
        self.hideButtons()
        self.getViewBox().setDefaultPadding(0)
        self.image = pg.ImageItem(axisOrder="row-major")
        self.addItem(self.image)
        self.bar = pg.ColorBarItem(width=12, interactive=False, label="dB")
        item: Any = self.getPlotItem()
        item.layout.addItem(self.bar, 2, 5)
        self.spread = pg.ErrorBarItem(pen=pg.mkPen("w", width=1.5))
        self.rings = pg.ScatterPlotItem(size=16, pen=pg.mkPen(_RING, width=2.5), brush=None)
        self.cell = pg.PlotCurveItem(pen=pg.mkPen("w", width=1.5))
        for drawn in (self.spread, self.rings, self.cell):
            self.addItem(drawn)
        self.cell_words = pg.TextItem(color="w", anchor=(0, 0.5), fill="#00000080")
        self.addItem(self.cell_words)
        self.labels = [pg.TextItem(color="w", anchor=(0, 1), fill="#000000a0") for _ in range(_MOST_LABELS)]
        self.cross = [
            pg.InfiniteLine(angle=a, pen=pg.mkPen("#ffffffa0", style=Qt.PenStyle.DashLine)) for a in (90, 0)
        ]
        for drawn in (*self.labels, *self.cross):
            drawn.setVisible(False)
            self.addItem(drawn)
        self._map: EchoMap | None = None
        self._scale = 1.0
        self._extent: tuple[object, ...] = ()
        self._top_db, self._span_db = -np.inf, 40.0
        scene: Any = self.scene()
        self._moves = pg.SignalProxy(scene.sigMouseMoved, rateLimit=_MOVES_HZ, slot=self._moved)
        self.use_colours("viridis")

    @property
    def levels_db(self) -> tuple[float, float]:
        """Of the lowest and the highest colour."""
        return self._top_db - self._span_db, self._top_db

    def use_colours(self, name: str) -> None:
        """One of the waterfall's maps."""
        colours = COLOUR_MAPS[name]
        found = pg.colormap.get(colours) if isinstance(colours, str) else pg.ColorMap(None, list(colours))
        assert found is not None
        table: Any = found.getLookupTable(nPts=256)
        self.image.setLookupTable(table)
        self.bar.setColorMap(found)

    def use_span(self, span_db: float) -> None:
        """Levels shown below the greatest one."""
        self._span_db = span_db
        self._level()

    def whole(self) -> None:
        """All of the map."""
        if self._map is not None:
            y = self._map.delays_s * self._scale
            x = self._map.angles_deg
            self.getViewBox().setRange(xRange=(x[0], x[-1]), yRange=(y[0], y[-1]), padding=0)

    def show_map(self, made: EchoMap, scale: float, label: str) -> None:
        """scale : units of the axis per second of delay."""
        self._map, self._scale = made, scale
        top = float(made.level_db.max())
        if abs(top - self._top_db) > _STEP_DB or top > self._top_db:
            self._top_db = np.ceil(top)
            self.bar.setLevels(self.levels_db)
        self._level()
        extent = (
            float(made.angles_deg[0]), float(made.angles_deg[-1]), float(made.delays_s[0]), float(made.delays_s[-1]),
            made.level_db.shape, scale, label, made.range_bin_m,
        )  # fmt: skip
        if extent != self._extent:
            self._extent = extent
            self._place(made, label)

    def show_paths(self, made: EchoMap, scale: float) -> None:
        """Rings, numbers and one standard deviation."""
        x = np.array([p.angle_deg for p in made.paths])
        y = np.array([p.delay_s * scale for p in made.paths])
        self.rings.setData(x, y)
        width = np.array([2 * p.angle_sigma_deg for p in made.paths])
        height = np.array([2 * p.delay_sigma_s * scale for p in made.paths])
        self.spread.setData(x=x, y=y, width=width, height=height)
        few = len(made.paths) <= _FEW and self.height() > _ROOMY_PX
        for k, label in enumerate(self.labels):
            label.setVisible(k < len(made.paths))
            if k < len(made.paths):
                path = made.paths[k]
                label.setText(
                    f"{k + 1}  {path.angle_deg:+.1f}° ± {path.angle_sigma_deg:.2g}" if few else f"{k + 1}"
                )
                label.setAnchor(QPointF(1.0 if x[k] > made.angles_deg[-1] / 3 else 0.0, 1.0))
                label.setPos(x[k], y[k])

    def _level(self) -> None:
        if self._map is None:
            return
        low, high = self.levels_db
        index = np.clip((self._map.level_db.T - np.float32(low)) * np.float32(255 / (high - low)), 0, 255)
        self.image.setImage(np.ascontiguousarray(index, np.uint8), autoLevels=False, levels=None)
        if self.bar.levels() != (low, high):
            self.bar.setLevels((low, high))

    def _place(self, made: EchoMap, label: str) -> None:
        """Axes, and one resolution cell in the corner of the map."""
        x, y = made.angles_deg, made.delays_s * self._scale
        dx, dy = (x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1)
        self.image.setRect(QRectF(x[0] - dx / 2, y[0] - dy / 2, x[-1] - x[0] + dx, y[-1] - y[0] + dy))
        self.setLabel("left", label)
        planar = x[-1] > 90
        self.setLabel(
            "bottom", "azimuth / ° (0: +y, positive towards +x)" if planar
            else "direction / ° (0: broadside, positive towards +x)",
        )  # fmt: skip
        bin_y = 2 * made.range_bin_m / SPEED_OF_LIGHT_M_S * self._scale
        left, top = x[0] + 0.02 * (x[-1] - x[0]), y[-1] - 0.03 * (y[-1] - y[0])
        right, bottom = left + min(made.beamwidth_deg, (x[-1] - x[0]) / 3), top - bin_y
        self.cell.setData([left, right, right, left, left], [bottom, bottom, top, top, bottom])
        self.cell_words.setText(f"one cell: {made.beamwidth_deg:.2g}°, range bin {made.range_bin_m:.4g} m")
        self.cell_words.setPos(right, (top + bottom) / 2)
        self.whole()

    def _moved(self, event: tuple[QPointF]) -> None:
        made = self._map
        if made is None:
            return
        at = self.getViewBox().mapSceneToView(event[0])
        a = int(np.argmin(np.abs(made.angles_deg - at.x())))
        inside = made.angles_deg[0] <= at.x() <= made.angles_deg[-1]
        delay_s = at.y() / self._scale
        d = int(np.argmin(np.abs(made.delays_s - delay_s)))
        inside = bool(inside and made.delays_s[0] <= delay_s <= made.delays_s[-1])
        for line, value in zip(self.cross, (at.x(), at.y()), strict=True):
            line.setVisible(inside)
            line.setValue(value)
        self.pointed.emit(
            f"{at.x():+.1f}°  {delay_s * SPEED_OF_LIGHT_M_S / 2:.1f} m  {delay_s * 1e9:.0f} ns  {made.level_db[a, d]:.1f} dB"
            if inside else ""
        )  # fmt: skip
