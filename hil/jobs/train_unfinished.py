"""What is kept of a training that was interrupted: one checkpoint beside its result."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from calib.checkpoint import read_checkpoint, write_checkpoint
from hil.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from hil.jobs.train_data import Rows

_EVERY_S = 10.0


class State(Protocol):
    """What a training hands out to go on from."""

    @property
    def tensors(self) -> dict[str, torch.Tensor]: ...
    @property
    def card(self) -> dict[str, Any]: ...


class Unfinished:
    """OUT.part. run : what the training is; another one cannot go on from its checkpoint."""

    def __init__(self, out: Path, method: str, run: dict[str, Any]) -> None:
        self.path = out.with_name(out.name + ".part")
        self._method, self._run = f"{method}-training", run
        self._latest: State | None = None
        self._written = time.monotonic()

    def state(self, make: Callable[[dict[str, torch.Tensor], dict[str, Any]], State]) -> Any:
        """Of the checkpoint. Raises ConfigError: none there, damaged, or of another training."""
        if not self.path.exists():
            raise ConfigError(
                "there is no training to go on with", where=str(self.path), hint="leave --resume out"
            )
        tensors, card = read_checkpoint(self.path)
        if card.get("method") != self._method or card.get("run") != self._run:
            raise ConfigError(
                "belongs to a training with other data or settings", where=str(self.path),
                hint="give the command that it was started with and --resume, or delete it",
            )  # fmt: skip
        state = card.get("state")
        if not isinstance(state, dict):
            raise ConfigError("damaged", where=str(self.path), hint="delete it")
        return make(tensors, state)

    def keep(self, state: State) -> None:
        """Written now if the last one is some seconds old. Raises ConfigError."""
        self._latest = state
        if time.monotonic() - self._written > _EVERY_S:
            self.write()

    def write(self) -> bool:
        """The latest state; False if there is none. Raises ConfigError."""
        if self._latest is None:
            return self.path.exists()
        card = {"method": self._method, "run": self._run, "state": self._latest.card}
        write_checkpoint(self.path, self._latest.tensors, card)
        self._written = time.monotonic()
        return True

    def end(self) -> None:
        """The training is complete."""
        self.path.unlink(missing_ok=True)


def require_writable(out: Path, *, resume: bool) -> None:
    """Before hours of training. Raises ConfigError."""
    if not out.parent.is_dir():
        raise ConfigError(f"folder {out.parent} is not there", where="--out", hint="make it first")
    part = out.with_name(out.name + ".part")
    if out.exists() and not (resume and part.exists()):
        raise ConfigError(f"{out} is there", where="--out", hint="give another name, or delete it")
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"folder {out.parent} cannot be written to", where="--out", hint="choose another")
    if part.exists() and not resume:
        raise ConfigError(
            f"{part} is a training that was interrupted",
            where="--out",
            hint="--resume goes on with it; or delete it",
        )


def fingerprint(rows: Rows) -> str:
    """Of the data of a training, and of the array that they are taken for."""
    origin, decoder = rows.origin, rows.decoder
    errors = None if decoder is None else decoder.impairments
    known = [] if errors is None else [e for e in (errors.gain, errors.coupling) if e is not None]
    digest = hashlib.sha256(repr((origin.fc_hz, origin.calibrated, origin.calibration)).encode())
    positions_m = np.asarray(origin.geometry.positions_m)
    for values in (rows.values, rows.angle_deg, rows.part, rows.frequency_hz, positions_m, *known):
        digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()[:32]
