"""What is known about the devices behind SoapySDR's drivers (drivers/soapy/devices/*.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from hil.core.epoch import EpochEvent, EpochScope


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """Coherence of one kind of device.

    Attributes
    ----------
    drivers : SoapySDR driver keys (of the device, not "remote") in lower case.
    hardware : hardware keys that begin with one of these; empty: all of the driver.
    channels_per_group : channels that share LO and clock; 0: all of the device.
    epoch : scope of every event.
    """

    name: str
    drivers: tuple[str, ...]
    hardware: tuple[str, ...]
    channels_per_group: int
    epoch: Mapping[EpochEvent, EpochScope]

    def groups(self, n_channels: int) -> tuple[tuple[int, ...], ...]:
        """Channels that share an LO."""
        step = self.channels_per_group or max(n_channels, 1)
        return tuple(tuple(range(low, min(low + step, n_channels))) for low in range(0, n_channels, step))


def _table(raw: Mapping[str, Any]) -> DeviceTable:
    return DeviceTable(
        name=raw["name"],
        drivers=tuple(raw["drivers"]),
        hardware=tuple(raw.get("hardware", ())),
        channels_per_group=raw["channels_per_group"],
        epoch={event: EpochScope(raw["epoch"][event.value]) for event in EpochEvent},
    )


@cache
def device_tables() -> tuple[DeviceTable, ...]:
    """All tables."""
    folder = resources.files("drivers.soapy") / "devices"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(_table(tomllib.loads(f.read_text("utf-8"))) for f in files)


def find_table(driver_keys: Collection[str], hardware_key: str) -> DeviceTable:
    """The table of a device by any of its driver keys; the cautious one for a device that is not listed."""
    drivers, hardware = {k.lower() for k in driver_keys}, hardware_key.lower()
    fitting = [
        t
        for t in device_tables()
        if drivers & set(t.drivers)
        and (not t.hardware or any(hardware.startswith(h.lower()) for h in t.hardware))
    ]
    if fitting:
        return max(fitting, key=lambda t: len(t.hardware))
    return next(t for t in device_tables() if "*" in t.drivers)
