"""The certificate: one self-contained HTML page about a calibration, with pictures and no outside references."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import hil
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.units import SPEED_OF_LIGHT_M_S, format_si
from hil.reporting import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #e6e6e6}th:first-child,td:first-child{text-align:left}
img{max-width:100%;display:block;margin:.5rem 0}.verdict{font-size:1.1rem;padding:.7rem 1rem;border-left:.5rem solid}
.good{border-color:#1a7f37;background:#eefaf1}.bad{border-color:#b42318;background:#fdf0ee}
figcaption{color:#555;font-size:.9rem}figure{margin:1rem 0}.small{color:#555;font-size:.9rem}
"""


@dataclass(slots=True)
class ReportContent:
    """What a page shows besides the calibration itself.

    figures : (caption, figure). rows : table of metrics: (name, before, after, known), None = not known.
    assumptions, not_identifiable : in words. files : (name, path). score_history : of the learner.
    """

    title: str = "Array calibration"
    figures: list[tuple[str, Figure]] = field(default_factory=list)
    rows: list[tuple[str, float | None, float | None, float | None]] = field(default_factory=list)
    assumptions: Sequence[str] = ()
    not_identifiable: Sequence[str] = ()
    files: Sequence[tuple[str, str]] = ()
    score_history: Sequence[float] = ()
    truth_gain: np.ndarray | None = None


def write_report(path: Path, calibration: Calibration, content: ReportContent) -> None:
    """Write the page. Raises ConfigError if the file cannot be written."""
    page = render(calibration, content)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}", where="--out") from err


def render(calibration: Calibration, content: ReportContent) -> str:
    """The page as text."""
    cal = calibration
    excess = cal.score - cal.predicted_score
    good = cal.converged and not cal.stale_reason
    verdict = (
        f"{'Accepted' if good else 'Not accepted'}: null depth {cal.score:.2f} against {cal.predicted_score:.2f} "
        f"predicted from noise alone (excess {excess:+.2f})."
    )
    parts = [
        f"<h1>{html.escape(content.title)}</h1>",
        f'<p class="small">{html.escape(cal.created_utc)} - method {html.escape(cal.method)} - hil {hil.__version__}</p>',
        f'<p class="verdict {"good" if good else "bad"}">{html.escape(verdict)}</p>',
        _metrics(content),
        *(_figure(caption, figure) for caption, figure in content.figures),
        "<h2>Learned elements</h2>",
        _figure(
            "Learned gain, phase and position of every element.",
            plots.elements_figure(cal, content.truth_gain),
        ),
        _elements(cal),
    ]
    if len(content.score_history):
        parts += ["<h2>Learning</h2>", _figure(
            "The score needs no labels: at the true array the null depth is what noise alone explains.",
            plots.history_figure(content.score_history, cal.predicted_score))]  # fmt: skip
    parts += [
        _list("What is assumed", list(dict.fromkeys([*content.assumptions, cal.gauge.assumes]))),
        _list("What these data cannot show", content.not_identifiable),
        _provenance(cal, content),
    ]
    body = "\n".join(p for p in parts if p)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(content.title)}</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _figure(caption: str, figure: Figure) -> str:
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="{plots.data_uri(figure)}"><figcaption>{text}</figcaption></figure>'
    )


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.4g}"


def _metrics(content: ReportContent) -> str:
    if not content.rows:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{_number(v)}</td>" for v in values) + "</tr>"
        for name, *values in content.rows
    )
    return (
        "<h2>Before and after</h2><table><tr><th></th><th>nominal array</th><th>learned</th><th>true array</th></tr>"
        f"{rows}</table>"
    )


def _elements(cal: Calibration) -> str:
    wavelength_m = SPEED_OF_LIGHT_M_S / cal.fc_hz
    imp, sigma = cal.impairments, cal.sigma
    rows = []
    for m, label in enumerate(cal.geometry.labels):
        g = imp.gain[m]
        dx = imp.position_error_m[m] / wavelength_m
        rows.append(
            f"<tr><td>{html.escape(label)}</td>"
            f"<td>{20 * np.log10(abs(g)):.2f} &plusmn; {_number(sigma.gain_db[m])}</td>"
            f"<td>{np.degrees(np.angle(g)) + 0.0:.2f} &plusmn; {_number(sigma.phase_deg[m])}</td>"
            f"<td>{dx[0]:.4f} &plusmn; {_number(sigma.position_m[m, 0] / wavelength_m)}</td><td>{dx[1]:.4f}</td>"
            f"{_receiver(cal, m)}</tr>"
        )
    return (
        "<table><tr><th>element</th><th>gain / dB</th><th>phase / degrees</th><th>dx / wavelengths</th>"
        f"<th>dy / wavelengths</th>{_receiver_heads(cal)}</tr>" + "".join(rows) + "</table>"
        f'<p class="small">Relative to element {html.escape(cal.geometry.labels[cal.reference_element])}; '
        "one standard deviation; x = diag(g) a(angle; positions) s, corrected by dividing by g.</p>"
    )


def _receiver_heads(cal: Calibration) -> str:
    heads = ["delay / ps"] if np.any(cal.impairments.delay_s) else []
    heads += ["IQ image / dB", "DC / dBFS"] if cal.sigma.iq_image is not None else []
    return "".join(f"<th>{head}</th>" for head in heads)


def _receiver(cal: Calibration, m: int) -> str:
    """Cells of what was learned of the receiver besides gain and phase."""
    imp, sigma = cal.impairments, cal.sigma
    cells = []
    if np.any(imp.delay_s):
        cells.append(f"{1e12 * imp.delay_s[m]:.1f} &plusmn; {_number(1e12 * sigma.delay_s[m])}")
    if sigma.iq_image is not None and sigma.dc_offset is not None:
        for value, spread in ((imp.iq_image[m], sigma.iq_image[m]), (imp.dc_offset[m], sigma.dc_offset[m])):
            size = max(float(abs(value)), 1e-12)
            cells.append(f"{20 * np.log10(size):.1f} &plusmn; {_number(8.686 * float(spread) / size)}")
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _list(title: str, items: Sequence[str]) -> str:
    items = [item for item in items if item]
    if not items:
        return ""
    return f"<h2>{title}</h2><ul>" + "".join(f"<li>{html.escape(i)}</li>" for i in items) + "</ul>"


def _provenance(cal: Calibration, content: ReportContent) -> str:
    rows = {
        "id": cal.id,
        "device": f"{cal.device_model} {cal.device_serial}".strip(),
        "array": f"{cal.geometry.name} ({cal.geometry.n_elements} elements)",
        "carrier": format_si(cal.fc_hz, "Hz"),
        "valid for": f"{format_si(cal.valid.fc_min_hz, 'Hz')} to {format_si(cal.valid.fc_max_hz, 'Hz')}",
        "coherence epoch": cal.epoch.id if cal.epoch else "not known",
        "gauge": f"{cal.gauge.kind}; angle sigma {cal.gauge.angle_sigma_deg:.3g} degrees",
        "angles covered": f"{cal.lit_deg[0]:.1f} to {cal.lit_deg[1]:.1f} degrees"
        if cal.lit_deg
        else "not known",
        "seed": str(cal.seed),
        "captures (SHA-256)": ", ".join(c[:16] for c in cal.captures) or "-",
    } | dict(content.files)
    if cal.stale_reason:
        rows["used although stale"] = cal.stale_reason
    body = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
    return f"<h2>Provenance</h2><table>{body}</table>"
