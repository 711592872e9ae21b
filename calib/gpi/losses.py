"""The paper's two losses with gradients (Mateos-Ramos et al. 2025, eqs. 14 and 15), by Adam in torch.

    (14) J = -mean max M = -mean |kappa^H z|^2
    (15) J = mean ||Y - g_hat a(theta; kappa) b(tau)^T||_F,   g_hat = kappa^H z/(N S + N0/sigma_g^2)

Envelope theorem: at the arg max, which carries no gradient, both depend on kappa through z (B, N) alone.
N0 = 1. The gradient of (14) is radial at its optimum; Adam's scaling by coordinate would turn that into a
distortion of the amplitudes, so the part along kappa is taken out (`tangent`). (15) does not need it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.gpi.eigen import unit
from calib.gpi.search import Peaks, PeakSearch
from hil.core.errors import ConfigError, HilError

LossName = Literal["max-map", "reconstruction"]


@dataclass(frozen=True, slots=True)
class AdamPlan:
    """loss; n_steps of `batch` blocks; lr, falling to 0 like a cosine if `cosine`; tangent: see above."""

    loss: LossName = "max-map"
    n_steps: int = 200
    batch: int = 256
    lr: float = 5e-2
    tangent: bool = True
    cosine: bool = True


def loss_value(
    loss: LossName,
    kappa,
    z,
    n_subcarriers: int,
    energy=None,
    snr: float = 1.0,
):
    """Loss as a torch scalar, differentiable in kappa (N,).

    z (B, N), matched in angle and delay. For "reconstruction": energy (B,) = ||Y||_F^2 and
    snr = sigma_g^2 N S/N0. (14) is in units of N S, (15) in units of sqrt(N S).
    """
    import torch

    n = kappa.shape[0]
    g = z @ kappa.conj()
    power = g.real**2 + g.imag**2
    if loss == "max-map":
        return -power.mean() / (n * n_subcarriers)
    if loss != "reconstruction":
        raise ConfigError(f"loss {loss!r} is not one of max-map, reconstruction")
    # N0/sigma_g^2 = N S/SNR, in the units of the data
    scale = n * n_subcarriers * (1 + 1 / max(snr, 1e-6))
    norm = (kappa.real**2 + kappa.imag**2).sum() * n_subcarriers
    squared = energy - 2 * power / scale + power * norm / scale**2
    return torch.sqrt(torch.clamp(squared, min=1e-12)).mean() / np.sqrt(n * n_subcarriers)


def learn_by_gradient(
    draw: Callable[[int], tuple[PeakSearch, NDArray[np.intp]]],
    kappa: NDArray[np.complex128],
    plan: AdamPlan,
    *,
    snr: float = 1.0,
    stop: Callable[[], bool] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> NDArray[np.complex128]:
    """kappa after Adam, ||kappa||^2 = N after every step.

    Parameters
    ----------
    draw : step -> (search over the blocks, which of them make the batch). kappa : (N,) start. snr : linear,
    for "reconstruction". stop : asked before each step. on_step : (step, loss).

    Raises
    ------
    HilError : torch is not installed. ConfigError : unknown loss.
    """
    try:
        import torch
    except ImportError as err:
        raise HilError("gradients need torch", hint="pip install torch, or use the loss eigen") from err

    start = unit(np.asarray(kappa, complex))
    n = len(start)
    values = torch.tensor(np.stack((start.real, start.imag)), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([values], lr=plan.lr)
    for step in range(plan.n_steps):
        if stop is not None and stop():
            break
        if plan.cosine:
            for group in adam.param_groups:
                group["lr"] = 0.5 * plan.lr * (1 + np.cos(np.pi * step / plan.n_steps))
        now = values.detach().numpy()
        search, index = draw(step)
        peaks: Peaks = search(now[0] + 1j * now[1], index)
        z = torch.from_numpy(peaks.z.astype(np.complex128))
        energy = torch.from_numpy(block_energy(search, index))
        adam.zero_grad()
        loss = loss_value(plan.loss, torch.complex(values[0], values[1]), z, search.data.n_subcarriers,
                          energy, snr)  # fmt: skip
        loss.backward()
        with torch.no_grad():
            if plan.tangent and values.grad is not None:
                values.grad -= values * (values * values.grad).sum() / n
            adam.step()
            values *= float(np.sqrt(n)) / values.norm()
        if on_step is not None:
            on_step(step, float(loss.detach()))
    end = values.detach().numpy()
    return unit(end[0] + 1j * end[1])


def block_energy(search: PeakSearch, index: NDArray[np.intp]) -> NDArray[np.float64]:
    """||Y||_F^2 of blocks (L,): inside and outside the delay subspace."""
    taps = search.data.taps[index]
    inside = np.einsum("bnr,bnr->b", taps.conj(), taps).real.astype(float)
    return inside + search.data.outside[index].sum(axis=1)
