"""`hil info`: what a recording or a calibration contains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hil.cli.output import JsonOption, console, emit


def info(
    file: Annotated[Path, typer.Argument(help="Recording (.sigmf-collection, .sigmf-meta) or calibration.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare the samples with their SHA-512.")] = False,
    json: JsonOption = None,
) -> None:
    """Show what a recording or calibration contains.

    \b
    Examples:
      hil info rec.sigmf-meta
      hil info array.h5 --json -
    """
    shown = found = {}
    if file.suffix.startswith(".sigmf"):
        shown = found = describe_recording(file, verify)
    else:
        from hil.cli.calib_words import describe_calibration, with_sigmas
        from hil.export import read

        found = {"kind": "calibration", "file": file} | describe_calibration(read(file))
        shown = found | {"elements": [with_sigmas(e) for e in found["elements"]]}
    emit(json, found)
    if json != "-":
        print_fields(shown)


def print_fields(found: dict[str, Any]) -> None:
    """A table of names and values; lists of objects become tables of their own."""
    table = Table(show_header=False, box=None)
    tables = []
    for key, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = Table(*value[0], title=key)
            for row in value[:40]:
                inner.add_row(*(_short(v) for v in row.values()))
            tables.append(inner)
        else:
            table.add_row(key, _short(value))
    for each in (table, *tables):
        console.print(each, markup=False, highlight=False)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, list | tuple):
        return " ".join(_short(v) for v in value)
    return str(value)


def describe_recording(file: Path, verify: bool = False) -> dict[str, Any]:
    """The JSON object of a recording. Raises RecordingError."""
    from drivers.sigmf_files import open_recording

    with open_recording(file) as recording:
        out: dict[str, Any] = {
            "kind": "recording",
            "file": recording.path,
            "layout": recording.kind,
            "datatype": recording.wire.value,
            "complete": recording.complete,
            "n_elements": recording.n_channels,
            "samples": recording.n_samples,
            "seconds": recording.duration_s,
            "fs_hz": recording.fs_hz,
            "bytes": sum(f.stat().st_size for f in recording.data_files),
        }
        lost = [s.dropped_before for s in recording.segments]
        out |= {
            "lost": sum(n for n in lost if n),
            "lost_exact": None not in lost,
            "gaps": sum(n != 0 for n in lost),
            "epochs": len({s.stream.epoch.id for s in recording.segments}),
            "overloads": sum(sum(s.overload_count) for s in recording.segments),
        }
        if recording.segments:
            stream = recording.stream
            out |= {
                "fc_hz": list(dict.fromkeys(s.stream.fc_hz for s in recording.segments)),
                "device": f"{stream.device.model} {stream.device.serial}".strip(),
                "coherent_groups": stream.device.coherent_groups,
                "positions_m": None if stream.geometry is None else stream.geometry.positions_m.tolist(),
            }
        out["segments"] = [
            {
                "start": s.start,
                "samples": s.n,
                "global_index": s.global_index,
                "cause": s.cause,
                "fc_hz": s.stream.fc_hz,
                "gains_db": s.stream.config.gain_db,
                "epoch": s.stream.epoch.id,
                "dropped_before": s.dropped_before,
                "emitter_angles_deg": s.emitter_angles_deg,
            }
            for s in recording.segments
        ]
        out["events"] = [
            {
                "start": a.start,
                "samples": a.n,
                "kind": a.keys.get("hil:fault", a.label),
                "channels": a.keys.get("hil:channels", []),
                "value": a.keys.get("hil:value"),
                "comment": a.comment,
            }
            for a in recording.annotations
        ]
        if verify:
            out["hashes_match"] = recording.verify()
    return out
