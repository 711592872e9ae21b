"""The error tree. Every error says what happened and carries a hint: what the user can do next.

HilError
├─ ConfigError .where
├─ ShapeError (ValueError)
├─ SceneError
├─ DeviceError .uri
│  ├─ DriverUnavailable   ├─ DeviceNotFound   ├─ ConnectionLost   ├─ DeviceTimeout (TimeoutError)
│  ├─ DeviceStateError    ├─ ProtocolError    ├─ UnsupportedSetting   └─ StreamStopped
├─ CaptureError
│  ├─ CaptureOverrun .gaps
│  └─ RecordingError
└─ CalibrationError
   ├─ CalibrationMismatch .field
   ├─ NotIdentifiable .parameters
   └─ NotConverged .best
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "CalibrationError",
    "CalibrationMismatch",
    "CaptureError",
    "CaptureOverrun",
    "ConfigError",
    "ConnectionLost",
    "DeviceError",
    "DeviceNotFound",
    "DeviceStateError",
    "DeviceTimeout",
    "DriverUnavailable",
    "HilError",
    "NotConverged",
    "NotIdentifiable",
    "ProtocolError",
    "RecordingError",
    "SceneError",
    "ShapeError",
    "StreamStopped",
    "UnsupportedSetting",
]


class HilError(Exception):
    """Base of all errors of the program.

    Parameters
    ----------
    message : one line: what, and where.
    hint : one line: what the user can do next; may be empty.
    exit_code : exit code of the command line (contract.md), default that of the class.
    """

    exit_code: int = 3

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class ConfigError(HilError):
    """A setting, option or input file of the user is wrong; `where` names file and key."""

    exit_code = 2

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.where = where


class ShapeError(HilError, ValueError):
    """An array has the wrong shape, dtype or a value that is not finite."""

    exit_code = 2


class SceneError(HilError):
    """A scene file is wrong; the message names file and key."""

    exit_code = 2


class DeviceError(HilError):
    """Something is wrong with a device or the connection to it."""

    def __init__(self, message: str, *, uri: str = "", hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message, hint=hint, exit_code=exit_code)
        self.uri = uri


class DriverUnavailable(DeviceError):
    """The library that a driver needs is not installed."""


class DeviceNotFound(DeviceError):
    """No device answers at this URI."""


class ConnectionLost(DeviceError):
    """The device was there and has gone."""


class DeviceTimeout(DeviceError, TimeoutError):
    """The device did not answer within its deadline."""


class DeviceStateError(DeviceError):
    """A call in the wrong order, such as read before start."""


class ProtocolError(DeviceError):
    """The device answered something that its protocol does not allow."""


class UnsupportedSetting(DeviceError):
    """The device cannot do what was asked; nothing was clipped or rounded silently."""

    exit_code = 2

    def __init__(
        self, field: str, requested: object, allowed: object, *, uri: str = "", hint: str = ""
    ) -> None:
        super().__init__(f"{field} = {requested}: the device allows {allowed}", uri=uri, hint=hint)
        self.field = field
        self.requested = requested
        self.allowed = allowed


class StreamStopped(DeviceError):
    """`stop()` was called while a read was waiting."""


class CaptureError(HilError):
    """A capture could not be made."""


class CaptureOverrun(CaptureError):
    """Samples were lost; `gaps` lists (first missing sample, count or None if not known)."""

    def __init__(self, message: str, *, gaps: Sequence[tuple[int, int | None]] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.gaps = tuple(gaps)


class RecordingError(CaptureError):
    """A recording cannot be written or read. Reading errors carry exit code 2."""


class CalibrationError(HilError):
    """A calibration cannot be made, read or used."""

    exit_code = 2


class CalibrationMismatch(CalibrationError):
    """A calibration does not belong to this device, array, frequency or epoch; `field` says which."""

    exit_code = 4

    def __init__(self, message: str, *, field: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class NotIdentifiable(CalibrationError):
    """The data cannot determine `parameters`, whatever the method."""

    exit_code = 4

    def __init__(self, message: str, *, parameters: Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.parameters = tuple(parameters)


class NotConverged(CalibrationError):
    """No solution passed the label-free verdict; `best` holds the best one found, if any."""

    exit_code = 4

    def __init__(self, message: str, *, best: Any = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.best = best
