"""What stood in the fields at the last start stands in them again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QLineEdit, QWidget

from gui.remembered import Remembered

if TYPE_CHECKING:
    from gui.window import StationWindow

_MOST_CHARACTERS = 1000


def keep_fields(window: StationWindow) -> None:
    """For the next start."""
    for name, widget in _fields(window).items():
        window.remembered.keep_text(f"fields/{name}", _text(widget))
    window.remembered.keep_text("fields/view", window.directions.view)
    window.remembered.keep_text("networks", "\n".join(str(p) for p in window.station.networks.paths))


def recall_fields(window: StationWindow, remembered: Remembered) -> None:
    """As they were; what does not fit any more is left as it is."""
    for name, widget in _fields(window).items():
        text = remembered.text(f"fields/{name}")[:_MOST_CHARACTERS]
        if text and not (name == "recording folder" and not Path(text).is_dir()):
            _set(widget, text)
    view = remembered.text("fields/view")
    if view in window.directions.views:
        window.directions.show_view(view)
    for line in remembered.text("networks").split("\n"):
        if line:
            window.load_network(Path(line))


def _fields(window: StationWindow) -> dict[str, QWidget]:
    recording, sweep, chamber = window.recording, window.sweep, window.chamber
    return {
        "recording folder": recording.folder, "recording name": recording.pattern, "recording kind": recording.kind,
        "sweep angles": sweep.angles, "sweep order": sweep.order, "sweep approach": sweep.approach,
        "sweep samples": sweep.samples, "sweep settle": sweep.settle, "sweep emitters": sweep.emitters,
        "sweep reference": sweep.reference, "turntable": chamber.uri, "heading": window.directions.heading,
    }  # fmt: skip


def _text(widget: QWidget) -> str:
    if isinstance(widget, QLineEdit):
        return widget.text()
    if isinstance(widget, QComboBox):
        return widget.currentText()
    return str(widget.value()) if isinstance(widget, QDoubleSpinBox) else ""


def _set(widget: QWidget, text: str) -> None:
    if isinstance(widget, QLineEdit):
        widget.setText(text)
    elif isinstance(widget, QComboBox):
        widget.setCurrentText(text)
    elif isinstance(widget, QDoubleSpinBox):
        try:
            widget.setValue(float(text))
        except ValueError:
            return
