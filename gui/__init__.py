"""The desktop application: PySide6 and pyqtgraph. A client of `hil.session`; it never blocks."""
