"""Board tables: which devices, channels and attributes a context shows, read from TOML package data.

A board file names its devices; each takes the channels and attributes of a chip file (`table`), and adds scan
channels, DDS channels and changed values. Attribute keys: kind, mode, value, min, max, step, choices, range_of,
read_errno, write_errno, and shared = true where all channels of a type show one file.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from hil.core.errors import ConfigError
from sim_backend.iiod.attributes import File, FileStore

_CALIB_RX = {
    "calibbias": {"kind": "int", "min": -32768, "max": 32767, "value": "0"},
    "calibphase": {"kind": "fixed", "value": "0.000000", "min": -2.0, "max": 2.0},
    "calibscale": {"kind": "fixed", "value": "1.000000", "min": -2.0, "max": 2.0},
}
_CALIB_TX = {name: _CALIB_RX[name] for name in ("calibphase", "calibscale")}
_DDS = {
    "frequency": {"kind": "int", "min": 0, "value": "1000000"},
    "phase": {"kind": "int", "min": 0, "max": 360000, "value": "0"},
    "raw": {"kind": "bool", "value": "0"},
    "sampling_frequency": {"mode": "r", "shared": True, "value": "0"},
    "scale": {"kind": "fixed", "min": 0.0, "max": 1.0, "value": "0.000000"},
}


@dataclass(slots=True)
class Channel:
    """A channel: id, name, direction, scan element and {attribute name: file key}."""

    id: str
    output: bool
    name: str = ""
    index: int | None = None
    format: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Device:
    """A device of the context with its files.

    `role`: "phy", "rx", "tx", "obs", "rx-b", "tx-b", "clock" or "monitor"; `chip`: which transceiver, of a phy.
    """

    id: str
    name: str
    role: str
    chip: int
    channels: list[Channel]
    attributes: list[str]
    buffer_attributes: list[str]
    debug_attributes: list[str]
    store: FileStore

    @property
    def scan_channels(self) -> list[Channel]:
        """Channels of the buffer in index order."""
        return sorted((c for c in self.channels if c.index is not None), key=lambda c: c.index or 0)

    def channel(self, name: str, *, output: bool) -> Channel | None:
        """Find a channel by id or name; the direction belongs to its identity."""
        for channel in self.channels:
            if channel.output == output and name in (channel.id, channel.name):
                return channel
        return None


@dataclass(slots=True)
class BoardTable:
    """A whole context."""

    name: str
    model: str
    chips: int
    description: str
    context_attributes: dict[str, str]
    devices: list[Device]


def board_names() -> tuple[str, ...]:
    """Boards that can be served."""
    return ("pluto", "fmcomms5", "adrv9009", "adrv9009-zu11eg")


@cache
def _toml(name: str) -> dict[str, Any]:
    resource = files("sim_backend.iiod").joinpath("tables", f"{name}.toml")
    return tomllib.loads(resource.read_text(encoding="utf-8"))


def load_board(name: str, *, serial: str) -> BoardTable:
    """A fresh context of the named board. Raises ConfigError for an unknown one."""
    if name not in board_names():
        raise ConfigError(
            f"unknown board {name!r}", where="receiver.board", hint="one of " + ", ".join(board_names())
        )
    table = _toml(name)
    context = table["context"]
    return BoardTable(
        name=name,
        model=table["model"],
        chips=table["chips"],
        description=context["description"],
        context_attributes={k: v.format(serial=serial) for k, v in context["attributes"].items()},
        devices=[_device(entry) for entry in table["device"]],
    )


def _device(entry: dict[str, Any]) -> Device:
    table = _toml(entry["table"])
    device = Device(
        id=entry["id"],
        name=entry["name"],
        role=entry["role"],
        chip=entry.get("chip", 0),
        channels=[],
        attributes=sorted(table.get("attributes", {})),
        buffer_attributes=sorted(table.get("buffer", {})),
        debug_attributes=sorted(table.get("debug", {})),
        store=FileStore(),
    )
    if "scan" in entry or "plain" in entry:
        _data_channels(device, entry)
    for group in table.get("channel", ()):
        names = group.get("names", [""] * len(group["ids"]))
        for channel_id, name in zip(group["ids"], names, strict=True):
            _add_channel(device, Channel(channel_id, group["type"] == "output", name), group["attributes"])
    for folder, prefix in (("attributes", ""), ("buffer", "buffer/"), ("debug", "debug/")):
        for name, spec in table.get(folder, {}).items():
            device.store.add(_file(prefix + name, spec, None))
    for key, value in entry.get("values", {}).items():
        device.store[key].value = value
    return device


def _data_channels(device: Device, entry: dict[str, Any]) -> None:
    spec = entry.get("scan") or entry["plain"]
    output = spec["type"] == "output"
    for index, channel_id in enumerate(spec["ids"]):
        channel = Channel(channel_id, output)
        if "scan" in entry:
            channel.index, channel.format = index, spec["format"]
        attributes: dict[str, Any] = {}
        if index < spec.get("calibrated", len(spec["ids"])):
            attributes |= _CALIB_TX if output else _CALIB_RX
        if device.role != "obs":
            attributes["sampling_frequency"] = {"mode": "r", "shared": True, "value": "0"}
        if entry["table"] == "axi-ad9361-rx":
            attributes["samples_pps"] = {"mode": "r", "shared": True, "read_errno": 19}
        if entry.get("decimator"):
            attributes["sampling_frequency"] = {"kind": "int", "shared": True, "value": "0"}
            attributes["sampling_frequency_available"] = {"shared": True, "value": ""}
        _add_channel(device, channel, attributes)
    for number in range(4 * entry.get("dds", 0)):
        tx, rest = divmod(number, 4)
        name = f"TX{tx + 1}_{'IQ'[rest // 2]}_F{rest % 2 + 1}"
        spec_dds = {**_DDS, "phase": {**_DDS["phase"], "value": "90000" if rest < 2 else "0"}}
        _add_channel(device, Channel(f"altvoltage{number}", True, name), spec_dds)


def _add_channel(device: Device, channel: Channel, specs: dict[str, Any]) -> None:
    direction = "out" if channel.output else "in"
    own = f"{direction}_{channel.id}_" + (f"{channel.name}_" if channel.name else "")
    shared = f"{direction}_{re.sub(r'[0-9].*', '', channel.id)}_"
    for name in sorted(specs):
        spec = specs[name]
        key = (shared if spec.get("shared") else own) + name
        channel.attributes[name] = key
        range_key = None
        if "range_of" in spec:
            other = spec["range_of"]
            range_key = (shared if specs[other].get("shared") else own) + other
        file = _file(key, spec, range_key)
        if name == "label" and not file.value:
            file.value = channel.name
        device.store.add(file)
    device.channels.append(channel)


def _file(key: str, spec: dict[str, Any], range_key: str | None) -> File:
    default_mode = "r" if key.endswith("_available") else "rw"
    return File(
        key=key,
        kind=spec.get("kind", "text"),
        mode=spec.get("mode", default_mode),
        value=spec.get("value", ""),
        minimum=spec.get("min"),
        maximum=spec.get("max"),
        step=spec.get("step", 0.0),
        choices=tuple(spec.get("choices", ())),
        range_key=range_key or spec.get("range_of", ""),
        read_errno=spec.get("read_errno", 0),
        write_errno=spec.get("write_errno", 0),
    )
