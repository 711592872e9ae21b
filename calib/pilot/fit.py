"""Maximum likelihood from nulls at known angles: gains, positions and coupling; wrong labels are found.

At the true array the null P_b a(u_known) of a labelled source is noise alone, variance v in each of its
2 (N - K) real components. An error delta of a statement (one for all its blocks, standard deviation sigma)
moves the direction along known slopes and is eliminated exactly:  H -= h (i + 1/sigma^2)^-1 h^T.
sigma = 0 is a table angle, sigma -> infinity an unlabelled source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.special import psi

from calib.observations import Prepared
from calib.pilot.labels import Labels
from calib.pilot.model import CoupledModel

_EXACT = 1e18  # 1 / variance of an angle that is not free
_CHUNK = 512
_COUPLING_STD = 0.3

#: Adds what other data know: model -> (Hessian, gradient) over (log-gain, phase, position axes).
Extra = Callable[[CoupledModel], tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels with the subspaces of their blocks.

    d (G, D) directions, slope (G, D, Q); signal (P, N, K), variance (P, K) and group (P,) ascending.
    epoch (G,) : coherence epoch of each statement, 0 the one whose phases are learned; parts (L, N) ones where the
    elements of a group are whose phase is new in every epoch; n_epochs E. None: nothing is new.
    """

    labels: Labels
    d: NDArray[np.float64]
    slope: NDArray[np.float64]
    signal: NDArray[np.complex128]
    variance: NDArray[np.float64]
    group: NDArray[np.intp]
    line: bool
    epoch: NDArray[np.intp] | None = None
    parts: NDArray[np.float64] | None = None
    n_epochs: int = 1

    def __len__(self) -> int:
        return len(self.d)

    @property
    def dof(self) -> int:
        """Real components of a null at a known angle, 2 (N - K)."""
        return 2 * (self.signal.shape[1] - self.signal.shape[2])

    def only(self, groups: NDArray[np.intp]) -> Labelled:
        """Some groups, renumbered."""
        mine = np.isin(self.group, groups)
        number = np.searchsorted(groups, self.group[mine])
        return Labelled(
            self.labels.only(groups), self.d[groups], self.slope[groups], self.signal[mine],
            self.variance[mine], number, self.line, None if self.epoch is None else self.epoch[groups], self.parts, self.n_epochs,
        )  # fmt: skip

    def turned(self, model: CoupledModel) -> Labelled:
        """The same as if all had been seen in epoch 0."""
        if self.epoch is None or self.parts is None or model.turn is None:
            return self
        phase = (model.turn @ self.parts)[self.epoch[self.group]]
        return replace(self, signal=self.signal * np.exp(-1j * phase)[:, :, None], epoch=None, parts=None)


def attach(
    labels: Labels,
    prepared: Prepared,
    *,
    line: bool,
    epoch: NDArray[np.intp] | None = None,
    parts: NDArray[np.float64] | None = None,
) -> tuple[Labelled, list[str]]:
    """Labels of the usable blocks, and the names of statements that have none. epoch : (B,) of the blocks."""
    place = np.full(len(prepared.rank), -1)
    place[prepared.index] = np.arange(len(prepared.index))
    usable = np.flatnonzero(place[labels.block] >= 0)
    kept = np.unique(labels.group[usable])
    lost = [name for g, name in enumerate(labels.names) if g not in set(kept.tolist())]
    labels = replace(labels, block=labels.block[usable], group=labels.group[usable]).only(kept)
    order = np.argsort(labels.group, kind="stable")
    labels = replace(labels, block=labels.block[order], group=labels.group[order])
    at = place[labels.block]
    first = np.searchsorted(labels.group, np.arange(labels.n_groups))
    return Labelled(
        labels, labels.direction(line=line), labels.slopes(line=line), prepared.sub.signal[at],
        prepared.sub.variance[at], labels.group, line,
        None if epoch is None else epoch[labels.block[first]], parts, 1 if epoch is None else int(epoch.max()) + 1,
    ), lost  # fmt: skip


@dataclass(frozen=True, slots=True)
class Nulls:
    """Null depth D and variance v (P,) of every entry for a unit-norm steering vector, and ||a||^2 (G,)."""

    depth: NDArray[np.float64]
    variance: NDArray[np.float64]
    norm2: NDArray[np.float64]

    def excess(self, dof: int) -> NDArray[np.float64]:
        """log D above its expectation."""
        expected = np.log(self.variance) + psi(dof / 2) + np.log(2)
        return np.log(np.maximum(self.depth, 1e-300)) - expected


def nulls(model: CoupledModel, lab: Labelled, d: NDArray[np.float64] | None = None) -> Nulls:
    """Nulls at the stated directions, or at d (G, D)."""
    lab = lab.turned(model)
    a = model.steering(lab.d if d is None else d)
    norm2 = np.sum(np.abs(a) ** 2, axis=1)
    s = np.einsum("pnk,pn->pk", lab.signal.conj(), a[lab.group])
    power = np.abs(s) ** 2 / norm2[lab.group, None]
    return Nulls(np.maximum(1 - power.sum(axis=1), 0), np.sum(power * lab.variance, axis=1), norm2)


def misfit(lab: Labelled, weight: NDArray[np.float64]) -> NDArray[np.complex128]:
    """(G, N, N): sum over each statement's blocks of weight (P,) times the projector on their noise."""
    n = lab.signal.shape[1]
    starts = np.searchsorted(lab.group, np.arange(len(lab)))
    total = np.add.reduceat(weight, starts)
    weighted = lab.signal * np.sqrt(weight)[:, None, None]
    inside = np.add.reduceat(weighted @ weighted.conj().transpose(0, 2, 1), starts, axis=0)
    return total[:, None, None] * np.eye(n, dtype=np.complex128) - inside


@dataclass(frozen=True, slots=True)
class Equations:
    """H (P, P), gradient (P,) with the statements' errors and the epochs' turns eliminated; what gives the turns back:
    turn_slope (E, L), turn_cross (E, L, P), for epoch 0 zeros."""

    hessian: NDArray[np.float64]
    gradient: NDArray[np.float64]
    turn_slope: NDArray[np.float64]
    turn_cross: NDArray[np.float64]

    def turned(self, model: CoupledModel, x: NDArray[np.float64]) -> CoupledModel:
        """The model with the turns that go with a step x (P,) of the other unknowns."""
        if model.turn is None:
            return model
        step = -self.turn_slope - self.turn_cross @ x
        return replace(model, turn=model.turn + np.clip(step, -1.0, 1.0))


def equations(
    model: CoupledModel, lab: Labelled, weight: NDArray[np.float64], sigma_rad: NDArray[np.float64]
) -> Equations:
    """Normal equations of sum_g a^H M_g a + delta_g^2 / sigma_g^2, halved. sigma_rad (G,)."""
    epoch, parts = lab.epoch, lab.parts
    lab = lab.turned(model)
    m = misfit(lab, weight)
    size = model.size
    hessian, gradient = np.zeros((size, size)), np.zeros(size)
    if model.turn is None or epoch is None or parts is None:
        epoch, parts = np.zeros(len(lab), np.intp), np.zeros((0, model.n_elements))
    n_epochs, n_turns = (1, 0) if model.turn is None else model.turn.shape
    slopes, crosses = np.zeros((n_epochs, n_turns)), np.zeros((n_epochs, n_turns, size))
    for e in np.unique(epoch).tolist():
        h, g = _sums(model, lab, m, sigma_rad, np.flatnonzero(epoch == e), parts if e else parts[:0])
        if e and n_turns:
            # keeps a group without signal solvable
            inner = h[size:, size:] + 1e-12 * np.trace(h[size:, size:]) * np.eye(n_turns)
            slopes[e], crosses[e] = np.linalg.solve(inner, g[size:]), np.linalg.solve(inner, h[size:, :size])
            hessian -= h[:size, size:] @ crosses[e]
            gradient -= h[:size, size:] @ slopes[e]
        hessian += h[:size, :size]
        gradient += g[:size]
    return Equations((hessian + hessian.T) / 2, gradient, slopes, crosses)


def _sums(
    model: CoupledModel,
    lab: Labelled,
    m: NDArray[np.complex128],
    sigma_rad: NDArray[np.float64],
    groups: NDArray[np.intp],
    parts: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P + L, P + L), (P + L,): unknowns, then the turns of parts (L, N), of some statements without their errors."""
    q, total = lab.slope.shape[2], model.size + len(parts)
    hessian, gradient = np.zeros((total, total)), np.zeros(total)
    for low in range(0, len(groups), _CHUNK):
        part = groups[low : low + _CHUNK]
        a = model.steering(lab.d[part])
        scale = 1 / np.linalg.norm(a, axis=1)
        a = a * scale[:, None]
        jac = model.jacobian(lab.d[part]) * scale[:, None, None]
        jac = np.concatenate((jac, 1j * a[:, :, None] * parts.T), axis=2)
        turn = model.along(lab.d[part], lab.slope[part]) * scale[:, None, None]
        m_jac, m_turn = m[part] @ jac, m[part] @ turn
        h = (jac.reshape(-1, total).conj().T @ m_jac.reshape(-1, total)).real
        g = np.einsum("gnp,gn->p", m_jac.conj(), a).real
        cross = np.einsum("gnp,gnq->gpq", jac.conj(), m_turn).real
        inner = np.einsum("gnq,gnr->gqr", turn.conj(), m_turn).real
        precision = np.minimum(1 / np.maximum(sigma_rad[part], 1e-12) ** 2, _EXACT)
        inner = inner + (precision + 1e-12)[:, None, None] * np.eye(q)
        inverse = np.linalg.inv(inner)
        slope = np.einsum("gnq,gn->gq", m_turn.conj(), a).real
        hessian += h - np.einsum("gpq,gqr,gsr->ps", cross, inverse, cross)
        gradient += g - np.einsum("gpq,gqr,gr->p", cross, inverse, slope)
    return hessian, gradient


@dataclass(frozen=True, slots=True)
class Unknowns:
    """What is solved for. nominal (N, D) wavelengths; position_std 0: positions are known; patterns (L, N, N) of the
    coupling, None: there is none."""

    nominal: NDArray[np.float64]
    position_std: float
    patterns: NDArray[np.float64] | None = None

    @property
    def n_coupling(self) -> int:
        """L, complex numbers."""
        return 0 if self.patterns is None else len(self.patterns)

    def basis(self, model: CoupledModel) -> NDArray[np.float64]:
        """(P, F) orthonormal directions of the unknowns that labels can show."""
        n, dims = model.r.shape
        active = np.arange(model.size)
        unseen = model.unseen()
        if self.position_std == 0:
            active = np.concatenate((active[: 2 * n], active[(2 + dims) * n :]))
            unseen = unseen[:2]
        out = np.zeros((model.size, len(active) - len(unseen)))
        out[active] = null_space(unseen[:, active])
        return out

    def prior(self, model: CoupledModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Diagonal of the prior's information and its gradient."""
        n, dims = model.r.shape
        precision, pull = np.zeros(model.size), np.zeros(model.size)
        if self.position_std > 0:
            position = slice(2 * n, (2 + dims) * n)
            precision[position] = 1 / self.position_std**2
            pull[position] = ((model.r - self.nominal) / self.position_std**2).T.ravel()
        coupling = slice((2 + dims) * n, None)
        precision[coupling] = 1 / _COUPLING_STD**2
        pull[coupling] = np.concatenate((model.c.real, model.c.imag)) / _COUPLING_STD**2
        return precision, pull


def solve(
    model: CoupledModel,
    lab: Labelled,
    unknowns: Unknowns,
    sigma_rad: NDArray[np.float64],
    *,
    n_soft: int = 10,
    n_hard: int = 5,
    extra: Extra | None = None,
) -> CoupledModel:
    """Gauss-Newton: soft weights dof / (dof v + D), which no wrong label can rule, then 1/v inside the gate."""
    for step in range(n_soft + n_hard):
        found = equations(model, lab, weights(model, lab, sigma_rad, soft=step < n_soft), sigma_rad)
        hessian, gradient = found.hessian, found.gradient
        if extra is not None:
            more, slope = extra(model)
            hessian[: len(more), : len(more)] += more
            gradient[: len(slope)] += slope
        precision, pull = unknowns.prior(model)
        hessian[np.diag_indices_from(hessian)] += precision
        basis = unknowns.basis(model)
        inner = basis.T @ hessian @ basis
        damping = 1e-2 if step < n_soft // 2 else 1e-6
        inner[np.diag_indices_from(inner)] *= 1 + damping
        inner[np.diag_indices_from(inner)] += 1e-12 * np.trace(inner) / len(inner)
        x = -basis @ np.linalg.solve(inner, basis.T @ (gradient + pull))
        n = model.n_elements
        largest = max(np.abs(x[: 2 * n]).max() / 0.5, np.abs(x[2 * n :]).max(initial=0.0) / 0.1, 1.0)
        model = found.turned(model, x / largest).stepped(x / largest)
    return model


def weights(
    model: CoupledModel, lab: Labelled, sigma_rad: NDArray[np.float64], *, soft: bool
) -> NDArray[np.float64]:
    """(P,) of the entries. An angle's own error (sigma) does not count as misfit."""
    now = nulls(model, lab)
    if soft:
        a = model.along(lab.d, lab.slope)
        free = np.sum(np.abs(a) ** 2, axis=(1, 2)) * np.nan_to_num(sigma_rad) ** 2 / now.norm2
        return lab.dof / (lab.dof * now.variance + np.maximum(now.depth - free[lab.group], 0) + 1e-15)
    moved = nulls(model, lab, located(model, lab, sigma_rad)[0])
    excess = moved.excess(lab.dof)
    # the gate is each statement's own: a block that straddles its end, not a statement that is off
    limit = _group_median(excess, lab)[lab.group]
    return np.where(excess < np.maximum(limit, 0) + 3.0, 1 / now.variance, 0.0)


def located(
    model: CoupledModel, lab: Labelled, sigma_rad: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Where each statement's source is seen, near the statement: d (G, D), delta (G, Q) radians, spread (G, Q, Q)."""
    lab = lab.turned(model)
    d = lab.d.copy()
    q = lab.slope.shape[2]
    delta, spread = np.zeros((len(lab), q)), np.zeros((len(lab), q, q))
    if np.all(sigma_rad == 0):
        return d, delta, spread
    weight = 1 / (nulls(model, lab).variance + 1e-15)
    m = misfit(lab, weight)
    reach = 0.1 / max(float(np.ptp(model.r, axis=0).max()), 0.25)
    precision = np.minimum(1 / np.maximum(sigma_rad, 1e-12) ** 2, _EXACT)[:, None, None] * np.eye(q)
    for _ in range(4):
        a = model.steering(d)
        turn = model.along(d, lab.slope)
        scale = np.sum(np.abs(a) ** 2, axis=1)
        m_turn = m @ turn
        inner = np.einsum("gnq,gnr->gqr", turn.conj(), m_turn).real / scale[:, None, None] + precision
        inner += 1e-9 * np.trace(inner, axis1=1, axis2=2)[:, None, None] * np.eye(q)
        slope = np.einsum("gnq,gn->gq", m_turn.conj(), a).real / scale[:, None]
        slope = slope + np.einsum("gqr,gr->gq", precision, delta)
        spread = np.linalg.inv(inner)
        delta = delta - np.clip(np.einsum("gqr,gr->gq", spread, slope), -reach, reach)
        d = lab.d + np.einsum("gdq,gq->gd", lab.slope, delta)
    return d, delta, spread


def _group_median(values: NDArray[np.float64], lab: Labelled) -> NDArray[np.float64]:
    bounds = np.searchsorted(lab.group, np.arange(len(lab) + 1))
    if np.all(np.diff(bounds) == 1):
        return values
    return np.array([np.median(values[a:b]) for a, b in pairwise(bounds)])


def group_excess(model: CoupledModel, lab: Labelled, d: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) median excess of each statement's blocks at directions d."""
    return _group_median(nulls(model, lab, d).excess(lab.dof), lab)
