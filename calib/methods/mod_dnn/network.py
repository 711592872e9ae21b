"""MoD-DNN whole: gate, coarray spectrum, and the alternation of calibrator and reconstruction with shared weights.

    eta_0 = eta_hat;   z_i = C(eta_i);   (P + lambda I) eta_{i+1} = area eta_hat + lambda z_i;   angle read from eta_I

(Liu et al. 2025, eq. 20-21 with the data term kept, as in MoDL.) area: of the label in grid steps, so that what is measured
and what the label asks for have the same scale.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calib.methods.mod_dnn import scg
from calib.methods.mod_dnn.autoencoder import MultiTaskAutoencoder
from calib.methods.mod_dnn.calibrator import Calibrator, Mode
from calib.methods.mod_dnn.coarray import coarray
from calib.methods.mod_dnn.labels import LabelKind, read_out
from calib.methods.mod_dnn.regions import Regions
from hil.core.errors import ConfigError, ShapeError


@dataclass(frozen=True, slots=True)
class Shape:
    """What fixes the weights' sizes and meaning.

    n_tones, n_elements : of a sample. mode : "fast", or "paper" (kernel 32, the spectrum alone, one-hot labels, spectra of
    the autoencoder's output). iterations : outer ones. solver : exact, or conjugate gradients. lam : lambda. data_term :
    False drops the measured spectrum from the reconstruction. diverse : autoencoder weights for every tone.
    """

    n_tones: int = 16
    n_elements: int = 4
    regions: Regions = field(default_factory=Regions)
    mode: Mode = "fast"
    iterations: int = 1
    solver: Literal["exact", "scg"] = "exact"
    lam: float = scg.LAMBDA
    label_deg: float = 0.4
    diverse: bool = True

    def __post_init__(self) -> None:
        if self.mode not in ("fast", "paper") or self.solver not in ("exact", "scg"):
            raise ConfigError(
                f"MoD-DNN: mode {self.mode!r}, solver {self.solver!r}: fast or paper, exact or scg"
            )
        if self.iterations < 1 or self.n_tones < 1 or self.n_elements < 2 or not self.lam > 0:
            raise ConfigError(f"MoD-DNN: {self} is not a network")

    @property
    def label(self) -> LabelKind:
        """Kind of label that belongs to the mode."""
        return "one-hot" if self.mode == "paper" else "gaussian"

    def as_dict(self) -> dict[str, Any]:
        """As stored with the weights."""
        return asdict(self)


def shape_of(stored: dict[str, Any]) -> Shape:
    """From `Shape.as_dict`. Raises ConfigError."""
    try:
        regions = dict(stored["regions"])
        regions["field_deg"] = tuple(regions["field_deg"])
        return Shape(**{**stored, "regions": Regions(**regions)})
    except (TypeError, KeyError, ValueError) as err:
        raise ConfigError(f"not the shape of a MoD-DNN: {err}") from err


class MoDDNN(nn.Module):
    """manifold : (P, M, L) complex128, the array that the reconstruction believes in, on the heads' grids."""

    factor: torch.Tensor
    lags: torch.Tensor
    grid_deg: torch.Tensor

    def __init__(self, shape: Shape, manifold: NDArray[np.complex128]):
        super().__init__()
        grid = shape.regions.grid_deg
        if manifold.shape != (shape.regions.n, shape.n_elements, grid.shape[1]):
            raise ShapeError(f"manifold: shape {manifold.shape} does not fit {shape}")
        self.shape = shape
        believed = coarray(manifold)
        self.register_buffer("factor", torch.as_tensor(believed.factor, dtype=torch.float32))
        self.register_buffer("lags", torch.as_tensor(believed.lags, dtype=torch.complex64))
        self.register_buffer("grid_deg", torch.as_tensor(grid, dtype=torch.float32))
        self.autoencoder = MultiTaskAutoencoder(
            shape.n_tones, shape.n_elements, shape.regions.n, diverse=shape.diverse
        )
        self.calibrator = Calibrator(shape.regions.n, shape.mode)

    def area(self, sigma_deg: float) -> float:
        """Of a label, in grid steps."""
        if self.shape.label == "one-hot":
            return 1.0
        return math.sqrt(2 * math.pi) * sigma_deg / self.shape.regions.step_deg

    def measured(self, tones: torch.Tensor) -> torch.Tensor:
        """eta_hat (B, P, L) of tones (B, P, K, M): what each head sees."""
        covariance = tones.mT @ tones.conj() / tones.shape[-2]
        sums = (covariance[:, :, None] * self.lags.conj()).sum((-1, -2)).real
        return (self.factor.mT @ sums[..., None])[..., 0]

    def reconstruct(self, measured: torch.Tensor, sigma_deg: float | None = None) -> list[torch.Tensor]:
        """eta_1 ... eta_I, each (B, P, L). sigma_deg : of the labels in force while training."""
        data = self.area(sigma_deg or self.shape.label_deg) * measured
        eta, out = measured, []
        for _ in range(self.shape.iterations):
            right = data + self.shape.lam * self.calibrator(eta, measured)
            if self.shape.solver == "exact":
                eta = scg.solve(right, self.factor, self.shape.lam)
            else:
                eta = scg.sparse_conjugate_gradient(right, self.factor, lam=self.shape.lam)
            out.append(eta)
        return out

    def heard(self, tones: torch.Tensor) -> torch.Tensor:
        """What the heads get of tones (B, K, M): the decoders' output ("paper"), or the tones as they are."""
        if self.shape.mode == "fast":
            return tones[:, None].expand(-1, self.shape.regions.n, -1, -1)
        passed = self.autoencoder(tones)
        rms = passed.abs().square().mean((-1, -2), keepdim=True).clamp_min(1e-12).sqrt()
        return passed / rms

    def forward(self, tones: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectrum (B, L) of the head that the gate chose, and that head (B,), of normalised tones (B, K, M)."""
        head = self.autoencoder.gate(tones)
        spectra = self.reconstruct(self.measured(self.heard(tones)))[-1]
        return spectra[torch.arange(len(head)), head], head

    def angles_deg(self, tones: torch.Tensor) -> torch.Tensor:
        """Directions (B,) in degrees of normalised tones (B, K, M)."""
        spectrum, head = self(tones)
        return read_out(spectrum, self.grid_deg[head])
