"""`hil calib export`, `import` and `age`: files of other programs, and how long a calibration stays good."""

from __future__ import annotations

import hashlib
import math
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from hil.cli.calib_words import WhichArgument, find, show_fields
from hil.cli.output import JsonOption
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, ConfigError

_NAMES = "h5, mat, npz, json, csv, sigmf, uvcal, heimdall, gr-doa, acoular or phaser"


def export(
    which: WhichArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; one that is there is replaced.")],
    format: Annotated[
        str | None, typer.Option("--format", help=f"{_NAMES}; default: by OUT's ending.")
    ] = None,
    with_snippets: Annotated[
        bool, typer.Option("--with-snippets", help="Also write programs that load it, beside OUT.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Write a calibration in another format: hil calib export array.h5 array.mat"""
    from hil.export import FORMATS, format_of
    from hil.export import export as write
    from hil.export.snippets import write_snippets

    name = format or format_of(out)
    if not name:
        raise ConfigError(
            f"the ending of {out} names no format", where="--format", hint=f"one of {', '.join(FORMATS)}"
        )
    c = find(which)
    found: dict[str, Any] = {"id": c.id, "format": name, "file": out, "lost": write(c, out, name)}
    found["about"] = FORMATS[name].about
    if with_snippets:
        found["snippets"] = write_snippets(out, name)
    show_fields(found, json)


def import_(
    file: Annotated[Path, typer.Argument(help="Calibration of this or another program.")],
    format: Annotated[
        str | None, typer.Option("--format", help=f"{_NAMES}; default: by the file's ending.")
    ] = None,
    fc: Annotated[
        str | None, typer.Option("--fc", metavar="HZ", help="Carrier, where the file does not say it.")
    ] = None,
    array: Annotated[
        str,
        typer.Option("--array", help="ula:8:0.5, uca:8:0.6 or a TOML file, where the file does not say it."),
    ] = "",
    json: JsonOption = None,
) -> None:
    """Put a calibration file into the store and make it current.

    \b
    Examples:
      hil calib import array.json
      hil calib import gains.cfg --format gr-doa --fc 2.45GHz --array ula:4:0.5
    """
    from hil.cli.options import rx_config
    from hil.export import format_of, read
    from hil.export.partial import Given
    from hil.store import Store
    from hil.store.files import read_limited

    name = format or format_of(file) or "h5"
    c = read(file, name, Given(rx_config(fc, None, None).fc_hz, array))
    digest = hashlib.sha256(read_limited(file)).hexdigest()
    origin = f"{file} ({name}, SHA-256 {digest})"
    Store().add(c, origin)
    lacks = c.settings.get("imported", {}).get("lacks", "")
    show_fields(
        {"id": c.id, "serial": c.device_serial, "current": c.id, "origin": origin, "lacks": lacks}, json
    )


def age(
    which: WhichArgument,
    tolerance_deg: Annotated[
        float,
        typer.Option("--tolerance", metavar="DEG", help="Phase error that is still good, rms over elements."),
    ] = 5.0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a copy (h5) that expires when the prediction ends.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Show how old a calibration is, when it expires, and how long its phases stay good.

    The prediction rests on how the phases moved between the calibrations in the store: hil calib age array.h5
    """
    from hil.store.drift import outlook
    from hil.store.status import parse_utc

    if not (math.isfinite(tolerance_deg) and tolerance_deg > 0):
        raise ConfigError(f"{tolerance_deg:g} degrees", where="--tolerance", hint="give a positive number")
    c, now = find(which), datetime.now(UTC)
    created, expires = parse_utc(c.created_utc), parse_utc(c.valid.expires_utc)
    future = outlook(c, _stored(c), tolerance_deg)
    until = None
    if created is not None and math.isfinite(future.good_for_s):
        until = created + timedelta(seconds=future.good_for_s)
    if out is not None:
        if until is None:
            raise CalibrationError(
                f"until when it stays good is {future.reason}", hint="learn again later, then ask again"
            )
        _write_expiring(c, until, out)
    show_fields(
        {
            "id": c.id,
            "created_utc": c.created_utc,
            "age_s": None if created is None else (now - created).total_seconds(),
            "expires_utc": c.valid.expires_utc,
            "expires_in_s": None if expires is None else (expires - now).total_seconds(),
            "expired": expires is not None and now >= expires,
            "tolerance_deg": tolerance_deg,
            "good_until_utc": None if until is None else until.isoformat(timespec="seconds"),
            "good_for_s": _known(future.good_for_s),
            "good_at_least": future.at_least,
            "drift_rate_deg_per_h": _known(future.rate_deg_per_h),
            "drift_walk_deg_per_sqrt_h": _known(future.walk_deg_per_sqrt_h),
            "good_reason": future.reason,
            "file": out,
        },
        json,
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _stored(c: Calibration) -> list[Calibration]:
    """What the store has of this device; a file that cannot be read is left out."""
    from hil.store import Store

    store, found = Store(), []
    for entry in store.history(c.device_serial):
        try:
            found.append(store.get(entry.id))
        except CalibrationError:
            continue
    return found


def _write_expiring(c: Calibration, until: datetime, out: Path) -> None:
    from hil.store import save

    valid = replace(c.valid, expires_utc=until.isoformat(timespec="seconds"))
    save(replace(c, valid=valid, id=uuid.uuid4().hex), out)
