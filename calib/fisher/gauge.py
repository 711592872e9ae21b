"""Directions of parameter space that no data of a kind can show, and how a null space is named by them.

A change of the array that equals a change of all source directions stays hidden. For every such change known by
name, its effect on B = diag(g) C and on the positions is written down and translated into the parameters that
are unknown; what of it is really unseen is decided by the data's own null space, never by this list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.fisher.array import TWO_PI, ArrayPoint, Unknowns, array_columns

#: Part of a change that may be left over when it is written in the unknown parameters.
_EXACT = 1e-6
_NAMED = 1e-4
_AXIS = "xyz"


@dataclass(frozen=True, slots=True)
class Hidden:
    """A named change. name : key of `calib.fisher.words`. vector : (P,) unit norm.

    miss : norm of the part that the unknown parameters cannot express, relative to the change; 0 = exact.
    """

    name: str
    vector: NDArray[np.float64]
    miss: float


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction of parameter space. name : of a `Hidden`, or "" and then `parameters` are the largest.

    vector : (P,) unit norm, nepers, radians, radians of path, numbers. sigma_rad : standard deviation along it,
    rms per element in the same units, infinite in the null space. relative : singular value over the largest.
    """

    name: str
    vector: NDArray[np.float64]
    sigma_rad: float
    relative: float
    parameters: tuple[str, ...] = ()


def known_changes(point: ArrayPoint, unknowns: Unknowns) -> list[Hidden]:
    """Every named change that the unknown parameters can express at least roughly, conventions first."""
    base, n = point.base(), point.n_elements
    path = TWO_PI * (point.positions - point.positions.mean(axis=0))
    still = np.zeros((n, 3))
    changes: list[tuple[str, NDArray[np.complex128], NDArray[np.float64]]] = [
        ("scale", base, still),
        ("phase", 1j * base, still),
    ]
    spanned = [a for a in range(3) if np.ptp(path[:, a]) > 1e-6]
    for a in unknowns.axes:
        changes.append((f"shift-{_AXIS[a]}", 0 * base, still + np.eye(3)[a]))
    for a in spanned:
        changes.append((f"ramp-{_AXIS[a]}", 1j * base * path[:, a], still))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        turn = np.zeros((3, 3))
        turn[a, b], turn[b, a] = 1.0, -1.0
        changes.append((f"rotation-{_AXIS[a]}{_AXIS[b]}", 0 * base, path @ turn))
    changes.append(("stretch", 0 * base, path))
    for a in spanned:
        for b in unknowns.axes:
            step = np.zeros((n, 3))
            step[:, b] = path[:, a]
            changes.append((f"map-{_AXIS[a]}{_AXIS[b]}", 0 * base, step))
    changes += [(name, base @ step, still) for name, step in _warps(point)]
    for a in unknowns.axes:
        for m in range(n):
            changes.append((f"every-{_AXIS[a]}", 0 * base, np.outer(np.eye(n)[m], np.eye(3)[a])))
    columns = _base_columns(point, unknowns)
    found = [_expressed(name, point, unknowns, columns, db, dr) for name, db, dr in changes]
    return [h for h in found if h is not None]


def _warps(point: ArrayPoint) -> list[tuple[str, NDArray[np.complex128]]]:
    """Equal spacing d on a line: z = exp(j 2 pi d u) may be mapped by any Moebius map that keeps the circle.

    The polynomials 1, z, ... z^(N-1) are mapped into themselves by z' = (a z + b)/(b* z + a*).
    """
    if point.kind != "line":
        return []
    order = np.argsort(point.positions[:, 0])
    steps = np.diff(point.positions[order, 0])
    if np.ptp(steps) > 1e-6 * abs(steps.mean()):
        return []
    n = point.n_elements
    place = np.arange(n)
    down, up = np.zeros((n, n), complex), np.zeros((n, n), complex)
    down[place[1:], place[:-1]] = place[1:]  # d/dz
    up[place[:-1], place[1:]] = place[:-1] - (n - 1)  # z^2 d/dz - (n - 1) z
    rank = np.argsort(order)
    out = []
    for step in (0.5j * (up + down), 0.5 * (up - down)):
        out.append(("warp", step[np.ix_(rank, rank)]))
    return out


def _base_columns(point: ArrayPoint, unknowns: Unknowns) -> NDArray[np.float64]:
    """dB/dparameter as real columns (2 N^2, P), zero for positions."""
    n = point.n_elements
    eye = np.eye(n, dtype=complex)
    silent = np.zeros((1, n, 3))
    columns = array_columns(point, unknowns, silent, eye[None])
    product = columns.x.T[:, :, None] * columns.y[0][:, None, :]  # (E, N, N): S = identity makes A = B
    flat = product.reshape(len(product), -1)
    return np.concatenate((flat.real, flat.imag), axis=1).T @ columns.collect


def _expressed(
    name: str,
    point: ArrayPoint,
    unknowns: Unknowns,
    columns: NDArray[np.float64],
    db: NDArray[np.complex128],
    dr: NDArray[np.float64],
) -> Hidden | None:
    n = point.n_elements
    size = float(np.sqrt(np.linalg.norm(db) ** 2 + np.linalg.norm(dr) ** 2))
    if size == 0:
        return None
    vector = np.zeros(columns.shape[1])
    lost = 0.0
    if np.any(db):
        target = np.concatenate((db.real.ravel(), db.imag.ravel()))
        vector = np.asarray(np.linalg.lstsq(columns, target, rcond=1e-12)[0], np.float64)
        lost = float(np.linalg.norm(columns @ vector - target))
    groups = unknowns.groups(n)
    for a in range(3):
        if _AXIS[a] in groups:
            vector[groups[_AXIS[a]]] += dr[:, a]
        else:
            lost = float(np.hypot(lost, np.linalg.norm(dr[:, a])))
    norm = float(np.linalg.norm(vector))
    if norm < 1e-9 * size or lost > 0.7 * size:
        return None
    return Hidden(name, vector / norm, lost / size)


def name_null_space(
    null: NDArray[np.float64], known: list[Hidden], point: ArrayPoint, unknowns: Unknowns
) -> list[Direction]:
    """Name an orthonormal null space (P, r): r directions, those without a name described by parameters."""
    named = np.zeros((len(null), 0))
    out: list[Direction] = []
    for hidden in known:
        if hidden.miss > _EXACT or len(out) == null.shape[1]:
            continue
        seen = hidden.vector - null @ (null.T @ hidden.vector)
        if np.linalg.norm(seen) > _NAMED:
            continue
        fresh = hidden.vector - named @ (named.T @ hidden.vector)
        if np.linalg.norm(fresh) < 1e-3:
            continue
        named = np.column_stack((named, fresh / np.linalg.norm(fresh)))
        out.append(Direction(hidden.name, hidden.vector, np.inf, 0.0))
    inside = null - named @ (named.T @ null)
    u = np.asarray(np.linalg.svd(inside, full_matrices=False)[0], np.float64)
    exact = [h for h in known if h.miss <= _EXACT and not h.name.startswith("every")]
    for vector in np.asarray(u.T[: null.shape[1] - len(out)], np.float64):
        out.append(
            Direction(
                _mixture(vector, exact), vector, np.inf, 0.0, largest_parameters(vector, point, unknowns)
            )
        )
    return out


def _mixture(vector: NDArray[np.float64], known: list[Hidden]) -> str:
    """ "mix" if the direction is composed of named changes, as what one known angle leaves of offset and scale."""
    if not known:
        return ""
    span = np.linalg.svd(np.array([h.vector for h in known]).T, full_matrices=False)
    basis = span[0][:, span[1] > 1e-6 * span[1][0]]
    return "mix" if np.linalg.norm(vector - basis @ (basis.T @ vector)) < _NAMED else ""


def name_direction(
    vector: NDArray[np.float64],
    null: NDArray[np.float64],
    known: list[Hidden],
    point: ArrayPoint,
    unknowns: Unknowns,
) -> tuple[str, tuple[str, ...]]:
    """The change that a seen direction resembles most (more than half of its square), else its parameters."""
    best, name = 0.5, ""
    for hidden in known:
        outside = hidden.vector - null @ (null.T @ hidden.vector)
        norm = np.linalg.norm(outside)
        if norm < 1e-3:
            continue
        match = float((vector @ outside / norm) ** 2)
        if match > best:
            best, name = match, hidden.name
    return name, () if name else largest_parameters(vector, point, unknowns)


def largest_parameters(
    vector: NDArray[np.float64], point: ArrayPoint, unknowns: Unknowns, count: int = 3
) -> tuple[str, ...]:
    """Labels of the parameters that move most."""
    order = np.argsort(-np.abs(vector))[:count]
    return tuple(unknowns.label(point.n_elements, int(i)) for i in order if abs(vector[i]) > 0.1)
