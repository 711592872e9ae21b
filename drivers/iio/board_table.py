"""Tables of the supported boards (drivers/iio/boards/*.toml); needs no libiio."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from hil.core.device import Range
from hil.core.epoch import EpochEvent, EpochScope
from hil.core.errors import DeviceNotFound


@dataclass(frozen=True, slots=True)
class TransmitTable:
    """The transmitters of a board.

    Attributes
    ----------
    devices : IIO devices of the transmit cores; the first has the buffer, all have tone generators.
    lo : channel of the control device with the transmitters' own LO, "" if they share the receivers'.
    dac_bits : what the converter takes of the 16 bits of a sample, from the top.
    max_block_bytes : what one DMA transfer can hold.
    """

    devices: tuple[str, ...]
    lo: str
    dac_bits: int
    fc_hz: Range
    attenuation_db: Range
    max_block_bytes: int
    underflow_register: int
    underflow_mask: int
    lo_event: EpochEvent


@dataclass(frozen=True, slots=True)
class BoardTable:
    """What is known about one kind of board before it is opened.

    Attributes
    ----------
    devices : IIO device names that identify the board.
    rx_device : the device with the receive buffer.
    class_by_channels : pyadi-iio class for each number of receivers.
    lo, bandwidth : property names, one per chip; gain, gain_mode : one per channel; rate : one.
    read_only : which of "rate", "bandwidth" cannot be set.
    epoch : scope of every event.
    """

    name: str
    model: str
    devices: tuple[str, ...]
    rx_device: str
    full_scale_bits: int
    channels_per_chip: int
    max_channels: int
    class_by_channels: Mapping[int, str]
    lo: tuple[str, ...]
    rate: str
    bandwidth: tuple[str, ...]
    gain: tuple[str, ...]
    gain_mode: tuple[str, ...]
    read_only: frozenset[str]
    fc_hz: Range
    fs_hz: Range
    bandwidth_hz: Range
    gain_db: Range
    gain_modes: tuple[str, ...]
    overflow_register: int
    overflow_mask: int
    epoch: Mapping[EpochEvent, EpochScope]
    transmit: TransmitTable

    @property
    def control_devices(self) -> tuple[str, ...]:
        """The device of each chip."""
        return tuple(name for name in self.devices if name != self.rx_device)

    def groups(self, n_channels: int, first: int = 0) -> tuple[tuple[int, ...], ...]:
        """Channels that share an LO, numbered from `first`."""
        step = self.channels_per_chip
        return tuple(
            tuple(range(first + low, first + min(low + step, n_channels)))
            for low in range(0, n_channels, step)
        )


def _table(raw: Mapping[str, Any]) -> BoardTable:
    adi, limits, transmit = raw["adi"], raw["range"], raw["transmit"]
    return BoardTable(
        name=raw["name"],
        model=raw["model"],
        devices=tuple(raw["devices"]),
        rx_device=raw["rx_device"],
        full_scale_bits=raw["full_scale_bits"],
        channels_per_chip=raw["channels_per_chip"],
        max_channels=raw["max_channels"],
        class_by_channels={int(n): name for n, name in adi["class_by_channels"].items()},
        lo=tuple(adi["lo"]),
        rate=adi["rate"],
        bandwidth=tuple(adi["bandwidth"]),
        gain=tuple(adi["gain"]),
        gain_mode=tuple(adi["gain_mode"]),
        read_only=frozenset(adi.get("read_only", ())),
        fc_hz=Range(*limits["fc_hz"]),
        fs_hz=Range(*limits["fs_hz"]),
        bandwidth_hz=Range(*limits["bandwidth_hz"]),
        gain_db=Range(*limits["gain_db"]),
        gain_modes=tuple(limits["gain_modes"]),
        overflow_register=raw["overflow"]["register"],
        overflow_mask=raw["overflow"]["mask"],
        epoch={event: EpochScope(raw["epoch"][event.value]) for event in EpochEvent},
        transmit=TransmitTable(
            devices=tuple(transmit["devices"]),
            lo=transmit["lo"],
            dac_bits=transmit["dac_bits"],
            fc_hz=Range(*transmit["fc_hz"]),
            attenuation_db=Range(*transmit["attenuation_db"]),
            max_block_bytes=transmit["max_block_bytes"],
            underflow_register=transmit["underflow"]["register"],
            underflow_mask=transmit["underflow"]["mask"],
            lo_event=EpochEvent(transmit["lo_event"]),
        ),
    )


@cache
def board_tables() -> Mapping[str, BoardTable]:
    """All tables by name."""
    folder = resources.files("drivers.iio") / "boards"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    tables = [_table(tomllib.loads(f.read_text("utf-8"))) for f in files]
    return {table.name: table for table in tables}


def find_board(device_names: Collection[str], uri: str) -> BoardTable:
    """The board whose devices are all in the context; of several the most particular one.

    Raises DeviceNotFound when none fits.
    """
    names = set(device_names)
    fitting = [t for t in board_tables().values() if names.issuperset(t.devices)]
    if not fitting:
        raise DeviceNotFound(
            f"{uri}: no supported board; its devices are {', '.join(sorted(names)) or 'none'}",
            uri=uri,
            hint=f"supported: {', '.join(board_tables())}; a new board is one file in drivers/iio/boards",
        )
    return max(fitting, key=lambda t: len(t.devices))
