"""`hil evaluate`: estimators side by side on rows of a training set, angle by angle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import CalibrationMismatch, ConfigError
from hil.jobs.train import notes_of, sector_of
from hil.jobs.train_data import DataSettings, Rows
from hil.jobs.train_score import Score, best_words, rms

if TYPE_CHECKING:
    from calib.trained.belongs import Belongs
    from calib.trained.dual_path_vae import TrainedVae
    from calib.trained.mod_dnn import TrainedModDnn

METHODS = ("mod-dnn", "dual-path-vae", "music")
PARTS = {"train": 0, "val": 1, "test": 2}
_SAME_ANGLE = 0.25  # of the step between trained angles
_MOST_STEP_DEG = 1.0


@dataclass(slots=True)
class Evaluation:
    """scores : the method first. angle_deg : (R, K) true. held_out : (R,) rows whose angles were not trained on; None: not
    known. left_out : rows outside the sector."""

    method: str
    scores: Sequence[Score]
    angle_deg: NDArray[np.float64]
    held_out: NDArray[np.bool_] | None
    sector_deg: tuple[float, float]
    left_out: int
    notes: list[str]

    @property
    def words(self) -> str:
        """Which estimator is best, on held-out angles where there are any."""
        held = self.held_out
        if held is None or not np.any(held):
            return best_words(self.scores)
        return best_words([Score(s.name, s.error_deg[held]) for s in self.scores])

    def table(self) -> list[dict[str, Any]]:
        """A row for each estimator."""
        held = self.held_out
        out = []
        for s in self.scores:
            row = s.as_dict()
            if held is not None:
                row |= {
                    "trained_rms_deg": rms(s.error_deg[~held]),
                    "held_out_rms_deg": rms(s.error_deg[held]),
                }
            out.append(row)
        return out

    def by_angle(self) -> list[dict[str, Any]]:
        """A row for each true angle (of the first source): rms and mean error of every estimator."""
        angles, index = np.unique(np.round(self.angle_deg[:, 0], 3), return_inverse=True)
        if len(angles) > len(self.angle_deg) // 2:  # all different: one row a degree
            angles, index = np.unique(np.round(self.angle_deg[:, 0]), return_inverse=True)
        out = []
        for k, angle in enumerate(angles.tolist()):
            mine = index == k
            row: dict[str, Any] = {"angle_deg": angle, "rows": int(np.sum(mine))}
            if self.held_out is not None:
                row["held_out"] = bool(np.all(self.held_out[mine]))
            for s in self.scores:
                name = re.sub(r"\W+", "_", s.name.lower())
                row[f"{name}_rms_deg"] = rms(s.error_deg[mine])
                row[f"{name}_bias_deg"] = float(np.mean(s.error_deg[mine]))
            out.append(row)
        return out

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "method": self.method, "rows": len(self.angle_deg), "left_out": self.left_out,
            "held_out_rows": None if self.held_out is None else int(np.sum(self.held_out)),
            "sector_deg": list(self.sector_deg), "table": self.table(), "best": self.words, "angles": self.by_angle(),
            "notes": self.notes,
        }  # fmt: skip


def evaluate(
    method: str,
    paths: Sequence[Path],
    settings: DataSettings,
    *,
    network: Path | None,
    part: str,
    seed: int = 0,
) -> Evaluation:
    """Judge a method on a part of data sets ("train", "val", "test" or "all"), or of a scene.

    Raises ConfigError, CalibrationError, SceneError : in one line, what does not fit.
    """
    if method not in METHODS:
        raise ConfigError(f"{method!r} is unknown", where="METHOD", hint=f"one of {', '.join(METHODS)}")
    if part not in (*PARTS, "all"):
        raise ConfigError(f"{part!r} is no part", where="--part", hint=f"one of {', '.join(PARTS)}, all")
    if method == "music" and network is not None:
        raise ConfigError("MUSIC has no network", where="--network", hint="leave the option out")
    if method == "mod-dnn" and network is None:
        raise ConfigError("mod-dnn needs a network", where="--network", hint="hil train mod-dnn makes one")
    loaded = None if network is None else _loaded(method, network)
    if method == "mod-dnn":
        return _mod_dnn(loaded, paths, settings, part, seed)  # pyright: ignore[reportArgumentType]
    return _vae(method, loaded, paths, settings, part, seed)  # pyright: ignore[reportArgumentType]


def _loaded(method: str, path: Path) -> TrainedModDnn | TrainedVae:
    from calib.trained.load import load_network

    network = load_network(path)
    if network.method != method:
        raise ConfigError(
            f"a network of {network.method}, not of {method}", where=str(path), hint="give another file"
        )
    return network


def _mod_dnn(
    network: TrainedModDnn, paths: Sequence[Path], settings: DataSettings, part: str, seed: int
) -> Evaluation:
    from hil.jobs.train_mod_dnn import mod_dnn_scores, response_table, tone_rows

    belongs = network.belongs
    rows = tone_rows(paths, settings, network.frequency_hz, belongs.sector_deg, seed)
    _require_fit(belongs, rows)
    inside = rows.within(belongs.sector_deg)
    judged, left = _part(inside, part), len(_part(rows, part)) - len(_part(inside, part))
    train = inside.of(0)
    tables = part in ("val", "test") and len(np.unique(np.round(train.angle_deg, 3))) >= 8
    scores = mod_dnn_scores(
        network,
        judged,
        bias_rows=train if tables else None,
        table=response_table(inside, network.gain) if tables else None,
    )
    return Evaluation(
        network.method,
        scores,
        judged.angle_deg,
        _held_out(belongs, judged),
        belongs.sector_deg,
        left,
        notes_of(rows),
    )


def _vae(
    method: str,
    network: TrainedVae | None,
    paths: Sequence[Path],
    settings: DataSettings,
    part: str,
    seed: int,
) -> Evaluation:
    from hil.jobs.train_vae import LIKELIHOOD, source_rows, vae_scores

    rows = source_rows(paths, settings, None if network is None else network.belongs.sector_deg, seed)
    if network is None:
        sector = sector_of(rows, None)
    else:
        _require_fit(network.belongs, rows)
        sector = network.belongs.sector_deg
        if rows.angle_deg.shape[1] != network.n_users:
            raise ConfigError(
                f"the network was trained for {network.n_users} sources, the data hold {rows.angle_deg.shape[1]}",
                where="--network", hint="train one for these data",
            )  # fmt: skip
    inside = rows.within(sector)
    judged, left = _part(inside, part), len(_part(rows, part)) - len(_part(inside, part))
    scores = vae_scores(network, judged, sector)
    if network is None:
        first = LIKELIHOOD if method == "dual-path-vae" else "MUSIC"
        scores = sorted(scores, key=lambda s: s.name != first)
    held = None if network is None else _held_out(network.belongs, judged)
    return Evaluation(method, scores, judged.angle_deg, held, sector, left, notes_of(rows) if network else [])


def _part(rows: Rows, part: str) -> Rows:
    return rows if part == "all" else rows.of(PARTS[part])


def _require_fit(belongs: Belongs, rows: Rows) -> None:
    """Raises ConfigError, CalibrationMismatch."""
    origin = rows.origin
    belongs.require_array(np.asarray(origin.geometry.positions_m), origin.fc_hz)
    if belongs.calibrated and not origin.calibrated:
        raise CalibrationMismatch(
            "the network was trained on calibrated data, these are not", field="calibration",
            hint="give --calibration, or make the set with hil campaign dataset --calibration",
        )  # fmt: skip
    if not belongs.calibrated and origin.calibrated:
        raise ConfigError(
            "the network was trained without a calibration, these data were corrected with one", where="--calibration",
            hint="leave the option out, or train with it",
        )  # fmt: skip
    if not belongs.calibrated and not set(origin.epochs) <= set(belongs.epochs):
        raise ConfigError(
            "the network was trained without a calibration, and these data are of another coherence epoch", where="--network",
            hint="train with a calibration of each",
        )  # fmt: skip


def _held_out(belongs: Belongs, rows: Rows) -> NDArray[np.bool_] | None:
    """(R,) rows all of whose angles are far from the trained ones; None if those are not known."""
    trained = belongs.provenance.get("trained_deg")
    if not isinstance(trained, list) or len(trained) < 2:
        return None
    try:
        known = np.sort(np.array(trained, np.float64))
    except (TypeError, ValueError):
        return None
    near = _SAME_ANGLE * min(float(np.median(np.diff(known))), _MOST_STEP_DEG)
    after = np.clip(np.searchsorted(known, rows.angle_deg), 1, len(known) - 1)
    away = np.minimum(np.abs(rows.angle_deg - known[after - 1]), np.abs(rows.angle_deg - known[after]))
    return np.all(away > near, axis=1)
