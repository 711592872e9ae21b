"""From reduced channel responses to kappa: start, alternation or gradient, gauge by the sectors' edges.

Everything here is in units of N0 = 1 (`calib.gpi.noise.whitened`) and needs no truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.gpi.eigen import Alternation, alternate, curvature_start, sector_start
from calib.gpi.losses import AdamPlan, learn_by_gradient
from calib.gpi.noise import fading
from calib.gpi.ramp import EdgePosterior, beam_cuts, edge_posterior, shifted
from calib.gpi.search import Peaks, PeakSearch
from calib.gpi.threshold import detection_threshold
from calib.gpi.verdict import judge

_RATE = 3e-3
_SUBSET_WORK = 4e6
_MIN_SUBSET = 512
_MAX_WINDOW = 1.0


def never() -> bool:
    """A stop that never comes."""
    return False


@dataclass(frozen=True, slots=True)
class Problem:
    """data (N0 = 1), x_wavelengths (N,), sector_u (B, 2)."""

    data: Reduced
    x: NDArray[np.float64]
    sector_u: NDArray[np.float64]

    def search(self, widen: float = 0.0) -> PeakSearch:
        """A search in the sectors, widened on both sides."""
        limits = self.sector_u + np.array([-widen, widen])
        return PeakSearch(self.data, self.x, np.clip(limits, -1.0, 1.0) if widen else limits)

    def eta(self, search: PeakSearch, rate: float = _RATE) -> float:
        """Threshold of the maxima of that search."""
        d = self.data
        return detection_threshold(rate, self.x, search.sector_u, d.n_subcarriers, d.spacing_hz, d.window_s)


def find_kappa(
    problem: Problem,
    *,
    start: NDArray[np.complex128] | None = None,
    max_rounds: int = 25,
    stop: Callable[[], bool] = never,
    on_round: Callable[[int, Peaks], None] | None = None,
) -> Alternation:
    """Alternation from the best of several starts, up to a ramp.

    start : (N,), used alone if given. Otherwise the sectors' closed form, then kappa = 1 and second
    differences if the first one does not explain the data.
    """
    search = problem.search()
    eta = problem.eta(search)
    if start is not None:
        return alternate(search, start, eta, max_rounds=max_rounds, stop=stop, on_round=on_round)
    b, n = problem.data.n_blocks, problem.data.n_elements
    count = min(b, max(_MIN_SUBSET, int(_SUBSET_WORK / (search.n_angles * n))))
    subset = np.unique(np.linspace(0, b - 1, count).astype(int))
    starts: list[Callable[[], NDArray[np.complex128]]] = [
        lambda: sector_start(search),
        lambda: np.ones(n, complex),
        lambda: curvature_start(search, np.argsort(problem.x)),
    ]
    best: Alternation | None = None
    for make in starts:
        trial = alternate(search, make(), eta, max_rounds=max_rounds, tolerance=1e-5, index=subset, stop=stop,
                          on_round=on_round)  # fmt: skip
        if best is None or trial.peaks.statistic.mean() > best.peaks.statistic.mean():
            best = trial
        found = best.peaks.select(best.peaks.statistic > eta)
        if stop():
            break
        if len(found) > n:
            v = judge(best.kappa, found, problem.data.n_subcarriers)
            # the edges may still clip: a few per cent are a ramp, not a wrong optimum
            if v.misfit < 0.03 + 5 * v.misfit_sigma:
                break
    assert best is not None
    return alternate(search, best.kappa, eta, max_rounds=max_rounds, stop=stop, on_round=on_round)


def polish(
    problem: Problem,
    kappa: NDArray[np.complex128],
    plan: AdamPlan,
    *,
    snr: float,
    seed: int,
    stop: Callable[[], bool] = never,
    on_step: Callable[[int, float], None] | None = None,
) -> NDArray[np.complex128]:
    """kappa after gradient steps of one of the paper's losses on batches of the blocks."""
    search = problem.search()
    rng = np.random.default_rng(seed)
    size = min(plan.batch, problem.data.n_blocks)

    def draw(step: int) -> tuple[PeakSearch, NDArray[np.intp]]:
        del step
        return search, rng.choice(problem.data.n_blocks, size, replace=False)

    return learn_by_gradient(draw, kappa, plan, snr=snr, stop=stop, on_step=on_step)


@dataclass(frozen=True, slots=True)
class Settled:
    """kappa with the ramp set by the edges; posterior: of what was still open at the end, around 0."""

    kappa: NDArray[np.complex128]
    posterior: EdgePosterior
    total_shift: float


def settle_ramp(
    problem: Problem,
    kappa: NDArray[np.complex128],
    *,
    max_passes: int = 9,
    alternate_rounds: int = 3,
    stop: Callable[[], bool] = never,
) -> Settled:
    """Shift kappa so that the angles fill their sectors; after each large shift a few rounds of alternation.

    The window of the shift grows while the best lies at its edge, or anywhere in it does as well. On an angle that stays the same over many
    blocks the edges say as much as one block: see `independent_share`.
    """
    aperture = max(float(np.ptp(problem.x)), 0.5)
    window = max(0.02, 0.25 / aperture)
    inside = problem.search()
    eta = problem.eta(inside)
    total = 0.0
    posterior: EdgePosterior | None = None
    for step in range(max_passes):
        posterior = edges(problem, kappa, window)
        kappa = shifted(kappa, problem.x, -posterior.delta)
        total += posterior.delta
        # a posterior that fills the window says nothing yet about its width
        if (posterior.at_edge or posterior.sigma > window / 4) and window < _MAX_WINDOW:
            window = min(2 * window, _MAX_WINDOW)
            continue
        if stop() or step + 1 == max_passes:
            break
        large = abs(posterior.delta) > max(0.5 * posterior.sigma, 1e-4)
        window = float(np.clip(10 * posterior.sigma, max(0.02, 0.1 / aperture), window))
        if not large:
            break
        if step < 2:
            kappa = alternate(inside, kappa, eta, max_rounds=alternate_rounds, stop=stop).kappa
    assert posterior is not None
    return Settled(kappa, posterior, total)


def edges(problem: Problem, kappa: NDArray[np.complex128], window: float) -> EdgePosterior:
    """Posterior of the shift of kappa's angles on +-window, from the blocks in which a source stands out."""
    search = problem.search(window)
    eta = problem.eta(search)
    peaks = search(kappa)
    used = peaks.statistic > eta
    if np.count_nonzero(used) < 3:
        used = np.argsort(peaks.statistic)[-3:]
    state = fading(peaks.statistic, eta, _RATE)
    found, sector = peaks.select(used), problem.sector_u[used]
    outliers = min(max(2e-3, (1 - state.present) * _RATE * len(peaks) / max(len(found), 1)), 0.2)
    share = independent_share(found.u, sector)
    cuts = beam_cuts(kappa, problem.x, found, problem.data.n_subcarriers)
    return edge_posterior(cuts, sector, state.snr, window, outliers=outliers, tempering=share)


def independent_share(u: NDArray[np.float64], sector_u: NDArray[np.float64]) -> float:
    """Independent angles over blocks, 1/(1 + 2 sum of autocorrelations) of the place inside the sector.

    The place is counted from the sector's middle, not from its own mean: a source that stands still is one
    angle however often it was seen. u (L,), sector_u (L, 2), in the order of time.
    """
    place = (u - sector_u.mean(axis=1)) / np.maximum((sector_u[:, 1] - sector_u[:, 0]) / 2, 1e-9)
    power = float(np.mean(place**2))
    count = len(place)
    if power <= 0 or count < 3:
        return 1.0 / max(count, 1)
    total = 1.0
    # chance alone makes correlations of 1/sqrt(count)
    floor = max(0.05, 3 / np.sqrt(count))
    for lag in range(1, count):
        rho = float(np.mean(place[lag:] * place[:-lag])) / power
        if rho < floor:
            break
        total += 2 * rho * (1 - lag / count)
    return max(1 / total, 1 / count)
