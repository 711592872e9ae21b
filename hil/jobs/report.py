"""`hil report`: the certificate of a calibration alone, on a recording, or on a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.sigmf_files import open_recording
from hil import store
from hil.campaign.folder import Campaign, is_campaign, open_campaign
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.frame import StreamInfo
from hil.core.units import format_si
from hil.evaluation.outcome import evaluate, report_content
from hil.evaluation.scoring import held_out
from hil.evaluation.truth_match import scene_offset
from hil.jobs.report_measure import Arrays, Measured, measure, spectra
from hil.jobs.report_points import (
    HeldOut,
    MeasuredPoint,
    Say,
    held_out_of,
    points_of_campaign,
    points_of_recording,
    sample_files,
    spread,
)
from hil.learning.observe import longest_epoch, observe_recording
from hil.reporting.accuracy_blocks import accuracy_blocks, accuracy_values, left_out_blocks, verdict
from hil.reporting.accuracy_plots import spectra_figure
from hil.reporting.document import Block, Heading, Paragraph, Picture, Verdict
from hil.reporting.numbers import degrees, rounded, utc
from hil.reporting.page import (
    ReportContent,
    check_ending,
    compose,
    own_verdict,
    write_document,
)
from sim_backend.truth import read_truth

_SPECTRA = 3
_MOST_NAMES = 100
_MOST_CALIBRATIONS = 4


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """source : calibration, recording or campaign. out : one or several files, .html or .pdf. truth : of the simulator."""

    source: Path
    out: Sequence[Path]
    calibrations: Sequence[Path] = ()
    truth: Path | None = None


def make_report(request: ReportRequest, say: Say = lambda text: None) -> dict[str, Any]:
    """Write it; the JSON object of `hil report`.

    Raises ConfigError, CalibrationError, RecordingError: the input, or a file that cannot be written.
    """
    for path in request.out:
        check_ending(path)
        if not path.absolute().parent.is_dir():
            raise ConfigError(
                f"cannot write {path}: no such folder", where="--out", hint="make the folder first"
            )
    source = request.source
    campaign, recording = is_campaign(source), ".sigmf" in source.suffix
    if source.is_dir() and not campaign:
        open_campaign(source)  # says what is missing
    if request.truth is not None and not recording:
        raise ConfigError("a truth file goes with a recording", where="--truth", hint="leave it out")
    calibrations = _load(request, campaign or recording)
    more: dict[str, Any] = {}
    if campaign:
        content, more = _of_campaign(open_campaign(source), calibrations, say)
    elif recording:
        content, more = _of_recording(source, calibrations, request.truth, say)
    else:
        content = ReportContent(title=f"Array calibration {next(iter(calibrations.values())).id[:8]}")
    files = [(f"calibration {n}" if len(calibrations) > 1 else "calibration", str(p))
             for n, p in zip(calibrations, request.calibrations or [source], strict=True)]  # fmt: skip
    content.files = [*files, *content.files]
    document = compose(calibrations, content)
    for path in request.out:
        say(f"writing {path}")
        write_document(path, document)
    first = next(iter(calibrations.values()))
    return {
        "report": str(request.out[0]),
        "reports": [str(path) for path in request.out],
        "calibration_id": first.id,
        "calibration_ids": {name: cal.id for name, cal in calibrations.items()},
        "converged": first.converged,
    } | more


def _load(request: ReportRequest, with_data: bool) -> dict[str, Calibration]:
    """By names that tell them apart. Raises ConfigError, CalibrationError."""
    paths = list(request.calibrations)
    if with_data and not paths:
        raise ConfigError(
            "a recording or a campaign needs the calibration to report on",
            where="--calibration",
            hint="--calibration array.h5",
        )
    if not with_data:
        if paths:
            raise ConfigError(
                f"{request.source} is a calibration itself", where="--calibration",
                hint="give a recording or a campaign beside it, or leave it out",
            )  # fmt: skip
        return {"learned": store.load(request.source)}
    if len(paths) > _MOST_CALIBRATIONS:
        raise ConfigError(
            f"{len(paths)} calibrations, at most {_MOST_CALIBRATIONS} side by side", where="--calibration"
        )
    found = [store.load(path) for path in paths]
    for cal, path in zip(found, paths, strict=True):
        if not cal.geometry.equals(found[0].geometry):
            raise ConfigError(
                f"{path} is of another array than {paths[0]}",
                where="--calibration",
                hint="compare calibrations of one array",
            )
    if len(found) == 1:
        return {"learned": found[0]}
    names = [path.stem for path in paths]
    if len(set(names)) < len(names) or "nominal" in names:
        names = [f"{name} {i + 1}" for i, name in enumerate(names)]
    return dict(zip(names, found, strict=True))


def _of_campaign(
    campaign: Campaign, calibrations: Mapping[str, Calibration], say: Say
) -> tuple[ReportContent, dict[str, Any]]:
    points, plan = points_of_campaign(campaign), campaign.file.plan
    if not points:
        raise ConfigError(
            f"{campaign.folder} has no finished point", where="INPUT", hint="hil sweep --resume"
        )
    content, more = _of_points(campaign.folder.name, points, calibrations, plan.fingerprint, say)
    times = [p.t_utc_ns for p in points]
    span = " to ".join(utc(t) for t in sorted({min(times), max(times)}))
    emitters = ", ".join(degrees(a) for a in plan.emitters_deg)
    angles = (
        f"{len(plan.angles_deg)} table angles from {degrees(min(plan.angles_deg))} to {degrees(max(plan.angles_deg))} degrees, "
        f"order {plan.order}" + (f" (seed {plan.seed})" if plan.order == "random" else "")
        + f", {plan.samples} samples a point and channel"
    )  # fmt: skip
    content.title = f"Array report: campaign {campaign.folder.name}"
    content.facts = [
        *content.facts,
        ("measured", span),
        ("campaign", angles),
        ("starts, retries", f"{campaign.runs}, {sum(e['event'] == 'retry' for e in campaign.events)}"),
        ("emitters in the room", f"azimuth {emitters} degrees" if emitters else "not known"),
        ("turntable", str(campaign.file.positioner or "not stated")),
        *([("operator's note", plan.note)] if plan.note else []),
    ]
    missing: dict[str, list[str]] = {}
    for bad in campaign.bad:
        missing.setdefault(f"given up by the sweep: {bad.why}", []).append(f"{bad.set_deg:g}")
    for index in campaign.open_indices:
        missing.setdefault("not measured yet", []).append(f"{plan.angles_deg[index]:g}")
    content.measured = [*content.measured, *left_out_blocks(missing, "Bad or missing points")]
    content.files = [
        ("plan", str(campaign.folder / "campaign.toml")),
        ("journal", str(campaign.folder / "journal.jsonl")),
    ]
    return content, more | {"kind": "campaign", "bad": len(campaign.bad), "open": len(campaign.open_indices)}


def _of_recording(
    path: Path, calibrations: Mapping[str, Calibration], truth: Path | None, say: Say
) -> tuple[ReportContent, dict[str, Any]]:
    with open_recording(path) as recording:
        points = points_of_recording(recording)
        start, end = longest_epoch(recording)
        stream = recording.segment_at(start).stream
        batch = None if truth is None else observe_recording(recording, held_out(end - start, start), end)
        note = str(recording.global_keys.get("core:description", ""))
    _check_channels(calibrations, stream)
    title = f"Array report: {path.name}"
    if truth is not None and batch is not None:
        if len(calibrations) > 1:
            raise ConfigError(
                "with --truth one calibration is taken", where="--calibration", hint="report on one"
            )
        cal, known = calibrations["learned"], read_truth(truth)
        outcome = evaluate(
            batch, known, scene_offset(known), cal.geometry, stream.fc_hz, cal, cal.gauge.support_deg
        )
        content = report_content(outcome, title, stream.fc_hz)
        content.facts = _facts(stream, cal)
        content.files = [("truth", str(truth))]
        files = sample_files(points[:1], say).values()
        content.recordings = [(f.name, f.size, f.sha256) for f in files]
        return content, {"kind": "recording"} | outcome.as_dict()
    content, more = _of_points(path.name, points, calibrations, "", say)
    content.title = title
    content.facts = [
        *content.facts,
        ("measured", utc(points[0].t_utc_ns) if points[0].t_utc_ns else "not known"),
        *([("operator's note", note)] if note else []),
    ]
    return content, more | {"kind": "recording"}


def _of_points(
    name: str,
    points: Sequence[MeasuredPoint],
    calibrations: Mapping[str, Calibration],
    fingerprint: str,
    say: Say,
) -> tuple[ReportContent, dict[str, Any]]:
    """Everything that points show."""
    files = sample_files(points, say)
    readable = [p for p in points if p.path in files]
    if not readable:
        raise ConfigError(
            f"{name}: none of its recordings can be opened", where="INPUT", hint="hil info says why"
        )
    with open_recording(readable[0].path) as recording:
        stream = recording.segment_at(readable[0].start).stream
    _check_channels(calibrations, stream)
    first = next(iter(calibrations.values()))
    arrays = Arrays(first.geometry, calibrations, stream.fc_hz)
    known = [p for p in points if p.truth_deg]
    found, held, epochs = Measured(), {}, _epochs(readable)
    if known:
        held = {n: held_out_of(c, known, files, fingerprint) for n, c in calibrations.items()}
        judges = _judges(known, held, found)
        merged = measure(judges, arrays, epochs, say)
        merged.left_out = {**found.left_out, **merged.left_out}
        found = merged
    shown = spread(found.judged or readable, _SPECTRA)
    n_sources = len(shown[0].truth_deg) or int(first.settings.get("n_sources") or 1)
    grid, rows = spectra(shown, arrays, min(n_sources, stream.n_channels - 1))
    content = ReportContent(facts=_facts(stream, first))
    content.measured = _blocks(found, held, calibrations, arrays, grid, rows)
    content.recordings = [(f.name, f.size, f.sha256) for f in files.values()]
    content.verdict = _verdict(found, calibrations, stream, bool(known))
    content.not_identifiable = _limits(found, bool(known), calibrations)
    content.assumptions = [
        f"{n_sources} emitter(s) at a time, in the plane of the array (elevation 0)",
        *(
            [
                "the directions that the turntable's read-back and the emitters' azimuths give are the true ones"
            ]
            if known
            else []
        ),
    ]
    more: dict[str, Any] = {
        "points": len(points), "judged_points": len(found.judged), "left_out": found.left_out,
        "held_out": {n: h.words for n, h in held.items()},
        "accuracy": None if found.accuracy is None else accuracy_values(found.accuracy, calibrations),
    }  # fmt: skip
    return content, more


def _judges(
    known: Sequence[MeasuredPoint], held: Mapping[str, HeldOut], found: Measured
) -> list[MeasuredPoint]:
    """Points that no calibration has learned from."""
    judges = []
    for point in known:
        taught = [name for name, h in held.items() if point.index not in h.indices]
        if taught:
            who = "the calibration" if taught == ["learned"] else " and ".join(taught)
            found.leave_out(point, f"not held out: {who} learned from it, or may have")
        else:
            judges.append(point)
    return judges


def _blocks(
    found: Measured, held: Mapping[str, HeldOut], calibrations: Mapping[str, Calibration], arrays: Arrays, grid: Any, rows: Any
) -> list[Block]:  # fmt: skip
    planar = arrays.nominal.kind != "line"
    out: list[Block] = []
    if rows:
        caption = (
            "MUSIC spectra of one block of 256 snapshots, before (nominal array) and after, at a few angles"
            + (" that were held out." if found.judged else ".")
        )
        out += [
            Heading("Spectra before and after"),
            Picture(spectra_figure(grid, rows, planar=planar), caption),
        ]
    if found.accuracy is not None:
        out += accuracy_blocks(found.accuracy, calibrations, planar=planar)
    if held:
        out.append(Heading("Which points were held out"))
        out += [
            Paragraph(f"{'The calibration' if n == 'learned' else n}: {h.words}.") for n, h in held.items()
        ]
        if found.judged:
            names = ", ".join(p.name for p in found.judged[:_MOST_NAMES]) + (
                " ..." if len(found.judged) > _MOST_NAMES else ""
            )
            out.append(Paragraph(f"Judged at table angles / °: {names}.".replace("-", "\u2212"), small=True))
        out += left_out_blocks(found.left_out, "Points not used to judge")
    return out


def _verdict(
    found: Measured, calibrations: Mapping[str, Calibration], stream: StreamInfo, known: bool
) -> Verdict:
    if found.accuracy is not None:
        limits = (
            f"It holds for {format_si(stream.fc_hz, 'Hz')}, these angles, and the time of the measurement."
        )
        return verdict(found.accuracy, calibrations, limits)
    own = own_verdict(next(iter(calibrations.values())))
    why = (
        "no point of these data is held out and fit to judge, so no error is shown; see which points count below"
        if known
        else "the true directions are not known, so no error is shown"
    )
    return Verdict(
        f"Not judged by these data: {why}. What the learner itself says: {own.text}",
        None if own.good else False,
    )


def _limits(found: Measured, known: bool, calibrations: Mapping[str, Calibration]) -> list[str]:
    said = [
        "other carriers, gains and temperatures, and drift after the measurement",
        "directions outside the plane in which the table turns",
    ]
    if not known:
        said.insert(0, "errors of directions: nobody states where the emitters are")
    if known and found.accuracy is None:
        said.insert(0, "errors of directions: no point is held out")
    if found.accuracy is not None:
        low, high = found.accuracy.true_deg.min(), found.accuracy.true_deg.max()
        said.append(f"directions outside {degrees(low)} to {degrees(high)} degrees")
        said.append(
            "errors that the chamber and the true directions share: reflections, a misaligned reference angle"
        )
    if found.folded:
        said.append(f"front or back: {found.folded} points lie behind the line array and are seen in front")
    for name, cal in calibrations.items():
        if cal.gauge.angle_sigma_deg > 0:
            said.append(
                f"absolute directions better than {rounded(cal.gauge.angle_sigma_deg, 2)} degrees (one sigma) from the data that "
                f"{'the calibration' if name == 'learned' else name} was learned from: gauge {cal.gauge.kind}"
            )
    return said


def _facts(stream: StreamInfo, cal: Calibration) -> list[tuple[str, str]]:
    return [
        ("device", stream.device.model or cal.device_model or "not known"),
        ("serial number", stream.device.serial or cal.device_serial or "not known"),
        ("array", f"{cal.geometry.name} ({cal.geometry.n_elements} elements)"),
        ("carrier", format_si(stream.fc_hz, "Hz")),
        ("sample rate", format_si(stream.fs_hz, "S/s")),
        (
            "gains",
            ", ".join(f"{g:g}" for g in stream.gains_db or ()) + " dB" if stream.gains_db else "not known",
        ),
    ]


def _check_channels(calibrations: Mapping[str, Calibration], stream: StreamInfo) -> None:
    for cal in calibrations.values():
        if stream.n_channels != cal.geometry.n_elements:
            raise ConfigError(
                f"calibration of {cal.geometry.n_elements} elements, the recording has {stream.n_channels} channels",
                where="--calibration", hint="use a calibration of this array",
            )  # fmt: skip


def _epochs(points: Sequence[MeasuredPoint]) -> frozenset[str]:
    found: set[str] = set()
    for path in dict.fromkeys(p.path for p in points):
        with open_recording(path) as recording:
            found |= {s.stream.epoch.id for s in recording.segments}
    return frozenset(found)
