"""The array from above: numbered ports, where the elements were learned to be, the angle convention, directions found."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QVBoxLayout

from gui.facts import Facts
from gui.panels.compass import show_numbers
from gui.panels.directions_ink import ink_of, letters, shade
from gui.panels.directions_model import MOST_MARKERS, UNCROWDED, marker_text
from gui.panels.panel import Panel
from gui.picture import Picture
from gui.station import Station
from gui.theme import CHANNEL_COLOURS
from hil.core.calibration import Calibration
from hil.core.frame import StreamInfo
from hil.core.units import SPEED_OF_LIGHT_M_S

_MAGNIFICATIONS = tuple(d * 10**e for e in range(6) for d in (1, 2, 3, 5, 7))
#: The largest displacement is drawn as no more than this part of the smallest spacing.
_LARGEST_ARROW = 0.45
_CIRCLE_STEPS = 25
_HEAD_RAD, _HEAD = np.deg2rad(25.0), 0.3
#: How far directions reach, and what is seen to the sides, above and below, in parts of the array's extent.
_SEEN = {"line": (0.62, 0.72, 0.75, 0.22), "planar": (0.85, 1.0, 1.05, 1.05)}
#: Of rings, and of the dots at the places learned, pixels.
_RING_PX, _DOT_PX = 15, 7


def magnification(displacement_m: NDArray[np.float64], spacing_m: float) -> int:
    """Round factor by which displacements (M, 3) are drawn, so that they are seen and stay apart."""
    largest = float(np.linalg.norm(displacement_m[:, :2], axis=1).max())
    fitting = [f for f in _MAGNIFICATIONS if f * largest <= _LARGEST_ARROW * spacing_m]
    return max(fitting, default=1)


class WavelengthAxis(pg.AxisItem):
    """Metres of the plot in wavelengths."""

    wavelength_m = 1.0

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: N802 - pyqtgraph's names
        """At round numbers of wavelengths."""
        w = self.wavelength_m
        return [
            (spacing * w, [v * w for v in values])
            for spacing, values in super().tickValues(minVal / w, maxVal / w, size)
        ]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802 - pyqtgraph's name
        """Wavelengths."""
        return [f"{v / self.wavelength_m:.3g}" for v in values]


class ArrayDrawingPanel(Panel):
    """Rings: nominal places, with the number of the channel, one colour for each group of channels that share an
    oscillator. Arrows: displacements learned, magnified by the factor stated; ellipses: their standard deviation,
    magnified alike. Rays: directions found; of a line also those behind it, thin, which look the same."""

    title = "Array"

    def __init__(self, station: Station) -> None:
        super().__init__()
        self._station = station
        self._drawn: tuple[StreamInfo | None, Calibration | None] = (None, None)
        self.magnified = 1
        self.legend = QLabel("The array is not known: fill in Array, e.g. ula:8:0.5")
        self.legend.setWordWrap(True)
        self.legend.setContentsMargins(8, 2, 8, 2)
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._wavelengths = WavelengthAxis("top")
        self.plot = pg.PlotWidget(axisItems={"top": self._wavelengths})
        self.plot.setAspectLocked(True)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.showAxis("top")
        self.convention = self.plot.plot(connect="finite")
        self.rays = self.plot.plot(connect="pairs")
        self.rays_behind = self.plot.plot(connect="pairs")
        self.ellipses = self.plot.plot(connect="finite")
        self.arrows = self.plot.plot(connect="finite")
        self.elements, self.learned = pg.ScatterPlotItem(), pg.ScatterPlotItem()
        for item in (self.elements, self.learned):
            self.plot.addItem(item)
        for item in (self.arrows, self.ellipses):
            item.setZValue(5)
        self.ports: list[pg.TextItem] = []
        self.numbers = [self._text((0, 0)) for _ in range(MOST_MARKERS)]
        self.signs = [self._text() for _ in range(3)]
        self._colours: list[str] = []
        self._wavelength_m, self._reach_m = 1.0, 1.0
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.legend)
        column.addWidget(self.plot)
        self._restyle()

    def show_facts(self, facts: Facts) -> None:
        """The array is known before samples flow."""
        session = self._station.session
        if session is not None:
            self._draw(session.stream, self._station.calibration)

    def show_picture(self, picture: Picture) -> None:
        """Directions; elements only when they have changed."""
        self._draw(picture.stream, picture.calibration)
        geometry = picture.stream.geometry
        if geometry is None:
            return
        at = np.deg2rad(picture.doa_deg[:MOST_MARKERS])
        self._ray(self.rays, at)
        self._ray(self.rays_behind, np.pi - at if geometry.kind == "line" else at[:0])
        crowded = len(at) > UNCROWDED
        wanted = [
            (float(d), marker_text(float(d), float(s), short=crowded))
            for d, s in zip(picture.doa_deg[:MOST_MARKERS], picture.sigma_deg, strict=False)
        ]
        show_numbers(self.numbers, self.plot.getViewBox(), self._reach_m, wanted)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Another theme or font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and hasattr(self, "_reach_m"):
            self._restyle()

    def _restyle(self) -> None:
        ink = ink_of(self)
        self.plot.setBackground(ink.paper)
        self.legend.setFont(letters(self, 1.15))
        for side in ("left", "bottom", "top"):
            axis = self.plot.getAxis(side)
            axis.setPen(ink.dim)
            axis.setTextPen(ink.text)
            axis.setTickFont(letters(self, 1.1))
            axis.label.setFont(letters(self, 1.0))
            axis.setStyle(maxTickLevel=0)
        self.convention.setPen(pg.mkPen(ink.dim, width=2))
        self.rays.setPen(pg.mkPen(ink.marker, width=2))
        self.rays_behind.setPen(pg.mkPen(shade(ink.marker, 150), width=1))
        self.arrows.setPen(pg.mkPen(ink.text, width=2))
        self.ellipses.setPen(pg.mkPen(ink.text, width=1))
        for text in self.numbers:
            text.setFont(letters(self, 1.3, bold=True))
            text.setColor(ink.marker)
            text.fill = pg.mkBrush(shade(ink.paper, 200))
        for text in self.signs:
            text.setFont(letters(self, 1.2))
            text.setColor(ink.dim)
        self._ink = ink
        stream, calibration = self._drawn
        if stream is not None:
            self._drawn = (None, None)
            self._draw(stream, calibration)

    def _draw(self, stream: StreamInfo, calibration: Calibration | None) -> None:
        was, then = self._drawn
        geometry = stream.geometry
        same = was is not None and was.geometry is geometry and was.fc_hz == stream.fc_hz
        if (same and then is calibration) or geometry is None:
            return
        self._drawn = (stream, calibration)
        self._wavelength_m = SPEED_OF_LIGHT_M_S / stream.fc_hz
        nominal = geometry.positions_m
        extent = float(np.ptp(nominal[:, :2], axis=0).max()) or self._wavelength_m
        seen = _SEEN["line" if geometry.kind == "line" else "planar"]
        self._reach_m = seen[0] * extent
        middle = nominal[:, :2].mean(axis=0)
        self.plot.getViewBox().setRange(
            xRange=(middle[0] - seen[1] * extent, middle[0] + seen[1] * extent),
            yRange=(middle[1] - seen[3] * extent, middle[1] + seen[2] * extent),
            padding=0,
        )
        self._wavelengths.wavelength_m = self._wavelength_m
        self._ports(stream)
        if calibration is None or calibration.geometry.n_elements != geometry.n_elements:
            for item in (self.arrows, self.ellipses, self.learned):
                item.clear()
            learned = "Places as stated: nothing learned is in use."
        else:
            learned = self._displacements(nominal, calibration)
        self._convention(geometry.kind, extent)
        groups = stream.device.coherent_groups
        boards = "" if len(groups) < 2 else " Colours: channels that share an oscillator."
        height = "" if geometry.kind != "volume" else " Seen from above; heights are not drawn."
        self.legend.setText(f"{learned}{boards}{height}")
        for side, words in (
            ("bottom", "x / m"), ("left", "y / m"), ("top", f"x / wavelengths of {100 * self._wavelength_m:.3g} cm"),
        ):  # fmt: skip
            self.plot.getAxis(side).setLabel(words, siPrefixEnableRanges=())

    def _ports(self, stream: StreamInfo) -> None:
        """A ring and a number for each channel."""
        geometry = stream.geometry
        assert geometry is not None
        group_of = {c: g for g, group in enumerate(stream.device.coherent_groups) for c in group}
        channels = stream.config.channels or tuple(range(geometry.n_elements))
        self._colours = [CHANNEL_COLOURS[group_of.get(c, 0) % len(CHANNEL_COLOURS)] for c in channels]
        place = geometry.positions_m[:, :2]
        self.elements.setData(
            place[:, 0], place[:, 1], size=_RING_PX, pen=[pg.mkPen(c, width=2) for c in self._colours],
            brush=pg.mkBrush(self._ink.paper),
        )  # fmt: skip
        while len(self.ports) < len(place):
            self.ports.append(self._text())
        outward = place - place.mean(axis=0)
        for m, text in enumerate(self.ports):
            text.setVisible(m < len(place))
            if m < len(place):
                text.setFont(letters(self, 1.3, bold=True))
                text.setColor(self._colours[m])
                text.setText(f"{m}")
                # a line's numbers stand below, a circle's outside, clear of the ring
                way = (
                    (0.0, -1.0)
                    if geometry.kind == "line"
                    else outward[m] / (np.linalg.norm(outward[m]) or 1.0)
                )
                text.setAnchor((0.5 - 1.1 * float(way[0]), 0.5 + 0.85 * float(way[1])))
                text.setPos(float(place[m, 0]), float(place[m, 1]))

    def _displacements(self, nominal: NDArray[np.float64], calibration: Calibration) -> str:
        """Arrows and ellipses; what they say in words."""
        moved = calibration.positions_m - nominal
        moved = moved - moved.mean(axis=0)
        apart = np.linalg.norm(nominal[:, None] - nominal[None], axis=2)
        spacing = float(np.min(apart[apart > 0])) if np.any(apart > 0) else self._wavelength_m
        self.magnified = factor = magnification(moved, spacing)
        tip = nominal + factor * moved
        self.learned.setData(
            tip[:, 0], tip[:, 1], size=_DOT_PX, pen=None, brush=[pg.mkBrush(c) for c in self._colours]
        )
        xs, ys = [], []
        for start, end in zip(nominal[:, :2], tip[:, :2], strict=True):
            back = start - end
            sides = []
            for turn in (_HEAD_RAD, -_HEAD_RAD):
                c, s = np.cos(turn), np.sin(turn)
                sides.append(end + _HEAD * np.array([c * back[0] - s * back[1], s * back[0] + c * back[1]]))
            xs += [start[0], end[0], np.nan, sides[0][0], end[0], sides[1][0], np.nan]
            ys += [start[1], end[1], np.nan, sides[0][1], end[1], sides[1][1], np.nan]
        self.arrows.setData(np.array(xs), np.array(ys))
        sigma = calibration.sigma.position_m[:, :2]
        known = np.nan_to_num(sigma)
        round_ = np.append(np.linspace(0, 2 * np.pi, _CIRCLE_STEPS), np.nan)
        self.ellipses.setData(
            (tip[:, :1] + factor * known[:, :1] * np.cos(round_)).ravel(),
            (tip[:, 1:2] + factor * known[:, 1:] * np.sin(round_)).ravel(),
        )
        largest, deviation = (
            1e3 * float(np.linalg.norm(moved[:, :2], axis=1).max()),
            1e3 * float(known.max()),
        )
        words = f"Displacements and one σ drawn × {factor}; largest {largest:.2g} mm"
        missing = ", σ not known for some" if np.any(np.isnan(sigma)) else ""
        return words + (f", σ up to {deviation:.2g} mm" if deviation else "") + missing + "."

    def _convention(self, kind: str, extent: float) -> None:
        """Where 0 is, and which way angles grow."""
        radius = (0.45 if kind == "line" else 0.26) * extent
        arc = np.deg2rad(np.linspace(0, 40, 21))
        end = arc[-1]
        tip = radius * np.array([np.sin(end), np.cos(end)])
        head = 0.06 * extent
        barbs = [tip - head * np.array([np.cos(end + t), -np.sin(end + t)]) for t in (_HEAD_RAD, -_HEAD_RAD)]
        self.convention.setData(
            np.concatenate(
                ([0, 0, np.nan], radius * np.sin(arc), [np.nan, barbs[0][0], tip[0], barbs[1][0]])
            ),
            np.concatenate(
                ([0, 1.15 * radius, np.nan], radius * np.cos(arc), [np.nan, barbs[0][1], tip[1], barbs[1][1]])
            ),
        )
        words = (
            "0° broadside" if kind == "line" else "0°, +y",
            "+",
            "back: looks the same" if kind == "line" else "",
        )
        where = ((0.0, 1.15 * radius), (tip[0] + head, tip[1]), (0.0, -0.2 * extent))
        for text, word, (x, y) in zip(self.signs, words, where, strict=True):
            text.setText(word)
            text.setVisible(bool(word))
            text.setPos(x, y)
        self.signs[0].setAnchor((0.5, 1.0))

    def _ray(self, item: pg.PlotDataItem, at_rad: NDArray[np.float64]) -> None:
        nothing = np.zeros(len(at_rad))
        item.setData(
            np.column_stack((nothing, self._reach_m * np.sin(at_rad))).ravel(),
            np.column_stack((nothing, self._reach_m * np.cos(at_rad))).ravel(),
        )

    def _text(self, anchor: tuple[float, float] = (0.5, 0.5)) -> pg.TextItem:
        text = pg.TextItem(anchor=anchor)
        text.setZValue(20)
        self.plot.getViewBox().addItem(text, ignoreBounds=True)
        return text
