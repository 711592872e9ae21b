"""The report on calibrations: one document of one order, written as an HTML page or as a PDF."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import hil
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.units import format_si
from hil.reporting import plots, sections
from hil.reporting.document import Block, Document, Heading, Paragraph, Picture, Table, Verdict
from hil.reporting.html import to_html
from hil.reporting.numbers import fixed, rounded, utc
from hil.reporting.pdf import to_pdf

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENDINGS = (".html", ".htm", ".pdf")
_METRICS = {
    "doa_rmspe_deg": "MUSIC direction error on held-out blocks / degrees rms",
    "manifold_error": "manifold error (1 \u2212 worst correlation over the field of view)",
}


@dataclass(slots=True)
class ReportContent:
    """What a report shows besides the calibrations themselves.

    facts : of the title block: (name, text). verdict : None: the learner's own. measured : blocks about data.
    figures : (caption, figure). rows : table of metrics: (name, before, after, known), None = not known.
    assumptions, not_identifiable : in words. files : (name, path). recordings : (name, bytes, SHA-256).
    score_history : of the learner. truth_gain : (M,) complex, where it is known.
    """

    title: str = "Array calibration"
    facts: Sequence[tuple[str, str]] = ()
    verdict: Verdict | None = None
    measured: Sequence[Block] = ()
    figures: list[tuple[str, Figure]] = field(default_factory=list)
    rows: list[tuple[str, float | None, float | None, float | None]] = field(default_factory=list)
    assumptions: Sequence[str] = ()
    not_identifiable: Sequence[str] = ()
    files: Sequence[tuple[str, str]] = ()
    recordings: Sequence[tuple[str, int, str]] = ()
    score_history: Sequence[float] = ()
    truth_gain: np.ndarray | None = None


def check_ending(path: Path) -> None:
    """Raises ConfigError: neither a page nor a PDF."""
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"{path} ends in none of {', '.join(_ENDINGS)}",
            where="--out",
            hint="--out report.html, or --out report.pdf",
        )


def write_report(path: Path, calibration: Calibration, content: ReportContent) -> None:
    """Write the report on one calibration. Raises ConfigError if the file cannot be written."""
    write_document(path, compose({"learned": calibration}, content))


def write_document(path: Path, document: Document) -> None:
    """Write HTML or PDF by the ending; the file is whole or not there. Raises ConfigError."""
    check_ending(path)
    data = to_pdf(document) if path.suffix.lower() == ".pdf" else to_html(document).encode()
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as err:
        part.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {err.strerror}", where="--out") from err


def compose(calibrations: Mapping[str, Calibration], content: ReportContent) -> Document:
    """The report on one calibration, or on several of the same array side by side."""
    first = next(iter(calibrations.values()))
    now = utc(time.time_ns())
    facts = [*(content.facts or _facts(first)), ("report made", now)]
    blocks: list[Block] = [
        Table((), facts, text=True),
        content.verdict or own_verdict(first),
        *_metrics(content.rows or ([] if content.measured else stored_metrics(first))),
        *sections.geometry(calibrations),
        *([Heading("Data")] if content.figures else []),
        *(Picture(figure, caption) for caption, figure in content.figures),
        *content.measured,
        *sections.elements(calibrations, content.truth_gain),
    ]
    if len(content.score_history):
        figure = plots.history_figure(content.score_history, first.predicted_score)
        caption = "The score needs no labels: at the true array the null depth is what noise alone explains."
        blocks += [Heading("Learning"), Picture(figure, caption)]
    assumed = [cal.gauge.assumes for cal in calibrations.values()]
    blocks += [
        *sections.listed("What is assumed", [*content.assumptions, *assumed]),
        *sections.listed("What these data cannot show", content.not_identifiable),
        *sections.provenance(calibrations),
        *sections.files(content.files, content.recordings),
        *sections.environment(),
    ]
    subtitle = f"{now} \u00b7 hil {hil.__version__} \u00b7 method " + ", ".join(
        c.method for c in calibrations.values()
    )
    return Document(
        content.title, subtitle, blocks, f"{content.title} \u00b7 hil {hil.__version__} \u00b7 {now}"
    )


def own_verdict(cal: Calibration) -> Verdict:
    """What the learner itself says: without labels."""
    good = cal.converged and not cal.stale_reason
    if not np.isfinite(cal.score):
        words = "the method judges its result by other means than the null depth"
    else:
        words = (
            f"null depth {fixed(cal.score)} against {fixed(cal.predicted_score)} predicted from noise alone "
            f"(excess {fixed(cal.score - cal.predicted_score)})"
        )
    limit = f" Absolute directions are open by {rounded(cal.gauge.angle_sigma_deg)} degrees (one sigma)."
    return Verdict(f"{'Accepted' if good else 'Not accepted'}: {words}." + limit, good)


def stored_metrics(cal: Calibration) -> list[tuple[str, float | None, float | None, float | None]]:
    """What the calibration file itself says about before and after."""
    found = []
    for key, label in _METRICS.items():
        before, after = cal.metrics.get(f"before_{key}"), cal.metrics.get(f"after_{key}")
        if before is not None and after is not None:
            found.append((label, before, after, cal.metrics.get(f"known_{key}")))
    return found


def _facts(cal: Calibration) -> list[tuple[str, str]]:
    return [
        ("device", cal.device_model or "not known"),
        ("serial number", cal.device_serial or "not known"),
        ("array", f"{cal.geometry.name} ({cal.geometry.n_elements} elements)"),
        ("carrier", format_si(cal.fc_hz, "Hz")),
        ("learned", cal.created_utc or "not known"),
    ]


def _metrics(rows: Sequence[tuple[str, float | None, float | None, float | None]]) -> list[Block]:
    if not rows:
        return []
    cells = [(name, *(rounded(v) for v in values)) for name, *values in rows]
    table = Table(("", "nominal array", "learned", "true array"), cells, widths=(3, 1, 1, 1))
    note = "Blocks of 256 snapshots that learning did not use; - where the true array is not known."
    return [Heading("Before and after"), table, Paragraph(note, small=True)]
