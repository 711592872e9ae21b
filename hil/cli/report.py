"""`hil report`: the certificate of a calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli.output import JsonOption, console, emit


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Calibration file; or a recording or the folder of a campaign with --calibration.",
        ),
    ],
    out: Annotated[
        list[Path],
        typer.Option("--out", metavar="F.html", help="Page (.html) or PDF (.pdf) to write; again for both."),
    ],
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibration", metavar="FILE", help="Calibration of this array; again to compare several."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="FILE", help="Truth file of the simulator: adds errors before and after."
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Write a report to hand over: verdict, geometry, spectra, errors on held-out angles, learned elements, hashes.

    One self-contained HTML page, a PDF of the same content, or both. Errors are shown only where true directions are
    known, and only at angles that the calibration has not learned from.

    \b
    Examples:
      hil report array.h5 --out array.html
      hil report rec.sigmf-meta --calibration array.h5 --out array.html --out array.pdf
      hil report night --calibration pilot.h5 --calibration blind.h5 --out night.pdf
    """
    from hil.jobs.report import ReportRequest, make_report

    found = make_report(
        ReportRequest(source, out, calibration or (), truth), lambda text: console.print(text, markup=False)
    )
    emit(json, found)
    for path in found["reports"]:
        console.print(f"wrote {path}", markup=False)
