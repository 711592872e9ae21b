"""Parts of a report: elements, assumptions, where a calibration comes from, files and environment."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import hil
from hil.core.calibration import Calibration
from hil.core.units import SPEED_OF_LIGHT_M_S, format_si
from hil.reporting import array_plots
from hil.reporting.document import Block, Bullets, Heading, Paragraph, Picture, Table
from hil.reporting.numbers import degrees, fixed, rounded, with_sigma

_LIBRARIES = ("numpy", "scipy", "h5py", "matplotlib", "reportlab", "torch", "sigmf")
_LONGEST_SETTING = 80


def geometry(calibrations: Mapping[str, Calibration]) -> list[Block]:
    """The array as a picture."""
    nominal = next(iter(calibrations.values())).geometry
    figure, factor = array_plots.geometry_figure(nominal, calibrations)
    longer = (
        f"arrows {factor:g} times as long as the learned displacements"
        if factor != 1
        else "arrows to scale: the learned displacements"
    )
    caption = f"Nominal array {nominal.name}, circles numbered by receiver port; {longer}. On the right how angles count."
    alt = (
        f"{nominal.n_elements} numbered elements in the plane x, y with arrows of the learned displacements."
    )
    return [Heading("Geometry"), Picture(figure, caption, alt)]


def elements(calibrations: Mapping[str, Calibration], truth_gain: np.ndarray | None = None) -> list[Block]:
    """What was learned of every element, as picture and tables."""
    figure = array_plots.learned_figure(calibrations, truth_gain)
    caption = "Learned gain, phase and displacement by receiver port, with one standard deviation."
    out: list[Block] = [Heading("Learned elements"), Picture(figure, caption)]
    for name, cal in calibrations.items():
        if len(calibrations) > 1:
            out.append(Heading(f"{name} (method {cal.method})", minor=True))
        out += [_element_table(cal), Paragraph(_gauge_of_elements(cal), small=True)]
    return out


def _gauge_of_elements(cal: Calibration) -> str:
    words = (
        f"Phase relative to port {cal.reference_element}, gain relative to the mean power, displacement relative to the mean; "
        "± one standard deviation, none where the method does not know it. "
        "Model: x = diag(g) C a(angle; positions) s; samples are corrected by dividing by g."
    )
    coupling = np.abs(cal.impairments.coupling - np.eye(cal.geometry.n_elements)).max()
    if coupling > 0:
        words += f" Largest learned coupling: {rounded(20 * float(np.log10(coupling)))} dB."
    table = cal.impairments.angle_table_deg
    if table is not None:
        words += (
            f" A response that depends on the angle was learned from {degrees(table[0])} to {degrees(table[-1])} degrees; "
            "it is not extrapolated."
        )
    return words


def _element_table(cal: Calibration) -> Table:
    imp, sigma = cal.impairments, cal.sigma
    names = "x" if cal.geometry.kind == "line" else "xy" if cal.geometry.kind == "planar" else "xyz"
    columns = ["port", "element", "gain / dB", "phase / °", *(f"d{a} / mm" for a in names)]
    delays = bool(np.any(imp.delay_s))
    columns += ["delay / ps"] if delays else []
    images = sigma.iq_image is not None and sigma.dc_offset is not None
    columns += ["IQ image / dB", "DC / dBFS"] if images else []
    rows = []
    for m, label in enumerate(cal.geometry.labels):
        row = [
            f"{m}",
            label,
            with_sigma(20 * float(np.log10(abs(imp.gain[m]))), float(sigma.gain_db[m])),
            with_sigma(float(np.degrees(np.angle(imp.gain[m]))), float(sigma.phase_deg[m])),
        ]
        row += [
            with_sigma(1e3 * float(imp.position_error_m[m, k]), 1e3 * float(sigma.position_m[m, k]))
            for k in range(len(names))
        ]
        row += [with_sigma(1e12 * float(imp.delay_s[m]), 1e12 * float(sigma.delay_s[m]))] if delays else []
        if sigma.iq_image is not None and sigma.dc_offset is not None:
            row += [_level(imp.iq_image[m], sigma.iq_image[m]), _level(imp.dc_offset[m], sigma.dc_offset[m])]
        rows.append(row)
    return Table(columns, rows, widths=(0.5, 0.7, *[1.3] * (len(columns) - 2)))


def _level(value: complex, spread: float) -> str:
    size = max(abs(value), 1e-12)
    return with_sigma(20 * float(np.log10(size)), 8.686 * float(spread) / size)


def listed(title: str, items: Sequence[str]) -> list[Block]:
    """A section of sentences, each once; nothing without any."""
    kept = [item for item in dict.fromkeys(items) if item]
    return [Heading(title), Bullets(kept)] if kept else []


def provenance(calibrations: Mapping[str, Calibration]) -> list[Block]:
    """Where each calibration comes from, and where it holds."""
    out: list[Block] = []
    for name, cal in calibrations.items():
        out += [Heading(f"Calibration {name}" if len(calibrations) > 1 else "Calibration")]
        out += [Table((), [(k, v) for k, v in _origin(cal).items()], text=True)]
    return out


def _origin(cal: Calibration) -> dict[str, str]:
    gains = cal.valid.gains_db
    settings = ", ".join(f"{k} = {_setting(v)}" for k, v in cal.settings.items() if v not in (None, [], ()))
    rows = {
        "id": cal.id,
        "method": cal.method,
        "created": cal.created_utc or "not known",
        "device": f"{cal.device_model} {cal.device_serial}".strip() or "not known",
        "array": f"{cal.geometry.name} ({cal.geometry.n_elements} elements)",
        "carrier": f"{format_si(cal.fc_hz, 'Hz')} (wavelength {rounded(1e3 * SPEED_OF_LIGHT_M_S / cal.fc_hz, 4)} mm)",
        "valid for": f"{format_si(cal.valid.fc_min_hz, 'Hz')} to {format_si(cal.valid.fc_max_hz, 'Hz')}"
        + (f", gains {', '.join(f'{g:g}' for g in gains)} dB" if gains else "")
        + (f", until {cal.valid.expires_utc}" if cal.valid.expires_utc else ""),
        "coherence epoch": cal.epoch.id if cal.epoch else "not known",
        "gauge": f"{cal.gauge.kind}; directions open by {rounded(cal.gauge.angle_sigma_deg)} degrees (one sigma)",
        "angles covered": f"{degrees(cal.lit_deg[0])} to {degrees(cal.lit_deg[1])} degrees"
        if cal.lit_deg
        else "not known",
        "null depth (log)": f"{fixed(cal.score)}, noise alone explains {fixed(cal.predicted_score)}"
        if np.isfinite(cal.score)
        else "not judged",
        "seed": f"{cal.seed}",
        "settings": settings,
        "settings (SHA-256)": cal.config_hash or "-",
        "learned from (SHA-256)": ", ".join(cal.captures) or "not stated",
    }
    if cal.stale_reason:
        rows["used although stale"] = cal.stale_reason
    return {k: v for k, v in rows.items() if v}


def _setting(value: object) -> str:
    text = str(value)
    if len(text) <= _LONGEST_SETTING:
        return text
    return (
        f"({len(value)} values)"
        if isinstance(value, list | tuple | dict)
        else text[:_LONGEST_SETTING] + " ..."
    )


def files(entries: Sequence[tuple[str, str]], recordings: Sequence[tuple[str, int, str]] = ()) -> list[Block]:
    """Names, sizes and hashes. recordings : (name, bytes, SHA-256 over its data files in order)."""
    rows = []
    for name, path in entries:
        file = Path(path)
        if file.is_file():
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            rows.append((name, file.name, format_si(file.stat().st_size, "B", 4), digest))
        else:
            rows.append((name, path, "-", "-"))
    rows += [("samples", name, format_si(size, "B", 4), digest) for name, size, digest in recordings]
    if not rows:
        return []
    table = Table(("what", "file", "size", "SHA-256"), rows, text=True, widths=(0.9, 1.7, 0.8, 3.1))
    note = "The SHA-256 of samples is over all data files of the recording in order." if recordings else ""
    return [Heading("Files"), table, *([Paragraph(note, small=True)] if note else [])]


def environment() -> list[Block]:
    """Program, interpreter, libraries and machine."""
    found = []
    for library in _LIBRARIES:
        try:
            found.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    rows = [
        ("program", f"hil {hil.__version__}"),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("libraries", ", ".join(found)),
        ("system", platform.platform()),
        ("processor", f"{_processor()}, {os.cpu_count()} cores"),
    ]
    return [Heading("Environment of this report"), Table((), rows, text=True)]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
