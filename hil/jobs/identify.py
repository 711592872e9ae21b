"""`hil identify`: what a recording can show about its array, or what a planned experiment will show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calib.fisher.array import Unknowns
from calib.fisher.looks import default_unknowns
from calib.fisher.report import Identifiability
from calib.identifiability import identify_plan, identify_result
from calib.observations import Observations
from calib.result import GaugeRequest, LearnResult, Progress
from drivers.sigmf_files import open_recording
from hil.core.errors import CalibrationError, ConfigError, NotConverged, NotIdentifiable
from hil.core.geometry import ArrayGeometry, parse_array
from hil.core.units import parse_quantity
from hil.jobs.stated_array import stated_array
from hil.learning.batch import learn_batch, require_learnable
from hil.learning.observe import longest_epoch, observe_recording
from hil.learning.settings import LearnSettings

_MAX_BLOCKS = 6000
_MAX_ANGLES = 2000


@dataclass(slots=True)
class Plan:
    """An experiment that has not been made. angles_deg, elevations_deg : None = a default sweep, none.

    blocks : per angle, joined into one. snr_db : per element. snapshots : per block. turntable : one standing source, known steps.
    """

    angles_deg: list[float] | None = None
    elevations_deg: list[float] | None = None
    blocks: int = 1
    snr_db: float = 20.0
    snapshots: int = 256
    turntable: bool = False


@dataclass(slots=True)
class Identified:
    """What `hil identify` reports; `problem` is what exit code 4 stands for."""

    n_elements: int
    n_sources: int
    n_blocks: int
    found: Identifiability | None
    problem: CalibrationError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        out: dict[str, Any] = {}
        if self.problem is not None:
            out = {
                "status": "failed", "reason": str(self.problem), "hint": self.problem.hint, "exit_code": 4,
                "parameters": list(getattr(self.problem, "parameters", ())),
            }  # fmt: skip
        out |= {"n_elements": self.n_elements, "n_sources": self.n_sources, "blocks": self.n_blocks}
        if self.found is not None:
            out |= self.found.as_dict()
        return out


def parse_angles(text: str | None, where: str) -> list[float] | None:
    """`A:B:STEP` or `A,B,C` in degrees -> list. Raises ConfigError."""
    if text is None:
        return None
    hint = "write -60:60:5 or -40,0,25 (degrees)"
    if ":" not in text:
        found = [
            parse_quantity(part, where=where, unit="degrees") for part in text.split(",") if part.strip()
        ]
        if not found:
            raise ConfigError("no angle", where=where, hint=hint)
        return found
    parts = text.split(":")
    if len(parts) != 3:
        raise ConfigError(f"cannot read {text!r}", where=where, hint=hint)
    low, high, step = (parse_quantity(p, where=where, unit="degrees") for p in parts)
    if not (step > 0 and high >= low) or (high - low) / step > _MAX_ANGLES:
        raise ConfigError(f"{text!r} is not a range of at most {_MAX_ANGLES} angles", where=where, hint=hint)
    return [float(v) for v in np.arange(low, high + step / 2, step)]


def is_array_spec(text: str) -> bool:
    """True for `ula:8:0.5`, `uca:8:0.6` or a TOML file: a plan rather than a recording."""
    return text.split(":", 1)[0] in ("ula", "uca") or text.endswith(".toml")


def identify_array(
    spec: str, fc_hz: float, settings: LearnSettings, plan: Plan, coupling: str | None = None
) -> Identified:
    """What a plan will show. Raises ConfigError."""
    geometry = parse_array(spec, fc_hz)
    if settings.n_sources is None:
        raise ConfigError("a plan needs a number of sources", where="--sources", hint="--sources 1")
    require_learnable(settings, geometry.n_elements)
    angles = plan.angles_deg
    if angles is None:
        angles = _default_angles(geometry, settings)
    unknowns = _unknowns(geometry, settings, coupling, elevation=plan.elevations_deg is not None)
    try:
        found = identify_plan(
            geometry, fc_hz, angles, n_sources=settings.n_sources, elevations_deg=plan.elevations_deg,
            blocks_per_angle=plan.blocks, snr_db=plan.snr_db, n_snapshots=plan.snapshots, turntable=plan.turntable,
            unknowns=unknowns, gauge=_gauge(settings),
            position_std_wavelengths=settings.position_std_wavelengths,
        )  # fmt: skip
    except NotIdentifiable as err:
        raise ConfigError(
            f"{err} in the plan", where="--anchor", hint="name an angle that --angles visits"
        ) from err
    blocks = len(found.angle_deg) * plan.blocks
    return Identified(geometry.n_elements, settings.n_sources, blocks, found)


def identify_recording(
    path: Path,
    settings: LearnSettings,
    *,
    array: str | None,
    coupling: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Identified:
    """Learn from a recording's longest epoch, then say what its blocks could show.

    Raises
    ------
    RecordingError, ConfigError, ShapeError : the input.
    """
    with open_recording(path) as recording:
        start, end = longest_epoch(recording)
        stream = recording.segment_at(start).stream
        geometry = stated_array(array, stream)
        require_learnable(settings, stream.n_channels)
        batch = observe_recording(recording, start, end, max_blocks=_MAX_BLOCKS)
    n = geometry.n_elements
    try:
        result = learn_batch(batch, geometry, stream.fc_hz, settings, progress=progress, time_limit_s=60.0)
    except NotIdentifiable as problem:
        return Identified(n, settings.n_sources or 0, len(batch), None, problem)
    problem = _problem(result)
    if not math.isfinite(result.score):
        return Identified(n, result.n_sources, len(batch), None, problem)
    obs = Observations(batch.covariance, batch.n_snapshots, batch.time_s - batch.time_s[0])
    found = identify_result(
        result, obs, geometry, stream.fc_hz,
        unknowns=_unknowns(geometry, settings, coupling, elevation=False), gauge=_gauge(settings),
        position_std_wavelengths=settings.position_std_wavelengths,
    )  # fmt: skip
    found = replace(
        found, assumptions=(*found.assumptions, "the array and the angles are those that were learned")
    )
    return Identified(n, result.n_sources, len(batch), found, problem)


def _problem(result: LearnResult) -> CalibrationError | None:
    if result.converged:
        return None
    return NotConverged(
        f"what follows rests on an array that was not found: {result.reason}", hint="see hil learn --help"
    )


def _gauge(settings: LearnSettings) -> GaugeRequest | None:
    if not settings.anchors_deg and settings.support_deg is None:
        return None
    kind = "support" if settings.support_deg is not None else "anchor"
    return GaugeRequest(kind, settings.support_deg, settings.anchors_deg)


def _unknowns(
    geometry: ArrayGeometry, settings: LearnSettings, coupling: str | None, *, elevation: bool
) -> Unknowns:
    free = settings.position_std_wavelengths > 0
    unknowns = default_unknowns(geometry, free_positions=free, elevation=elevation)
    return replace(unknowns, coupling=None if coupling in (None, "none") else coupling)


def _default_angles(geometry: ArrayGeometry, settings: LearnSettings) -> list[float]:
    if settings.support_deg is not None:
        low, high = settings.support_deg
        return [float(v) for v in np.linspace(low, high, 1 + max(4, round((high - low) / 5)))]
    if geometry.kind == "line":
        return [float(v) for v in range(-60, 61, 5)]
    return [float(v) for v in range(-180, 180, 10)]
