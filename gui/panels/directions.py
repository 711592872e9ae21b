"""Direction spectra, nominal and calibrated, with the directions found: linear, polar, compass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QDoubleSpinBox, QLabel, QSizePolicy, QStackedWidget, QToolBar, QVBoxLayout

from gui.panels.compass import RoundView
from gui.panels.directions_ink import ink_of, letters
from gui.panels.directions_linear import LinearView
from gui.panels.directions_model import MOST_MARKERS, DirectionsModel, Drawing
from gui.panels.panel import Panel
from gui.picture import Picture

_LEAST_PX = 34
View = Literal["linear", "polar", "compass"]
_VIEWS: tuple[tuple[View, str, str], ...] = (
    ("linear", "Linear", "Level against angle"),
    ("polar", "Polar", "The array's own angles: 0° up, positive clockwise"),
    ("compass", "Compass", "Bearings, north up: set where the array points"),
)
_FROZEN: tuple[Literal["A", "B"], ...] = ("A", "B")
_SYMBOLS = {"nominal": "─", "calibrated": "━", "beside": "─", "hold": "▔", "A": "━", "B": "━"}


class DirectionsPanel(Panel):
    """Nominal (thin) and calibrated (bold) spectra, highest levels, two frozen traces, directions with one standard deviation,
    and shaded what the array confuses or measures badly."""

    title = "Directions"

    def __init__(self) -> None:
        super().__init__()
        self.model = DirectionsModel()
        self.drawing: Drawing | None = None
        self._picture: Picture | None = None
        self.linear, self.polar, self.compass = (
            LinearView(),
            RoundView(compass=False),
            RoundView(compass=True),
        )
        self.views: dict[View, LinearView | RoundView] = {
            "linear": self.linear, "polar": self.polar, "compass": self.compass,
        }  # fmt: skip
        self._stack = QStackedWidget()
        for view in self.views.values():
            self._stack.addWidget(view)
        self.bar = QToolBar()
        self.bar.setIconSize(QSize(0, 0))
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setContentsMargins(8, 0, 8, 2)
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._told = ""
        self._shown: LinearView | RoundView = self.linear
        self._fill_bar()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for widget in (self.bar, self.legend, self._stack):
            column.addWidget(widget)
        self._restyle()

    def _fill_bar(self) -> None:
        group = QActionGroup(self)
        self.view_actions: dict[View, QAction] = {}
        for name, label, tip in _VIEWS:
            action = self._action(label, tip, lambda _, view=name: self.show_view(view))
            group.addAction(action)
            self.view_actions[name] = action
        self.heading = QDoubleSpinBox()
        self.heading.setRange(0.0, 359.9)
        self.heading.setDecimals(1)
        self.heading.setWrapping(True)
        self.heading.setSuffix("°")
        self.heading.setPrefix("points to ")
        self.heading.setMinimumHeight(_LEAST_PX)
        self.heading.setToolTip(
            "Bearing of the array's 0° (broadside of a line, +y of a plane), from north, clockwise"
        )
        self.heading.valueChanged.connect(self._turn)
        self._heading_action = self.bar.addWidget(self.heading)
        self.back_action = self._action(
            "Back", "A line cannot tell front from back: show both. Switch off if nothing can be behind the array",
            self._both_sides,
        )  # fmt: skip
        self.back_action.setChecked(True)
        self.bar.addSeparator()
        self.hold_action = self._action("Max hold", "Keep the highest levels of the bold curve", self._hold)
        self.freeze_actions: dict[Literal["A", "B"], QAction] = {}
        for which in _FROZEN:
            self.freeze_actions[which] = self._action(
                which,
                f"Freeze the bold curve as {which}; once more removes it",
                lambda on, w=which: self._freeze(w, on),
            )
        self.clear_action = self._action(
            "Clear", "Remove max hold, A and B", lambda _: self._clear(), checkable=False
        )
        self.bar.addSeparator()
        self.shade_action = self._action(
            "Lobes",
            "Shade what misleads. Red: looks the same to this array as a direction found (grating lobe). Grey: blind, "
            "the standard deviation is more than 3 times the best",
            self._shading,
        )  # fmt: skip
        self.shade_action.setChecked(True)
        self.view_actions["linear"].setChecked(True)
        self.show_view("linear")

    def _action(
        self, label: str, tip: str, work: Callable[[bool], None], *, checkable: bool = True
    ) -> QAction:
        action = QAction(label, self)
        action.setToolTip(tip)
        action.setCheckable(checkable)
        action.triggered.connect(work)
        self.bar.addAction(action)
        self.bar.widgetForAction(action).setMinimumSize(_LEAST_PX, _LEAST_PX)
        return action

    @property
    def view(self) -> View:
        """What is shown."""
        return next(name for name, shown in self.views.items() if shown is self._shown)

    def show_view(self, view: View) -> None:
        """Linear, polar or compass."""
        self.view_actions[view].setChecked(True)
        self._shown = self.views[view]
        self._stack.setCurrentWidget(self._shown)
        self._heading_action.setVisible(view == "compass")
        self.back_action.setVisible(view != "linear")
        self._draw()

    def show_picture(self, picture: Picture) -> None:
        """Draw it."""
        self._picture = picture
        self.drawing = self.model.take(picture)
        self._draw()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Another theme or font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and hasattr(self, "_told"):
            self._restyle()

    def _restyle(self) -> None:
        self.legend.setFont(letters(self, 1.15))
        for view in self.views.values():
            view.restyle()
        self._told = ""
        self._draw()

    def _draw(self) -> None:
        if self.drawing is None:
            return
        self._shown.draw(self.drawing)
        words = self._legend(self.drawing)
        if words != self._told:
            self._told = words
            self.legend.setText(words)
            self.legend.setToolTip(words)

    def _legend(self, d: Drawing) -> str:
        ink = ink_of(self)
        parts = [f'<b style="color:{ink.marker}">{d.message}</b>'] if d.message else []
        if d.crowded:
            sigma = [m.sigma_deg for m in d.markers if np.isfinite(m.sigma_deg)]
            parts.append(f"± {min(sigma):.2g}° to {max(sigma):.2g}°" if sigma else "± ?")
        if d.n_found > MOST_MARKERS:
            parts.append(f"{MOST_MARKERS} of {d.n_found} directions marked")
        parts += [
            f'<span style="color:{ink.traces[name][0]}"><b>{_SYMBOLS[name]}</b></span> {curve.name}'
            for name, curve in d.curves.items()
        ]
        if any(m.images_deg for m in d.markers):
            parts.append(f'<span style="color:{ink.image}">▒</span> looks the same')
        if d.blind_deg:
            parts.append(f'<span style="color:{ink.blind}">▒</span> blind')
        if d.line and self._shown is not self.linear:
            parts.append("front and back look the same" if self.back_action.isChecked() else "front only")
        return "&nbsp;&nbsp; ".join(parts)

    def _again(self) -> None:
        """What was switched shows at once, also while nothing streams."""
        if self._picture is not None:
            self.show_picture(self._picture)

    def _turn(self, heading_deg: float) -> None:
        self.compass.heading_deg = heading_deg
        self._draw()

    def _both_sides(self, on: bool) -> None:
        self.polar.both_sides = self.compass.both_sides = on
        self._draw()

    def _hold(self, on: bool) -> None:
        self.model.holding = on
        self._again()

    def _freeze(self, which: Literal["A", "B"], on: bool) -> None:
        if on:
            self.model.freeze(which)
        else:
            self.model.release(which)
        self.freeze_actions[which].setChecked(which in self.model.frozen)
        self._again()

    def _clear(self) -> None:
        self.model.clear()
        for action in self.freeze_actions.values():
            action.setChecked(False)
        self._again()

    def _shading(self, on: bool) -> None:
        self.model.shading = on
        self._again()
