"""The learners of the diffMUSIC experiment, from training blocks to models in the project's sign.

The border: the paper's minus sign becomes ours by x = -p, and elements are put in ascending x; angles, gains
and data stay as they are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.cold_start import prior_scale
from calib.eigen_scan import scan_labelled, scan_unlabelled
from calib.fit_uncertainty import peak_sigma
from calib.gauges.line import ScalePrior, fit_support
from calib.metrics import ManifoldError, manifold_error, steering_of
from calib.model import Model, find_peaks
from calib.observations import Subspaces, subspaces
from calib.peaks import AngleGrid
from calib.refine import Fit, middle, polish
from calib.train import TrainSettings, train
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.reproduce.diffmusic_data import LIMIT_DEG, POSITION_RANGE, Blocks, PaperArray, draw_blocks

_FLIP = slice(None, None, -1)
_REACH = (-1.15, 1.15)
_RESTARTS = 6
_ACCEPTED_EXCESS = 0.5
_ANCHORS_DEG = (-60.0, 60.0)
_COARSE = AngleGrid(0.2, 90.0, 1)
_MIDDLE = AngleGrid(0.05, 90.0, 4)

#: Chosen on the training blocks of arrays 100 to 103, which are in no table.
SETTINGS: dict[str, TrainSettings] = {
    "SL,P": TrainSettings("spectrum", 500, 100, 0.03, lr_position=0.015),
    "SL,theta M=1": TrainSettings("rmspe", 500, 100, 0.02, n_points=15, lr_position=0.01, grid=_MIDDLE),
    "SL,theta": TrainSettings("rmspe", 600, 50, 0.02, n_points=15, lr_position=0.01, grid=_MIDDLE),
    "log-peak": TrainSettings("log-peak", 300, 50, 0.02, n_points=1, lr_position=0.01, sharp=np.inf),
} | {
    loss: TrainSettings(loss, 300, 50, 0.02, lr_position=0.01, grid=_COARSE, sharp=np.inf)
    for loss in ("jain", "variation", "gini", "kurtosis", "kl-uniform")
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Training data as a learner sees them, with the truth beside for labels and for judging.

    theta_rad (B, M) labels; nominal (N, 1) wavelengths ascending; true : the physical array as a model.
    """

    sub: Subspaces
    theta_rad: NDArray[np.float64]
    nominal: NDArray[np.float64]
    true: Model
    array: PaperArray
    n_snapshots: int
    snr_db: float

    @property
    def start(self) -> Model:
        """The nominal array: g = 1."""
        return Model(np.ones(len(self.nominal), complex), self.nominal).normalised()


def subspaces_of(blocks: Blocks) -> Subspaces:
    """Signal subspaces in the project's element order."""
    return subspaces(blocks.covariance[:, _FLIP, _FLIP], blocks.n_snapshots, blocks.theta.shape[1])


def pose(array: PaperArray, blocks: Blocks, snr_db: float) -> Problem:
    """The learning problem of training blocks."""
    true = Model(array.g[_FLIP], -array.p[_FLIP, None]).normalised()
    nominal = -array.nominal[_FLIP, None]
    return Problem(subspaces_of(blocks), blocks.theta, nominal, true, array, blocks.n_snapshots, snr_db)


@dataclass(frozen=True, slots=True)
class Learned:
    """A learned model, the CPU seconds it took, and what the verdict says of it (unlabelled scan only)."""

    model: Model
    seconds: float
    excess: float = float("nan")
    restarts: int = 0


def learn_by_loss(problem: Problem, name: str, n_steps: int | None = None, seed: int = 0) -> Learned:
    """The published recipe: Adam from the nominal array on the loss of SETTINGS[name] alone."""
    import torch  # noqa: F401 - loading it is not learning

    begin = time.process_time()
    plan = SETTINGS[name] if n_steps is None else replace(SETTINGS[name], n_steps=n_steps)
    out = train(problem.start, problem.sub, plan, theta_rad=problem.theta_rad, seed=seed)
    return Learned(out.model, time.process_time() - begin)


def learn_scan_labelled(problem: Problem) -> Learned:
    """Eigen-scan with the true angles."""
    begin = time.process_time()
    out = scan_labelled(problem.start, problem.sub, np.sin(problem.theta_rad))
    return Learned(out.model, time.process_time() - begin)


def learn_scan(problem: Problem, seed: int = 0) -> Learned:
    """Unlabelled eigen-scan from the nominal array, maximum likelihood at the end.

    Restarts from randomised phases while the null depths stay above what noise explains: no label, no truth.
    """
    begin = time.process_time()
    rng = np.random.default_rng((5, seed))
    best: Fit | None = None
    restarts = 0
    for restarts in range(_RESTARTS + 1):
        start = problem.start
        if restarts:
            noise = 0.5 * rng.standard_normal(start.n_elements)
            start = replace(start, g=start.g * np.exp(1j * noise))
        scanned = scan_unlabelled(start, problem.sub, seed=seed + restarts)
        fit = polish(scanned.model, problem.sub, problem.nominal, _REACH)
        if best is None or fit.score.excess < best.score.excess:
            best = fit
        if best.score.excess < _ACCEPTED_EXCESS:
            break
    if best is None:  # pragma: no cover - the loop runs at least once
        raise AssertionError
    return Learned(best.model, time.process_time() - begin, best.score.excess, restarts)


def with_gauge(problem: Problem, model: Model, kind: str, seed: int = 0) -> Model:
    """What unlabelled data leave open, u_true = al u_hat + be, fixed by an assumption (spec 4.2).

    none : as the learner left it. prior : unit regression of the positions on the nominal ones, no linear
    phase in g. support : the angles fill +-80 degrees. anchors : two single-source blocks at -60 and 60
    degrees with their labels. oracle : the truth, for diagnosis.
    """
    if kind == "none":
        return model
    if kind == "prior":
        return _prior_phase(prior_scale(model, problem.nominal))
    if kind == "support":
        model = prior_scale(model, problem.nominal)
        theta, depth = find_peaks(model, problem.sub, _REACH)
        model = model.shifted(-middle(theta, depth))
        fit = polish(model, problem.sub, problem.nominal, _REACH, n_steps=0)
        used = fit.weight > 0
        u, sigma = fit.theta[used], peak_sigma(fit.model, problem.sub, fit.theta)[used]
        order = np.argsort(u)
        prior = ScalePrior(
            model.r[:, 0] - model.r[:, 0].mean(), problem.nominal[:, 0], POSITION_RANGE / np.sqrt(3)
        )
        limit = float(np.deg2rad(LIMIT_DEG))
        affine = fit_support(u[order], sigma[order], (-limit, limit), prior, (True, True))
        return model.scaled(affine.al).shifted(affine.be).normalised()
    if kind == "anchors":
        true = np.deg2rad(np.array(_ANCHORS_DEG))[:, None]
        blocks = draw_blocks(
            problem.array, 2, 1, (seed, 77), snr_db=problem.snr_db, n_snapshots=problem.n_snapshots,
            theta_rad=true,
        )  # fmt: skip
        seen = find_peaks(model, subspaces_of(blocks), _REACH)[0][:, 0]
        al, be = np.polyfit(seen, np.sin(true[:, 0]), 1)
        return model.scaled(float(al)).shifted(float(be)).normalised()
    error = compare(problem.true, model)
    return model.scaled(error.al).shifted(error.be).normalised()


def _prior_phase(model: Model) -> Model:
    """Take the linear phase out of g: the ramp for which sum g is largest."""
    x = model.r[:, 0]
    ramp = np.linspace(-0.3, 0.3, 6001)
    best = ramp[np.argmax(np.abs(np.exp(-2j * np.pi * np.outer(ramp, x)) @ model.g))]
    return model.shifted(float(best))


def compare(true: Model, model: Model) -> ManifoldError:
    """Gauge-free correlation of two manifolds over |u| <= 0.98, and the gauge between them."""
    return manifold_error(_steering(true), _steering(model), is_line=True)


def _steering(model: Model) -> Any:
    positions = np.column_stack((model.r[:, 0], np.zeros((model.n_elements, 2))))
    return steering_of(model.g, positions, SPEED_OF_LIGHT_M_S)
