"""Several coherence epochs of a campaign without labels: the phases between LO groups, brought to those of the newest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.observations import Observations
from calib.pilot.sweep import calibrate_sweep
from calib.pilot.turned import turns_from_rotation
from calib.relearn import relearn_phase
from calib.result import GaugeRequest, Prior
from hil.core.calibration import Calibration
from hil.core.errors import NotIdentifiable
from hil.core.frame import StreamInfo
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.jobs.learn_campaign_labels import Known, stated_labels
from hil.jobs.learn_campaign_points import SweepBlocks
from hil.learning.batch import learn_batch, to_calibration
from hil.learning.settings import DEFAULT_METHOD, LearnSettings

_ROUNDS = 3
_SETTLED_RAD = 1e-3


def epoch_turns(
    blocks: SweepBlocks, stream: StreamInfo, settings: LearnSettings, known: Known
) -> NDArray[np.float64]:
    """(E, M) radians by which every channel is turned in each epoch against the newest; zeros where nothing turns.

    From all epochs together where directions are known, or turns of the table and one emitter at a time.

    Raises NotIdentifiable : the phases of an epoch do not show.
    """
    assert stream.geometry is not None
    groups = stream.device.coherent_groups
    if len(groups) < 2 or len(np.unique(blocks.epoch)) < 2:
        return np.zeros((int(blocks.epoch.max()) + 1, stream.geometry.n_elements))
    batch = blocks.batch
    obs = Observations(batch.covariance, batch.n_snapshots)
    prior = Prior(settings.position_std_wavelengths * SPEED_OF_LIGHT_M_S / stream.fc_hz)
    if known == "recording":
        fit = calibrate_sweep(
            obs,
            stated_labels(blocks),
            stream.geometry,
            stream.fc_hz,
            epoch=blocks.epoch,
            groups=groups,
            prior=prior,
        )
        return fit.turn_rad
    if settings.n_sources == 1:
        heading = np.array([p.table_deg for p in blocks.points])[blocks.point]
        return turns_from_rotation(
            obs, heading, stream.geometry, stream.fc_hz, epoch=blocks.epoch, groups=groups, prior=prior
        )
    return _turns_one_by_one(blocks, stream, settings)


def _turns_one_by_one(
    blocks: SweepBlocks, stream: StreamInfo, settings: LearnSettings
) -> NDArray[np.float64]:
    """The epoch with the most points is learned alone; the phases of the others follow from its array (calib.relearn), and
    again from the array that all of them give together."""
    assert stream.geometry is not None
    turn = np.zeros((int(blocks.epoch.max()) + 1, stream.geometry.n_elements))
    present = np.unique(blocks.epoch)
    largest = int(np.argmax(np.bincount(blocks.epoch)))
    teach = blocks.part(blocks.epoch == largest)
    for attempt in range(_ROUNDS):
        array = _learned(teach, stream, settings)
        steps = np.zeros_like(turn)
        for e in present.tolist():
            if attempt or e != largest:
                steps[e] = _turned(blocks.turned(turn).part(blocks.epoch == e), array, stream, settings)
        turn = turn + steps
        turn = turn - turn[present[0]]
        teach = blocks.turned(turn)
        if attempt and np.max(np.abs(steps - steps[present[0]])) < _SETTLED_RAD:
            break
    return turn


def settings_for(blocks: SweepBlocks, settings: LearnSettings) -> LearnSettings:
    """The same, turns of the table only where these blocks show it."""
    if not settings.rotations:
        return settings
    here = np.unique(blocks.point).tolist()
    return replace(settings, rotations=tuple(blocks.rotations[i] for i in here))


def _learned(blocks: SweepBlocks, stream: StreamInfo, settings: LearnSettings) -> Calibration:
    assert stream.geometry is not None
    alone = replace(settings_for(blocks, settings), method=DEFAULT_METHOD)
    try:
        result = learn_batch(blocks.batch, stream.geometry, stream.fc_hz, alone, time_limit_s=60.0)
    except NotIdentifiable as err:
        raise NotIdentifiable(
            f"{len(np.unique(blocks.point))} points of one coherence epoch do not show the array: {err}",
            parameters=err.parameters, hint="sweep in one go, or give --labels recording",
        ) from err  # fmt: skip
    return to_calibration(result, stream, settings)


def _turned(
    blocks: SweepBlocks, array: Calibration, stream: StreamInfo, settings: LearnSettings
) -> NDArray[np.float64]:
    """(M,) phases of one epoch's gains against those of the array."""
    request = GaugeRequest(
        settings.gauge_kind(line=array.geometry.kind == "line"), settings.support_deg,
        rotations=settings_for(blocks, settings).rotations,
    )  # fmt: skip
    batch = blocks.batch
    found = relearn_phase(
        Observations(batch.covariance, batch.n_snapshots, batch.time_s - batch.time_s[0]), array,
        settings.n_sources, request, groups=stream.device.coherent_groups, seed=settings.seed,
    )  # fmt: skip
    if not np.isfinite(found.score):
        raise NotIdentifiable(
            f"the phases of one coherence epoch cannot be found: {found.reason}", parameters=["phase"],
            hint="sweep in one go, or give --labels recording",
        )  # fmt: skip
    phase = np.angle(found.impairments.gain * array.impairments.gain.conj())
    return phase - phase[0]
