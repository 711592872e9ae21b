"""`hil devices`: what can be opened."""

from __future__ import annotations

from typing import Annotated

import typer

from hil.cli.output import JsonOption, console, emit, print_table


def devices(
    discover: Annotated[
        bool,
        typer.Option("--discover", help="Also ask the network (mDNS, SoapySDR's multicast) for devices."),
    ] = False,
    json: JsonOption = None,
) -> None:
    """List the devices that can be opened, with their URI, model, serial number and channels.

    IIO boards and SoapySDR devices of this machine; nothing is sent to the network without --discover.

    \b
    Examples:
      hil devices
      hil devices --discover --json -
    """
    from drivers.registry import list_devices

    found = list_devices(discover)
    emit(json, {"devices": found})
    keys = ("uri", "driver", "model", "serial", "n_channels")
    rows = [[str(row.get(key, "")) for key in keys] for row in found]
    print_table(("URI", "driver", "model", "serial", "channels"), rows)
    for family, example in (
        ("iio", "IIO board found here. Name one by address: hil capture iio:ip:192.168.2.1 ..."),
        (
            "soapy",
            "SoapySDR device found here. Name a server: hil capture soapy:driver=remote,remote=tcp://HOST:55132 ...",
        ),
    ):
        if not any(row.get("driver") == family for row in found):
            console.print(f"No {example}", highlight=False, soft_wrap=True)
