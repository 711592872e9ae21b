"""`hil doctor`: what is missing on this machine, and the command that mends it."""

from __future__ import annotations

import json as jsonlib
import os
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE",
            help="Write versions, findings and logs to a zip file for a bug report.",
        ),
    ] = None,
    json: JsonOption = None,
) -> int:
    """Check libraries, versions, USB and display; print what is missing and the command that mends it.

    Exit code 3 if something that the simulation needs is missing.

    \b
    Examples:
      hil doctor
      hil doctor --bundle report.zip
    """
    from hil.doctor import bundle as make_bundle
    from hil.doctor import examine

    findings = examine()
    for f in findings:
        mark = (
            "[green]ok     [/]" if f.ok else ("[bold red]missing[/]" if f.required else "[yellow]absent [/]")
        )
        console.print(f"{mark} {f.name:<20} {f.found}", highlight=False)
        if not f.ok:
            console.print(
                f"        needed for: {f.needed_for}\n        mend with:  {f.remedy}",
                highlight=False,
                markup=False,
            )
    missing = [f.name for f in findings if f.required and not f.ok]
    if bundle is not None:
        _write_bundle(bundle, make_bundle(findings))
        console.print(f"wrote {bundle}")
    status = (
        {
            "status": "failed",
            "reason": f"missing: {', '.join(missing)}",
            "hint": "see the remedies",
            "exit_code": 3,
        }
        if missing
        else {}
    )
    emit(json, status | {"findings": [asdict(f) for f in findings], "missing": missing})
    return 3 if missing else 0


def _write_bundle(path: Path, content: dict[str, object]) -> None:
    logs = [Path(os.environ.get("HIL_HOME", "") or tempfile.gettempdir()) / "hil-errors.log"]
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("machine.json", jsonlib.dumps(content, indent=1))
            for log in logs:
                if log.is_file():
                    archive.write(log, log.name)
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}", where="--bundle") from err
