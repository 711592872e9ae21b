"""Pilot calibration from a campaign: what the sweep states about every point, and the table that is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from calib.observations import Observations
from calib.pilot.labels import Interval, Labels
from calib.pilot.sweep import SweepFit, calibrate_sweep
from calib.pilot.turned import other_reading
from calib.response.measured import measure
from calib.response.table import ResponseTable, response_table
from calib.result import GaugeRequest, LearnOptions, LearnResult, Prior
from hil.campaign.folder import CampaignPoint
from hil.core.errors import ConfigError
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.jobs.learn_campaign_points import SweepBlocks

#: "recording": the directions that the sweep states. "rotation": only by how much the table turned. "none": neither.
Known = Literal["recording", "rotation", "none"]
#: What `--response` may say: the table that the data ask for, phases alone, moduli as well, no table.
ResponseKind = Literal["auto", "phase", "full", "none"]
RESPONSES: tuple[ResponseKind, ...] = ("auto", "phase", "full", "none")


def response_kind(text: str | None) -> ResponseKind:
    """What `--response` says. Raises ConfigError."""
    for kind in RESPONSES:
        if text == kind:
            return kind
    if text is None:
        return "auto"
    raise ConfigError(
        f"{text!r} is not a kind of table", where="--response", hint=f"one of {', '.join(RESPONSES)}"
    )


def stated_labels(blocks: SweepBlocks) -> Labels:
    """One statement for each point and emitter, with the table's error as its sigma."""
    rows = [(i, angle) for i, p in enumerate(blocks.points) for angle in p.truth_deg]
    block = [np.flatnonzero(blocks.point == i) for i, _ in rows]
    kept = [(row, here) for row, here in zip(rows, block, strict=True) if len(here)]
    angle = np.deg2rad([angle for (_, angle), _ in kept])
    return Labels(
        np.concatenate([here for _, here in kept]),
        np.arange(len(kept)).repeat([len(here) for _, here in kept]),
        angle,
        np.zeros_like(angle),
        np.deg2rad([blocks.points[i].table_error_deg for (i, _), _ in kept]),
        tuple(_name(blocks.points[i], a) for (i, a), _ in kept),
    )


def stated_intervals(blocks: SweepBlocks) -> tuple[Interval, ...]:
    """The same for methods that take labels by time."""
    return tuple(
        Interval(t0, t1, angle, sigma_deg=p.table_error_deg)
        for p, (_, t0, t1) in zip(blocks.points, blocks.rotations, strict=True)
        for angle in p.truth_deg
    )


def _name(point: CampaignPoint, angle_deg: float) -> str:
    return f"{angle_deg:g} degrees (point {point.index})"


@dataclass(slots=True)
class SweepTeacher:
    """Callable with the signature of a method: pilot calibration with the labels of the points.

    groups : channels that share an LO. fit, table, wrong : what was found, and what is wrong with all labels, after the call.
    """

    blocks: SweepBlocks
    groups: tuple[tuple[int, ...], ...]
    response: ResponseKind = "auto"
    fit: SweepFit | None = None
    table: ResponseTable | None = None
    wrong: str = ""

    @property
    def name(self) -> str:
        """As in the calibration file."""
        return "pilot"

    @property
    def used(self) -> frozenset[int]:
        """Indices of the points whose statements were used; none before the call."""
        names = set() if self.fit is None else set(self.fit.found.lab.labels.names)
        return frozenset(p.index for p in self.blocks.points if names & {_name(p, a) for a in p.truth_deg})

    def __call__(
        self,
        obs: Observations,
        geometry: ArrayGeometry,
        fc_hz: float,
        n_sources: int | None,
        gauge: GaugeRequest,
        **options: Unpack[LearnOptions],
    ) -> LearnResult:
        """Raises NotIdentifiable if the angles are too few."""
        labels = stated_labels(self.blocks)
        fit = calibrate_sweep(
            obs, labels, geometry, fc_hz, epoch=self.blocks.epoch, groups=self.groups, prior=options.get("prior"),
            n_sources=max(n_sources or 1, labels.most_per_block),
        )  # fmt: skip
        self.fit, result = fit, fit.result
        if not result.converged and labels.most_per_block == 1:
            self._why(result, obs, labels, geometry, fc_hz, options.get("prior"))
            if self.wrong:
                return result
        if self.response == "none":
            return result
        if fit.prepared.n_sources > 1:
            result.notes.append("no table of responses: it needs one emitter at a time")
            return result
        measured = measure(fit.found, fit.layout)
        unit = None if self.response == "auto" else self.response == "phase"
        self.table = response_table(measured, unit=unit)
        if self.table is None:
            result.notes.append("no response that depends on the angle shows: no table")
            return result
        self._apply(self.table, measured.gain_factor, result, fc_hz)
        return result

    def _why(
        self, result: LearnResult, obs: Observations, labels: Labels, geometry: ArrayGeometry, fc_hz: float,
        prior: Prior | None,
    ) -> None:  # fmt: skip
        """A table would take in whatever is wrong with all labels alike: look for that first."""
        stated = np.full(obs.n_blocks, np.nan)
        stated[labels.block] = np.rad2deg(labels.azimuth_rad[labels.group])
        here = np.flatnonzero(np.isfinite(stated))
        part = Observations(obs.covariance[here], obs.n_snapshots)
        self.wrong = other_reading(
            part,
            stated[here],
            geometry,
            fc_hz,
            epoch=self.blocks.epoch[here],
            groups=self.groups,
            prior=prior,
        )
        if self.wrong:
            result.reason = self.wrong

    def _apply(
        self, table: ResponseTable, gain_factor: NDArray[np.float64], result: LearnResult, fc_hz: float
    ) -> None:
        learned = result.impairments
        result.impairments = canonical(
            replace(
                learned, gain=learned.gain * gain_factor, angle_table_deg=table.angle_deg,
                angle_response=table.response,
            )
        )  # fmt: skip
        low, high = table.angle_deg[0], table.angle_deg[-1]
        kind = "phase" if table.unit else "modulus and phase"
        result.notes.append(
            f"the response depends on the angle: table of {kind} from {low:g} to {high:g} degrees, not extrapolated; "
            "outside it learn with --response none"
        )
        if result.converged:
            return
        if table.gross:
            result.reason = (
                f"gains and positions near the stated array explain little (null depth {table.misfit_without:.1g}): check "
                "--array, the order of the ports, and --emitter and --reference of the sweep"
            )
        if table.gross or not table.explains:
            return
        result.converged, result.reason = True, ""
        result.excess, result.outlier_fraction = table.excess, table.outliers
        result.score = result.predicted_score + table.excess
        result.notes.append(
            f"gains and positions alone leave null depths of {table.misfit_without:.1g}; with the table "
            f"{table.misfit:.1g} at angles left out"
        )
        assert self.fit is not None
        result.gauge = _with_table(result.gauge, table, self.fit, fc_hz)


def _with_table(gauge: Gauge, table: ResponseTable, fit: SweepFit, fc_hz: float) -> Gauge:
    """What the table's angles leave open: their own error, and all of the misfit at angles left out as an angle."""
    x_m = fit.found.model.r * fit.layout.wavelength_m
    per_rad = 2 * np.pi * fc_hz / SPEED_OF_LIGHT_M_S * float(np.sqrt(np.mean(np.sum(x_m**2, axis=1))))
    ends = np.deg2rad(np.abs([table.angle_deg[0], table.angle_deg[-1]]))
    steepest = max(float(np.cos(ends.max())), 0.2) if fit.layout.is_line else 1.0
    stated = float(np.mean(fit.found.sigma_rad)) / np.sqrt(len(fit.found.kept))
    angle = float(np.rad2deg(np.hypot(stated, np.sqrt(table.misfit) / per_rad / steepest)))
    return replace(gauge, offset_sigma_deg=float(np.rad2deg(stated)), angle_sigma_deg=angle)
