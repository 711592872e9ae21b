"""Calibration files: saving, loading, the append-only store of this user, and whether one may be used.

calibration = load("array.h5")
status = require_usable(calibration, stream)
Store().add(calibration)
"""

from hil.store.files import from_bytes, load, save, to_bytes
from hil.store.history import HistoryEntry, Store
from hil.store.status import CalibrationStatus, check, require_usable

__all__ = [
    "CalibrationStatus",
    "HistoryEntry",
    "Store",
    "check",
    "from_bytes",
    "load",
    "require_usable",
    "save",
    "to_bytes",
]
