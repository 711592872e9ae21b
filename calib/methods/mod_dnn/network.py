"""MoD-DNN whole: gate, coarray spectrum, and the alternation of calibrator and reconstruction with shared weights.

    eta_0 = eta_hat;   z_i = C(eta_i);   (P + lambda I) eta_{i+1} = area eta_hat + lambda z_i;   angle read from eta_I

(Liu et al. 2025, eq. 20-21 with the data term kept, as in MoDL.) area: of the label in grid steps, so that what is measured
and what the label asks for have the same scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
from calib.methods.mod_dnn.labels import LabelKind, gaussian_peak, read_out
from calib.methods.mod_dnn.regions import Regions
from hil.core.errors import ConfigError, ShapeError


@dataclass(frozen=True, slots=True)
class Shape:
    """What fixes the weights' sizes and meaning.

    n_tones, n_elements : of a sample. mode : "fast", or "paper" (kernel 32, the spectrum alone, one-hot labels, spectra of
    the autoencoder's output). iterations : outer ones. solver : exact, or conjugate gradients. lam : lambda. data_term :
    False leaves the reconstruction out, spectra are the calibrator's. diverse : autoencoder weights for every tone.
    learn_lam : lambda is trained from there. labels, hears_decoders : None: those of the mode; else its labels, and whether
    heads get what the decoders let through instead of the tones.
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
    learn_lam: bool = False
    data_term: bool = True
    labels: LabelKind | None = None
    hears_decoders: bool | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("fast", "paper") or self.solver not in ("exact", "scg"):
            raise ConfigError(
                f"MoD-DNN: mode {self.mode!r}, solver {self.solver!r}: fast or paper, exact or scg"
            )
        if self.labels not in (None, "one-hot", "gaussian"):
            raise ConfigError(f"MoD-DNN: labels {self.labels!r}: one-hot or gaussian")
        if self.iterations < 1 or self.n_tones < 1 or self.n_elements < 2 or not self.lam > 0:
            raise ConfigError(f"MoD-DNN: {self} is not a network")

    @property
    def label(self) -> LabelKind:
        """Kind of label."""
        if self.labels is not None:
            return self.labels
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
        self.log_lam = nn.Parameter(torch.tensor(math.log(shape.lam))) if shape.learn_lam else None

    @property
    def lam(self) -> float | torch.Tensor:
        """lambda, as given or as trained so far."""
        return self.shape.lam if self.log_lam is None else self.log_lam.exp()

    @property
    def hears_decoders(self) -> bool:
        """Heads get what the decoders let through, not the tones."""
        chosen = self.shape.hears_decoders
        return self.shape.mode == "paper" if chosen is None else chosen

    def head_parameters(self) -> list[nn.Parameter]:
        """All but the autoencoder's."""
        return [p for name, p in self.named_parameters() if not name.startswith("autoencoder.")]

    def area(self, sigma_deg: float) -> float:
        """Of a label, in grid steps."""
        if self.shape.label == "one-hot":
            return 1.0
        return math.sqrt(2 * math.pi) * sigma_deg / self.shape.regions.step_deg

    def measured(self, tones: torch.Tensor) -> torch.Tensor:
        """eta_hat (B, P, L) of tones (B, P, K, M): what each head sees."""
        return scg.back(self._lag_sums(tones), self.factor)

    def _lag_sums(self, tones: torch.Tensor) -> torch.Tensor:
        """(..., r) of tones (..., K, M)."""
        covariance = tones.mT @ tones.conj() / tones.shape[-2]
        return (covariance.flatten(-2) @ self.lags.conj().flatten(1).mT).real

    def reconstruct(self, measured: torch.Tensor, sigma_deg: float | None = None) -> list[torch.Tensor]:
        """eta_1 ... eta_I, each (B, P, L). sigma_deg : of the labels in force while training."""
        return self._alternated(
            measured,
            self.factor,
            lambda eta: self.calibrator(eta, measured),
            sigma_deg or self.shape.label_deg,
        )

    def _alternated(
        self,
        measured: torch.Tensor,
        factor: torch.Tensor,
        calibrated: Callable[[torch.Tensor], torch.Tensor],
        sigma_deg: float,
    ) -> list[torch.Tensor]:
        data, lam = self.area(sigma_deg) * measured, self.lam
        eta, out = measured, []
        for _ in range(self.shape.iterations):
            z = calibrated(eta)
            if not self.shape.data_term:
                eta = z
            elif self.shape.solver == "exact":
                eta = scg.solve(data + lam * z, factor, lam)
            else:
                eta = scg.sparse_conjugate_gradient(data + lam * z, factor, lam=lam)
            out.append(eta)
        return out

    def heard(self, tones: torch.Tensor) -> torch.Tensor:
        """What the heads get of tones (B, K, M): the decoders' output ("paper"), or the tones as they are."""
        if not self.hears_decoders:
            return tones[:, None].expand(-1, self.shape.regions.n, -1, -1)
        passed = self.autoencoder(tones)
        rms = passed.abs().square().mean((-1, -2), keepdim=True).clamp_min(1e-12).sqrt()
        return passed / rms

    def forward(self, tones: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectrum (B, L) of the head that the gate chose, and that head (B,), of normalised tones (B, K, M)."""
        head = self.autoencoder.gate(tones)
        if self.training:
            spectra = self.reconstruct(self.measured(self.heard(tones)))[-1]
            return spectra[torch.arange(len(head)), head], head
        spectrum = torch.empty(len(head), self.grid_deg.shape[1], device=tones.device)
        for region in head.unique().tolist():  # only the chosen head works
            spectrum[head == region] = self._of_region(region, tones[head == region])
        return spectrum, head

    def _of_region(self, region: int, tones: torch.Tensor) -> torch.Tensor:
        heard = self.heard(tones)[:, region] if self.hears_decoders else tones
        factor = self.factor[region]
        measured = self._lag_sums(heard) @ factor
        return self._alternated(
            measured, factor, lambda eta: self.calibrator.one(region, eta, measured), self.shape.label_deg
        )[-1]

    def angles_deg(self, tones: torch.Tensor) -> torch.Tensor:
        """Directions (B,) in degrees of normalised tones (B, K, M)."""
        spectrum, head = self(tones)
        return self.read(spectrum, self.grid_deg[head])

    def read(self, spectrum: torch.Tensor, grid_deg: torch.Tensor) -> torch.Tensor:
        """Directions (B,) of spectra (B, L) on their grids (B, L), as the labels were."""
        if self.shape.label == "one-hot":
            return read_out(spectrum, grid_deg)
        return gaussian_peak(spectrum, grid_deg, self.shape.label_deg)
