"""A trained MoD-DNN: directions of one source from channel responses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from calib.checkpoint import read_checkpoint, write_checkpoint
from calib.methods.mod_dnn.network import MoDDNN, Shape, shape_of
from calib.methods.mod_dnn.tones import normalised
from calib.trained.belongs import MOST_ELEMENTS, Belongs, belongs_of, problem, wanted
from calib.trained.csi import corrected, nearest_tones
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError, ShapeError
from hil.core.frame import StreamInfo

_MOST_TONES = 4096
_MOST_REGIONS = 64
_MOST_ITERATIONS = 100
_MOST_NUMBERS = 1 << 22
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModDnn:
    """network : in evaluation mode, on the CPU. frequency_hz : (K,) float64 Hz from the carrier, tones that it takes.
    gain : (M,) complex128, taken out of the data first: what the channels had in common at all angles of the training; ones
    after a training with a calibration, which knows it."""

    method: ClassVar[str] = "mod-dnn"

    network: MoDDNN
    frequency_hz: NDArray[np.float64]
    gain: NDArray[np.complex128]
    belongs: Belongs

    def __post_init__(self) -> None:
        shape = self.network.shape
        if self.frequency_hz.shape != (shape.n_tones,) or not np.all(np.diff(self.frequency_hz) > 0):
            raise ConfigError("its tones do not fit its weights")
        fits = (
            self.gain.shape == (shape.n_elements,)
            and np.all(np.isfinite(self.gain))
            and np.all(self.gain != 0)
        )
        if shape.n_elements != self.belongs.n_elements or not fits:
            raise ConfigError("its array does not fit its weights")

    @property
    def sigma_deg(self) -> float:
        """RMS error on held-out angles, NaN if there were none."""
        return self.belongs.sigma_deg

    def require_fit(self, stream: StreamInfo, calibration: Calibration | None) -> None:
        """Raise ConfigError or CalibrationMismatch if it cannot be used on such a stream."""
        self.belongs.require_fit(stream, calibration)

    def estimate(
        self,
        csi: NDArray[np.complexfloating],
        frequency_hz: NDArray[np.float64],
        calibration: Calibration | None,
        fc_hz: float | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """Directions (B,) in degrees; spectrum (B, L), about 1 at its peak, and its angles (B, L) in degrees.

        csi : (B, M, S) complex, as received. frequency_hz : (S,) of the subcarriers, from the carrier. calibration : of the
        data; not applied by a network that was trained without. fc_hz : carrier of the data, None: that of the training.
        Of the subcarriers the nearest to the tones of the training are taken, whatever their set.

        Raises CalibrationMismatch: a calibration is needed. ConfigError: subcarriers too far apart. ShapeError: other shapes,
        empty or not finite.
        """
        self.belongs.require_calibration(calibration)
        if csi.ndim != 3 or csi.shape[1:] != (self.belongs.n_elements, len(frequency_hz)):
            raise ShapeError(
                f"channel responses {csi.shape}: (B, {self.belongs.n_elements}, {len(frequency_hz)}) expected"
            )
        index = nearest_tones(frequency_hz, self.frequency_hz)
        tones = csi[:, :, index]
        if self.belongs.calibrated and calibration is not None:
            tones = corrected(tones, frequency_hz[index], calibration)
        return self.of_tones(normalised(np.swapaxes(tones, 1, 2) / self.gain), fc_hz)

    def of_tones(
        self, tones: NDArray[np.complex64], fc_hz: float | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """`estimate` from normalised tones (B, K, M), the gains taken out."""
        length = self.network.grid_deg.shape[1]
        angle = np.empty(len(tones))
        spectrum, grid = (np.empty((len(tones), length), np.float32) for _ in range(2))
        with torch.no_grad():
            for at in range(0, len(tones), _BATCH):
                part = slice(at, at + _BATCH)
                seen, head = self.network(torch.as_tensor(tones[part]))
                on = self.network.grid_deg[head]
                angle[part], spectrum[part], grid[part] = (
                    self.network.read(seen, on).numpy(),
                    seen.numpy(),
                    on.numpy(),
                )
        ratio = 1.0 if fc_hz is None else self.belongs.fc_hz / fc_hz
        if ratio != 1.0:  # the array is longer or shorter in wavelengths
            angle, grid = _stretched(angle, ratio), _stretched(grid, ratio).astype(np.float32)
        return angle, spectrum, grid

    def save(self, path: str | os.PathLike[str]) -> None:
        """Raises ConfigError."""
        card = {
            "method": self.method, "shape": self.network.shape.as_dict(), "frequency_hz": self.frequency_hz.tolist(),
            "gain": [[g.real, g.imag] for g in self.gain.tolist()], "belongs": self.belongs.as_dict(),
        }  # fmt: skip
        write_checkpoint(path, {k: _storable(v) for k, v in self.network.state_dict().items()}, card)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainedModDnn:
        """Raises ConfigError."""
        tensors, card = read_checkpoint(path)
        with problem(path):
            wanted(card, cls.method)
            return cls.of(tensors, card)

    @classmethod
    def of(cls, tensors: dict[str, torch.Tensor], card: dict[str, Any]) -> TrainedModDnn:
        """From the content of a checkpoint. Raises ConfigError."""
        try:
            belongs = belongs_of(card["belongs"])
            shape = _shape(card["shape"])
            frequency = np.array(card["frequency_hz"], np.float64)
            gain = np.array([complex(re, im) for re, im in card["gain"]], np.complex128)
        except (TypeError, KeyError, ValueError) as err:
            raise ConfigError("its card is damaged", hint="train it again") from err
        network = network_for(shape, belongs)
        own = network.state_dict()
        if set(own) != set(tensors):
            raise ConfigError("its weights do not fit its card", hint="train it again")
        for name, value in own.items():
            given = _stored(tensors[name], value)
            if given.shape != value.shape or given.dtype != value.dtype:
                raise ConfigError(f"its weights {name} do not fit its card", hint="train it again")
            tensors[name] = given
        network.load_state_dict(tensors)
        network.eval()
        return cls(network, frequency, gain, belongs)


def network_for(shape: Shape, belongs: Belongs) -> MoDDNN:
    """A new network that believes in the places of the elements."""
    u = np.sin(np.deg2rad(shape.regions.grid_deg))
    return MoDDNN(shape, np.exp(2j * np.pi * belongs.x[:, None] * u[:, None, :]))


def _shape(stored: dict[str, Any]) -> Shape:
    """Raises ConfigError for anything that a file may not make us build."""
    shape = shape_of(stored)
    whole = (shape.n_tones, shape.n_elements, shape.iterations, shape.regions.n)
    if not all(type(n) is int for n in whole):
        raise ConfigError("its card is damaged", hint="train it again")
    small = (
        shape.n_tones <= _MOST_TONES
        and shape.n_elements <= MOST_ELEMENTS
        and shape.iterations <= _MOST_ITERATIONS
        and shape.regions.n <= _MOST_REGIONS
        and shape.regions.step_deg >= 0.01
        and shape.regions.guard_deg <= 90
    )
    if not small or shape.regions.grid_deg.size * shape.n_elements**2 > _MOST_NUMBERS:
        raise ConfigError("larger than any network of hil train", hint="train it again")
    return shape


def _storable(value: torch.Tensor) -> torch.Tensor:
    """Complex numbers as pairs: not every reader of safetensors knows them."""
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def _stored(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    pairs = like.is_complex() and value.dim() and value.shape[-1] == 2 and value.dtype == torch.float32
    return torch.view_as_complex(value.contiguous()) if pairs else value


def _stretched(angle_deg: NDArray[np.floating], ratio: float) -> NDArray[np.float64]:
    return np.rad2deg(np.arcsin(np.clip(ratio * np.sin(np.deg2rad(angle_deg)), -1.0, 1.0)))
