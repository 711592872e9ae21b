"""What the learner is asked to do."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QComboBox, QFormLayout, QPushButton, QWidget

from calib.registry import CSI_METHODS, METHODS
from gui.panels.parts import HEIGHT_PX, field
from hil.core.errors import ConfigError
from hil.learning.settings import (
    LearnSettings,
    default_position_std,
    parse_anchor_elevations,
    parse_anchors,
    parse_sources,
    parse_support,
)

#: It learns from labels, which a stream has not.
_NOT_LIVE = ("pilot",)


class LearnForm(QWidget):
    """Method, sources, support, anchors and truth, read as `hil learn` reads its options."""

    def __init__(self) -> None:
        super().__init__()
        self.method = QComboBox()
        self.method.addItems([name for name in (*METHODS, *CSI_METHODS) if name not in _NOT_LIVE])
        self.method.setMinimumHeight(HEIGHT_PX)
        self.method.setToolTip(
            "As --method of hil learn; Race tries all that learn from emitters. From echoes of an OFDM waveform that is "
            f"transmitted: {', '.join(CSI_METHODS)}, with the gains of the calibration in use"
        )
        self.sources = QComboBox()
        self.sources.setEditable(True)
        self.sources.addItems(["1", "2", "3", "auto"])
        self.sources.setMinimumHeight(HEIGHT_PX)
        self.sources.setToolTip("Emitters that send at the same time; auto: counted")
        self.support = field(
            "-60:60", "The emitters' directions fill these degrees evenly; empty: nothing is known"
        )
        self.anchors = field(
            "", "Known directions in degrees, a space between them: 20 -35", "Known directions"
        )
        self.truth = field(
            "", "Truth file of hil sim: adds direction errors before and after", "Truth file of hil sim"
        )
        self.copy = QPushButton("Copy as script")
        self.copy.setMinimumHeight(HEIGHT_PX)
        self.copy.setToolTip("The hil learn command that does the same")
        form = QFormLayout(self)
        for label, widget in (
            ("Method", self.method), ("Sources", self.sources), ("Support / °", self.support), ("Anchors / °", self.anchors),
            ("Truth file", self.truth), ("", self.copy),
        ):  # fmt: skip
            form.addRow(label, widget)

    def settings(self, method: str | None = None) -> LearnSettings:
        """What is asked for, with another method if one is given. Raises ConfigError, in the words of the form."""
        anchors = self.anchors.text().replace(";", " ").split()
        method = method or self.method.currentText()
        try:
            found = LearnSettings(
                method=method,
                position_std_wavelengths=default_position_std(method),
                n_sources=parse_sources(self.sources.currentText()),
                support_deg=parse_support(self.support.text().strip() or None),
                anchors_deg=parse_anchors(anchors),
                anchor_elevations_deg=parse_anchor_elevations(anchors),
            )
        except ConfigError as err:
            where = {"--support": "Support", "--anchor": "Anchors"}.get(err.where, "Sources")
            words = str(err).removeprefix(f"{err.where}: ")
            hint = "write 20, or 20/10 with its elevation" if where == "Anchors" else err.hint
            raise ConfigError(words, where=where, hint=hint) from err
        if any(begin is not None or end is not None for _, begin, end in found.anchors_deg):
            raise ConfigError(
                "an anchor with times belongs to a recording", where="Anchors",
                hint="live, it holds as long as learning goes on: write 20",
            )  # fmt: skip
        return found

    def truth_file(self) -> Path | None:
        """To compare with, None if there is none."""
        text = self.truth.text().strip()
        return Path(text).expanduser() if text else None
