"""SubspaceNet (Shmuel et al. 2023, arXiv 2306.02271) on the diffMUSIC scenario, reduced to a minute of CPU.

A convolutional network maps the autocorrelation of a block to a surrogate covariance, from which ESPRIT of
the nominal line (differentiable, in training) or root-MUSIC (in the test) reads the angles. The published
training takes 1e5 blocks, 80 epochs and hours; the figures of the diffMUSIC paper's Table II belong to that.
Reduced here: fewer blocks, fewer steps, and a start at which the network hands the covariance through, so
that the untrained network is the nominal array's subspace method rather than noise. (The 2 x 2 kernels drop
three rows and columns there: ESPRIT, which compares neighbours, does not mind; root-MUSIC, which wants the
whole steering vector, is stated beside it and is far worse after a short training with the ESPRIT head.)

Signs and scales are the papers': a = g exp(-j 2 pi p sin(theta)) / ||g||, SNR after array gain.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calib.manifold import require_torch

if TYPE_CHECKING:
    import torch

_CHANNELS = (16, 32, 64)
_MAX_ANGLE_DEG = 80.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Line of n_elements at half a wavelength, T snapshots; errors as in Chatelier et al. 2025, eq. 18-19."""

    n_elements: int = 16
    n_snapshots: int = 100
    snr_db: float = 30.0
    gain_variance: float = 0.36
    position_reach: float = 0.25  # wavelengths, uniform


@dataclass(frozen=True, slots=True)
class Settings:
    """lags tau; eps added to the Gram matrix; Adam with a cosine to 0; gradient norm clipped at 1."""

    n_train: int = 8192
    n_test: int = 2000
    n_epochs: int = 30
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-9
    lags: int = 8
    eps: float = 1e-3
    pass_through: bool = True


def draw_array(scenario: Scenario, seed: int) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Gains (N,) and positions (N,) in wavelengths of one impaired array."""
    rng = np.random.default_rng(seed)
    n = scenario.n_elements
    p = (np.arange(n) - (n - 1) / 2) / 2 + rng.uniform(-1, 1, n) * scenario.position_reach
    noise = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    return 1 + np.sqrt(scenario.gain_variance / 2) * noise, p


def draw_blocks(
    scenario: Scenario,
    array: tuple[NDArray[np.complex128], NDArray[np.float64]],
    n_sources: int,
    n_blocks: int,
    seed: int,
    lags: int,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Autocorrelation features (B, lags, 2N, N) float32 and true angles (B, K) radians.

    R_tau = sum_t x(t) x(t + tau)^H / (T - tau), real over imaginary part, divided by the mean of diag R_0.
    """
    rng = np.random.default_rng(seed)
    gain, p = array
    n, t = scenario.n_elements, scenario.n_snapshots
    angle = np.deg2rad(rng.uniform(-_MAX_ANGLE_DEG, _MAX_ANGLE_DEG, (n_blocks, n_sources)))
    noise_std = np.sqrt(10 ** (-scenario.snr_db / 10) / 2)
    features = np.empty((n_blocks, lags, 2 * n, n), np.float32)
    for first in range(0, n_blocks, 1024):
        part = slice(first, min(first + 1024, n_blocks))
        b = part.stop - part.start
        a = gain * np.exp(-2j * np.pi * np.sin(angle[part])[..., None] * p) / np.linalg.norm(gain)
        s = (rng.standard_normal((b, n_sources, t)) + 1j * rng.standard_normal((b, n_sources, t))) / np.sqrt(
            2
        )
        w = noise_std * (rng.standard_normal((b, n, t)) + 1j * rng.standard_normal((b, n, t)))
        x = a.transpose(0, 2, 1) @ s + w
        scale = np.mean(np.abs(x) ** 2, axis=(1, 2))[:, None, None]
        for lag in range(lags):
            r = x[:, :, : t - lag] @ x[:, :, lag:].conj().transpose(0, 2, 1) / (t - lag) / scale
            features[part, lag] = np.concatenate((r.real, r.imag), axis=1)
    return features, angle


def build_network(settings: Settings, seed: int) -> torch.nn.Module:
    """Three 2 x 2 convolutions and their mirror images, each followed by [ReLU(x), ReLU(-x)]."""
    import torch
    from torch import nn

    torch.manual_seed(seed)

    class AntiRectifier(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat((torch.relu(x), torch.relu(-x)), dim=1)

    c1, c2, c3 = _CHANNELS
    layers = [
        nn.Conv2d(settings.lags, c1, 2),
        nn.Conv2d(2 * c1, c2, 2),
        nn.Conv2d(2 * c2, c3, 2),
        nn.ConvTranspose2d(2 * c3, c2, 2),
        nn.ConvTranspose2d(2 * c2, c1, 2),
        nn.ConvTranspose2d(2 * c1, 1, 2),
    ]
    if settings.pass_through:
        _hand_through(layers)
    modules: list[nn.Module] = []
    for i, layer in enumerate(layers):
        modules += [layer] if i == len(layers) - 1 else [layer, AntiRectifier()]
    return nn.Sequential(*modules)


def _hand_through(layers: list[Any]) -> None:
    """Channel 0 (and its mirror, the negative part) carries lag 0 unchanged; the last layer adds nothing else yet."""
    import torch

    with torch.no_grad():
        for i, layer in enumerate(layers):
            weight = layer.weight
            if i == len(layers) - 1:
                weight.zero_()
            layer.bias.zero_()
            # Conv2d weights are (out, in, 2, 2), those of ConvTranspose2d (in, out, 2, 2)
            sources = weight.shape[0 if i >= 3 else 1]
            mine = weight[:, 0] if i >= 3 else weight[0]
            mine.zero_()
            mine[0, 0, 0] = 1.0
            if i:
                mine[sources // 2, 0, 0] = -1.0


def surrogate(network: torch.nn.Module, features: torch.Tensor, eps: float) -> torch.Tensor:
    """Gram matrix K^H K + eps I, (B, N, N) complex128, normalised to mean diagonal 1 before eps."""
    import torch

    out = network(features)[:, 0].double()
    n = out.shape[-1]
    k = torch.complex(out[:, :n], out[:, n:])
    gram = k.conj().transpose(1, 2) @ k
    size = torch.diagonal(gram, dim1=1, dim2=2).real.mean(dim=1) + 1e-30
    # equal eigenvalues have no gradient (three of them at the start): a slope of a thousandth parts them
    load = eps * torch.linspace(1, 1.001, n, dtype=torch.float64)
    return gram / size[:, None, None] + torch.diag(load).to(gram.dtype)


def esprit(gram: torch.Tensor, n_sources: int) -> torch.Tensor:
    """Angles (B, K) radians from the rotation between neighbours of the signal subspace, with gradient."""
    import torch

    signal = torch.linalg.eigh(gram)[1][:, :, -n_sources:]
    upper, lower = signal[:, :-1], signal[:, 1:]
    upper_h = upper.conj().transpose(1, 2)
    rotation = torch.linalg.solve(upper_h @ upper, upper_h @ lower)
    if n_sources == 1:
        root = rotation[:, :, 0]
    else:
        root = torch.linalg.eigvals(rotation)
    u = -torch.angle(root) / torch.pi
    return torch.arcsin(u.clamp(-0.9999, 0.9999))


def root_music(gram: NDArray[np.complex128], n_sources: int) -> NDArray[np.float64]:
    """Angles (B, K) radians: the roots inside the unit circle closest to it, for the nominal line."""
    n = gram.shape[1]
    noise = np.linalg.eigh(gram)[1][:, :, : n - n_sources]
    projector = noise @ noise.conj().transpose(0, 2, 1)
    out = np.empty((len(gram), n_sources))
    for i, c in enumerate(projector):
        # a^H C a with a_m = z^m, |z| = 1: the coefficient of z^l is the sum of the l-th diagonal
        root = np.roots([np.trace(c, offset) for offset in range(n - 1, -n, -1)])
        inside = root[np.abs(root) < 1]
        best = inside[np.argsort(-np.abs(inside))[:n_sources]]
        best = np.concatenate((best, np.ones(n_sources - len(best))))
        out[i] = np.arcsin(np.clip(-np.angle(best) / np.pi, -1, 1))
    return out


def rmspe(estimate: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean over blocks of the root mean square periodic error after the best assignment, radians."""
    import torch

    k = true.shape[1]
    order = torch.tensor(list(permutations(range(k))))
    with torch.no_grad():
        error = _wrapped(estimate[:, None, :] - true[:, order])
        best = order[(error**2).sum(-1).argmin(dim=1)]
    error = _wrapped(estimate - torch.gather(true, 1, best))
    return torch.sqrt((error**2).mean(dim=1) + 1e-30).mean()


def _wrapped(error: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.remainder(error + torch.pi / 2, torch.pi) - torch.pi / 2


def run_reduced(
    n_sources: int,
    seed: int,
    *,
    n_train: int = 8192,
    n_test: int = 2000,
    n_epochs: int = 30,
    time_limit_s: float = 60.0,
    scenario: Scenario | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Train and test on one impaired array drawn from the seed, one thread.

    Parameters
    ----------
    n_sources : 1 to N - 1. seed : of the array, the network and all blocks (training and test differ).
    n_train, n_test : blocks. n_epochs : at most; time_limit_s of processor time ends the training earlier,
        and the cosine of the learning rate follows whichever ends first.

    Returns
    -------
    dict of rmspe_deg (ESPRIT, test blocks), rmspe_untrained_deg (the same before training: the nominal
    array), rmspe_root_music_deg, seconds (processor time of everything), settings, history: list of
    [seconds, mean loss in degrees] per tenth of an epoch. JSON-able. Raises HilError without torch.
    """
    require_torch()
    import torch

    begin = time.process_time()
    where = scenario or Scenario()
    base = settings or Settings()
    plan = Settings(**{**asdict(base), "n_train": n_train, "n_test": n_test, "n_epochs": n_epochs})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        array = draw_array(where, seed)
        features, angle = draw_blocks(where, array, n_sources, n_train, seed + 1_000_003, plan.lags)
        network = build_network(plan, seed)
        test = draw_blocks(where, array, n_sources, n_test, seed + 2_000_003, plan.lags)
        untrained = _test(network, test, n_sources, plan.eps)
        started = time.process_time()
        history, steps = _train(
            network, features, angle, n_sources, plan, seed, time_limit_s - (started - begin)
        )
        trained = _test(network, test, n_sources, plan.eps)
    finally:
        torch.set_num_threads(threads)
    return {
        "rmspe_deg": trained[1],
        "rmspe_untrained_deg": untrained[1],
        "rmspe_root_music_deg": trained[0],
        "seconds": time.process_time() - begin,
        "settings": {
            **asdict(plan), **asdict(where), "steps": steps, "time_limit_s": time_limit_s,
            "head_training": "esprit", "head_test": "esprit",
            "reduced": "published: 1e5 blocks, 80 epochs, batch 2048, lr 1e-5, random start",
        },
        "history": [[s, loss] for s, loss in history],
    }  # fmt: skip


def _train(
    network: torch.nn.Module,
    features: NDArray[np.float32],
    angle: NDArray[np.float64],
    n_sources: int,
    plan: Settings,
    seed: int,
    time_limit_s: float,
) -> tuple[list[tuple[float, float]], int]:
    """(seconds, loss in degrees) per report, and the number of steps."""
    import torch

    rng = np.random.default_rng(seed)
    begin = time.process_time()
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.lr, weight_decay=plan.weight_decay)
    per_epoch = max(1, len(features) // plan.batch)
    total = per_epoch * plan.n_epochs
    history: list[tuple[float, float]] = []
    recent: list[float] = []
    step = 0
    while step < total:
        order = rng.permutation(len(features))
        for i in range(per_epoch):
            seconds = time.process_time() - begin
            done = max(step / total, seconds / max(time_limit_s, 1e-9))
            if done >= 1:
                return history, step
            for group in optimiser.param_groups:
                group["lr"] = plan.lr * 0.5 * (1 + np.cos(np.pi * done))
            pick = order[i * plan.batch : (i + 1) * plan.batch]
            gram = surrogate(network, torch.from_numpy(features[pick]), plan.eps)
            loss = rmspe(esprit(gram, n_sources), torch.from_numpy(angle[pick]))
            optimiser.zero_grad()
            loss.backward()
            size = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            if torch.isfinite(size):  # equal eigenvalues have no gradient
                optimiser.step()
            recent.append(float(np.rad2deg(loss.item())))
            step += 1
            if step % max(1, per_epoch // 10) == 0:
                history.append((time.process_time() - begin, float(np.mean(recent))))
                recent.clear()
    return history, step


def _test(
    network: torch.nn.Module,
    test: tuple[NDArray[np.float32], NDArray[np.float64]],
    n_sources: int,
    eps: float,
) -> tuple[float, float]:
    """RMSPE in degrees with root-MUSIC and with ESPRIT."""
    import torch

    features, angle = test
    true = torch.from_numpy(angle)
    with torch.no_grad():
        gram = torch.cat([surrogate(network, part, eps) for part in torch.from_numpy(features).split(256)])
        by_esprit = float(torch.rad2deg(rmspe(esprit(gram, n_sources), true)))
        by_root = torch.from_numpy(root_music(gram.numpy(), n_sources))
        return float(torch.rad2deg(rmspe(by_root, true))), by_esprit
