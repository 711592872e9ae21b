"""Everything off: what it takes on a board's control devices and transmit cores, on any connection."""

from __future__ import annotations

import errno
from typing import Any

from drivers.iio.board_table import BoardTable


def control_port(table: BoardTable, channel: int) -> tuple[str, str]:
    """Control device and its channel that drive a transmitter."""
    chip, index = divmod(channel, table.channels_per_chip)
    return table.control_devices[chip], f"voltage{index}"


def output_attribute(context: Any, device: str, channel: str, name: str, value: str | None = None) -> str:
    """Read or write an attribute of an output channel."""
    attribute = context.find_device(device).find_channel(channel, True).attrs[name]
    if value is None:
        return attribute.value
    attribute.value = value
    return value


def silence_board(context: Any, table: BoardTable, n_channels: int) -> None:
    """Turn everything off that a program may have left on: power first, then the sources. Raises OSError."""
    transmit = table.transmit
    refused: OSError | None = None

    def write(device: str, channel: str, name: str, value: str) -> None:
        """One refusal must not keep the rest on."""
        nonlocal refused
        try:
            output_attribute(context, device, channel, name, value)
        except OSError as err:
            if err.errno not in (errno.EINVAL, errno.EBUSY, errno.EPROTO, errno.ENODEV):
                raise
            refused = refused or err
        except (KeyError, AttributeError):
            refused = refused or OSError(errno.ENODEV, f"{device} {channel} has no {name}")

    quiet = transmit.attenuation_db.maximum
    ports = [control_port(table, c) for c in range(n_channels)]
    for device, channel in ports:
        write(device, channel, "hardwaregain", f"{-quiet:.6f}")
    for name in transmit.devices:
        core = context.find_device(name)
        for channel in core.channels if core is not None else ():
            if channel.output and channel.id.startswith("altvoltage") and "raw" in channel.attrs:
                write(name, channel.id, "raw", "0")
    if transmit.lo:
        for device in table.control_devices:
            write(device, transmit.lo, "powerdown", "1")
    else:
        for device, channel in ports:
            write(device, channel, "powerdown", "1")
    for device, channel in ports:
        taken = float(output_attribute(context, device, channel, "hardwaregain").split()[0])
        if taken > -quiet + 0.5:
            raise OSError(errno.EIO, f"attenuation of {channel} is {-taken:g} dB, asked was {quiet:g}")
    if refused is not None:
        raise refused
