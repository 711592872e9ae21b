"""What the window remembers from one start to the next: layout, theme, text size, recent sources."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QByteArray, QSettings

from drivers.user_folder import user_folder
from gui.theme import Theme

_MOST_RECENT = 8
#: Raise it when docks are renamed or arranged anew: an old layout is forgotten then.
_LAYOUT_VERSION = 3


class Remembered:
    """A small text file in the program's data folder; a missing or damaged one means the defaults."""

    def __init__(self) -> None:
        self._settings = QSettings(str(user_folder() / "window.ini"), QSettings.Format.IniFormat)

    @property
    def theme(self) -> Theme:
        """ "dark" unless "light" was chosen."""
        return "light" if self._text("theme") == "light" else "dark"

    @theme.setter
    def theme(self, theme: Theme) -> None:
        self._settings.setValue("theme", theme)

    @property
    def text_percent(self) -> int:
        """Size of the text, 75 to 250."""
        try:
            return min(max(int(self._text("text_percent") or 100), 75), 250)
        except ValueError:
            return 100

    @text_percent.setter
    def text_percent(self, percent: int) -> None:
        self._settings.setValue("text_percent", str(percent))

    @property
    def steps_done(self) -> bool:
        """Whether the first steps were finished or closed."""
        return self._text("steps_done") == "yes"

    @steps_done.setter
    def steps_done(self, done: bool) -> None:
        self._settings.setValue("steps_done", "yes" if done else "no")

    def recent(self) -> list[tuple[str, str]]:
        """(URI, array or "") of sources that were connected, newest first."""
        lines = self._text("recent").split("\n")
        return [(uri, array) for uri, _, array in (line.partition("\t") for line in lines) if uri]

    def add_recent(self, uri: str, array: str) -> None:
        """This one is the newest."""
        rest: Iterable[tuple[str, str]] = (entry for entry in self.recent() if entry[0] != uri)
        entries = [(uri, array), *rest][:_MOST_RECENT]
        self._settings.setValue("recent", "\n".join(f"{u}\t{a}" for u, a in entries))

    def layout(self) -> tuple[QByteArray, QByteArray] | None:
        """(geometry, arrangement of the docks) as saved, or None."""
        if self._text("layout/version") != str(_LAYOUT_VERSION):
            return None
        geometry, docks = self._settings.value("layout/geometry"), self._settings.value("layout/docks")
        if isinstance(geometry, QByteArray) and isinstance(docks, QByteArray):
            return geometry, docks
        return None

    def keep_layout(self, geometry: QByteArray, docks: QByteArray) -> None:
        """For the next start."""
        self._settings.setValue("layout/version", str(_LAYOUT_VERSION))
        self._settings.setValue("layout/geometry", geometry)
        self._settings.setValue("layout/docks", docks)

    def text(self, key: str) -> str:
        """What was kept under a name, "" if nothing was."""
        return self._text(key)

    def keep_text(self, key: str, text: str) -> None:
        """For the next start."""
        self._settings.setValue(key, text)

    def _text(self, key: str) -> str:
        value = self._settings.value(key)
        return value if isinstance(value, str) else ""
