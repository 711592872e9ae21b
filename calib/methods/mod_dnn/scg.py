"""The reconstruction layer: (P + lambda I) eta = b, with P = B^T B of low rank; plain, sparse, or as printed.

Corrected against Algorithm 1 of Liu et al. (2025): the gradient is taken at the new iterate (line 4), the step length with
P + lambda I instead of the singular P (line 2), mu is kept (line 3), the weights of log(1 + |eta_j|/eps) act element by
element (eq. 28-29), and the data term stays the measured spectrum (eq. 17). `literal` runs what is printed, for comparison:
it diverges.
"""

from __future__ import annotations

import torch

LAMBDA = 0.1


def onto(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """B x: x (..., L) and B (r, L) to (..., r), or x (..., P, L) and B (P, r, L), one a head, to (..., P, r)."""
    return x @ factor.mT if factor.dim() == 2 else torch.einsum("...pl,prl->...pr", x, factor)


def back(t: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """B^T t, of `onto`'s results the shape of its argument."""
    return t @ factor if factor.dim() == 2 else torch.einsum("...pr,prl->...pl", t, factor)


def solve(right: torch.Tensor, factor: torch.Tensor, lam: float | torch.Tensor = LAMBDA) -> torch.Tensor:
    """x (..., L) of (B^T B + lambda I) x = right (..., L), exactly (Woodbury: a matrix of rank r). factor : (..., r, L)."""
    wide = factor.double()
    eye = torch.eye(wide.shape[-2], dtype=wide.dtype, device=wide.device)
    inner = torch.linalg.inv(lam * eye + wide @ wide.mT).to(right.dtype)
    return (right - back(onto(right, inner @ factor), factor)) / lam


def _system(x: torch.Tensor, factor: torch.Tensor, lam: float | torch.Tensor) -> torch.Tensor:
    return back(onto(x, factor), factor) + lam * x


def sparse_conjugate_gradient(
    right: torch.Tensor,
    factor: torch.Tensor,
    *,
    lam: float | torch.Tensor = LAMBDA,
    mu: float = 0.0,
    eps: float = 0.5,
    n_steps: int = 8,
    tolerance: float = 0.0,
) -> torch.Tensor:
    """Conjugate gradients with a reweighted soft threshold after every step (Algorithm 1, corrected).

    mu, eps : of the sparsity, relative to the largest element. tolerance : ends when no sample changes by more than this
    share of its norm; 0: n_steps always, as in training.
    """
    x = torch.zeros_like(right)
    gradient = -right
    direction = right.clone()
    for _ in range(n_steps):
        curvature = (direction * _system(direction, factor, lam)).sum(-1, keepdim=True)
        step = -(gradient * direction).sum(-1, keepdim=True) / curvature.clamp_min(1e-30)
        new = x + step * direction
        if mu > 0:
            top = new.abs().amax(-1, keepdim=True).clamp_min(1e-30)
            threshold = mu * top / (1 + new.abs() / (eps * top))
            new = torch.sign(new) * (new.abs() - threshold).clamp_min(0)
        after = _system(new, factor, lam) - right
        turn = ((after - gradient) * after).sum(-1, keepdim=True) / (gradient**2).sum(
            -1, keepdim=True
        ).clamp_min(1e-30)
        direction = -after + turn.clamp_min(0) * direction
        moved = (new - x).norm(dim=-1) <= tolerance * new.norm(dim=-1)
        x, gradient = new, after
        if tolerance > 0 and bool(moved.all()):
            break
    return x


def literal(
    right: torch.Tensor,
    factor: torch.Tensor,
    *,
    lam: float | torch.Tensor = LAMBDA,
    eps: float = 0.5,
    n_steps: int = 8,
) -> torch.Tensor:
    """Algorithm 1 as printed; it does not converge. For comparison only."""
    x = torch.zeros_like(right)
    gradient = -right
    direction = right.clone()
    for _ in range(n_steps):
        shown = onto(direction, factor)
        step = -(gradient * direction).sum(-1, keepdim=True) / (shown**2).sum(-1, keepdim=True).clamp_min(
            1e-30
        )
        new = x + step * direction - torch.sign(x) / (1 + eps * x.abs().sum(-1, keepdim=True))
        after = _system(x, factor, lam) - right
        turn = ((after - gradient) * after).sum(-1, keepdim=True) / (gradient**2).sum(
            -1, keepdim=True
        ).clamp_min(1e-30)
        direction = -after + turn * direction
        x, gradient = new, after
    return x


def sharp_spectrum(
    right: torch.Tensor,
    factor: torch.Tensor,
    *,
    lam: float | torch.Tensor = LAMBDA,
    mu: float = 0.2,
    eps: float = 0.5,
    n_reweights: int = 10,
    n_steps: int = 50,
) -> torch.Tensor:
    """Non-negative reweighted l1 solution for display (Candes, Wakin and Boyd 2008), by FISTA (Beck and Teboulle 2009).

    minimises x^T (P + lambda I) x / 2 - right^T x + sum_j w_j x_j over x >= 0, w_j = mu max(right) / (1 + x_j/(eps max x)).
    right (..., L), factor (..., r, L).
    """
    slope = lam + torch.linalg.eigvalsh((factor @ factor.mT).double())[..., -1:].to(right.dtype)
    strength = mu * right.amax(-1, keepdim=True)
    x = solve(right, factor, lam).clamp_min(0)
    for _ in range(n_reweights):
        top = x.amax(-1, keepdim=True).clamp_min(1e-30)
        weight = strength / (1 + x / (eps * top))
        ahead, pace = x, 1.0
        for _ in range(n_steps):
            new = (ahead - (_system(ahead, factor, lam) - right + weight) / slope).clamp_min(0)
            after = (1 + (1 + 4 * pace**2) ** 0.5) / 2
            ahead = new + (pace - 1) / after * (new - x)
            x, pace = new, after
    return x
