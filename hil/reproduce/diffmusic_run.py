"""The cases of the diffMUSIC experiment: pure functions of their arguments, JSON in and out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from calib.model import Model
from calib.peaks import AngleGrid
from calib.train import train
from hil.reproduce.diffmusic_data import draw_array, draw_blocks
from hil.reproduce.diffmusic_score import Test, best_width, score
from hil.reproduce.diffmusic_solve import (
    SETTINGS,
    Learned,
    Problem,
    compare,
    learn_by_loss,
    learn_scan,
    learn_scan_labelled,
    pose,
    subspaces_of,
    with_gauge,
)

TRAINING, TESTING = 1, 2


def set_up(
    seed: int,
    n_sources: int,
    *,
    n_train: int = 1000,
    n_test: int = 0,
    snr_db: float = 30.0,
    n_snapshots: int = 100,
) -> tuple[Problem, Test | None]:
    """One array with independent training and test blocks."""
    array = draw_array(seed)
    options = {"snr_db": snr_db, "n_snapshots": n_snapshots}
    blocks = draw_blocks(array, n_train, n_sources, (seed, n_sources, TRAINING), **options)
    problem = pose(array, blocks, snr_db)
    if not n_test:
        return problem, None
    blocks = draw_blocks(array, n_test, n_sources, (seed, n_sources, TESTING), **options)
    return problem, Test(subspaces_of(blocks), blocks.theta)


def run_known(first: int, n_arrays: int, n_test: int) -> dict[str, Any]:
    """M=1, nominal and physical arrays: RMSPE of [MUSIC, diffMUSIC] for each array."""
    out: dict[str, Any] = {"nominal": [], "physical": []}
    for seed in range(first, first + n_arrays):
        problem, test = set_up(seed, 1, n_train=250, n_test=n_test)
        if test is None:
            continue
        width = best_width(problem.true, problem.sub, problem.theta_rad)
        out["nominal"].append(score(problem.start, test, width)["paper"])
        out["physical"].append(score(problem.true, test, width)["paper"])
    return out


def run_array(
    seed: int,
    n_sources: int,
    n_test: int,
    methods: Sequence[str],
    n_train: int = 1000,
    snr_db: float = 30.0,
    n_snapshots: int = 100,
    step_share: float = 1.0,
    gauges: Sequence[str] = ("none", "support"),
    scan_gauges: Sequence[str] = ("none", "prior", "support", "anchors", "oracle"),
) -> dict[str, Any]:
    """All methods on one array.

    methods : names in SETTINGS, "scan SL", "scan UL". Returns {"nominal", "physical", METHOD or
    "METHOD / GAUGE": {"rmspe": {policy: [MUSIC, diffMUSIC]}, "width", "seconds", "correlation", ...}}.
    """
    problem, test = set_up(
        seed, n_sources, n_train=n_train, n_test=n_test, snr_db=snr_db, n_snapshots=n_snapshots
    )
    if test is None:
        return {}
    common = best_width(problem.true, problem.sub, problem.theta_rad)
    out: dict[str, Any] = {
        "nominal": _row(problem, test, problem.start, common),
        "physical": _row(problem, test, problem.true, common),
    }
    for name in methods:
        learned = _learn(problem, name, step_share, seed)
        extra = _facts(problem, learned)
        if name == "scan SL" or name.startswith("SL"):
            width = best_width(learned.model, problem.sub, problem.theta_rad)
            out[name] = _row(problem, test, learned.model, width) | extra
            continue
        for kind in scan_gauges if name == "scan UL" else gauges:
            model = with_gauge(problem, learned.model, kind, seed)
            out[f"{name} / {kind}"] = _row(problem, test, model, common) | extra
    return out


def _learn(problem: Problem, name: str, step_share: float, seed: int) -> Learned:
    if name == "scan SL":
        return learn_scan_labelled(problem)
    if name == "scan UL":
        return learn_scan(problem, seed)
    return learn_by_loss(problem, name, max(20, round(SETTINGS[name].n_steps * step_share)), seed)


def _row(problem: Problem, test: Test, model: Model, width: int) -> dict[str, Any]:
    del problem
    return {"rmspe": score(model, test, width), "width": width}


def _facts(problem: Problem, learned: Learned) -> dict[str, Any]:
    error = compare(problem.true, learned.model)
    return {
        "seconds": learned.seconds,
        "correlation": float(error.correlation.min()),
        "al": error.al,
        "be": error.be,
        "excess": learned.excess,
        "restarts": learned.restarts,
    }


def run_scan(first: int, n_arrays: int, n_sources: int) -> dict[str, Any]:
    """Unlabelled eigen-scan on several arrays: gauge-free correlation, seconds, restarts."""
    rows = []
    for seed in range(first, first + n_arrays):
        problem, _ = set_up(seed, n_sources)
        rows.append(_facts(problem, learn_scan(problem, seed)))
    return {"rows": rows}


def run_pictures(seed: int, step_share: float = 1.0) -> dict[str, Any]:
    """Figures 2 to 4: learned elements at 30 dB, spectra of one block at 10 dB, M=5."""
    names = ("SL,theta", "SL,P", "jain", "scan UL")
    problem, _ = set_up(seed, 5)
    out: dict[str, Any] = {
        "elements": {"physical": _elements(problem.true), "nominal": _elements(problem.start)}
    }
    for name in names:
        model = _learn(problem, name, step_share, seed).model
        kind = "oracle" if name in ("jain", "scan UL") else "none"
        out["elements"][name] = _elements(with_gauge(problem, model, kind))
    problem, _ = set_up(seed, 5, snr_db=10.0)
    theta = np.deg2rad(np.array([[-72.0, -35.0, -4.0, 28.0, 66.0]]))
    block = draw_blocks(problem.array, 1, 5, (seed, 9), snr_db=10.0, theta_rad=theta)
    sub = subspaces_of(block)
    grid = AngleGrid(0.2)
    models = {"nominal": problem.start, "physical": problem.true}
    models |= {name: _learn(problem, name, step_share, seed).model for name in names}
    out["angle_deg"] = np.rad2deg(grid.theta_rad).tolist()
    out["true_deg"] = np.rad2deg(theta[0]).tolist()
    out["spectrum_db"] = {}
    for name, model in models.items():
        a = grid.steering(model)
        depth = 1 - np.sum(np.abs(a @ sub.signal[0].conj()) ** 2, axis=1)
        out["spectrum_db"][name] = np.round(-10 * np.log10(depth), 3).tolist()
    return out


def _elements(model: Model) -> dict[str, list[float]]:
    """Position (wavelengths), magnitude and phase of g with ||g||^2 = N and sum g > 0."""
    centred = model.normalised()
    g = centred.g * np.sqrt(model.n_elements)
    g = g * np.exp(-1j * np.angle(g.sum()))
    return {"x": centred.r[:, 0].tolist(), "size": np.abs(g).tolist(), "phase": np.angle(g).tolist()}


def run_complexity(n_steps: int = 12) -> dict[str, Any]:
    """Seconds per training step (batch 50) of SL,theta and SL,P against grid and number of sources."""
    rows = []
    for n_sources in (1, 2, 5):
        problem, _ = set_up(0, n_sources, n_train=200)
        for step_deg in (0.2, 0.1, 0.05, 0.02):
            # stride 1: the published search of the whole grid; else ours, coarse to fine
            for stride in (1, 10):
                grid = AngleGrid(step_deg, 90.0, stride)
                plan = replace(SETTINGS["SL,theta"], grid=grid, n_steps=n_steps)
                rows.append([n_sources, len(grid.theta_rad), stride, _seconds_per_step(problem, plan)])
        plan = replace(SETTINGS["SL,P"], batch=50, n_steps=10 * n_steps)
        rows.append([n_sources, 0, 0, _seconds_per_step(problem, plan)])
    return {"rows": rows}


def _seconds_per_step(problem: Problem, plan: Any) -> float:
    train(problem.start, problem.sub, replace(plan, n_steps=2), theta_rad=problem.theta_rad)
    begin = time.process_time()
    train(problem.start, problem.sub, plan, theta_rad=problem.theta_rad)
    return (time.process_time() - begin) / plan.n_steps


def run_subspacenet(n_sources: int, seed: int) -> dict[str, Any]:
    """A reduced run of the SubspaceNet baseline."""
    from calib.baselines.subspacenet import run_reduced

    return run_reduced(n_sources, seed)
