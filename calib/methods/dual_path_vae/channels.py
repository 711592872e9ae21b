"""Channels of given directions by least squares, and the errors of channels: gain, phase and both."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from calib.methods.dual_path_vae.decoder import KnownArray


def least_squares(array: KnownArray, y: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """h (B, K, M) of samples y (B, N, M) at directions u (B, K); the smallest one where users coincide."""
    return torch.linalg.pinv(array.responses(u).to(y.dtype)) @ y


@dataclass(frozen=True, slots=True)
class ChannelErrors:
    """nmse : squared error over squared channel, all samples. gain : mean squared error of |h|. phase_rad2 : that of the
    angle of h, wrapped; weak channels dominate it."""

    nmse: float
    gain: float
    phase_rad2: float


def channel_errors(found: torch.Tensor, truth: torch.Tensor) -> ChannelErrors:
    """Errors of channels found (B, K, M) against true ones (Guo et al., fig. 5: path gains and path angles)."""
    nmse = (found - truth).abs().square().sum() / truth.abs().square().sum()
    gain = (found.abs() - truth.abs()).square().mean()
    phase = (found * truth.conj()).angle().square().mean()
    return ChannelErrors(float(nmse), float(gain), float(phase))
