"""A trained dual-path VAE: directions of several sources from covariances, the calibration inside its decoder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from calib.checkpoint import read_checkpoint, write_checkpoint
from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.estimate import Directions, estimate
from calib.methods.dual_path_vae.labels import LABEL_KINDS, LabelKind
from calib.trained.belongs import Belongs, belongs_of, problem, wanted
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.frame import StreamInfo
from hil.core.units import SPEED_OF_LIGHT_M_S

_MOST_HIDDEN = 4096


@dataclass(frozen=True, slots=True, eq=False)
class TrainedVae:
    """path : moves pseudo-labels to directions. labels : kind that it was trained to start from."""

    method: ClassVar[str] = "dual-path-vae"

    path: AnchoredPath
    labels: LabelKind
    belongs: Belongs

    @property
    def n_users(self) -> int:
        """Sources that it was trained for."""
        return self.path.n_users

    @property
    def sigma_deg(self) -> float:
        """RMS error on held-out data, NaN if there were none."""
        return self.belongs.sigma_deg

    def require_fit(self, stream: StreamInfo, calibration: Calibration | None) -> None:
        """Raise ConfigError or CalibrationMismatch if it cannot be used on such a stream."""
        self.belongs.require_fit(stream, calibration)

    def estimate(
        self,
        covariance: NDArray[np.complexfloating],
        n_snapshots: int,
        calibration: Calibration | None,
        n_sources: int | None = None,
        fc_hz: float | None = None,
    ) -> NDArray[np.float64]:
        """Directions (B, K) in degrees, ascending, of covariances (B, M, M) of the data as received.

        calibration : of the data, used in the decoder. n_sources : None: as trained. fc_hz : carrier of the data, None: that
        of the calibration, else of the training. Raises ConfigError, CalibrationMismatch.
        """
        array = self.array(calibration, fc_hz)
        found = self.directions(array, covariance, n_snapshots, n_sources)
        return np.rad2deg(np.arcsin(found.u.numpy()))

    def directions(
        self,
        array: KnownArray,
        covariance: NDArray[np.complexfloating],
        n_snapshots: int,
        n_sources: int | None = None,
    ) -> Directions:
        """`estimate` for an array that the caller knows, with deviations and powers."""
        return estimate(
            array, covariance, n_sources or self.n_users, self.path, n_snapshots=n_snapshots,
            sector_deg=self.belongs.sector_deg, labels=self.labels,
        )  # fmt: skip

    def array(self, calibration: Calibration | None, fc_hz: float | None = None) -> KnownArray:
        """What the decoder knows. Raises ConfigError, CalibrationMismatch."""
        self.belongs.require_calibration(calibration)
        if calibration is None:
            return KnownArray(self.belongs.x * ((fc_hz or self.belongs.fc_hz) / self.belongs.fc_hz))
        errors = calibration.impairments
        if errors.angle_response is not None:
            raise ConfigError(
                "the dual-path VAE cannot use a calibration with a response table over angle",
                hint="choose MUSIC",
            )
        scale = (fc_hz or calibration.fc_hz) / SPEED_OF_LIGHT_M_S
        return KnownArray(scale * calibration.positions_m[:, 0], errors.gain, errors.coupling)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Raises ConfigError."""
        card = {
            "method": self.method, "n_users": self.n_users, "labels": self.labels, "belongs": self.belongs.as_dict()
        }  # fmt: skip
        write_checkpoint(path, dict(self.path.state_dict()), card)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainedVae:
        """Raises ConfigError."""
        tensors, card = read_checkpoint(path)
        with problem(path):
            wanted(card, cls.method)
            return cls.of(tensors, card)

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor], card: dict[str, Any]) -> TrainedVae:
        """From the content of a checkpoint. Raises ConfigError."""
        try:
            belongs, n_users, labels = belongs_of(card["belongs"]), card["n_users"], card["labels"]
            hidden = int(tensors["first.weight"].shape[0])
        except (TypeError, KeyError, ValueError, IndexError) as err:
            raise ConfigError("its card or its weights are damaged", hint="train it again") from err
        if type(n_users) is not int or not 1 <= n_users < belongs.n_elements or labels not in LABEL_KINDS:
            raise ConfigError("its card is damaged", hint="train it again")
        if not 1 <= hidden <= _MOST_HIDDEN:
            raise ConfigError("larger than any network of hil train", hint="train it again")
        path = AnchoredPath(KnownArray(belongs.x), n_users, hidden)
        try:
            path.load_state_dict(tensors)
        except RuntimeError as err:
            raise ConfigError("its weights do not fit its card", hint="train it again") from err
        path.eval()
        return cls(path, labels, belongs)
