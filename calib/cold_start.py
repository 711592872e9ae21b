"""Cold start of a line: all phases unknown, nothing labelled.

1. A start: phases from the Toeplitz structure of uniform lines (after Paulraj and Kailath 1985) or from the
   diffuse-field coherence of any line. 2. The largest arc of u without sources is put outside the visible
   range. 3. Gauss-Newton, phases first, then positions. 4. The verdict. 5. If it fails: every window of a
   few neighbours, grown element by element; 6. then randomised windows until one passes, or the steps
   or the time are used up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from calib.model import TWO_PI, Model, find_peaks
from calib.observations import Subspaces, subspaces
from calib.refine import Fit, Schedule, iterate, middle, polish, settle, some_blocks
from calib.score import score_peaks

_FIELD = (-1.25, 1.25)
_MAX_ROUNDS = 24  # of windows
_SAME = 3
ENOUGH = 0.5  # excess at which the polish takes over
ACCEPT_EXCESS = 1.0  # failures sit 2 and more above the prediction, unpolished successes below 1
NEAR_MISFIT = 2e-3  # null depth
_SMALL_MISFIT = 5e-5


@dataclass(slots=True)
class Search:
    """What a search works on.

    covariance (B, N, N) of the blocks used in the search; snapshots T; n_sources K; nominal (N, 1) positions
    in wavelengths, centred; position_std in wavelengths; support_u (low, high) or None; deadline
    (time.monotonic); free_positions; report(stage, excess); stop(); steps: one counter for all windows.
    """

    covariance: NDArray[np.complex128]
    snapshots: float
    n_sources: int
    nominal: NDArray[np.float64]
    position_std: float
    support_u: tuple[float, float] | None
    rng: np.random.Generator
    deadline: float
    free_positions: bool = True
    report: Callable[[str, float], None] = lambda stage, excess: None
    stop: Callable[[], bool] = lambda: False
    steps: list[int] = field(default_factory=lambda: [0])

    @property
    def max_steps(self) -> int:
        """Steps after which a search is hopeless: with position errors of 0.2 wavelengths 926 were needed."""
        return max(1200, 75 * len(self.nominal))

    def iterate(self, model: Model, sub: Subspaces, plan: Schedule) -> Model:
        """One counted round of Gauss-Newton."""
        self.steps[0] += plan.n_steps
        return iterate(model, sub, self.nominal, plan)

    def expired(self) -> bool:
        """True once time or steps are used up or the caller asked to stop."""
        return self.steps[0] >= self.max_steps or time.monotonic() > self.deadline or self.stop()

    def window(self, elements: NDArray[np.intp]) -> Search:
        """The same search on some of the elements."""
        nominal = self.nominal[elements]
        return replace(
            self,
            covariance=self.covariance[:, elements[:, None], elements[None, :]],
            nominal=nominal - nominal.mean(axis=0),
        )

    def subspaces(self) -> Subspaces:
        """Signal subspaces of the search's blocks."""
        return subspaces(self.covariance, self.snapshots, self.n_sources)


@dataclass(slots=True)
class Found:
    """Best model of a search with its median excess, after so many attempts."""

    model: Model
    excess: float
    accepted: bool
    attempts: int


def search_line(job: Search) -> Found:
    """Find the basin of the true array. `nominal` must be in ascending order of x."""
    return search(job, _attempts(job, job.subspaces()), _FIELD)


def search(job: Search, models: Iterator[Model], limit: tuple[float, float]) -> Found:
    """The first of the models that passes, or the best until nothing better can be expected.

    On a line it ends early when `_SAME` starts lead to one model that misfits but little: then the array
    itself is not quite of this kind (coupling). On a circle lit in part wrong minima misfit as little.
    """
    sub = job.subspaces()
    best = Found(Model(np.ones(len(job.nominal), complex), job.nominal).normalised(), np.inf, False, 0)
    near: list[float] = []
    attempts = 0
    for model in models:
        attempts += 1
        trial = assess(model, sub, limit)
        if trial.excess < best.excess:
            best = Found(model, trial.excess, trial.accepted, attempts)
            job.report("search", trial.excess)
        if trial.misfit < 2 * NEAR_MISFIT:
            near.append(trial.excess)
        settled = best.model.is_line and sum(excess < best.excess + 0.03 for excess in near) >= _SAME
        if best.accepted or settled or job.expired():
            break
    best.attempts = attempts
    return best


@dataclass(frozen=True, slots=True)
class Trial:
    """Median excess of a model, its misfit (null depth that noise does not explain), and whether it passes."""

    excess: float
    misfit: float
    accepted: bool


def assess(model: Model, sub: Subspaces, limit: tuple[float, float]) -> Trial:
    """Judge an unpolished model: a wrong minimum's nulls are 5e-3 deep and more, at any noise."""
    theta, depth = find_peaks(model, sub, limit)
    score = score_peaks(model, sub, theta, depth)
    misfit = float(np.exp(score.score) - np.exp(score.predicted_score))
    explained = score.excess < score.threshold
    small = misfit < _SMALL_MISFIT or (score.excess < ACCEPT_EXCESS and misfit < NEAR_MISFIT)
    return Trial(score.excess, misfit, explained or small)


def _attempts(job: Search, sub: Subspaces) -> Iterator[Model]:
    n = len(job.nominal)
    deterministic = list(starts(job))
    if job.support_u is not None:
        # sources that fill a known range: 19 of 20 arrays in one go, where Toeplitz finds 6 to 9 of 10
        yield converge(job, sub, deterministic[-1], phases_first=False)
        yield converge(job, sub, deterministic.pop(), phases_first=True)
    for start in deterministic:
        yield converge(job, sub, start, phases_first=True)
        yield converge(job, sub, start, phases_first=False)
    if n - 1 < max(job.n_sources + 1, 3):  # a window needs a noise subspace
        windows: list[int] = []
    else:
        windows = [min(n - 1, job.n_sources + extra) for extra in (4, 3, 5)]
    for round_ in range(_MAX_ROUNDS):
        if job.expired():
            return
        if not windows or (round_ and round_ % 4 == 3):
            start = _random_start(job, round_)
            yield converge(job, sub, start, phases_first=bool(round_ % 2))
            continue
        size = max(windows[round_ % len(windows)], job.n_sources + 2, 3)
        yield from _grown(job, sub, min(size, n - 1), randomise=round_ > 0)


def starts(job: Search) -> Iterator[Model]:
    """Deterministic starts: Toeplitz (uniform lines), then diffuse-field coherence."""
    spacing = np.diff(job.nominal[:, 0])
    if len(spacing) >= 2 and np.ptp(spacing) < 0.02 * spacing.mean():
        yield _gap_shifted(job, toeplitz_start(job))
    yield diffuse_start(job)


def converge(job: Search, sub: Subspaces, start: Model, *, phases_first: bool) -> Model:
    """Steps 3 of the recipe: phases and gains, then positions too."""
    model = start
    if phases_first or not job.free_positions:
        plan = Schedule(12, (0.1, 0.1), 1.0, free_positions=False, recentre_every=3)
        model = job.iterate(model, sub, plan)
    plan = Schedule(18, (0.1, 1e-3), 1.15, free_positions=job.free_positions, recentre_every=3, enough=ENOUGH)
    return job.iterate(model, sub, plan)


def toeplitz_start(job: Search, flip: NDArray[np.bool_] | None = None) -> Model:
    """Phases from second differences: arg mean_b z_{i+1} z_i^* = -(phi_{i+2} - 2 phi_{i+1} + phi_i)."""
    r = job.covariance
    n = r.shape[1]
    z = r[:, np.arange(n - 1), np.arange(1, n)]
    z = z / np.maximum(np.abs(z), 1e-300)
    curvature = np.mean(z[:, 1:] * z[:, :-1].conj(), axis=0)
    c = np.angle(curvature)
    if flip is not None:
        c = c + np.pi * flip
    phase = np.zeros(n)
    phase[2:] = -np.cumsum(np.cumsum(c))
    return Model(_amplitudes(job) * np.exp(1j * phase), job.nominal).normalised()


def _amplitudes(job: Search) -> NDArray[np.complex128]:
    return 0j + np.sqrt(np.einsum("bnn->n", job.covariance).real / len(job.covariance))


def diffuse_start(job: Search, positions: NDArray[np.float64] | None = None) -> Model:
    """Phases from the mean coherence, which at the ideal array is E exp(j 2 pi d u) over the sources' angles.

    The expectation also runs over the position errors, so that far pairs, which say nothing, weigh nothing.
    """
    x = job.nominal if positions is None else positions
    r = job.covariance
    power = np.sqrt(np.einsum("bnn->bn", r).real)
    coherence = np.mean(r / (power[:, :, None] * power[:, None, :]), axis=0)
    low, high = job.support_u or (-1.0, 1.0)
    u = np.sin(np.linspace(np.arcsin(low), np.arcsin(high), 121))
    distance = x[:, 0][:, None] - x[:, 0][None, :]
    model = np.mean(np.exp(1j * TWO_PI * distance[:, :, None] * u), axis=-1)
    spread = np.mean(np.exp(-0.5 * (TWO_PI * np.sqrt(2.0) * job.position_std * u) ** 2))
    weighted = coherence * model.conj() * spread
    np.fill_diagonal(weighted, 0.0)
    phase = np.angle(np.linalg.eigh((weighted + weighted.conj().T) / 2)[1][:, -1])
    start = Model(_amplitudes(job) * np.exp(1j * phase), x).normalised()
    return start.shifted(-(low + high) / 2)


def _gap_shifted(job: Search, model: Model, jitter: float = 0.0) -> Model:
    """Centre the sources on the circle of period 1/spacing, on which u is known so far."""
    period = 1 / float(np.mean(np.diff(job.nominal[:, 0])))
    half = min(period / 2, 1.5)
    theta, depth = find_peaks(model, job.subspaces(), (-half, half))
    return model.shifted(_gap_offset(theta, depth, period) + jitter)


def _gap_offset(theta: NDArray[np.float64], depth: NDArray[np.float64], period: float) -> float:
    """Shift that puts the centre of the largest arc without sharp peaks half a period away from 0."""
    u = np.sort(theta[depth <= np.quantile(depth, 0.6)] % period)
    gaps = np.diff(np.append(u, u[0] + period))
    widest = int(np.argmax(gaps))
    return float(period / 2 - (u[widest] + gaps[widest] / 2))


def _random_start(job: Search, round_: int) -> Model:
    """Positions from the prior, phases of a start plus noise, or anything at all."""
    n = len(job.nominal)
    x = job.nominal + job.position_std * job.rng.standard_normal((n, 1)) * job.free_positions
    start = diffuse_start(job, x)
    noise = (0.3 if round_ % 2 else 3.0) * job.rng.standard_normal(n)
    return replace(start, g=start.g * np.exp(1j * noise))


def _grown(job: Search, sub: Subspaces, size: int, *, randomise: bool) -> Iterator[Model]:
    """Converge windows of `size` neighbours; grow those that pass the verdict to the whole array."""
    n = len(job.nominal)
    order = np.arange(n - size + 1)
    if randomise:
        order = job.rng.permutation(order)
    for first in order:
        if job.expired():
            return
        elements = np.arange(first, first + size)
        part = job.window(elements)
        part_sub = part.subspaces()
        start = _window_start(part) if randomise else next(starts(part))
        model = converge(part, part_sub, start, phases_first=not randomise or bool(job.rng.integers(2)))
        if assess(model, part_sub, _FIELD).accepted:
            yield _grow(job, sub, elements, model)


def _window_start(part: Search) -> Model:
    rng, n = part.rng, len(part.nominal)
    spacing = np.diff(part.nominal[:, 0])
    if np.ptp(spacing) > 0.02 * spacing.mean() or rng.random() < 0.25:
        return _random_start(part, 1)
    z = part.covariance[:, np.arange(n - 1), np.arange(1, n)]
    z = z / np.maximum(np.abs(z), 1e-300)
    mean = np.abs(np.mean(z[:, 1:] * z[:, :-1].conj(), axis=0))
    flip = rng.random(n - 2) < 0.5 * np.exp(-mean / 0.08)
    model = toeplitz_start(part, flip)
    model = replace(model, g=model.g * np.exp(0.3j * rng.standard_normal(n)))
    if part.free_positions:
        model = replace(model, r=model.r + part.position_std * rng.standard_normal((n, 1))).normalised()
    return _gap_shifted(part, model, 0.1 * rng.standard_normal())


def _grow(job: Search, sub: Subspaces, elements: NDArray[np.intp], model: Model) -> Model:
    """Add the next element, right or left, until the array is whole."""
    n = len(job.nominal)
    while len(elements) < n:
        right = elements[-1] + 1 < n
        new = elements[-1] + 1 if right else elements[0] - 1
        model = _extend(job, elements, model, int(new), append=right)
        elements = np.append(elements, new) if right else np.insert(elements, 0, new)
        part = job.window(elements)
        last = len(elements) == n
        plan = Schedule(8 if last else 3, (0.03, 1e-3), 1.4, free_positions=job.free_positions)
        model = part.iterate(model, sub if last else part.subspaces(), plan)
    return model


def _extend(job: Search, elements: NDArray[np.intp], model: Model, new: int, *, append: bool) -> Model:
    """Place one more element: R[new, S]^T = conj(A) c gives its phase at every source; scan its position."""
    part = job.window(elements)
    theta, depth = find_peaks(model, part.subspaces(), (-1.4, 1.4))
    a = model.steering(theta).transpose(0, 2, 1)  # (B, S, K)
    ac = a.conj()
    gram = ac.conj().transpose(0, 2, 1) @ ac + 1e-4 * np.eye(job.n_sources)
    rhs = ac.conj().transpose(0, 2, 1) @ job.covariance[:, new, elements][:, :, None]
    c = np.linalg.solve(gram, rhs)[:, :, 0]
    c = c / np.maximum(np.abs(c), 1e-300) / (depth + 1e-3)
    # the model's frame is centred on its own elements and may be scaled: map the nominal place into it
    here = job.nominal[elements, 0]
    guess = model.r[:, 0].mean() + job.nominal[new, 0] - here.mean()
    reach = 0.7 if job.free_positions else 0.0
    trial = guess + np.linspace(-reach, reach, 141 if reach else 1)
    score = np.exp(-1j * TWO_PI * trial[:, None] * theta.ravel()) @ c.ravel()
    best = int(np.argmax(np.abs(score)))
    power = np.einsum("bnn->n", job.covariance).real
    size = np.sqrt(power[new] / power[elements].mean() / len(elements))
    gain = size * np.exp(1j * np.angle(score[best]))
    at = len(elements) if append else 0
    return Model(np.insert(model.g, at, gain), np.insert(model.r, at, [[trial[best]]], axis=0)).normalised()


def finish_line(model: Model, sub: Subspaces, nominal: NDArray[np.float64], free_positions: bool) -> Fit:
    """Polish on all blocks, in the gauge of prior scale and sources centred on u = 0."""
    if free_positions:
        model = prior_scale(model, nominal)
    sub, everything = some_blocks(sub), sub
    theta, depth = find_peaks(model, sub, (-1.25, 1.25))
    plain = model.shifted(-middle(theta, depth)), 1.15
    tries = [plain]
    spacing = np.diff(nominal[:, 0])
    period = 1 / float(spacing.mean())
    if np.ptp(spacing) < 0.02 * spacing.mean() and period < 2.6:
        theta, depth = find_peaks(model, sub, (-period / 2, period / 2))
        inside = model.shifted(_gap_offset(theta, depth, period))
        theta, depth = find_peaks(inside, sub, (-period / 2, period / 2))
        wrapped = inside.shifted(-middle(theta, depth)), period / 2
        # with (nearly) equal spacing a source looks the same one period on: stay inside one period
        repeats = np.abs(np.vdot(model.steering(np.zeros(1)), model.steering(np.full(1, period)))) > 0.95
        tries = [wrapped, plain] if repeats else [plain, wrapped]
    fits: list[Fit] = []
    for start, half in tries:
        fits.append(polish(start, sub, nominal, (-half, half), free_positions=free_positions))
        if fits[-1].score.excess < 0.2 and fits[-1].score.outlier_fraction < 0.1:
            break
    best = min(fits, key=lambda fit: fit.score.excess + fit.score.outlier_fraction)
    return settle(best, everything, nominal, free_positions=free_positions)


def prior_scale(model: Model, nominal: NDArray[np.float64]) -> Model:
    """Line: scale so that the positions regress on the nominal ones with slope 1."""
    x0 = nominal[:, 0] - nominal[:, 0].mean()
    slope = float((model.r[:, 0] - model.r[:, 0].mean()) @ x0 / (x0 @ x0))
    return model.scaled(slope) if 0.6 < slope < 1.6 else model
