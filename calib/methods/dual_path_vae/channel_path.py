"""The path that estimates channels, as a network: samples in, mean and covariance of every snapshot's channels out.

The exact posterior (`posterior.channel_posterior`) is what it could at best learn, and costs nothing; this is the published form.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from calib.methods.dual_path_vae.aoa_path import ResNet18
from calib.methods.dual_path_vae.posterior import Channels

Architecture = Literal["small", "resnet18"]
_CONTEXT, _HIDDEN = 128, 256
_LOG_LIMIT = 8.0
# added to the diagonal, of its mean: in single precision the determinant of a narrower covariance is lost
_LEAST = 1e-4


class ChannelPath(nn.Module):
    """Channels of K users from y (B, N, M). small : one network for all snapshots, which also sees R. resnet18 : as published."""

    def __init__(
        self, n_elements: int, n_users: int, n_snapshots: int, architecture: Architecture = "small"
    ) -> None:
        super().__init__()
        self.n_users = n_users
        n_out = 2 * n_users + n_users**2
        self.whole: nn.Module | None = None
        if architecture == "resnet18":
            self.whole = ResNet18(n_snapshots * n_out)
            return
        self.context = nn.Sequential(
            nn.Linear(2 * n_elements**2, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _CONTEXT)
        )
        self.each = nn.Sequential(
            nn.Linear(2 * n_elements + _CONTEXT, _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, n_out),
        )  # fmt: skip

    def forward(self, y: torch.Tensor) -> Channels:
        """Mean (B, K, M) and covariance (B, M, K, K), in the scale of y."""
        k, scale = self.n_users, y.abs().square().mean((-1, -2), keepdim=True).sqrt().clamp_min(1e-12)
        out = self._outputs(y / scale)
        mean = torch.complex(out[..., :k], out[..., k : 2 * k]).mT * scale
        root = self._root(out[..., 2 * k :]) * scale[..., None]
        covariance = root @ root.mH
        least = _LEAST * torch.diagonal(covariance, dim1=-2, dim2=-1).real.mean(-1)
        eye = torch.eye(k, dtype=covariance.dtype, device=covariance.device)
        return Channels(mean, covariance + least[..., None, None] * eye)

    def _outputs(self, y: torch.Tensor) -> torch.Tensor:
        """(B, M, 2 K + K^2)."""
        if self.whole is not None:
            return self.whole(y).view(len(y), y.shape[-1], -1)
        r = y @ y.mH / (y.shape[-1] * y.shape[-2])
        context = self.context(torch.cat((r.real, r.imag), dim=1).flatten(1))
        context = context[:, None].expand(-1, y.shape[-1], -1)
        return self.each(torch.cat((y.real.mT, y.imag.mT, context), dim=-1))

    def _root(self, values: torch.Tensor) -> torch.Tensor:
        """Lower triangular (B, M, K, K) with a positive diagonal, of K^2 numbers."""
        k = self.n_users
        low = torch.tril_indices(k, k, -1, device=values.device)
        count = low.shape[1]
        root = torch.diag_embed(values[..., :k].clamp(-_LOG_LIMIT, _LOG_LIMIT).exp() + 0j)
        root[..., low[0], low[1]] = torch.complex(values[..., k : k + count], values[..., k + count :])
        return root
