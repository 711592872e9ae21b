"""`hil train`: what both methods share: settings, the data, and what is told at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hil import __version__
from hil.core.errors import ConfigError
from hil.jobs.train_data import DataSettings, Rows
from hil.jobs.train_score import Score, best_words

#: progress(stage, share done, loss, validation error in degrees or NaN)
Progress = Callable[[str, float, float, float], None]
_WIDEST_DEG = 80.0
_MOST_LISTED = 1024


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """out : file of the network. sector_deg : None: what the training angles span. steps : of MoD-DNN's heads, or epochs of
    the VAE; None: as usual. tones : MoD-DNN takes so many. supervised, labels : of the VAE, None: as usual."""

    out: Path
    data: DataSettings = field(default_factory=DataSettings)
    sector_deg: tuple[float, float] | None = None
    steps: int | None = None
    tones: int = 16
    mode: str = "fast"
    supervised: bool = False
    labels: str = "best"
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    time_limit_s: float = float("inf")

    def run(self, data: str) -> dict[str, Any]:
        """What a checkpoint of it belongs to. data : fingerprint."""
        sector = None if self.sector_deg is None else list(self.sector_deg)
        return {
            "sector_deg": sector, "steps": self.steps, "tones": self.tones, "mode": self.mode, "data": data,
            "supervised": self.supervised, "labels": self.labels, "seed": self.seed,
        }  # fmt: skip


@dataclass(slots=True)
class TrainReport:
    """scores : on the test part, the network first. finished : False if the time limit ended it."""

    method: str
    out: Path
    rows: dict[str, int]
    angles: dict[str, int]
    scores: Sequence[Score]
    finished: bool
    seconds: float
    notes: list[str]

    @property
    def words(self) -> str:
        """Which estimator is best."""
        return best_words(self.scores)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "method": self.method, "network": str(self.out), "rows": self.rows, "angles": self.angles,
            "test": [s.as_dict() for s in self.scores], "best": self.words, "finished": self.finished,
            "seconds": round(self.seconds, 3), "notes": self.notes,
        }  # fmt: skip


def is_scene(path: Path) -> bool:
    """A scene, not a data set."""
    return path.suffix.lower() == ".toml"


def require_one_kind(paths: Sequence[Path]) -> None:
    """Raise ConfigError for a scene among other sources."""
    if len(paths) > 1 and any(is_scene(path) for path in paths):
        raise ConfigError("a scene is trained on alone", where="DATASET", hint="give data sets, or one scene")
    for path in paths:
        if not path.is_file():
            raise ConfigError("there is no such file", where=str(path), hint="hil campaign dataset makes one")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("a data set is given twice", where="DATASET", hint="name each once")


def device_of(name: str) -> str:
    """Raises ConfigError: not there."""
    import torch

    torch.set_num_threads(1)
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"{name!r} is unknown", where="--device", hint="cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "this machine has no CUDA device that PyTorch can use", where="--device", hint="--device cpu"
        )
    return name


def sector_of(rows: Rows, stated: tuple[float, float] | None) -> tuple[float, float]:
    """What the network answers within: as stated, else what the training angles span. Raises ConfigError."""
    if rows.origin.geometry.kind != "line":
        raise ConfigError(
            f"the array is {rows.origin.geometry.kind}: these methods work on lines of elements",
            where="--array",
            hint="use MUSIC for this array",
        )
    seen = rows.of(0).angle_deg
    if not len(seen):
        raise ConfigError(
            "no row is in the training part", hint="make the data set with a smaller --val or --test"
        )
    low, high = (float(v) for v in np.clip([seen.min(), seen.max()], -_WIDEST_DEG, _WIDEST_DEG))
    if high - low < 1.0:
        raise ConfigError(
            f"the training angles span {high - low:.2g} degrees",
            hint="sweep more angles: hil sweep --from --to --step",
        )
    if stated is None:
        return low, high
    if stated[0] < low - 0.5 or stated[1] > high + 0.5:
        raise ConfigError(
            f"{stated[0]:g} to {stated[1]:g} degrees reach beyond the training angles, {low:g} to {high:g}",
            where="--sector", hint="nothing is said outside; sweep further, or give a smaller sector",
        )  # fmt: skip
    return max(stated[0], low), min(stated[1], high)


def counts(rows: Rows) -> tuple[dict[str, int], dict[str, int]]:
    """Rows and different angles of each part."""
    names = {"train": 0, "val": 1, "test": 2}
    parts = {name: rows.of(k).angle_deg for name, k in names.items()}
    return {n: len(a) for n, a in parts.items()}, {
        n: len(np.unique(np.round(a, 3))) for n, a in parts.items()
    }


def provenance(rows: Rows, settings: TrainSettings, data: str, seconds: float) -> dict[str, Any]:
    """How a network was made, for its card. data : fingerprint."""
    trained = np.unique(np.round(rows.of(0).angle_deg, 3))
    listed = trained.tolist() if len(trained) <= _MOST_LISTED else []  # more are everywhere
    origin = rows.origin
    return {
        "data": list(origin.names), "fingerprint": data, "rows": counts(rows)[0],
        "trained_deg": listed, "seed": settings.seed,
        "mode": settings.mode, "steps": settings.steps, "supervised": settings.supervised, "device": settings.device,
        "seconds": round(seconds, 1), "version": __version__,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"), "notes": list(origin.notes),
        "stale_reason": origin.given.stale_reason if origin.given else "",
    }  # fmt: skip


def notes_of(rows: Rows) -> list[str]:
    """What the user should know of these data."""
    origin = rows.origin
    out = list(origin.notes)
    if not origin.calibrated:
        out.append(
            "trained without a calibration: the network is good for the coherence epoch of these data only"
        )
    return out
