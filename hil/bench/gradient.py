"""One step of unsupervised gain-phase learning: by gradient on a batch of 32 maps, and in closed form a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced, delay_basis
from calib.gpi.eigen import unit
from calib.gpi.losses import AdamPlan, learn_by_gradient, loss_value
from calib.gpi.recursive import RecursiveGainPhase
from calib.gpi.search import Peaks, PeakSearch
from hil.bench.gradient_peers import PEERS, Batch
from hil.bench.measure import Row, StageReport, at_most, interleaved

N, S, BLOCKS = 64, 256, 32
SPACING_HZ = 240e3
#: Delays of targets between 10 and 43.75 m.
WINDOW_S = (66.7e-9, 291.9e-9)
_STEP_MS, _CLOSED_MS = 7.0, 1.0
_STEPS = 4


def run(quick: bool) -> StageReport:
    """Ours searches between the cells of the grid and is given the raw blocks, as the peers are."""
    batch, truth = blocks()
    kappa = unit(truth * np.exp(0.3j * np.random.default_rng(3).standard_normal(N)))
    ours = GradientStep(batch)
    recursive = RecursiveGainPhase(kappa, batch.x, S, SPACING_HZ, WINDOW_S)
    peers = {name: prepare(batch) for name, prepare in PEERS.items()}
    candidates: dict[str, Callable[[], Any]] = {"ours": lambda: ours.steps(kappa, _STEPS)}
    candidates |= {name: lambda step=step: step(kappa) for name, step in peers.items()}
    clean = batch.csi * batch.symbols.conj()[:, None, :]
    candidates["closed form"] = lambda: _closed(recursive, clean, batch.sector_deg)
    found = interleaved(candidates, rounds=3 if quick else 7, round_s=0.01 if quick else 0.1)

    loss, gradient = ours.loss_and_gradient(kappa)
    rows: list[Row] = []
    case = f"gradient step, {BLOCKS} blocks, {N} antennas, {S} subcarriers"
    per_step = found["ours"].cpu_s / _STEPS
    wrong = [_against(loss, gradient, *step(kappa)) for step in peers.values()]
    note = "; ".join(sorted(set(filter(None, wrong)))) or "loss and direction as on the grid of 100 x 100"
    row = at_most(
        Row(case, "ours", 1e3 * per_step, "ms", per_step, found["ours"].wall_s / _STEPS, note=note), _STEP_MS
    )
    rows.append(replace(row, reached=bool(row.reached) and not any(wrong)))
    for name in peers:
        t = found[name]
        rows.append(Row(case, name, 1e3 * t.cpu_s, "ms", t.cpu_s, t.wall_s, t.cpu_s / per_step))
    t = found["closed form"]
    per_block = Row(
        "closed-form step, one block",
        "ours",
        1e3 * t.cpu_s / BLOCKS,
        "ms",
        t.cpu_s / BLOCKS,
        t.wall_s / BLOCKS,
    )
    rows.append(at_most(per_block, _CLOSED_MS))
    return StageReport(
        tuple(rows),
        notes=(
            "Ours: the blocks in the subspace of their delays, maxima from coarse to fine, gradient through the maxima, Adam. "
            "A block in closed form takes no gradient and no learning rate.",
        ),
    )


class GradientStep:
    """Our step from raw blocks on; what does not depend on the data is made once, as in a run over many batches."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._basis = delay_basis(S, batch.spacing_hz, WINDOW_S)
        self._project = np.ascontiguousarray(self._basis.conj(), dtype=np.complex64)
        self._sector_u = np.sin(np.deg2rad(batch.sector_deg))
        self._search = PeakSearch(self._reduced(), batch.x, self._sector_u)

    def _reduced(self) -> Reduced:
        taps = (self._batch.csi * self._batch.symbols.conj()[:, None, :]) @ self._project
        return Reduced(
            taps.astype(np.complex64, copy=False),
            np.zeros(taps.shape[:2]),
            self._basis,
            self._batch.spacing_hz,
            WINDOW_S,
        )

    def _draw(self, step: int) -> tuple[PeakSearch, NDArray[np.intp]]:
        del step
        self._search.replace_data(self._reduced(), self._sector_u)
        return self._search, np.arange(BLOCKS)

    def steps(self, kappa: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
        """kappa after `count` steps of Adam."""
        return learn_by_gradient(self._draw, kappa, AdamPlan(n_steps=count, batch=BLOCKS))

    def loss_and_gradient(self, kappa: NDArray[np.complex128]) -> tuple[float, NDArray[np.complex128]]:
        """Loss (14) in units of N S, and its gradient dJ/dRe + j dJ/dIm (N,)."""
        import torch

        peaks: Peaks = self._draw(0)[0](kappa)
        k = torch.from_numpy(kappa).requires_grad_()
        value = loss_value("max-map", k, torch.from_numpy(peaks.z.astype(np.complex128)), S)
        value.backward()
        assert k.grad is not None
        return float(value.detach()), k.grad.resolve_conj().numpy()


def blocks(n_blocks: int = BLOCKS) -> tuple[Batch, NDArray[np.complex128]]:
    """Blocks of one target each, 15 dB after summing over antennas and band, and the gains (N,) that they were made with."""
    rng = np.random.default_rng(29)
    x = np.arange(N) / 2.0
    phasor = np.exp(1j * rng.uniform(-np.pi / 2, np.pi / 2, N)).astype(np.complex128)
    gain = unit(phasor * rng.uniform(0.95, 1.05, N))
    middle, span = rng.uniform(-50, 50, n_blocks), rng.uniform(10, 20, n_blocks)
    sector = np.stack((middle - span / 2, middle + span / 2), axis=1)
    u = np.sin(np.deg2rad(rng.uniform(sector[:, 0], sector[:, 1])))
    tau = rng.uniform(*WINDOW_S, n_blocks)
    amplitude = np.sqrt(10**1.5 / (N * S)) * np.exp(2j * np.pi * rng.random(n_blocks))
    path = np.exp(2j * np.pi * np.outer(u, x))[:, :, None] * gain[:, None]
    path = path * np.exp(-2j * np.pi * SPACING_HZ * np.outer(tau, np.arange(S)))[:, None, :]
    noise = (rng.standard_normal(path.shape) + 1j * rng.standard_normal(path.shape)) * np.sqrt(0.5)
    symbols = np.exp(1j * (np.pi / 4 + np.pi / 2 * rng.integers(0, 4, (n_blocks, S)))).astype(np.complex64)
    csi = ((amplitude[:, None, None] * path + noise) * symbols[:, None, :]).astype(np.complex64)
    return Batch(csi, symbols, x, sector, np.linspace(*WINDOW_S, 100), SPACING_HZ), gain


def _closed(
    recursive: RecursiveGainPhase, clean: NDArray[np.complexfloating], sector_deg: NDArray[np.float64]
) -> None:
    for block, sector in zip(clean, sector_deg, strict=True):
        recursive.update(block, (float(sector[0]), float(sector[1])))


def _against(
    loss: float, gradient: NDArray[np.complex128], other_loss: float, other_gradient: NDArray[np.complex128]
) -> str:
    """What is wrong with our maxima: lower than the grid's, or another direction of the gradient; "" if nothing."""
    size = np.linalg.norm(gradient) * np.linalg.norm(other_gradient)
    along = float(np.real(np.vdot(other_gradient, gradient)) / size)
    if loss > other_loss + 1e-2 * abs(other_loss):
        return f"our maxima are {100 * (1 - loss / other_loss):.1f} % lower than those of the grid"
    return "" if along > 0.97 else f"the gradient's direction is {along:.3f} along that of the grid"
