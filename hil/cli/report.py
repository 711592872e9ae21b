"""`hil report`: the certificate of a calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hil.cli.options import CalibrationOption
from hil.cli.output import JsonOption, console, emit
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError


def report(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Calibration file, or a recording with --calibration.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="F.html", help="Page to write.")],
    calibration: CalibrationOption = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="FILE", help="Truth file of the simulator: adds errors before and after."
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Write one self-contained HTML page: verdict, learned elements, assumptions, and spectra where a recording is given.

    \b
    Examples:
      hil report array.h5 --out array.html
      hil report rec.sigmf-meta --calibration array.h5 --out array.html
    """
    from hil import store
    from hil.reporting.page import ReportContent, write_report

    is_recording = ".sigmf" in source.suffix
    if is_recording and calibration is None:
        raise ConfigError("a recording needs the calibration to report on", where="--calibration")
    cal = store.load(calibration if is_recording and calibration is not None else source)
    content = ReportContent(title=f"Array calibration {cal.id[:8]}")
    if is_recording:
        content = _with_recording(source, cal, truth)
    before, after = cal.metrics.get("before_doa_rmspe_deg"), cal.metrics.get("after_doa_rmspe_deg")
    if not content.rows and before is not None and after is not None:
        content.rows = [("MUSIC direction error on held-out blocks / degrees rms", before, after, None)]
    write_report(out, cal, content)
    emit(json, {"report": str(out), "calibration_id": cal.id, "converged": cal.converged})
    console.print(f"wrote {out}")


def _with_recording(path: Path, cal: Calibration, truth: Path | None):
    from drivers.sigmf_files import open_recording
    from hil.dsp.doa import DoaFinder
    from hil.evaluation.outcome import evaluate, report_content
    from hil.evaluation.scoring import held_out
    from hil.evaluation.truth_match import scene_offset
    from hil.learning.observe import longest_epoch, observe_recording
    from hil.reporting import plots
    from hil.reporting.page import ReportContent
    from sim_backend.truth import read_truth

    title = f"Array calibration {cal.id[:8]} on {path.name}"
    with open_recording(path) as recording:
        start, end = longest_epoch(recording)
        stream = recording.segment_at(start).stream
        fc_hz, m = stream.fc_hz, cal.geometry.n_elements
        if stream.n_channels != m:
            raise ConfigError(
                f"calibration of {m} elements, the recording has {stream.n_channels} channels",
                where="--calibration",
            )
        batch = observe_recording(recording, held_out(end - start, start), end)
    if truth is not None:
        known = read_truth(truth)
        outcome = evaluate(batch, known, scene_offset(known), cal.geometry, fc_hz, cal, cal.gauge.support_deg)
        return report_content(outcome, title, fc_hz)
    planar = cal.geometry.kind != "line"
    grid = np.linspace(-180, 180, 1441) if planar else np.linspace(-90, 90, 1441)
    n_sources = int(cal.settings.get("n_sources") or 1)
    spectra = {
        name: 10 * np.log10(DoaFinder(array, fc_hz, grid).spectrum(batch.covariance[0], n_sources))
        for name, array in (("nominal", cal.geometry), ("calibrated", cal))
    }
    figure = plots.spectrum_figure(grid, spectra, planar=planar)
    return ReportContent(title=title, figures=[("MUSIC on one block of the recording's last fifth.", figure)])
