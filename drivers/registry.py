"""The table of drivers. A new driver is one file and one line here; the conformance tests then run over it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hil.core.device import RxDevice
from hil.core.errors import ConfigError, DeviceError, DriverUnavailable


@dataclass(frozen=True, slots=True)
class DriverEntry:
    """One line of the table.

    Attributes
    ----------
    scheme : what stands before the first colon of the URI.
    opener : "module:function", called as function(rest_of_uri, **options) -> RxDevice.
    example : URI for help texts and error messages.
    lister : "module:function" -> list of dicts for `hil devices`, called with discover=bool; or "".
    cases : "module:function" -> conformance cases (drivers.conformance.Case); "" only for planned drivers.
    planned : the scheme is reserved and opening it raises DriverUnavailable.
    """

    scheme: str
    opener: str
    example: str
    lister: str = ""
    cases: str = ""
    planned: bool = False


DRIVERS: dict[str, DriverEntry] = {
    entry.scheme: entry
    for entry in (
        DriverEntry(
            "sim",
            "drivers.sim:open_sim",
            "sim:scene.toml",
            "drivers.sim:list_sim",
            "drivers.conformance_cases:sim_cases",
        ),
        DriverEntry(
            "iio",
            "drivers.iio.rx:open_iio",
            "iio:ip:192.168.2.1",
            "drivers.iio.context:list_iio",
            "drivers.conformance_cases:iio_cases",
        ),
        DriverEntry(
            "replay",
            "drivers.replay:open_replay",
            "replay:recording.sigmf-meta",
            "",
            "drivers.conformance_cases:replay_cases",
        ),
        DriverEntry(
            "faults",
            "drivers.faults:open_faults",
            "faults:drop_every=10:sim:",
            "",
            "drivers.conformance_cases:faults_cases",
        ),
        DriverEntry(
            "soapy",
            "drivers.soapy.rx:open_soapy",
            "soapy:driver=remote,remote=tcp://127.0.0.1:55132",
            "drivers.soapy.finder:list_soapy",
            "drivers.conformance_cases:soapy_cases",
        ),
    )
}


def load(target: str) -> Callable[..., Any]:
    """The function behind "module:function", imported now: libraries of other drivers stay unloaded."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def open_device(uri: str, **options: Any) -> RxDevice:
    """Open a receiver by its URI.

    Parameters
    ----------
    uri : `sim:`, `sim:scene.toml`, `sim:?free`, `iio:ip:HOST[:PORT]`, `iio:usb:`, `iio:local:`, several
        boards as one array `iio:ip:A,ip:B`, `soapy:driver=...,KEY=VALUE`, several devices as one array
        separated by ";", `replay:FILE`, `faults:KEY=VALUE,...:URI`.
    options : `geometry` (ArrayGeometry for StreamInfo) everywhere; besides what the driver's opener takes.

    Raises
    ------
    ConfigError : not a URI of a known driver.
    DriverUnavailable : its library is not installed.
    DeviceNotFound : nothing answers there.
    """
    scheme, colon, rest = uri.strip().partition(":")
    entry = DRIVERS.get(scheme.lower()) if colon else None
    if entry is None:
        known = ", ".join(e.example for e in DRIVERS.values() if not e.planned)
        raise ConfigError(f"{uri!r} is not a device URI of a known driver", hint=f"examples: {known}")
    if entry.planned:
        raise DriverUnavailable(
            f"{uri}: the {entry.scheme} driver comes later",
            uri=uri,
            hint="use an iio: device, sim: or replay:",
        )
    return load(entry.opener)(rest, **options)


def list_devices(discover: bool = False) -> list[dict[str, Any]]:
    """What can be opened now: dicts with uri, driver, model, serial, n_channels (None: not known yet).

    Parameters
    ----------
    discover : also ask the network (mDNS); otherwise only this machine's buses.

    A driver whose library is missing is left out.
    """
    found: list[dict[str, Any]] = []
    for entry in DRIVERS.values():
        if entry.lister:
            try:
                found += load(entry.lister)(discover=discover)
            except DeviceError:
                continue  # `hil doctor` says what is missing
    return found
