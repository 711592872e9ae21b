"""What methods show besides an angle: spectra of single blocks, and what each decoder lets through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.methods.mod_dnn import scg
from calib.methods.mod_dnn.autoencoder import MultiTaskAutoencoder, responses
from calib.methods.mod_dnn.coarray import coarray
from calib.methods.mod_dnn.deep_music import DeepMusic
from calib.methods.mod_dnn.network import MoDDNN
from calib.methods.mod_dnn.tones import covariances, normalised
from hil.reproduce.mod_dnn_data import FIELD_DEG, SHOWN_DEG, draw, manifold
from hil.reproduce.mod_dnn_learn import searched
from hil.reproduce.mod_dnn_score import half_width_deg

_SNR_DB = 20.0
_GRID_DEG = np.linspace(*FIELD_DEG, 1201)
_WIDTHS = 100
_STEPS = 60
_KEEP = 4  # of the stored grid, decibels and shapes survive


def shown_blocks() -> NDArray[np.complex64]:
    """One block (4, K, M) at each of the angles shown."""
    return normalised(draw(np.array(SHOWN_DEG), np.random.default_rng([8, 9]), _SNR_DB))


def model_spectra() -> dict[str, Any]:
    """Spectra without learning over their largest value: name -> 4 lists over `grid`; and widths at -15 degrees."""
    blocks = shown_blocks()
    believed = coarray(manifold(_GRID_DEG).reshape(-1, 1, len(_GRID_DEG)).swapaxes(0, 1))
    factor = torch.as_tensor(believed.factor[0])
    seen = torch.as_tensor(believed.spectra(covariances(blocks))[:, 0])
    printed = scg.literal(seen, factor, n_steps=_STEPS)
    spectra = {
        "cdbf": seen, "scg": scg.sparse_conjugate_gradient(seen, factor, mu=0.05, n_steps=_STEPS),
        "scg-plain": scg.solve(seen, factor), "literal": printed, "sharp": scg.sharp_spectrum(seen, factor),
        "music": torch.as_tensor(searched("music", _GRID_DEG).spectrum(blocks)),
    }  # fmt: skip
    out: dict[str, Any] = {"grid": _GRID_DEG[::_KEEP].tolist()}
    for name, values in spectra.items():
        top = values.abs().amax(-1, keepdim=True).clamp_min(1e-30)
        pooled = torch.nn.functional.max_pool1d((values / top)[:, None], _KEEP, _KEEP, ceil_mode=True)[:, 0]
        out[name] = [[round(float(v), 5) for v in row] for row in pooled]
    out["residual"] = {
        name: float(torch.median(_residual(values, seen, factor)))
        for name, values in (("literal", printed), ("scg-plain", spectra["scg-plain"]))
    }
    out["widths"] = _widths(factor, believed)
    return out


def _residual(x: torch.Tensor, right: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """|(P + lambda I) x - right| over |right|."""
    left = (factor.mT @ (factor @ x[..., None]))[..., 0] + scg.LAMBDA * x
    return (left - right).norm(dim=-1) / right.norm(dim=-1)


def _widths(factor: torch.Tensor, believed: Any) -> dict[str, dict[str, float]]:
    """Half-power widths at -15 degrees: of an ideal block without noise, and the median of impaired ones at 20 dB."""
    rng = np.random.default_rng([8, 10])
    impaired = normalised(draw(np.full(_WIDTHS, -15.0), rng, _SNR_DB))
    clean = normalised(draw(np.array([-15.0]), rng, 120.0, rho=0.0))
    out = {}
    for name, blocks in (("ideal", clean), ("impaired", impaired)):
        seen = torch.as_tensor(believed.spectra(covariances(blocks))[:, 0])
        kinds = {
            "cdbf": seen,
            "scg-plain": scg.solve(seen, factor),
            "sharp": scg.sharp_spectrum(seen, factor),
        }
        out[name] = {
            kind: float(np.median([half_width_deg(_GRID_DEG, row) for row in values.numpy()]))
            for kind, values in kinds.items()
        }
    return out


def network_spectra(net: MoDDNN | DeepMusic) -> dict[str, Any]:
    """Spectra (4, L) of a network that has them, on a grid for each angle."""
    blocks = torch.as_tensor(shown_blocks())
    with torch.no_grad():
        if isinstance(net, MoDDNN):
            spectrum, head = net(blocks)
            grid = net.grid_deg[head]
        else:
            spectrum, grid = net.spectrum(blocks)
    top = spectrum.amax(-1, keepdim=True).clamp_min(1e-30)
    return {
        "grid": np.round(grid.double().numpy(), 3).tolist(),
        "spectrum": np.round((spectrum / top).double().numpy(), 5).tolist(),
    }


def autoencoder_responses(autoencoder: MultiTaskAutoencoder, region_of: Any) -> dict[str, Any]:
    """Fig. 4a-d: amplitude and phase response (P, A) at 10 dB over the angle, their means in and out of their subregion,
    and how often the gate is right."""
    step = 0.5
    angles = np.arange(FIELD_DEG[0] + step / 2, FIELD_DEG[1], step)
    repeated = np.repeat(angles, 20)
    tones = torch.as_tensor(normalised(draw(repeated, np.random.default_rng([8, 11]), 10.0)))
    with torch.no_grad():
        amplitude, phase = responses(tones, autoencoder(tones))
        right = autoencoder.gate(tones).numpy() == region_of(repeated)
    inside = np.arange(amplitude.shape[1]) == region_of(angles)[:, None]
    out: dict[str, Any] = {"angle_deg": angles.tolist(), "gate": float(right.mean())}
    edge = np.min(np.abs(repeated[:, None] - np.array([-30.0, 0.0, 30.0])), axis=1)
    out["gate_3deg"] = float(right[edge > 3].mean())
    for name, values in (("amplitude", amplitude), ("phase", phase)):
        mean = values.double().numpy().reshape(len(angles), 20, -1).mean(1)
        out[name] = np.round(mean.T, 4).tolist()
        out[f"{name}_in"], out[f"{name}_out"] = float(mean[inside].mean()), float(mean[~inside].mean())
    return out
