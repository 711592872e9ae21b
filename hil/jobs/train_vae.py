"""`hil train dual-path-vae`: covariances to a path that starts at pseudo-labels, beside MUSIC and likelihood without a network."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from hil.jobs.train_data import DataSettings, Rows, covariance_rows
from hil.jobs.train_score import Score, held_out_scores, music_deg, score
from hil.jobs.train_unfinished import Unfinished, fingerprint, require_writable

if TYPE_CHECKING:
    import torch

    from calib.methods.dual_path_vae.decoder import KnownArray
    from calib.methods.dual_path_vae.labels import LabelKind
    from calib.methods.dual_path_vae.train import AoaData
    from calib.trained.dual_path_vae import TrainedVae

NAME = "dual-path VAE"
LIKELIHOOD = "likelihood alone"
_FEWEST_ROWS = 256
_OF_COVARIANCE = ("bartlett", "somp", "music", "best")
_CHUNK = 1024


def source_rows(
    paths: Sequence[Path], settings: DataSettings, field_deg: tuple[float, float] | None, seed: int
) -> Rows:
    """Covariances with their directions. Raises ConfigError: more sources than the elements separate."""
    require_one_kind(paths)
    if is_scene(paths[0]):
        from hil.jobs.train_scene import scene_covariances

        rows = scene_covariances(paths[0], settings, field_deg, seed)
    else:
        rows = covariance_rows(paths, settings)
    k, m = rows.angle_deg.shape[1], rows.origin.geometry.n_elements
    if not 1 <= k < m:
        raise ConfigError(
            f"{k} emitters: {m} elements separate 1 to {m - 1}", where=str(paths[0]), hint="use more elements"
        )
    return rows


def train_vae(paths: Sequence[Path], settings: TrainSettings, progress: Progress) -> TrainReport:
    """Train, judge on the test part, write the network; Ctrl-C as for `train_mod_dnn`.

    Without settings.supervised the directions of the training part are not used: only the sector is known.

    Raises ConfigError, CalibrationError, SceneError.
    """
    import torch

    from calib.methods.dual_path_vae.aoa_path import AnchoredPath
    from calib.methods.dual_path_vae.train import AoaPlan, AoaState, train_aoa
    from calib.trained.belongs import Belongs
    from calib.trained.dual_path_vae import TrainedVae

    require_writable(settings.out, resume=settings.resume)
    if settings.mode != "fast":
        raise ConfigError(
            "the paper's ResNet-18 takes hours and is not better: no command trains it", where="--mode",
            hint="--mode fast; in Python: calib.methods.dual_path_vae (DualPath, train_phases)",
        )  # fmt: skip
    labels = _label_kind(settings.labels)
    device = device_of(settings.device)
    rows = source_rows(paths, settings.data, settings.sector_deg, settings.seed)
    sector = sector_of(rows, settings.sector_deg)
    rows = rows.within(sector)
    if len(rows.of(0)) < _FEWEST_ROWS:
        raise ConfigError(
            f"{len(rows.of(0))} rows to train on; {_FEWEST_ROWS} are needed", hint="sweep more angles, or hold out fewer (--val, --test)"
        )  # fmt: skip
    array, origin, k = decoder_of(rows), rows.origin, rows.angle_deg.shape[1]
    belongs = Belongs(
        origin.fc_hz,
        np.array(origin.geometry.positions_m),
        sector,
        origin.calibrated,
        origin.calibration,
        origin.epochs,
    )
    order = np.random.default_rng(settings.seed).permutation(len(rows.of(0)))
    train, validation = rows.of(0), rows.of(1)
    train = train.some(order)
    n_held = len(validation) or max(1, len(train) // 10)
    together = np.concatenate([train.values, validation.values])
    truth = np.sin(np.deg2rad(np.concatenate([train.angle_deg, validation.angle_deg])))
    data = _aoa_data(array, together, k, sector, labels, truth if settings.supervised else None)
    plan = AoaPlan(seed=settings.seed, held_out=(n_held - 0.5) / len(together))
    plan = replace(plan, batch=min(plan.batch, (len(together) - n_held) // 2))
    if settings.steps is not None:
        plan = replace(plan, epochs=settings.steps)
    data_id = fingerprint(rows)
    unfinished = Unfinished(settings.out, TrainedVae.method, settings.run(data_id))
    state = unfinished.state(AoaState) if settings.resume else None
    torch.manual_seed(settings.seed)
    path = AnchoredPath(array, k)
    begin = time.monotonic()
    tail = slice(len(together) - n_held, None)
    beyond = np.rad2deg(np.arcsin(truth[tail]))

    def told(epoch: int, loss: float, validation_loss: float) -> bool:
        part = data.part(tail).to(next(path.parameters()).device)
        with torch.no_grad():
            u = path(part.covariance, part.labels).double().cpu().sort(dim=-1).values.numpy()
        error = float(np.sqrt(np.mean((np.rad2deg(np.arcsin(u)) - beyond) ** 2)))
        progress(f"epoch {epoch}", epoch / plan.epochs, loss, error)
        return False

    try:
        done = train_aoa(
            path, data, plan, state=state, device=device, time_limit_s=settings.time_limit_s, on_epoch=told,
            on_checkpoint=unfinished.keep,
        )  # fmt: skip
    except KeyboardInterrupt:
        unfinished.write()
        raise
    unfinished.write()  # Ctrl-C while it is judged loses nothing
    path.eval()
    scores = vae_scores(TrainedVae(path, labels, belongs), rows.of(2), sector)
    seconds = time.monotonic() - begin
    made = replace(
        belongs, scores=held_out_scores(scores), provenance=provenance(rows, settings, data_id, seconds)
    )
    TrainedVae(path, labels, made).save(settings.out)
    if done.finished:
        unfinished.end()
    return TrainReport(
        TrainedVae.method, settings.out, *counts(rows), scores, done.finished, seconds, notes_of(rows)
    )


def vae_scores(trained: TrainedVae | None, rows: Rows, sector_deg: tuple[float, float]) -> list[Score]:
    """Errors on rows: of the network with likelihood steps after it, of MUSIC, and of likelihood from the pseudo-labels."""
    from calib.methods.dual_path_vae.estimate import estimate

    if not len(rows):
        return []
    array, true = decoder_of(rows), rows.angle_deg
    out: list[Score] = []
    n = max(1, rows.n_snapshots)

    def in_pieces(network: TrainedVae | None) -> NDArray[np.float64]:
        parts = []
        for at in range(0, len(rows), _CHUNK):
            piece = rows.values[at : at + _CHUNK]
            if network is None:
                found = estimate(array, piece, true.shape[1], n_snapshots=n, sector_deg=sector_deg)
            else:
                found = network.directions(array, piece, n)
            parts.append(np.rad2deg(np.arcsin(found.u.numpy())))
        return np.concatenate(parts)

    if trained is not None:
        out.append(score(NAME, in_pieces(trained), true))
    described = rows.decoder or rows.origin.geometry
    read, whole = music_deg(rows.values.astype(np.complex128), true, described, rows.origin.fc_hz, sector_deg)
    out.append(score("MUSIC", read, true, whole))
    out.append(score(LIKELIHOOD, in_pieces(None), true))
    return out


def decoder_of(rows: Rows) -> KnownArray:
    """What the decoder knows of the array that the rows belong to. Raises ConfigError for a table over angle."""
    from calib.methods.dual_path_vae.decoder import KnownArray

    origin = rows.origin
    x = np.asarray(origin.geometry.positions_m)[:, 0] * (origin.fc_hz / SPEED_OF_LIGHT_M_S)
    if origin.given is not None and origin.given.impairments.angle_response is not None:
        raise ConfigError(
            "the dual-path VAE cannot use a calibration with a response table over angle", where="--calibration",
            hint="learn one without: hil learn --response none",
        )  # fmt: skip
    if rows.decoder is None:
        return KnownArray(x)
    return KnownArray(x, rows.decoder.impairments.gain, rows.decoder.impairments.coupling)


def _label_kind(name: str) -> LabelKind:
    if name not in _OF_COVARIANCE:
        raise ConfigError(
            f"{name!r} is unknown", where="--labels", hint=f"one of {', '.join(_OF_COVARIANCE)}"
        )
    return name  # pyright: ignore[reportReturnType]


def _aoa_data(
    array: KnownArray, covariance: NDArray[np.complexfloating], k: int, sector_deg: tuple[float, float],
    kind: LabelKind, truth_u: NDArray[np.float64] | None,
) -> AoaData:  # fmt: skip
    """With pseudo-labels and powers of every sample."""
    import torch

    from calib.methods.dual_path_vae.labels import Labeller
    from calib.methods.dual_path_vae.posterior import ChannelPrior, estimated_prior
    from calib.methods.dual_path_vae.train import AoaData

    labeller = Labeller(array, k, sector_deg)
    labels: list[NDArray[np.float64]] = []
    priors: list[ChannelPrior] = []
    for at in range(0, len(covariance), _CHUNK):
        piece = covariance[at : at + _CHUNK].astype(np.complex128)
        priors.append(estimated_prior(torch.as_tensor(piece), k, array))
        labels.append(labeller.of_covariance(kind, piece, priors[-1]))
    prior = ChannelPrior(
        torch.cat([p.covariance for p in priors]).to(torch.complex64),
        torch.cat([p.noise for p in priors]).float(),
    )
    found: torch.Tensor = torch.as_tensor(np.concatenate(labels)).float()
    truth = None if truth_u is None else torch.as_tensor(truth_u).float()
    return AoaData(torch.as_tensor(covariance).to(torch.complex64), found, prior, truth)
