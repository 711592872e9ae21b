"""`hil diagnose`: what is wrong with an array, its wiring or its surroundings, from a recording or a geometry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.diagnose.finding import Finding
from calib.diagnose.lobes import LobeMap, lobe_map
from calib.result import GaugeRequest
from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording, open_recording
from hil import store
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, ConfigError, NotIdentifiable, ShapeError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry, parse_array
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.learning.observe import BLOCK_SNAPSHOTS, CovarianceBatch, longest_epoch, observe_recording

_MOST_BLOCKS = 1500
_COMPLEMENTARY_BLOCKS = 60
_TOUCH_BLOCKS = 4000
_ENDFIRE_DEG = 75.0


@dataclass(slots=True)
class Diagnosis:
    """What was looked at and found. failed : detectors that could not run, with the reason."""

    source: str
    geometry: ArrayGeometry | None
    fc_hz: float
    findings: list[Finding] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    lobes: LobeMap | None = None
    n_blocks: int = 0
    touches: list[dict[str, Any]] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """Findings that need an action."""
        return [f for f in self.findings if f.fault]

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        out: dict[str, Any] = {
            "source": self.source, "fc_hz": self.fc_hz, "blocks": self.n_blocks, "faults": len(self.faults),
            "findings": [
                {
                    "kind": f.kind, "fault": f.fault, "words": f.words, "advice": f.advice,
                    "confidence": f.confidence, "channels": list(f.channels),
                }
                for f in self.findings
            ],
            "not_run": [{"detector": n, "reason": r, "hint": h} for n, r, h in self.failed],
        }  # fmt: skip
        if self.touches:
            out["touched"] = self.touches
        if self.lobes is not None:
            out["lobes"] = {
                "pairs": [{"angles_deg": [a, b], "ambiguity": level} for a, b, level in self.lobes.pairs],
                "ambiguous_deg": self.lobes.ambiguous_deg, "blind_deg": self.lobes.blind_deg,
                "sigma_limit_deg": self.lobes.limit_deg, "threshold": self.lobes.threshold,
            }  # fmt: skip
        return out


def diagnose_array(
    spec: str, fc_hz: float, calibration: Path | None, threshold: float, limit_deg: float | None
) -> Diagnosis:
    """Grating lobes and blind sectors of a geometry, or of the array that a calibration describes.

    Raises ConfigError, CalibrationError, ShapeError : unreadable or of another array.
    """
    geometry = parse_array(spec, fc_hz)
    if geometry.n_elements < 2:
        raise ConfigError("one element has no directions", where=spec, hint="give two elements or more")
    stored = None if calibration is None else store.load(calibration)
    out = Diagnosis(spec, geometry, fc_hz)
    _add_lobes(out, geometry, stored, threshold, limit_deg)
    return out


def diagnose_recording(
    path: Path,
    *,
    array: str | None,
    calibration: Path | None,
    n_sources: int | None,
    support_deg: tuple[float, float] | None,
    position_std_wavelengths: float,
    wiggle: bool,
    threshold: float,
    limit_deg: float | None,
    anchors_deg: tuple[tuple[float, float | None, float | None], ...] = (),
    rotations: tuple[tuple[float, float, float], ...] = (),
    seed: int = 0,
) -> Diagnosis:
    """Channels, rank, port order or (with a calibration) cables and multipath, and the array's lobes.

    Raises RecordingError, ConfigError, CalibrationError, ShapeError : the input.
    """
    stored = None if calibration is None else store.load(calibration)
    with open_recording(path) as recording:
        start, end = longest_epoch(recording)
        stream = recording.segment_at(start).stream
        geometry = _geometry(array, stream, stored)
        if n_sources is not None and n_sources >= stream.n_channels:
            raise ConfigError(
                f"{n_sources} sources: {stream.n_channels} elements separate 1 to {stream.n_channels - 1}",
                where="--sources", hint="name those that send at the same time, or auto",
            )  # fmt: skip
        out = Diagnosis(str(path), geometry, stream.fc_hz)
        if wiggle:
            _add_touches(out, observe_recording(recording, start, end, max_blocks=_TOUCH_BLOCKS))
            return out
        batch = observe_recording(recording, start, end, max_blocks=_MOST_BLOCKS)
        complementary = _complementary(recording, start, end, stream.device.full_scale_bits)
    out.n_blocks = len(batch)
    alone = _add_channels(out, batch, complementary)
    if stored is not None and not alone:
        _try(out, "flipped-cable", lambda: [_cables(batch, stored, n_sources, seed)])
    if not alone:
        _try(out, "coherence", lambda: [_coherence(batch, stored, n_sources)])
    if geometry is not None:
        if not alone and stored is None:
            evidence = GaugeRequest("none", support_deg, anchors_deg, rotations=rotations)
            _try(
                out, "swapped-ports",
                lambda: _ports(batch, geometry, stream.fc_hz, n_sources, evidence, position_std_wavelengths, seed),
            )  # fmt: skip
        _add_lobes(out, geometry, stored, threshold, limit_deg)
    else:
        out.failed.append(("swapped-ports", "the array is not known", "give --array ula:8:0.5"))
    return out


def _geometry(array: str | None, stream: StreamInfo, stored: Calibration | None) -> ArrayGeometry | None:
    geometry = stream.geometry if array is None else parse_array(array, stream.fc_hz)
    if geometry is None and stored is not None:
        geometry = stored.geometry
    for name, one in (("--array", geometry), ("--calibration", stored.geometry if stored else None)):
        if one is not None and one.n_elements != stream.n_channels:
            raise ShapeError(
                f"{name}: {one.n_elements} elements, the recording has {stream.n_channels} channels",
                hint="give an array with as many elements as channels",
            )
    return geometry


def _complementary(
    recording: Recording, start: int, end: int, full_scale_bits: int
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """(X X^H / T, X X^T / T) of a few blocks."""
    places = np.linspace(start, max(end - BLOCK_SNAPSHOTS, start), _COMPLEMENTARY_BLOCKS).astype(int)
    plain, mixed = [], []
    for place in np.unique(places).tolist():
        x, _ = wire_to_complex(recording.read(place, BLOCK_SNAPSHOTS), full_scale_bits)
        if x.shape[1] == BLOCK_SNAPSHOTS:
            plain.append(x @ x.conj().T / BLOCK_SNAPSHOTS)
            mixed.append(x @ x.T / BLOCK_SNAPSHOTS)
    return np.array(plain, np.complex128), np.array(mixed, np.complex128)


def _add_channels(
    out: Diagnosis, batch: CovarianceBatch, products: tuple[NDArray[np.complex128], NDArray[np.complex128]]
) -> bool:
    """True if a channel does not belong: detectors of the whole array then say nothing of use."""
    from calib.diagnose.channels import channel_faults

    plain, mixed = products
    if not len(plain):
        raise ConfigError("no whole block of samples", hint="record longer")
    out.findings += channel_faults(plain, batch.n_snapshots, mixed)
    return any(f.fault and f.kind != "weak-channel" for f in out.findings)


def _observations(batch: CovarianceBatch) -> Any:
    from calib.observations import Observations

    return Observations(batch.covariance, batch.n_snapshots, batch.time_s - batch.time_s[0])


def _ports(
    batch: CovarianceBatch, geometry: ArrayGeometry, fc_hz: float, n_sources: int | None, evidence: GaugeRequest,
    position_std: float, seed: int,
) -> list[Finding]:  # fmt: skip
    """Order of the ports and, where something was given that can tell, which way round they run."""
    from calib.diagnose.mirror import orientation
    from calib.diagnose.ports import diagnose_ports

    report = diagnose_ports(
        _observations(batch), geometry, fc_hz, n_sources, support_deg=evidence.support_deg or (-60.0, 60.0),
        position_std_m=position_std * SPEED_OF_LIGHT_M_S / fc_hz, seed=seed,
    )  # fmt: skip
    if report.fitted is None or report.finding.fault:
        return [report.finding]
    if not (evidence.anchors_deg or evidence.rotations or evidence.support_deg):
        return [report.finding]
    try:
        found = orientation(report.fitted, evidence)
    except NotIdentifiable as err:
        return [report.finding, Finding("mirror", False, f"cannot be known: {err}", err.hint)]
    order = "against the stated order (mirrored)" if found.mirrored else "as stated, not mirrored"
    sure = float(1 / (1 + np.exp(-min(abs(found.log_odds), 500.0))))
    advice = "reverse the order of the ports in the array file" if found.mirrored else ""
    return [
        report.finding,
        Finding("mirror", found.mirrored, f"the ports run {order} ({found.evidence})", advice, sure),
    ]


def _cables(batch: CovarianceBatch, stored: Calibration, n_sources: int | None, seed: int) -> Finding:
    from calib.diagnose.cables import diagnose_cables

    return diagnose_cables(_observations(batch), stored, n_sources, seed=seed)


def _coherence(batch: CovarianceBatch, stored: Calibration | None, n_sources: int | None) -> Finding:
    from calib.diagnose.coherence import coherence_meter
    from calib.model import Model

    model = None
    if stored is not None and stored.geometry.kind != "volume":
        places = (stored.geometry.positions_m + stored.impairments.position_error_m) * stored.fc_hz
        dims = 1 if stored.geometry.kind == "line" else 2
        model = Model(stored.impairments.gain, places[:, :dims] / SPEED_OF_LIGHT_M_S).normalised()
    return coherence_meter(_observations(batch), n_sources, model).finding


def _try(out: Diagnosis, name: str, detector: Any) -> None:
    """Run one detector; that one cannot answer must not hide what others found."""
    try:
        out.findings += detector()
    except (CalibrationError, ShapeError) as err:
        out.failed.append((name, str(err), err.hint))


def _add_lobes(
    out: Diagnosis,
    geometry: ArrayGeometry,
    stored: Calibration | None,
    threshold: float,
    limit_deg: float | None,
) -> None:
    positions, gain = geometry.positions_m, None
    if stored is not None:
        if stored.geometry.n_elements != geometry.n_elements:
            raise ShapeError(
                f"--calibration: {stored.geometry.n_elements} elements for {geometry.n_elements}"
            )
        positions, gain = positions + stored.impairments.position_error_m, stored.impairments.gain
    found = lobe_map(positions, out.fc_hz, gain=gain, threshold=threshold, limit_deg=limit_deg)
    out.lobes = found
    out.findings.append(_lobe_finding(found, line=geometry.kind == "line"))
    words = (
        f"over {_words(found.blind_deg)} directions are uncertain by more than {found.limit_deg:.2g} degrees"
    )
    if not found.blind_deg:
        words = f"every direction is measured to better than {found.limit_deg:.2g} degrees"
    out.findings.append(Finding("blind-sector", False, words + " (20 dB, 256 snapshots)"))


def _lobe_finding(found: LobeMap, *, line: bool) -> Finding:
    if not found.pairs:
        return Finding(
            "grating-lobes", False, f"no two directions look alike (ambiguity under {found.threshold:g})"
        )
    first, second, level = found.pairs[0]
    if line and all(abs(a) > _ENDFIRE_DEG for pair in found.pairs for a in pair[:2]):
        return Finding(
            "grating-lobes",
            False,
            f"only directions along the line look alike ({first:g} and {second:g} degrees)",
        )
    count = len(found.pairs)
    words = (
        f"{count} pair{'s' * (count != 1)} of directions look alike, such as {first:g} and {second:g} degrees "
        f"(ambiguity {level:.2f}); directions in {_words(found.ambiguous_deg)} have such a twin"
    )
    return Finding(
        "grating-lobes", True, words,
        "keep sources out of these directions, or place the elements closer or irregularly",
    )  # fmt: skip


def _words(ranges: list[tuple[float, float]]) -> str:
    return ", ".join(f"{a:g}..{b:g}" for a, b in ranges)


def _add_touches(out: Diagnosis, batch: CovarianceBatch) -> None:
    from calib.diagnose.wiggle import touched_ports

    out.n_blocks = len(batch)
    power = np.einsum("bmm->bm", batch.covariance).real
    seconds = batch.time_s - batch.time_s[0]
    # a hand needs tenths of a second
    smooth = max(1, round(0.05 / max(float(np.median(np.diff(seconds))), 1e-9)))
    touches = touched_ports(power, smooth=min(smooth, max(len(batch) // 20, 1)))
    for t in touches:
        t0_s, t1_s = float(seconds[t.first]), float(seconds[t.last - 1])
        out.touches.append(
            {
                "channel": t.channel,
                "t0_s": t0_s,
                "t1_s": t1_s,
                "depth_db": t.depth_db,
                "confidence": t.confidence,
            }
        )
        words = f"channel {t.channel} was touched from {t0_s:.2f} to {t1_s:.2f} s ({t.depth_db:.1f} dB)"
        out.findings.append(Finding("wiggle", False, words, "", t.confidence, (t.channel,)))
    if not touches:
        out.findings.append(
            Finding(
                "wiggle",
                False,
                "no antenna was touched",
                "cover one antenna at a time for about half a second",
            )
        )


__all__ = ["Diagnosis", "diagnose_array", "diagnose_recording"]
