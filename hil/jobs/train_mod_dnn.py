"""`hil train mod-dnn`: rows to a response table, the table to a network, the network beside the tables on the test part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.jobs.train import (
    Progress,
    TrainReport,
    TrainSettings,
    counts,
    device_of,
    is_scene,
    notes_of,
    provenance,
    require_one_kind,
    sector_of,
)
from hil.jobs.train_data import DataSettings, Rows, csi_rows
from hil.jobs.train_score import Score, held_out_scores, music_deg, rms, score
from hil.jobs.train_unfinished import Unfinished, fingerprint, require_writable

if TYPE_CHECKING:
    from calib.response.tones import ToneTable
    from calib.trained.mod_dnn import TrainedModDnn

NAME = "MoD-DNN"
_FEWEST_ANGLES = 8
_FEWEST_ROWS = 64
_REGION_DEG = 30.0
_VALIDATED = 2000  # rows at most
_EDGE_DEG = 1.5  # where training angles lie on one side only, the network is biased


def tone_rows(
    paths: Sequence[Path],
    settings: DataSettings,
    picked: int | NDArray[np.float64],
    field_deg: tuple[float, float] | None,
    seed: int,
) -> Rows:
    """Channel responses of one source at known angles. Raises ConfigError: of several, or too few."""
    require_one_kind(paths)
    if is_scene(paths[0]):
        from hil.jobs.train_scene import scene_csi

        rows = scene_csi(paths[0], settings, picked, field_deg, seed)
    else:
        rows = csi_rows(paths, settings, picked)
    if rows.angle_deg.shape[1] != 1:
        raise ConfigError(
            f"{rows.angle_deg.shape[1]} emitters a point: MoD-DNN finds one", where=str(paths[0]),
            hint="train dual-path-vae, or sweep with one emitter",
        )  # fmt: skip
    return rows


def train_mod_dnn(paths: Sequence[Path], settings: TrainSettings, progress: Progress) -> TrainReport:
    """Train, judge on the test part, write the network.

    Ctrl-C (KeyboardInterrupt) leaves a checkpoint that `resume` goes on from.

    Raises ConfigError, CalibrationError, SceneError.
    """
    from calib.methods.mod_dnn.network import MoDDNN, Shape
    from calib.methods.mod_dnn.recorded import RecordedSource
    from calib.methods.mod_dnn.regions import Regions
    from calib.methods.mod_dnn.train import TrainPlan, TrainState, train
    from calib.trained.belongs import Belongs
    from calib.trained.mod_dnn import TrainedModDnn, network_for

    require_writable(settings.out, resume=settings.resume)
    if settings.tones < 2:
        raise ConfigError(
            f"{settings.tones} tones; 2 or more are needed", where="--tones", hint="16 as published"
        )
    device = device_of(settings.device)
    rows = tone_rows(paths, settings.data, settings.tones, settings.sector_deg, settings.seed)
    sector, field = _sector_and_field(rows, settings.sector_deg)
    rows = rows.within(field)
    _require_enough(rows)
    gain = constant_gain(rows)
    table = response_table(rows, gain)
    origin = rows.origin
    belongs = Belongs(
        origin.fc_hz,
        np.array(origin.geometry.positions_m),
        sector,
        origin.calibrated,
        origin.calibration,
        origin.epochs,
    )
    n = max(1, round((field[1] - field[0]) / _REGION_DEG))
    shape = Shape(settings.tones, belongs.n_elements, Regions(n, field))
    if settings.mode == "paper":
        regions = Regions(n, field, guard_deg=0.0, step_deg=0.1)
        shape = replace(shape, mode="paper", iterations=3, solver="scg", regions=regions)
    plan = replace(TrainPlan(), seed=settings.seed)
    if settings.steps is not None:
        plan = replace(plan, steps=settings.steps, gate_steps=min(plan.gate_steps, settings.steps))
    data_id = fingerprint(rows)
    unfinished = Unfinished(settings.out, TrainedModDnn.method, settings.run(data_id))
    state = unfinished.state(TrainState) if settings.resume else None
    import torch

    torch.manual_seed(settings.seed)
    network = network_for(shape, belongs)
    validation = rows.of(1)
    validation = validation.some(np.arange(len(validation)) % max(1, -(-len(validation) // _VALIDATED)) == 0)
    seen = _normalised(validation, gain)
    error = float("nan")

    def validated(candidate: MoDDNN) -> float:
        nonlocal error
        with torch.no_grad():
            found = candidate.angles_deg(torch.as_tensor(seen).to(candidate.grid_deg.device)).cpu().numpy()
        error = rms(found - validation.angle_deg[:, 0])
        return error

    def told(stage: str, share: float, loss: float) -> bool:
        progress(stage, share, loss, error)
        return False

    begin = time.monotonic()
    try:
        done = train(
            network, RecordedSource(table), plan, state=state, device=device, time_limit_s=settings.time_limit_s,
            on_step=told, on_checkpoint=unfinished.keep, validate=validated if len(seen) else None,
        )  # fmt: skip
    except KeyboardInterrupt:
        unfinished.write()
        raise
    unfinished.write()  # Ctrl-C while it is judged loses nothing
    trained = TrainedModDnn(network.cpu(), rows.frequency_hz, gain, belongs)
    scores = mod_dnn_scores(trained, rows.of(2).within(sector), bias_rows=rows.of(0), table=table)
    seconds = time.monotonic() - begin
    made = replace(
        belongs, scores=held_out_scores(scores), provenance=provenance(rows, settings, data_id, seconds)
    )
    replace(trained, belongs=made).save(settings.out)
    if done.finished:
        unfinished.end()
    return TrainReport(
        TrainedModDnn.method, settings.out, *counts(rows), scores, done.finished, seconds, notes_of(rows)
    )


def _sector_and_field(
    rows: Rows, stated: tuple[float, float] | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """What the network answers within, and what it is trained within: a little more where the data reach so far."""
    span = sector_of(rows, None)
    edge = min(_EDGE_DEG, (span[1] - span[0]) / 20)
    low, high = (span[0] + edge, span[1] - edge) if stated is None else sector_of(rows, stated)
    return (low, high), (max(span[0], low - edge), min(span[1], high + edge))


def mod_dnn_scores(
    trained: TrainedModDnn, rows: Rows, *, bias_rows: Rows | None, table: ToneTable | None
) -> list[Score]:
    """Errors on rows: of the network, of MUSIC, and of both tables where they are given.

    Without a calibration MUSIC is shown twice: as it is, and with the constant gains of the channels that the training angles
    tell, which the network and the tables use too.
    """
    from calib.response.bias import bias_table

    true, gain = rows.angle_deg, trained.gain
    if not len(rows):
        return []
    tones = _normalised(rows, gain)
    out = [score(NAME, trained.of_tones(tones, rows.origin.fc_hz)[0][:, None], true)]
    read, _ = _music(rows, gain)
    if not rows.origin.calibrated:
        out.append(score("MUSIC", _music(rows, np.ones_like(gain))[0], true))
    out.append(score("MUSIC" if rows.origin.calibrated else "MUSIC, gains fitted", read, true))
    if bias_rows is not None and len(bias_rows):
        bias = bias_table(bias_rows.angle_deg[:, 0], _music(bias_rows, gain)[0][:, 0])
        if bias is not None:
            out.append(score("bias table", bias.corrected(read), true))
    if table is not None:
        out.append(score("response table", table.angles_deg(tones)[:, None], true))
    return out


def constant_gain(rows: Rows) -> NDArray[np.complex128]:
    """(M,) what the channels have in common at all training angles, unit rms; ones where a calibration took it out."""
    train = rows.of(0)
    m = train.values.shape[1]
    if rows.origin.calibrated:
        return np.ones(m, np.complex128)
    tones = _normalised(train, np.ones(m, np.complex128))
    left = tones / _ideal(rows)(train.angle_deg[:, 0])
    inside = np.einsum("rkm,rkn->mn", left, left.conj())
    return np.linalg.eigh(inside)[1][:, -1] * np.sqrt(m)


def response_table(rows: Rows, gain: NDArray[np.complex128]) -> ToneTable:
    """Of the training part, over what the gains and the places of the elements explain."""
    from calib.response.tones import measure_tones

    train = rows.of(0)
    return measure_tones(_normalised(train, gain), train.angle_deg[:, 0], _ideal(rows))


def _ideal(rows: Rows) -> Callable[[NDArray[np.float64]], NDArray[np.complex128]]:
    """Angles (A,) in degrees to the responses (A, K, M) that the places of the elements explain."""
    x_s = np.asarray(rows.origin.geometry.positions_m)[:, 0] / SPEED_OF_LIGHT_M_S
    rf_hz = rows.origin.fc_hz + rows.frequency_hz

    def ideal(angle_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
        u = np.sin(np.deg2rad(angle_deg))
        return np.exp(2j * np.pi * u[:, None, None] * rf_hz[:, None] * x_s)

    return ideal


def _normalised(rows: Rows, gain: NDArray[np.complex128]) -> NDArray[np.complex64]:
    from calib.methods.mod_dnn.tones import normalised

    if not len(rows):
        return np.zeros((0, len(rows.frequency_hz), rows.values.shape[1]), np.complex64)
    return normalised(np.swapaxes(rows.values, 1, 2) / gain)


def _music(rows: Rows, gain: NDArray[np.complex128]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(R, 1) and (R,) of covariances over the tones, as `music_deg`."""
    from calib.methods.mod_dnn.tones import covariances

    seen = covariances(_normalised(rows, gain))
    return music_deg(seen, rows.angle_deg, rows.origin.geometry, rows.origin.fc_hz)


def _require_enough(rows: Rows) -> None:
    train = rows.of(0)
    angles = len(np.unique(np.round(train.angle_deg, 3)))
    if angles < _FEWEST_ANGLES or len(train) < _FEWEST_ROWS:
        raise ConfigError(
            f"{len(train)} rows at {angles} angles to train on; {_FEWEST_ROWS} rows at {_FEWEST_ANGLES} angles are needed",
            hint="sweep more angles (hil sweep), or hold out fewer (--val, --test)",
        )
