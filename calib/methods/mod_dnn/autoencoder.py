"""The multi-task autoencoder: one encoder, a decoder for each subregion, which lets through only what comes from there.

c_k = f(C_k h_k + b_k),  h_{p,k} = D_{p,k} c_k + b_{p,k};  target: h_k if the source lies in subregion p, else 0
(Liu et al. 2025, eq. 8-10). "Frequency diverse" (Autoencoder I): weights for every tone; shared: one set for all
(Autoencoder II). Table 2 of the paper has 16 hidden numbers for 8 inputs: an expansion, not a compression.
"""

from __future__ import annotations

import torch
from torch import nn


class MultiTaskAutoencoder(nn.Module):
    """Tones (B, K, M) complex64 to (B, P, K, M)."""

    def __init__(
        self, n_tones: int, n_elements: int, n_regions: int, *, diverse: bool = True, hidden: int = 16
    ):
        super().__init__()
        sets = n_tones if diverse else 1
        width = 2 * n_elements
        self.encode = nn.Parameter(torch.randn(sets, hidden, width) / width**0.5)
        self.encode_bias = nn.Parameter(torch.zeros(sets, hidden))
        self.decode = nn.Parameter(torch.randn(n_regions, sets, width, hidden) / hidden**0.5)
        self.decode_bias = nn.Parameter(torch.zeros(n_regions, sets, width))

    def forward(self, tones: torch.Tensor) -> torch.Tensor:
        """What each decoder lets through."""
        k, m = tones.shape[-2:]
        x = torch.cat((tones.real, tones.imag), dim=-1)
        # one product for each set of weights, of all samples at once
        encode, decode = self.encode.expand(k, -1, -1), self.decode.expand(-1, k, -1, -1)
        code = torch.tanh(torch.einsum("khw,bkw->bkh", encode, x) + self.encode_bias)
        out = torch.einsum("pkwh,bkh->bpkw", decode, code) + self.decode_bias
        return torch.complex(out[..., :m], out[..., m:])

    def gate(self, tones: torch.Tensor) -> torch.Tensor:
        """Subregion (B,) whose decoder lets most energy through."""
        return self(tones).abs().square().sum(dim=(-1, -2)).argmax(-1)


def autoencoder_loss(passed: torch.Tensor, tones: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """Mean squared error against eq. 10. passed (B, P, K, M), tones (B, K, M), region (B,)."""
    inside = torch.nn.functional.one_hot(region, passed.shape[1]).to(torch.float32)
    return (passed - tones[:, None] * inside[:, :, None, None]).abs().square().mean()


def responses(tones: torch.Tensor, passed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Amplitude and "phase" response (B, P), means over the tones (Liu et al. 2025, eq. 33).

    The first is |h^H h_p| over the energy of h; the second, |h^H h_p| / (|h| |h_p|), is a coherence.
    """
    product = (tones.conj()[:, None] * passed).sum(-1).abs()
    energy = tones.abs().square().sum(-1)[:, None]
    out = passed.abs().square().sum(-1)
    return (product / energy).mean(-1), (product / (energy * out).clamp_min(1e-20).sqrt()).mean(-1)
