"""The two numbers no unlabelled data can show on a line: u_true = al u_hat + be.

Posterior over (al, be) on a grid, from what is assumed: angles uniform over a known support whose edges
are reached, angles of anchors, position errors small. Its mean fixes the gauge, its spread is the sigma.
In the coordinates e_lo, e_hi (the support's edges seen in u_hat) the data are one-sided: no sample lies
beyond an edge, and with n samples the gaps at the edges are exponential with mean (edge range)/n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov, log_ndtr

from hil.core.errors import NotIdentifiable

_PRIOR_DOF = 6.0  # how strongly the stated position std is believed against the learned positions
_STEEP_COS = 0.35  # of the angle at an edge, about 70 degrees: du = cos d(angle) is small there
_COVERAGE = 0.95  # of the posterior; against the truth 0.90 and more were measured
_UNIFORM_P = 1e-4


@dataclass(frozen=True, slots=True)
class Affine:
    """u_true = al u_hat + be with its posterior.

    al_sigma, be_sigma : standard deviations. angle_sigma_rad : the rms angle error over the support stays
    below it with probability 0.9. tension : sigmas by which the assumption disagrees with the position
    prior. covariance : (2, 2) of (al, be). uniform : the samples look uniform over the support.
    """

    al: float
    be: float
    covariance: NDArray[np.float64]
    angle_sigma_rad: float
    tension: float
    uniform: bool = True

    @property
    def al_sigma(self) -> float:
        """Standard deviation of al."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def be_sigma(self) -> float:
        """Standard deviation of be."""
        return float(np.sqrt(self.covariance[1, 1]))


@dataclass(frozen=True, slots=True)
class ScalePrior:
    """What small position errors say about al, Student-t in the positions.

    learned, nominal (N,) centred, wavelengths; position_std in wavelengths, 0 = positions are known (al = 1).
    """

    learned: NDArray[np.float64]
    nominal: NDArray[np.float64]
    position_std: float

    def log_density(self, al: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log prior density of al (any shape), up to a constant."""
        kappa = 1 / np.maximum(al, 1e-6)
        n = len(self.learned)
        square = (
            kappa**2 * (self.learned @ self.learned)
            - 2 * kappa * (self.learned @ self.nominal)
            + self.nominal @ self.nominal
        )
        loss = np.log(_PRIOR_DOF * self.position_std**2 + np.maximum(square, 0))
        return n * np.log(kappa) - 0.5 * (_PRIOR_DOF + n - 1) * loss

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of al."""
        if self.position_std == 0:
            return 1.0, 0.0
        al = np.linspace(0.3, 3.0, 5401)
        log_p = self.log_density(al)
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        mean = float(p @ al)
        return mean, float(np.sqrt(p @ (al - mean) ** 2))


@dataclass(frozen=True, slots=True)
class Anchor:
    """A source seen at u_hat (mean of its blocks, sigma) whose true u is known (sigma of the knowledge)."""

    u_hat: float
    sigma: float
    u_true: float
    sigma_true: float = 0.0


def fit_support(
    u_hat: NDArray[np.float64],
    sigma: NDArray[np.float64],
    support_rad: tuple[float, float],
    prior: ScalePrior,
    reached: tuple[bool, bool],
    anchors: tuple[Anchor, ...] = (),
    *,
    use_density: bool = True,
) -> Affine:
    """Posterior from independent samples u_hat (n,) ascending, all inside the support.

    reached : whether each edge was reached. Where not, that edge only bounds the samples.
    """
    if len(u_hat) >= 2:
        u_hat, sigma = _without_strays(u_hat, sigma)
    if len(u_hat) < 2:
        raise NotIdentifiable(
            f"support: {len(u_hat)} angle{'s' * (len(u_hat) != 1)} seen cannot fill it",
            parameters=["angle offset", "angle scale"], hint="let the emitters show more directions",
        )  # fmt: skip
    low, high = np.sin(support_rad[0]), np.sin(support_rad[1])
    span = high - low
    a_mean, a_std = prior.moments()
    first, last = float(u_hat[0]), float(u_hat[-1])
    noise = float(np.median(sigma))
    n = len(u_hat)
    # provisional match of the extremes: are the samples uniform in angle?
    uniform = use_density and all(reached) and n >= 20 and _looks_uniform(u_hat, support_rad)
    scale_al = span / max(last - first, 1e-9)
    edge_cos = max(np.cos(support_rad[0]), 0.03), max(np.cos(support_rad[1]), 0.03)
    width = support_rad[1] - support_rad[0]
    gaps = _angle_gaps(u_hat, support_rad) / scale_al
    room = max(span / max(a_mean - 6 * a_std - 0.02, 0.3) - (last - first), 0.0) + 8 * noise + 1e-6
    t: list[NDArray[np.float64]] = []
    for side in range(2):
        typical = width * edge_cos[side] / (n * scale_al)
        reach = min(max(18 * typical, 8 * noise), room + 18 * typical) if uniform else room + 18 * typical
        fine = np.linspace(-6 * noise, 6 * noise, 25)
        tail = reach * np.linspace(0, 1, 90) ** 2
        t.append(np.unique(np.concatenate((fine, tail))))
    cell = np.outer(np.gradient(t[0]), np.gradient(t[1]))
    t_lo, t_hi = np.meshgrid(t[0], t[1], indexing="ij")
    e_lo, e_hi = first - t_lo, last + t_hi
    al = span / np.maximum(e_hi - e_lo, 1e-9)
    be = low - al * e_lo
    log_like = _edge_likelihood(u_hat, sigma, first - t[0], last + t[1])
    if uniform:
        log_like = log_like + _density(u_hat, al, be, noise)
    else:
        if reached[0]:
            log_like = log_like + _gap_likelihood(t[0], gaps * edge_cos[0])[:, None]
        if reached[1]:
            log_like = log_like + _gap_likelihood(t[1], gaps * edge_cos[1])[None, :]
    for anchor in anchors:
        variance = (al * anchor.sigma) ** 2 + anchor.sigma_true**2
        log_like = log_like - 0.5 * (al * anchor.u_hat + be - anchor.u_true) ** 2 / variance
    measure = np.log(cell) + 3 * np.log(al)  # d al d be = al^3 / span d e_lo d e_hi
    if prior.position_std == 0:
        log_prior = -0.5 * ((al - 1) / (1e-4 + noise / span)) ** 2
    else:
        log_prior = prior.log_density(al)
    grid = np.stack((al.ravel(), be.ravel()))
    tension = 0.0
    if all(reached) or (last - first) * a_mean > span:
        free = _weights((log_like + measure).ravel())
        edge_mean = float(free @ grid[0])
        edge_std = float(np.sqrt(free @ (grid[0] - edge_mean) ** 2))
        spread = np.hypot(np.hypot(a_std, edge_std), noise)
        tension = (edge_mean - a_mean) / max(float(spread), 1e-9)
    weights = _weights((log_like + log_prior + measure).ravel())
    steep = [
        is_reached and cosine < _STEEP_COS and noise > 5 * width * cosine / (n * scale_al)
        for is_reached, cosine in zip(reached, edge_cos, strict=True)
    ]
    if any(steep):
        # samples pushed over a steep edge by noise are not what the likelihood takes them for
        grid, weights = _blurred(grid, weights, (low, high), (noise * steep[0], noise * steep[1]))
    return summary(grid, weights, support_rad, tension, uniform)


def _blurred(
    grid: NDArray[np.float64],
    weights: NDArray[np.float64],
    support: tuple[float, float],
    blur: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A posterior on points (al, be), grid (2, G), with either edge of the support blurred by its own sigma in u_hat."""
    kept = weights > 1e-6 * weights.max()
    (al, be), weights = grid[:, kept], weights[kept]
    z = np.linspace(-2.5, 2.5, 11)
    shift_lo, shift_hi = (part.ravel() for part in np.meshgrid(blur[0] * z, blur[1] * z, indexing="ij"))
    chance = np.outer(np.exp(-0.5 * z**2), np.exp(-0.5 * z**2)).ravel()
    lower = ((support[0] - be) / al)[:, None] + shift_lo
    upper = ((support[1] - be) / al)[:, None] + shift_hi
    al = (support[1] - support[0]) / (upper - lower)
    spread = (weights[:, None] * chance).ravel()
    return np.stack((al.ravel(), (support[0] - al * lower).ravel())), spread / spread.sum()


def fit_anchors(anchors: tuple[Anchor, ...], prior: ScalePrior, field_rad: tuple[float, float]) -> Affine:
    """Posterior from anchors and the position prior; `field_rad` is where the angle error is stated."""
    a_mean, a_std = prior.moments()
    a_std = max(a_std, 1e-6)
    al = np.linspace(a_mean - 6 * a_std, a_mean + 6 * a_std, 1201)
    log_p = prior.log_density(al) if prior.position_std > 0 else np.zeros_like(al)
    u, t = np.array([a.u_hat for a in anchors]), np.array([a.u_true for a in anchors])
    w = 1 / np.array([a.sigma**2 + a.sigma_true**2 for a in anchors])
    be = (t @ w - al * (u @ w)) / w.sum()
    residual = al[:, None] * u + be[:, None] - t
    p = _weights(log_p - 0.5 * residual**2 @ w)
    # two or more anchors resolve al far finer than the prior's grid: add the least-squares value
    mean_u = (u @ w) / w.sum()
    information = float(((u - mean_u) ** 2) @ w)
    if information * (al[1] - al[0]) ** 2 > 0.1:
        ls = float(((u - mean_u) * t) @ w / information)
        al = ls + np.linspace(-6, 6, 241) / np.sqrt(information)
        log_p = prior.log_density(al) if prior.position_std > 0 else np.zeros_like(al)
        be = (t @ w - al * (u @ w)) / w.sum()
        residual = al[:, None] * u + be[:, None] - t
        p = _weights(log_p - 0.5 * residual**2 @ w)
        tension = (ls - a_mean) / np.hypot(a_std, 1 / np.sqrt(information))
    else:
        tension = 0.0
    nodes = np.array([-1.5, 0.0, 1.5]) * np.sqrt(1 / w.sum())
    chance = np.exp(-0.5 * np.array([-1.5, 0.0, 1.5]) ** 2)
    grid = np.stack((np.repeat(al, 3), (be[:, None] + nodes).ravel()))
    return summary(grid, (p[:, None] * chance / chance.sum()).ravel(), field_rad, float(tension), True)


def _weights(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def summary(
    grid: NDArray[np.float64],
    p: NDArray[np.float64],
    field_rad: tuple[float, float],
    tension: float,
    uniform: bool,
) -> Affine:
    """Mean, covariance and angle sigma of a posterior p (G,) on points (al, be), grid (2, G)."""
    mean = grid @ p
    delta = grid - mean[:, None]
    covariance = (delta * p) @ delta.T
    angle = np.linspace(*field_rad, 181)
    # at endfire du = dtheta^2 / 2: the floor on cos^2 carries the linear law over to that one
    floor = 0.5 * float(np.sqrt(np.trace(covariance)))
    cos2 = np.maximum(np.cos(angle) ** 2, floor)
    u_hat = (np.sin(angle) - mean[1]) / mean[0]
    m = [float(np.mean(u_hat**i / cos2)) for i in range(3)]
    square = delta[0] ** 2 * m[2] + 2 * delta[0] * delta[1] * m[1] + delta[1] ** 2 * m[0]
    order = np.argsort(square)
    at = int(np.searchsorted(np.cumsum(p[order]), _COVERAGE))
    sigma = min(float(np.sqrt(max(square[order[min(at, len(order) - 1)]], 0.0))), np.pi / 2)
    return Affine(float(mean[0]), float(mean[1]), covariance, sigma, tension, uniform)


def _without_strays(
    u_hat: NDArray[np.float64], sigma: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out up to three samples a side that stand alone: one spurious null ruins an edge.

    With uniform angles the chance of a gap of g mean spacings is exp(-g).
    """
    keep = sigma < 6 * np.median(sigma)
    u_hat, sigma = u_hat[keep], sigma[keep]
    n = len(u_hat)
    if n < 40:
        return u_hat, sigma
    low, high = 0, n
    near = max(n // 40, 8)
    for _ in range(3):
        if u_hat[low + 1] - u_hat[low] > 8 * (u_hat[low + 1 + near] - u_hat[low + 1]) / near:
            low += 1
        if u_hat[high - 1] - u_hat[high - 2] > 8 * (u_hat[high - 2] - u_hat[high - 2 - near]) / near:
            high -= 1
    return u_hat[low:high], sigma[low:high]


def _edge_likelihood(
    u_hat: NDArray[np.float64],
    sigma: NDArray[np.float64],
    e_lo: NDArray[np.float64],
    e_hi: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(L, H) sum of log P(sample inside the edges | its noise) over the outermost samples; e_lo (L,), e_hi (H,)."""
    lower, upper = np.zeros_like(e_lo), np.zeros_like(e_hi)
    for i in range(min(12, len(u_hat))):
        lower += log_ndtr((u_hat[i] - e_lo) / sigma[i])
        upper += log_ndtr((e_hi - u_hat[-1 - i]) / sigma[-1 - i])
    return lower[:, None] + upper


def _density(
    u_hat: NDArray[np.float64], al: NDArray[np.float64], be: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """Log density of samples (n,) ascending, uniform in angle: sum log(al / cos(angle)); in groups when many.

    noise : of a sample; it rounds off the pole of the density at endfire.
    """
    n = len(u_hat)
    first = np.unique(np.linspace(0, n, 151).astype(int)[:-1])
    counts = np.diff(np.append(first, n))
    centres = np.add.reduceat(u_hat, first) / counts
    # single precision: four times as fast, and off by 1e-4 in the exponent at most
    u = al[..., None].astype(np.float32) * centres.astype(np.float32) + be[..., None].astype(np.float32)
    cosine = np.log(np.maximum(1 - u * u, np.float32(max(1e-4, 2 * noise)))) @ counts.astype(np.float32)
    return n * np.log(al) - 0.5 * cosine.astype(np.float64)


def _looks_uniform(u_hat: NDArray[np.float64], support_rad: tuple[float, float]) -> bool:
    """Kolmogorov and largest-gap tests of the angles against the uniform law between the extremes."""
    angle = np.arcsin(np.clip(_matched(u_hat, support_rad), -1, 1))
    fraction = (angle - support_rad[0]) / (support_rad[1] - support_rad[0])
    n = len(fraction)
    gaps = np.diff(fraction)
    # the largest of n exponential gaps exceeds m means with probability n exp(-m); clusters fail this
    if n * np.exp(-gaps.max() * n) < _UNIFORM_P:
        return False
    distance = np.max(np.abs(np.sort(fraction) - (np.arange(n) + 0.5) / n))
    return bool(kolmogorov(distance * np.sqrt(n)) > _UNIFORM_P)


def _angle_gaps(u_hat: NDArray[np.float64], support_rad: tuple[float, float]) -> NDArray[np.float64]:
    """Gaps between neighbouring samples in angle, once the extremes are matched to the support."""
    return np.diff(np.arcsin(np.clip(_matched(u_hat, support_rad), -1, 1)))


def _matched(u_hat: NDArray[np.float64], support_rad: tuple[float, float]) -> NDArray[np.float64]:
    low, high = np.sin(support_rad[0]), np.sin(support_rad[1])
    return low + (high - low) * (u_hat - u_hat[0]) / max(float(u_hat[-1] - u_hat[0]), 1e-12)


def _gap_likelihood(gap: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log density of a gap at an edge if the gaps inside are its like, whatever their law.

    The distance from a fixed point to the next sample picks gaps in proportion to their length; each gap's
    own law is smoothed to an exponential: p(g) ~ sum_i exp(-g / gap_i). Clusters make it heavy-tailed.
    """
    if len(inner) > 400:
        inner = np.quantile(inner, (np.arange(400) + 0.5) / 400)
    scale = np.maximum(inner, 1e-9)
    return np.log(np.exp(-np.maximum(gap, 0)[:, None] / scale).mean(axis=1) + 1e-300)
