"""MoD-DNN with one part taken away or put back as printed, for the ablations."""

from __future__ import annotations

import torch

from calib.methods.mod_dnn.calibrator import Calibrator
from calib.methods.mod_dnn.network import MoDDNN, Shape
from calib.methods.mod_dnn.regions import Regions
from hil.reproduce.mod_dnn_data import manifold

#: name -> what it is
VARIANTS = {
    "fast": "as used: I = 1",
    "iterations-3": "I = 3",
    "no-data-term": "no data term: the calibrator alone",
    "passed": "heads see the autoencoder's output",
    "one-hot": "one-hot labels",
    "coordinate-only": "no sharpened channels: spectrum and coordinate only",
    "paper": "paper mode: I = 3, conjugate gradients, kernel 32, spectrum only, one-hot, autoencoder's output, step 0.1",
}


def network(variant: str) -> MoDDNN:
    """Untrained network of a variant; weights as torch's generator stands."""
    shape = _SHAPES.get(variant, Shape())
    out = MoDDNN(shape, manifold(shape.regions.grid_deg).swapaxes(0, 1))
    if variant == "coordinate-only":
        out.calibrator = _CoordinateOnly(shape.regions.n, "fast")
    return out


_SHAPES = {
    "iterations-3": Shape(iterations=3),
    "no-data-term": Shape(data_term=False),
    "passed": Shape(hears_decoders=True),
    "one-hot": Shape(labels="one-hot"),
    "paper": Shape(mode="paper", iterations=3, solver="scg", regions=Regions(guard_deg=0.0, step_deg=0.1)),
}


class _CoordinateOnly(Calibrator):
    """Sharpened channels silenced: a reference spectrum far above the measured one leaves nothing of exp(kappa (eta - max)).
    The weights stay, so sizes compare."""

    def forward(self, spectrum: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
        return super().forward(spectrum, _flat(measured))

    def one(self, region: int, spectrum: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
        return super().one(region, spectrum, _flat(measured))


def _flat(measured: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(measured)
    out[..., 0] = 1e6
    return out
