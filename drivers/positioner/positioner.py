"""What a turntable is to the rest of the program: a small protocol, no base class.

Azimuth in degrees as the device counts it, clockwise seen from above. "Stopped" is not "arrived": only what is read back
counts (`drivers.positioner.arrival`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from hil.core.device import Range
from hil.core.errors import UnsupportedSetting

#: `stop` is with the device within this time.
STOP_S = 0.2


@dataclass(frozen=True, slots=True)
class PositionerInfo:
    """uri, driver, model : identity. limits_deg : as the device states them. sigma_deg : of what it reads back."""

    uri: str
    driver: str
    model: str
    limits_deg: Range
    sigma_deg: float


@dataclass(frozen=True, slots=True)
class ReadBack:
    """azimuth_deg : where it stands. moving : what the device says about it, None if it does not say."""

    azimuth_deg: float
    moving: bool | None


def check_reachable(info: PositionerInfo, azimuth_deg: float) -> None:
    """Raise UnsupportedSetting outside the limits."""
    if not info.limits_deg.contains(azimuth_deg):
        raise UnsupportedSetting(
            "azimuth", f"{azimuth_deg:g} degrees", f"{info.limits_deg} degrees", uri=info.uri,
            hint="give an angle within the limits of the table",
        )  # fmt: skip


class Positioner(Protocol):
    """A turntable. All methods belong to one thread, `stop` to any.

    Every call ends within a deadline of the driver's, a second or so, with an answer or with DeviceTimeout or
    ConnectionLost. None waits for the table to arrive.
    """

    @property
    def info(self) -> PositionerInfo:
        """Identity and limits; valid from opening on."""
        ...

    def move_to(self, azimuth_deg: float) -> None:
        """Begin to move, also while it moves elsewhere. Raises UnsupportedSetting outside the limits, DeviceError."""
        ...

    def read_back(self) -> ReadBack:
        """Where it is now. Raises DeviceError."""
        ...

    def stop(self) -> None:
        """Stop the motor, from any thread, within `STOP_S` whatever else is being asked. Idempotent."""
        ...

    def close(self) -> None:
        """Stop and release. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
