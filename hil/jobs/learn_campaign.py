"""`hil learn FOLDER`: from a campaign of a turntable to a calibration, judged at angles that were kept out of learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.response.bias import BiasTable, bias_table
from calib.result import Progress
from hil.campaign.folder import Campaign, CampaignPoint, open_campaign
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.frame import StreamInfo
from hil.evaluation.held_angles import (
    HeldOutAngles,
    angle_errors,
    bounds_deg,
    readings_deg,
    seen_directions_deg,
)
from hil.jobs.learn import LearnedArray, Teacher, learn_blocks, teacher_for
from hil.jobs.learn_campaign_epochs import epoch_turns, settings_for
from hil.jobs.learn_campaign_labels import Known, ResponseKind, SweepTeacher, stated_intervals
from hil.jobs.learn_campaign_points import (
    SweepBlocks,
    epochs_of,
    held_out_points,
    observe_points,
    stream_of,
)
from hil.jobs.learn_campaign_truth import TrueArrays
from hil.jobs.learn_labels import FROM_ROTATION, LabelSource, LabelTeacher
from hil.learning.batch import require_learnable
from hil.learning.observe import BLOCK_SNAPSHOTS
from hil.learning.settings import LearnSettings

_HELD_BLOCKS = 32  # a point


@dataclass(slots=True)
class LearnedCampaign(LearnedArray):
    """What `hil learn FOLDER` reports besides. known : which directions were used. held_points : kept out. held : errors
    there. bias : the table of the baseline, if there is one. about : counts, for JSON."""

    known: Known = "none"
    held_points: tuple[CampaignPoint, ...] = ()
    held: HeldOutAngles | None = None
    bias: BiasTable | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        out = LearnedArray.as_dict(self) | {"campaign": dict(self.about)}
        if self.held is not None:
            errors = self.held.errors
            nan = float("nan")
            for key, name in (("before", "nominal"), ("after", "learned"), ("known", "known")):
                out[key] = {
                    "doa_rmspe_deg": errors[name].doa_rmspe_deg if name in errors else nan,
                    "manifold_error": nan,
                }
            out |= {"held_out_blocks": self.held.n_blocks, "held_out": self.held.as_dict()}
        return out


def learn_campaign(
    folder: Path,
    settings: LearnSettings,
    *,
    labels: LabelSource | None,
    hold_out: int = 5,
    response: ResponseKind = "auto",
    array: str | None = None,
    truth: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> LearnedCampaign:
    """Learn from all points but every `hold_out`-th; those judge.

    settings.method "pilot": from the directions that the sweep states. Other methods: from turns of the table alone, or with
    settings.support_deg from that support; with labels "recording" from both. truth : of the simulator, for `known`.

    Raises ConfigError, RecordingError : the campaign, or what was asked of it. Nothing of the truth reaches a learner that
    was not asked to use it.
    """
    campaign = open_campaign(folder)
    known = _known(campaign, settings, labels)
    stream, hashes = _checked_stream(campaign, settings, array)
    held = held_out_points(campaign.points, hold_out)
    kept = {p.index for p in held}
    learning = [p for p in campaign.points if p.index not in kept]
    epochs = epochs_of(learning)
    blocks = observe_points(campaign, learning, epochs)
    teacher: Teacher | None
    if settings.method == "pilot":
        teacher = SweepTeacher(blocks, stream.device.coherent_groups, response)
        found = learn_blocks(blocks.batch, stream, settings, hashes, progress, teacher)
        # one row for all epochs where nothing turns
        found_turn = np.zeros((1, stream.n_channels)) if teacher.fit is None else teacher.fit.turn_rad
        turn = np.broadcast_to(found_turn, (len(epochs), stream.n_channels))
    else:
        if known == "rotation":
            settings = replace(settings, rotations=blocks.rotations)
        turn = epoch_turns(blocks, stream, settings, known)
        blocks = blocks.turned(turn)
        teacher = teacher_for(settings, labels if known == "recording" else None)
        if isinstance(teacher, LabelTeacher):
            teacher.rows = stated_intervals(blocks)
        found = learn_blocks(blocks.batch, stream, settings_for(blocks, settings), hashes, progress, teacher)
    turned = np.any(turn)
    if found.result is not None and len(epochs) > 1:
        found.result.notes.append(
            f"{len(epochs)} coherence epochs; "
            + ("the phases are those of the newest" if turned else "one LO: phases do not change")
        )
    learned = LearnedCampaign(
        **{name: getattr(found, name) for name in LearnedArray.__dataclass_fields__},
        known=known, held_points=held, about=_about(campaign, learning, held, epochs, known, hold_out),
    )  # fmt: skip
    _note_settings(learned, campaign, hold_out, dict(zip(epochs, np.rad2deg(turn).tolist(), strict=True)))
    true_arrays = None if truth is None else TrueArrays(truth, campaign, stream)
    used = teacher.used if isinstance(teacher, SweepTeacher) else frozenset(p.index for p in learning)
    _judge(learned, campaign, [p for p in learning if p.index in used], epochs, turn, true_arrays)
    return learned


def write_bias(learned: LearnedCampaign, out: Path) -> Path | None:
    """Write the bias table beside the calibration. Raises ConfigError."""
    if learned.bias is None or learned.calibration is None:
        return None
    path = out.with_suffix(".bias.csv")
    try:
        path.write_text(learned.bias.to_csv(), encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror or err}", where="--out") from err
    return path


def _known(campaign: Campaign, settings: LearnSettings, labels: LabelSource | None) -> Known:
    """What the learner may know. Raises ConfigError."""
    where = str(campaign.folder)
    if not campaign.points:
        raise ConfigError("the campaign has no finished point", where=where, hint="hil sweep --resume")
    wants = "recording" if settings.method == "pilot" or labels is not None else None
    if labels is not None and labels.where == FROM_ROTATION:
        wants = "rotation"
    if wants == "recording" and not all(p.truth_deg for p in campaign.points):
        raise ConfigError(
            "the sweep states no directions of the emitters", where=where,
            hint="hil sweep --emitter DEG says where they stand; without, --method cold-start uses turns of the table alone",
        )  # fmt: skip
    if wants == "rotation" and settings.method == "pilot":
        raise ConfigError(
            "pilot calibration needs directions, turns are not enough",
            where="--labels",
            hint="--method cold-start",
        )
    if wants is not None:
        return wants
    return "none" if settings.support_deg is not None else "rotation"


def _checked_stream(
    campaign: Campaign, settings: LearnSettings, array: str | None
) -> tuple[StreamInfo, tuple[str, ...]]:
    stream, hashes = stream_of(campaign, campaign.points, array)
    require_learnable(settings, stream.n_channels)
    return stream, hashes


def _about(
    campaign: Campaign, learning: list[CampaignPoint], held: tuple[CampaignPoint, ...], epochs: tuple[str, ...],
    known: Known, hold_out: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "folder": str(campaign.folder), "points": len(campaign.points), "bad": len(campaign.bad),
        "open": len(campaign.open_indices), "runs": campaign.runs, "epochs": len(epochs), "directions": known,
        "learned": len(learning), "hold_out": hold_out, "held_out_deg": [p.set_deg for p in held],
    }  # fmt: skip


def _note_settings(
    learned: LearnedCampaign, campaign: Campaign, hold_out: int, turns_deg: dict[str, list[float]]
) -> None:
    """What was kept out stands in the file, for whoever judges later; and how far each epoch's channels are turned
    against the newest."""
    if learned.calibration is None:
        return
    more = {
        "campaign": campaign.file.plan.fingerprint, "directions": learned.known, "hold_out": hold_out,
        "held_out_index": [p.index for p in learned.held_points],
        "held_out_deg": [p.set_deg for p in learned.held_points],
        "epoch_turns_deg": turns_deg,
    }  # fmt: skip
    learned.calibration = replace(learned.calibration, settings=learned.calibration.settings | more)


def _judge(
    learned: LearnedCampaign,
    campaign: Campaign,
    used: Sequence[CampaignPoint],
    epochs: tuple[str, ...],
    turn: NDArray[np.float64],
    true_arrays: TrueArrays | None,
) -> None:
    """Errors at the held-out angles, if the sweep states directions."""
    points = [p for p in learned.held_points if p.truth_deg and p.epoch in epochs]
    if not points:
        return
    geometry, fc_hz = learned.stream.geometry, learned.stream.fc_hz
    assert geometry is not None
    raw = observe_points(campaign, points, epochs, n_snapshots=BLOCK_SNAPSHOTS, most_per_point=_HELD_BLOCKS)
    blocks = raw.turned(turn)
    line = geometry.kind == "line"
    per_point = np.array([seen_directions_deg(np.array(p.truth_deg), line=line) for p in blocks.points])
    true_deg = per_point[blocks.point]
    order = np.argsort(per_point[:, 0])
    rank = np.argsort(order)[blocks.point]
    readings = {"nominal": readings_deg(blocks.batch, true_deg, geometry, fc_hz)}
    best, calibration = None, learned.calibration
    if calibration is not None:
        best = calibration
        readings["learned"] = readings_deg(blocks.batch, true_deg, calibration, fc_hz)
        plain = _without_table(calibration)
        if plain is not calibration:
            readings["without_table"] = readings_deg(blocks.batch, true_deg, plain, fc_hz)
        if learned.known == "recording" and true_deg.shape[1] == 1:
            learned.bias = _bias(campaign, used, epochs, turn, plain)
            if learned.bias is not None:
                seen = readings.get("without_table", readings["learned"])
                readings["bias_table"] = learned.bias.corrected(seen)
    if true_arrays is not None:
        readings["known"], best = true_arrays.readings(raw, true_deg)
    if best is None:
        return
    errors = {name: angle_errors(found, true_deg, rank) for name, found in readings.items()}
    snr = np.array([p.snr_db for p in blocks.points])[order]
    bound = bounds_deg(best, per_point[order], snr, blocks.batch.n_snapshots)
    learned.held = HeldOutAngles(per_point[order], errors, bound, blocks.batch.n_snapshots, len(blocks.batch))
    if learned.calibration is not None:
        metrics = {
            "before_doa_rmspe_deg": errors["nominal"].doa_rmspe_deg,
            "after_doa_rmspe_deg": errors["learned"].doa_rmspe_deg,
        }
        learned.calibration = replace(learned.calibration, metrics=metrics)


def _without_table(calibration: Calibration) -> Calibration:
    if calibration.impairments.angle_table_deg is None:
        return calibration
    return replace(
        calibration, impairments=replace(calibration.impairments, angle_table_deg=None, angle_response=None)
    )


def _bias(
    campaign: Campaign,
    points: Sequence[CampaignPoint],
    epochs: tuple[str, ...],
    turn: NDArray[np.float64],
    plain: Calibration,
) -> BiasTable | None:
    """What MUSIC with gains, positions and coupling reads at the angles learned from."""
    blocks: SweepBlocks = observe_points(
        campaign, points, epochs, n_snapshots=BLOCK_SNAPSHOTS, most_per_point=_HELD_BLOCKS
    ).turned(turn)
    line = plain.geometry.kind == "line"
    per_point = np.array([seen_directions_deg(np.array(p.truth_deg), line=line) for p in blocks.points])
    true_deg = per_point[blocks.point]
    return bias_table(true_deg[:, 0], readings_deg(blocks.batch, true_deg, plain, plain.fc_hz)[:, 0])
