"""Options that several subcommands share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.core.device import RxConfig
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry, parse_array
from hil.core.units import parse_quantity

ArrayOption = Annotated[
    str | None,
    typer.Option("--array", metavar="SPEC", help="The array: ula:ELEMENTS:SPACING or uca:ELEMENTS:RADIUS in wavelengths, or a TOML file with positions and ports; default: what the recording or scene states."),
]  # fmt: skip
FcOption = Annotated[
    str | None,
    typer.Option("--fc", metavar="HZ", help="Carrier, e.g. '2.45 GHz'; default: as the device is set."),
]
FsOption = Annotated[
    str | None,
    typer.Option("--fs", metavar="HZ", help="Sample rate, e.g. 2.5M; default: as the device is set."),
]
GainOption = Annotated[str | None, typer.Option("--gain", metavar="DB", help="Manual gain in dB: one number, or '10 12 ...' for each channel; default: as the device is set.")]  # fmt: skip
SourcesOption = Annotated[str, typer.Option("--sources", metavar="K", help="Emitters at a time, or auto.")]
CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", metavar="FILE", help="Calibration file of this array.")
]
RelearnOption = Annotated[
    bool,
    typer.Option(
        "--relearn-phase", help="Learn the group phases again from these data if they have expired."
    ),
]
StaleOption = Annotated[str | None, typer.Option("--stale-ok", metavar="REASON", help="Use a calibration that may be stale; the reason is stored in the result.")]  # fmt: skip


def rx_config(fc: str | None, fs: str | None, gain: str | None, n_elements: int | None = None) -> RxConfig:
    """A request from the command line. Raises ConfigError."""
    return RxConfig(
        fc_hz=_positive(fc, "--fc"),
        fs_hz=_positive(fs, "--fs"),
        gain_db=decibels(gain, "--gain"),
        channels=None if n_elements is None else tuple(range(n_elements)),
    )


def _positive(text: str | None, where: str) -> float | None:
    if text is None:
        return None
    value = parse_quantity(text, where=where, unit="Hz")
    if value <= 0:
        raise ConfigError(f"{text!r} must be positive", where=where)
    return value


def decibels(text: str | None, where: str) -> tuple[float, ...] | float | None:
    """One number, or several for as many channels, between blanks, semicolons or commas.

    Raises ConfigError where a comma could stand for a decimal point: a level must not be guessed.
    """
    if text is None:
        return None
    parts = text.replace(";", " ").split()
    if len(parts) == 1 and "," in text:
        if text.count(",") == 1 and "." not in text:
            raise ConfigError(
                f"{text!r} could be one number or two",
                where=where,
                hint="write 20.5 for one number, '20 5' for two channels",
            )
        parts = text.split(",")
    values = tuple(parse_quantity(p, where=where, unit="dB") for p in parts)
    if not values:
        raise ConfigError("no number", where=where)
    return values[0] if len(values) == 1 else values


def geometry_of(spec: str | None, fc_hz: float, stored: ArrayGeometry | None) -> ArrayGeometry:
    """The array given by the user, or the one stored in a recording. Raises ConfigError if there is none."""
    if spec is not None:
        return parse_array(spec, fc_hz)
    if stored is None:
        raise ConfigError(
            "the array is not known: hardware does not know its geometry",
            where="--array",
            hint="give for example --array ula:4:0.5 (four elements, half a wavelength apart)",
        )
    return stored


def refuse_tuning(fc: str | None, fs: str | None, gain: str | None) -> None:
    """A recording cannot be tuned. Raises ConfigError naming the option."""
    for option, value in (("--fc", fc), ("--fs", fs), ("--gain", gain)):
        if value is not None:
            raise ConfigError("a recording is as it was recorded", where=option, hint="leave the option out")


def is_device(text: str) -> bool:
    """True for a device URI, False for the path of a file."""
    from drivers.registry import DRIVERS

    return text.split(":", 1)[0] in DRIVERS and ":" in text
