"""One case of the gain-phase experiment: learn one draw of impairments, test on common scenes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.gpi.detect import angle_delay_maps, angle_grid, decide, operating_points
from calib.gpi.eigen import alternate
from calib.gpi.fit import Problem, settle_ramp
from calib.gpi.losses import AdamPlan, learn_by_gradient
from calib.gpi.noise import fading, whitened
from calib.gpi.ramp import beam_cuts, line_search, shifted
from calib.gpi.search import PeakSearch
from calib.gpi.threshold import detection_threshold
from hil.reproduce.gain_phase_isac_data import (
    N_CARRIERS,
    N_ELEMENTS,
    SNR,
    SPACING_HZ,
    SPEED_M_S,
    WINDOW_S,
    Scenes,
    correlations,
    draw_kappa,
    draw_scenes,
    position_error,
    window_basis,
)

#: false-alarm rates of Fig. 3
RATES = tuple(float(r) for r in np.logspace(-3, -1, 9))
#: the rate of the bars
AT = 4
#: the paper's steering is exp(-j): positions are negated, nothing else
X_WAVELENGTHS = -np.arange(N_ELEMENTS) / 2
ROUND_BLOCKS = 12288
_CHUNK = 2000
_ADAM = {
    "max-map plain": AdamPlan("max-map", lr=1e-2, tangent=False, cosine=False),
    "max-map tangent": AdamPlan("max-map"),
    "reconstruction": AdamPlan("reconstruction", tangent=False),
}


def _reduced(scenes: Scenes, basis: NDArray[np.complex128]) -> Reduced:
    return Reduced(scenes.taps, scenes.outside, basis, SPACING_HZ, WINDOW_S)


def _sines(scenes: Scenes) -> NDArray[np.float64]:
    return np.sin(np.deg2rad(scenes.sector_deg))


def _train_rng(model: str, draw: int) -> np.random.Generator:
    return np.random.default_rng([draw, 7, len(model)])


def run_closed(model: str, draw: int, n_test: int, blocks: int = ROUND_BLOCKS) -> dict[str, Any]:
    """Known, ignored, eigenvector alternation, and it with the ramp set by line search and by the edges."""
    true, basis = draw_kappa(model, draw), window_basis()
    scenes = draw_scenes(_train_rng(model, draw), blocks, true, basis)
    begin = time.process_time()
    data, _ = whitened(_reduced(scenes, basis))
    problem = Problem(data, X_WAVELENGTHS, _sines(scenes))
    search = problem.search()
    eta = problem.eta(search)
    found = alternate(search, np.ones(N_ELEMENTS, complex), eta)
    eigen_s = time.process_time() - begin
    begin = time.process_time()
    wide = problem.search(0.02)
    peaks = wide(found.kappa)
    used = peaks.statistic > problem.eta(wide)
    cuts = beam_cuts(found.kappa, X_WAVELENGTHS, peaks.select(used), N_CARRIERS)
    line = line_search(cuts, problem.sector_u[used])
    by_line = alternate(search, shifted(found.kappa, X_WAVELENGTHS, -line.delta), eta, max_rounds=2).kappa
    line_s = time.process_time() - begin
    begin = time.process_time()
    settled = settle_ramp(problem, found.kappa)
    edges_s = time.process_time() - begin
    state = fading(found.peaks.statistic, eta, 3e-3)
    learned = {
        "ignored": (np.ones(N_ELEMENTS, complex), 0.0, 0),
        "eigen": (found.kappa, eigen_s, blocks),
        "eigen + line search": (by_line, eigen_s + line_s, blocks),
        "eigen + edges": (settled.kappa, eigen_s + edges_s, blocks),
    }
    out = _tested(model, draw, true, learned, n_test, basis)
    out["snr_db"] = 10 * float(np.log10(max(state.snr, 1e-3)))
    out["present"] = state.present
    out["shift_sigma"] = settled.posterior.sigma
    out["rounds"] = found.rounds
    return out


def run_gradient(model: str, draw: int, n_test: int, method: str, steps: int = 200) -> dict[str, Any]:
    """One of the paper's losses by Adam from kappa = 1, a fresh batch in every step."""
    true, basis = draw_kappa(model, draw), window_basis()
    rng = _train_rng(model, draw)
    plan = _ADAM[method]
    plan = AdamPlan(plan.loss, steps, plan.batch, plan.lr, plan.tangent, plan.cosine)
    drawing = 0.0

    def fresh(step: int) -> tuple[PeakSearch, NDArray[np.intp]]:
        nonlocal drawing
        del step
        begin = time.process_time()
        scenes = draw_scenes(rng, plan.batch, true, basis)
        drawing += time.process_time() - begin
        return PeakSearch(_reduced(scenes, basis), X_WAVELENGTHS, _sines(scenes)), np.arange(plan.batch)

    begin = time.process_time()
    kappa = learn_by_gradient(fresh, np.ones(N_ELEMENTS, complex), plan, snr=SNR)
    seconds = time.process_time() - begin - drawing
    return _tested(model, draw, true, {method: (kappa, seconds, steps * plan.batch)}, n_test, basis)


def _tested(
    model: str,
    draw: int,
    true: NDArray[np.complex128],
    learned: dict[str, tuple[NDArray[np.complex128], float, int]],
    n_test: int,
    basis: NDArray[np.complex128],
) -> dict[str, Any]:
    """Pd and position errors of every method on the same n_test blocks without and n_test with a target."""
    names = ["known", *learned]
    kappas = np.stack([true, *(k for k, _, _ in learned.values())])
    noise, source, error = [], [], []
    sectors = []
    rng = np.random.default_rng([draw, 11, len(model)])
    for share, statistic in ((0.0, noise), (1.0, source)):
        for first in range(0, n_test, _CHUNK):
            scenes = draw_scenes(rng, min(_CHUNK, n_test - first), true, basis, share)
            answer = decide(_reduced(scenes, basis), kappas, X_WAVELENGTHS, scenes.sector_deg)
            statistic.append(answer.statistic)
            sectors.append(_sines(scenes))
            if share:
                error.append(position_error(answer.theta_rad, answer.delay_s, scenes))
    noise_all, source_all, error_all = (np.concatenate(v, axis=1) for v in (noise, source, error))
    rates = np.array(RATES)
    out: dict[str, Any] = {"model": model, "draw": draw, "n_test": n_test, "methods": {}}
    reference = None
    for i, name in enumerate(names):
        points = operating_points(noise_all[i], source_all[i], error_all[i], rates)
        found = (source_all[i] > points[AT].threshold).astype(float)
        reference = found if reference is None else reference
        raw, gauge, shift = correlations(kappas[i], true)
        _, seconds, samples = learned.get(name, (None, 0.0, 0))
        out["methods"][name] = {
            "pd": [p.detection for p in points],
            "rmse_m": [p.position_rmse_m for p in points],
            "median_m": [p.position_median_m for p in points],
            "paired_sigma": float(np.std(found - reference) / np.sqrt(n_test)),
            "corr_raw": raw, "corr_gauge": gauge, "shift": shift, "seconds": seconds, "samples": samples,
        }  # fmt: skip
        if name == "known":
            out["threshold"] = [p.threshold for p in points]
    out["threshold_predicted"] = [
        detection_threshold(r, X_WAVELENGTHS, np.concatenate(sectors), N_CARRIERS, SPACING_HZ, WINDOW_S,
                            np.abs(true) ** 2)
        for r in RATES
    ]  # fmt: skip
    return out


def run_map(model: str, draw: int, blocks: int = 4096) -> dict[str, Any]:
    """Fig. 2: maps of one block with a target, gains known, ignored and learned, over the known maximum."""
    true, basis = draw_kappa(model, draw), window_basis()
    scenes = draw_scenes(_train_rng(model, draw), blocks, true, basis)
    data, _ = whitened(_reduced(scenes, basis))
    problem = Problem(data, X_WAVELENGTHS, _sines(scenes))
    search = problem.search()
    found = alternate(search, np.ones(N_ELEMENTS, complex), problem.eta(search))
    kappa = settle_ramp(problem, found.kappa).kappa
    one = draw_scenes(np.random.default_rng([draw, 13]), 64, true, basis, share=1.0)
    theta = angle_grid(one.sector_deg)
    delays = np.linspace(*WINDOW_S, 100)
    kappas = np.stack((true, np.ones(N_ELEMENTS, complex), kappa))
    maps = angle_delay_maps(_reduced(one, basis), kappas, X_WAVELENGTHS, theta, delays)
    # a target of typical strength for the figure: the upper quartile of these
    at = int(np.argsort(maps[0].max(axis=(1, 2)))[48])
    chosen = maps[:, at] / maps[0, at].max()
    return {
        "maps": np.round(chosen.astype(float), 4).tolist(),
        "theta_deg": np.rad2deg(theta[at][[0, -1]]).tolist(),
        "range_m": (delays[[0, -1]] * SPEED_M_S / 2).tolist(),
        "truth": [float(np.rad2deg(one.theta_rad[at])), float(one.range_m[at])],
        "maxima": [float(m.max()) for m in chosen],
    }
