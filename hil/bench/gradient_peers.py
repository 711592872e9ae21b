"""The same unsupervised gradient step in plain torch, as it is usually written.

    J = -mean_b max_ij |kappa^H a_ij-matched response of block b|^2,   100 x 100 cells in each block's own sector

Written from the description in Mateos-Ramos et al. 2025 (eqs. 9 and 14). Each `prepare` returns a function kappa -> (loss,
gradient), both in units of N S, the gradient (N,) complex128 with respect to Re and Im (dJ/dRe + j dJ/dIm).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Step = Callable[[NDArray[np.complex128]], tuple[float, NDArray[np.complex128]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """csi (B, N, S) complex64, with the symbols (B, S) still on it; x (N,) wavelengths; sector_deg (B, 2); delay_s (D,)
    grid; spacing_hz; n_angles of the grid."""

    csi: NDArray[np.complex64]
    symbols: NDArray[np.complex64]
    x: NDArray[np.float64]
    sector_deg: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    spacing_hz: float
    n_angles: int = 100

    def theta(self) -> NDArray[np.float64]:
        """(B, A) radians, uniform in each sector, ends included."""
        low, high = np.deg2rad(self.sector_deg).T
        return low[:, None] + (high - low)[:, None] * np.linspace(0, 1, self.n_angles)


def as_published(batch: Batch) -> Step:
    """Everything made anew in every step: steering, delay vectors with the symbols of each block, products from the left,
    a softmax over the whole map for estimates that this loss does not use."""
    torch = _torch()
    y, t = _tensors(batch)

    def step(kappa: NDArray[np.complex128]) -> tuple[float, NDArray[np.complex128]]:
        k = _leaf(kappa)
        theta = torch.from_numpy(batch.theta().astype(np.float32))
        a = torch.exp(-2j * np.pi * torch.sin(theta)[:, :, None] * t["x"]) * k.conj()
        d = torch.exp(2j * np.pi * t["f"][:, None] * t["tau"])[None] * t["symbols"].conj()[:, :, None]
        cells = ((a @ y) @ d).abs() ** 2 / t["scale"]
        largest = cells.amax(dim=(1, 2))
        soft = torch.softmax((100 * cells / largest[:, None, None]).flatten(1), dim=1).view_as(cells)
        del soft
        return _gradient(-largest.mean(), k)

    return step


def _once_per_batch(batch: Batch) -> tuple[dict[str, Any], Any, Any, Any]:
    """What does not depend on kappa: constants, steering (B, G, N), blocks without their symbols (B, N, S), delays (S, L)."""
    torch = _torch()
    y, t = _tensors(batch)
    theta = torch.from_numpy(batch.theta().astype(np.float32))
    a0 = torch.exp(-2j * np.pi * torch.sin(theta)[:, :, None] * t["x"])
    return t, a0, y * t["symbols"].conj()[:, None, :], torch.exp(2j * np.pi * t["f"][:, None] * t["tau"])


def same_graph(batch: Batch) -> Step:
    """The same loss in plain torch: what does not depend on kappa once per batch, no softmax."""
    t, a0, clean, d = _once_per_batch(batch)

    def step(kappa: NDArray[np.complex128]) -> tuple[float, NDArray[np.complex128]]:
        k = _leaf(kappa)
        g = ((a0 * k.conj()) @ clean) @ d
        return _gradient(-((g.real**2 + g.imag**2) / t["scale"]).amax(dim=(1, 2)).mean(), k)

    return step


def through_the_maximum(batch: Batch) -> Step:
    """The map without gradient, the gradient through its largest cell alone (equal by the envelope theorem)."""
    torch = _torch()
    t, a0, clean, d = _once_per_batch(batch)
    blocks = torch.arange(len(clean))

    def step(kappa: NDArray[np.complex128]) -> tuple[float, NDArray[np.complex128]]:
        k = _leaf(kappa)
        with torch.no_grad():
            g = ((a0 * k.conj()) @ clean) @ d
            best = (g.real**2 + g.imag**2).flatten(1).argmax(dim=1)
            i, j = best // d.shape[1], best % d.shape[1]
            z = a0[blocks, i] * torch.einsum("bns,bs->bn", clean, d.T[j])
        power = z @ k.conj()
        return _gradient(-(power.real**2 + power.imag**2).mean() / t["scale"], k)

    return step


PEERS: dict[str, Callable[[Batch], Step]] = {
    "as the authors do": as_published,
    "same graph, plain torch": same_graph,
    "gradient through the maximum": through_the_maximum,
}


def _torch() -> Any:
    import torch

    return torch


def _tensors(batch: Batch) -> tuple[Any, dict[str, Any]]:
    torch = _torch()
    _, n, s = batch.csi.shape
    parts = {
        "x": torch.from_numpy(batch.x.astype(np.float32)),
        "f": torch.from_numpy((batch.spacing_hz * np.arange(s)).astype(np.float32)),
        "tau": torch.from_numpy(batch.delay_s.astype(np.float32)),
        "symbols": torch.from_numpy(batch.symbols),
        "scale": float(n * s),
    }
    return torch.from_numpy(batch.csi), parts


def _leaf(kappa: NDArray[np.complex128]) -> Any:
    leaf = _torch().from_numpy(kappa.astype(np.complex64)).requires_grad_()
    leaf.register_hook(lambda g: g.resolve_conj())
    return leaf


def _gradient(loss: Any, leaf: Any) -> tuple[float, NDArray[np.complex128]]:
    loss.backward()
    return float(loss.detach()), leaf.grad.numpy().astype(np.complex128)
