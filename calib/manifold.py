"""The array manifold in torch, for methods that follow gradients. torch is imported when first used.

The same sign as hil.core.steering: a_m(u) = g_m exp(+j 2 pi r_m . d), here with r in wavelengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.core.errors import HilError

if TYPE_CHECKING:
    import torch


def require_torch() -> None:
    """Raise HilError with the command that helps if torch is missing."""
    try:
        import torch  # noqa: F401
    except ImportError as err:
        raise HilError("this method needs torch, which is not installed", hint="pip install torch") from err


def steering(gain: torch.Tensor, positions: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Unit-norm steering vectors (..., N) complex128.

    gain (N,) complex128; positions (N, D) float64 wavelengths; theta (...): u = sin(angle) for D = 1,
    azimuth in radians for D = 2.
    """
    import torch

    if positions.shape[1] == 1:
        direction = theta[..., None]
    else:
        direction = torch.stack((torch.sin(theta), torch.cos(theta)), dim=-1)
    phase = 2 * torch.pi * direction @ positions.T
    return gain / torch.linalg.vector_norm(gain) * torch.polar(torch.ones_like(phase), phase)


def null_depth(signal: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """D = 1 - ||U_s^H a||^2 (B, P) for signal (B, N, K) and unit-norm a (B, P, N).

    In complex128: D is 1e-5 at the truth. No gradient reaches the eigenvectors: they are data.
    """
    response = a @ signal.conj()
    return 1 - (response.real**2 + response.imag**2).sum(-1)


def soft_angles(
    theta: torch.Tensor, depth: torch.Tensor, beta: float, largest: torch.Tensor | None = None
) -> torch.Tensor:
    """sum_l theta_l softmax(beta P_l / largest), (B, K) from windows theta and D (B, K, L); P = 1/D.

    diffMUSIC's estimate (Chatelier et al. 2025, eq. 13) at a temperature: the raw P saturates the softmax.
    largest : (B, K, 1), default the largest P of each window; a temperature, so no gradient passes through it.
    """
    import torch

    p = 1 / depth.clamp_min(1e-15)
    scale = p.amax(dim=-1, keepdim=True) if largest is None else largest
    return (theta * torch.softmax(beta * p / scale.detach(), dim=-1)).sum(-1)
