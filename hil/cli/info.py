"""`hil info`: what a recording, a calibration or a waveform contains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hil.cli.output import JsonOption, console, emit, print_table, print_values
from hil.core.errors import ConfigError

_MOST_ROWS = 40


def info(
    file: Annotated[
        Path,
        typer.Argument(help="Recording (.sigmf-collection, .sigmf-meta), calibration, or waveform (.toml)."),
    ],
    verify: Annotated[bool, typer.Option("--verify", help="Compare the samples with their SHA-512.")] = False,
    json: JsonOption = None,
) -> None:
    """Show what a recording, calibration or waveform contains.

    \b
    Examples:
      hil info rec.sigmf-meta
      hil info w.toml
      hil info array.h5 --json -
    """
    shown = found = {}
    if file.suffix.startswith(".sigmf"):
        found = describe_recording(file, verify)
        shown = _in_words(found)
    elif file.suffix == ".toml":
        shown = found = {"kind": "waveform", "file": file} | _describe_waveform(file)
    else:
        from hil.cli.calib_words import describe_calibration, with_sigmas
        from hil.export import read

        found = {"kind": "calibration", "file": file} | describe_calibration(read(file))
        shown = found | {"elements": [with_sigmas(e) for e in found["elements"]]}
    emit(json, found)
    if json != "-":
        print_fields(shown)


def print_fields(found: dict[str, Any]) -> None:
    """Names and values; lists of objects become tables of their own."""
    tables = {key: value for key, value in found.items() if _is_table(value)}
    print_values({key: _short(value) for key, value in found.items() if key not in tables})
    for key, rows in tables.items():
        cells = [[_short(value) for value in row.values()] for row in rows[:_MOST_ROWS]]
        print_table(list(rows[0]), cells, title=key)
        if len(rows) > _MOST_ROWS:
            console.print(f"... and {len(rows) - _MOST_ROWS} more {key}: --json - gives them all")


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, list | tuple):
        nested = (f"({_short(v)})" if isinstance(v, list | tuple) else _short(v) for v in value)
        return " ".join(nested) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(v)}" for key, v in value.items())
    return "-" if value is None or value == "" else str(value)


def _in_words(found: dict[str, Any]) -> dict[str, Any]:
    """A recording's object for the table: what is not known is called so."""
    from hil.session_summary import loss_words

    words = loss_words(found["lost"], found["gaps"], found["lost_unknown"])
    segments = [
        s | {"dropped_before": "unknown" if s["dropped_before"] is None else s["dropped_before"]}
        for s in found["segments"]
    ]
    hidden = ("lost_exact", "lost_unknown")
    return {k: v for k, v in found.items() if k not in hidden} | {"lost": words, "segments": segments}


def _describe_waveform(file: Path) -> dict[str, Any]:
    """The JSON object of a waveform file, its own kind as `waveform`."""
    from hil.cli.waveform import describe_waveform
    from hil.core.waveform import load_waveform

    try:
        found = describe_waveform(load_waveform(file))
    except ConfigError as err:
        if not file.is_file():
            raise
        raise ConfigError(str(err), hint=f"{err.hint}; a scene is shown by: hil scene show {file}") from err
    return {"waveform": found.pop("kind")} | found


def describe_recording(file: Path, verify: bool = False) -> dict[str, Any]:
    """The JSON object of a recording. Raises RecordingError."""
    from drivers.sigmf_files import open_recording
    from hil.recorder.summary import at_least

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
            "lost": at_least(lost),
            "lost_exact": None not in lost,
            "lost_unknown": lost.count(None),
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
