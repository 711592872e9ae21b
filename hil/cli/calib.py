"""`hil calib`: look at calibrations, check, compare, apply, convert, and go back to earlier ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from hil.cli import calib_files
from hil.cli.calib_words import (
    WhichArgument,
    decibel,
    describe_calibration,
    find,
    show_fields,
    with_changes,
    with_sigmas,
)
from hil.cli.info import print_fields
from hil.cli.options import RelearnOption, StaleOption, is_device
from hil.cli.output import JsonOption, console, emit
from hil.core.frame import StreamInfo

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.command()(calib_files.export)
app.command("import")(calib_files.import_)
app.command()(calib_files.age)

SerialOption = Annotated[
    str | None, typer.Option("--serial", help="Of this device; default: the one last worked on.")
]


def _apart(
    x: NDArray[np.complex128],
    y: NDArray[np.complex128],
    sigmas: tuple[NDArray[np.float64] | None, ...],
    m: int,
) -> float | None:
    """|y - x| in standard deviations of the difference; None where neither was learned."""
    known = [float(s[m]) for s in sigmas if s is not None]
    total = math.hypot(*known) if known else 0.0
    return float(abs(y[m] - x[m])) / total if total > 0 else None


@app.command()
def show(which: WhichArgument, json: JsonOption = None) -> None:
    """Show what a calibration holds: hil calib show array.h5"""
    show_fields(describe_calibration(find(which)), json, with_sigmas)


@app.command()
def check(
    which: WhichArgument,
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Recording or device URI.")],
    stale_ok: StaleOption = None,
    relearn_phase: RelearnOption = False,
    json: JsonOption = None,
) -> None:
    """Tell whether a calibration may be used on a recording or device; exit code 4 if not.

    \b
    Examples:
      hil calib check array.h5 rec.sigmf-meta
      hil calib check array.h5 iio:ip:192.168.2.1 --json -
    """
    from hil.store import require_usable

    c = find(which)
    results = [(stream, require_usable(c, stream, stale_ok=stale_ok or "", relearn_phase=relearn_phase))
               for stream in _streams(source)]  # fmt: skip
    stream, worst = next(((s, r) for s, r in results if r.status != "valid"), results[0])
    found = {
        "id": c.id,
        "calibration_status": worst.status,
        "field": worst.field,
        "reason": worst.reason,
        "hint": worst.hint,
        "age_s": worst.age_s,
        "epoch": stream.epoch.id,
        "stale_ok": stale_ok or "",
    }
    show_fields(found, json)


def _streams(source: str) -> list[StreamInfo]:
    """The streams of a recording (one per change) or of a device as it is now."""
    from drivers.sigmf_files import open_recording

    if is_device(source):
        from drivers.registry import open_device
        from hil.core.device import RxConfig

        with open_device(source) as device:
            return [device.configure(RxConfig())]
    with open_recording(source) as recording:
        if not recording.segments:
            return [recording.stream]
        distinct = {(s.stream.epoch.id, s.stream.config): s.stream for s in recording.segments}
        return list(distinct.values())


@app.command()
def diff(first: WhichArgument, second: WhichArgument, json: JsonOption = None) -> None:
    """Compare two calibrations element by element, both in the same gauge: hil calib diff old.h5 new.h5"""
    from hil.store.difference import difference

    a, b = find(first), find(second)
    d = difference(a, b)
    x, y = a.impairments, b.impairments
    show_fields(
        {
            "first": d.first,
            "second": d.second,
            "same_device": d.same_device,
            "same_epoch": d.same_epoch,
            "same_geometry": d.same_geometry,
            "manifold_correlation_min": None if math.isnan(d.correlation_min) else d.correlation_min,
            "coupling_change_max": d.coupling_change,
            "elements": [
                {
                    "element": m,
                    "gain_change_db": float(d.gain_db[m]),
                    "sigma_gain_db": float(d.sigma_gain_db[m]),
                    "phase_change_deg": float(d.phase_deg[m]),
                    "sigma_phase_deg": float(d.sigma_phase_deg[m]),
                    "position_change_m": d.position_m[m].tolist(),
                    "sigma_position_m": d.sigma_position_m[m].tolist(),
                    "delay_change_s": float(d.delay_s[m]),
                    "delay_change_ps": 1e12 * float(d.delay_s[m]),
                    "sigma_delay_ps": 1e12 * float(d.sigma_delay_s[m]),
                    "iq_image_change_db": decibel(abs(y.iq_image[m] - x.iq_image[m])),
                    "iq_image_sigmas": _apart(
                        x.iq_image, y.iq_image, (a.sigma.iq_image, b.sigma.iq_image), m
                    ),
                    "dc_change_dbfs": decibel(abs(y.dc_offset[m] - x.dc_offset[m])),
                    "dc_sigmas": _apart(x.dc_offset, y.dc_offset, (a.sigma.dc_offset, b.sigma.dc_offset), m),
                }
                for m in range(len(d.gain_db))
            ],
        },
        json,
        with_changes,
    )


@app.command()
def apply(
    recording: Annotated[Path, typer.Argument(metavar="IN", help="Recording.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Corrected recording, .sigmf-collection or .sigmf-meta.")
    ],
    which: WhichArgument,
    stale_ok: StaleOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
    json: JsonOption = None,
) -> None:
    """Write a recording whose samples are corrected: hil calib apply rec.sigmf-meta out.sigmf-meta array.h5"""
    from drivers.sigmf_files import open_recording
    from hil.recorder.corrected import write_corrected
    from hil.store import require_usable

    c = find(which)
    statuses = [
        require_usable(c, stream, stale_ok=stale_ok or "").status for stream in _streams(str(recording))
    ]
    status = next((s for s in statuses if s != "valid"), "valid")
    if status not in ("valid", "unverified"):
        c = replace(c, stale_reason=stale_ok or "")
    with open_recording(recording) as opened:
        summary = write_corrected(opened, out, c, status=status, overwrite=overwrite)
    show_fields(
        {
            "file": out,
            "calibration": c.id,
            "calibration_status": status,
            "stale_reason": c.stale_reason,
            "samples": summary.samples,
            "gaps": summary.gaps,
            "epochs": summary.epochs,
        },
        json,
    )


@app.command()
def history(serial: SerialOption = None, json: JsonOption = None) -> None:
    """List every calibration in the store, oldest first; nothing is ever deleted."""
    from hil.store import Store

    store = Store()
    rows = [
        {
            "current": entry.current,
            "id": entry.id,
            "serial": entry.serial,
            "model": entry.model,
            "method": entry.method,
            "fc_hz": entry.fc_hz,
            "converged": entry.converged,
            "added_utc": entry.added_utc,
            "note": entry.note,
            "origin": entry.origin,
        }
        for entry in store.history(serial)
    ]
    emit(json, {"calibrations": rows, "store": store.folder})
    if json != "-":
        print_fields({"store": store.folder, "calibrations": rows})


@app.command()
def undo(serial: SerialOption = None, json: JsonOption = None) -> None:
    """Go back to the calibration that was current before."""
    from hil.store import Store

    _moved(Store().undo(serial), json)


@app.command()
def redo(serial: SerialOption = None, json: JsonOption = None) -> None:
    """Take the last undo back."""
    from hil.store import Store

    _moved(Store().redo(serial), json)


@app.command()
def restore(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="As hil calib history lists it, or how it begins.")
    ],
    json: JsonOption = None,
) -> None:
    """Make a stored calibration current again: hil calib restore 3f2a"""
    from hil.store import Store

    _moved(Store().restore(identity), json)


@app.command()
def note(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="As hil calib history lists it, or how it begins.")
    ],
    text: Annotated[str, typer.Argument(help='One line; "" takes it away.')],
    json: JsonOption = None,
) -> None:
    """Write a line to a stored calibration: hil calib note 3f2a "cold start, chamber 2" """
    from hil.store import Store

    show_fields({"id": Store().note(identity, text), "note": " ".join(text.split())}, json)


def _moved(current: str | None, json: str | None) -> None:
    emit(json, {"current": current})
    console.print(f"current: {current or 'none'}", highlight=False)
