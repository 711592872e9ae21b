"""Steering vectors in torch, differentiable in the positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TWO_PI = 6.283185307179586


def steering(x: Tensor, u: Tensor) -> Tensor:
    """a_k(u) = exp(+j 2 pi x_k u), norm sqrt(K).

    x : (K,) float64, wavelengths. u : (G,) float64, sin(broadside angle). Returns (K, G) complex128.
    """
    import torch

    phase = TWO_PI * x[:, None] * u
    return torch.complex(torch.cos(phase), torch.sin(phase))
