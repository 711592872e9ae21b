"""Fisher information of an array's parameters in the blocks seen, with everything of a single block eliminated.

    R_b = A_b P_b A_b^H + s2_b I,   A_b = diag(g) C S(d_b),   F_ij = T tr(R^-1 dR/di R^-1 dR/dj)

(stochastic model: Slepian 1954, Bangs 1971; Stoica and Moses 2005, B.3.3). With W = R^-1/2 the entries are
inner products of W dR/di W, so every block is a real matrix J_b whose columns are the parameters.
Angles, source powers and noise of the block are projected out of the array's columns (the Schur complement,
without squaring condition numbers), and a QR factor gathers the blocks: thousands of them cost seconds.

Parameters of the array are measured in nepers (log-gain), radians (phase), radians of path (2 pi position /
wavelength) and as numbers (coupling), so that a unit is of comparable effect in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.fisher.array import ArrayPoint, Unknowns, array_columns
from hil.core.checks import array
from hil.core.errors import ShapeError

SourceModel = Literal["correlated", "uncorrelated"]
_CHUNK_ROWS = 40_000


@dataclass(frozen=True, slots=True)
class Looks:
    """B blocks of K sources each, as they were seen or as they are planned.

    Attributes
    ----------
    direction : (B, K, 3) float64, unit vectors from the array to the sources; on a line only the first
        component acts, and it may exceed 1 where a gauge is not fixed yet.
    tangent : (B, K, Q, 3) float64, change of the direction along its Q unknown coordinates (1: azimuth or
        sin of the broadside angle; 2: azimuth and elevation).
    per_coordinate_rad : (B, K, Q) float64, radians of angle for a unit of each coordinate.
    source_covariance : (B, K, K) complex128, P. noise : (B,) float64, s2, same scale. n_snapshots : T.
    known_sigma_rad : (B, K, Q) float64, standard deviation of what is known beforehand about a source's
        angles in radians, infinite if nothing, 0 if exactly known.
    emitter : (B, K) int64, blocks with the same number >= 0 show one standing emitter while the table turns
        by known steps: their angles share one unknown. -1: an angle of its own.
    """

    direction: NDArray[np.float64]
    tangent: NDArray[np.float64]
    per_coordinate_rad: NDArray[np.float64]
    source_covariance: NDArray[np.complex128]
    noise: NDArray[np.float64]
    n_snapshots: float
    known_sigma_rad: NDArray[np.float64]
    emitter: NDArray[np.int64]

    def __post_init__(self) -> None:
        direction = array("direction", self.direction, np.float64, (None, None, 3))
        b, k = direction.shape[:2]
        q = np.shape(self.tangent)[2] if np.ndim(self.tangent) == 4 else 1
        checked = {
            "direction": direction,
            "tangent": array("tangent", self.tangent, np.float64, (b, k, q, 3)),
            "per_coordinate_rad": array("per_coordinate_rad", self.per_coordinate_rad, np.float64, (b, k, q)),
            "source_covariance": array("source_covariance", self.source_covariance, np.complex128, (b, k, k)),
            "noise": array("noise", self.noise, np.float64, (b,)),
        }
        if np.shape(self.known_sigma_rad) != (b, k, q) or np.shape(self.emitter) != (b, k):
            raise ShapeError(f"known_sigma_rad, emitter: need the shapes {(b, k, q)}, {(b, k)}")
        if b < 1 or k < 1 or not self.n_snapshots > 0 or np.any(checked["noise"] <= 0):
            raise ShapeError("looks: need at least one block, one source, snapshots and noise above zero")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def n_blocks(self) -> int:
        """B."""
        return len(self.direction)

    @property
    def n_sources(self) -> int:
        """K."""
        return self.direction.shape[1]


@dataclass(frozen=True, slots=True)
class Information:
    """What B blocks say about P parameters of the array.

    Attributes
    ----------
    factor : (P, P) float64, upper triangular with F = factor^T factor, the array's information after all
        nuisances are eliminated. angle : (B, K Q, K Q) float64, information on a block's angles with the array
        known, in units of the coordinates. cross : (B, K Q, P), between angles and array, both after powers and
        noise are eliminated. conditioning : largest condition number of a block's covariance.
    """

    factor: NDArray[np.float64]
    angle: NDArray[np.float64]
    cross: NDArray[np.float64]
    conditioning: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(P, P) F."""
        return self.factor.T @ self.factor


def information(
    point: ArrayPoint, unknowns: Unknowns, looks: Looks, source_model: SourceModel = "correlated"
) -> Information:
    """Fisher information of the array's parameters, angles, powers and noise eliminated block by block.

    Parameters
    ----------
    point : the array at which the model is linearised. unknowns : which of its parameters are unknown.
    looks : the blocks. source_model : "correlated": every entry of P is unknown; "uncorrelated": the powers.

    Raises
    ------
    ShapeError : K >= N (no noise subspace), or the sizes do not match.
    """
    n, k = point.n_elements, looks.n_sources
    if k >= n:
        raise ShapeError(f"{k} sources: {n} elements separate 1 to {n - 1}")
    shared = int(looks.emitter.max(initial=-1)) + 1
    size = unknowns.size(n)
    factor = np.zeros((0, size + shared))
    angle, cross = [], []
    worst = 1.0
    step = max(1, _CHUNK_ROWS // n**2)
    for low in range(0, looks.n_blocks, step):
        part = slice(low, low + step)
        jac, angles, condition = _columns(point, unknowns, looks, part, source_model)
        worst = max(worst, condition)
        angle.append(angles.transpose(0, 2, 1) @ angles)
        cross.append(angles.transpose(0, 2, 1) @ jac)
        rows = _angles_eliminated(jac, angles, looks, part, shared)
        factor = triangular(np.concatenate((factor, rows.reshape(-1, rows.shape[-1]))))
    if shared:
        rest = _without(factor[None, :, :size], factor[None, :, size:])[0]
        factor = triangular(rest)
    if len(factor) < size:
        factor = np.concatenate((factor, np.zeros((size - len(factor), size))))
    return Information(factor, np.concatenate(angle), np.concatenate(cross), worst)


def triangular(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(min(R, P), P) upper triangular factor with the same Gram matrix as the rows (R, P)."""
    return np.asarray(np.linalg.qr(rows, mode="r"), np.float64)


def block_rows(
    point: ArrayPoint, unknowns: Unknowns, looks: Looks, source_model: SourceModel = "correlated"
) -> NDArray[np.float64]:
    """(B, R, P) rows whose Gram matrix is each block's own information about the array, nuisances eliminated."""
    jac, angles, _ = _columns(point, unknowns, looks, slice(None), source_model)
    return _angles_eliminated(jac, angles, looks, slice(None), 0)


def _columns(
    point: ArrayPoint, unknowns: Unknowns, looks: Looks, part: slice, source_model: SourceModel
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Real columns (B', R, .) of the array and of the angles, powers and noise eliminated; worst condition of R.

    In a basis whose first K vectors span the whitened A, no parameter of A moves the noise-noise block. Powers that
    are all unknown take the signal-signal block, so that the signal-noise block alone is left: R = 2 K (N - K).
    """
    steering, change = point.steering(looks.direction[part], looks.tangent[part])  # (B, N, K), (B, N, K, Q)
    base = point.base()
    a = base @ steering  # (B, N, K)
    p, noise = looks.source_covariance[part], looks.noise[part]
    n, k = a.shape[1:]
    values, vectors = np.linalg.eigh(a @ p @ a.conj().transpose(0, 2, 1))
    values = np.maximum(values, 0.0) + noise[:, None]
    white = (vectors / np.sqrt(values)[:, None, :]) @ vectors.conj().transpose(0, 2, 1)
    basis = np.linalg.qr(white @ a, mode="complete").Q
    into = basis.conj().transpose(0, 2, 1)
    aw = into[:, :k] @ (white @ a)  # (B, K, K)
    right = np.sqrt(looks.n_snapshots) * (p @ aw.conj().transpose(0, 2, 1))
    white = into @ white

    columns = array_columns(point, unknowns, looks.direction[part], steering)
    moved = base @ change.reshape(len(a), n, -1)  # (B, N, K Q)
    parts = [
        (white @ columns.x, columns.y @ right),
        (white @ moved, right.repeat(change.shape[-1], axis=1)),
    ]  # fmt: skip
    rows = [_signal_noise(left, r, k) for left, r in parts]
    if source_model == "uncorrelated":
        powers = aw.transpose(0, 2, 1)[:, :, :, None] * aw.conj().transpose(0, 2, 1)[:, :, None, :]
        inside = (
            into[:, :k] @ (vectors / values[:, None, :]) @ vectors.conj().transpose(0, 2, 1) @ basis[:, :, :k]
        )
        nuisance = np.concatenate((powers, inside[:, None]), axis=1)
        nuisance = (nuisance.real + nuisance.imag).reshape(len(a), k + 1, -1).transpose(0, 2, 1)
        only_noise = np.zeros((len(a), 1, k + 1))
        only_noise[:, 0, k] = np.sqrt(n - k) / noise
        nuisance = np.concatenate((nuisance, only_noise), axis=1)
        for i, (left, r) in enumerate(parts):
            inner = _signal_signal(left, r, k)
            inner = np.concatenate((inner, np.zeros((len(a), 1, inner.shape[2]))), axis=1)
            rows[i] = np.concatenate((rows[i], _without(inner, nuisance)), axis=1)
    return rows[0] @ columns.collect, rows[1], float(np.max(values[:, -1] / values[:, 0]))


def _signal_noise(left: NDArray[np.complex128], right: NDArray[np.complex128], k: int) -> NDArray[np.float64]:
    """Signal-noise block of l r^T + its adjoint for columns l of (B, N, P), rows r of (B, P, K): (B, 2 K (N - K), P)."""
    block = left.transpose(0, 2, 1)[:, :, k:, None] * right[:, :, None, :]
    flat = np.sqrt(2) * block.reshape(*block.shape[:2], -1).transpose(0, 2, 1)
    return np.concatenate((flat.real, flat.imag), axis=1)


def _signal_signal(
    left: NDArray[np.complex128], right: NDArray[np.complex128], k: int
) -> NDArray[np.float64]:
    """The same for the signal-signal block, (B, K^2, P): Re + Im keeps inner products of Hermitian matrices."""
    block = left.transpose(0, 2, 1)[:, :, :k, None] * right[:, :, None, :]
    both = block.real + block.imag + (block.real - block.imag).transpose(0, 1, 3, 2)
    return both.reshape(*both.shape[:2], -1).transpose(0, 2, 1)


def _without(columns: NDArray[np.float64], nuisance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The columns' part outside the span of the nuisance columns (rank-deficient spans included)."""
    scale = np.linalg.norm(nuisance, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(nuisance / np.where(scale > 0, scale, 1.0), full_matrices=False)
    u = u * (s > 1e-10 * s[:, :1])[:, None, :]
    for _ in range(2):  # the second pass removes what rounding left
        columns = columns - u @ (u.transpose(0, 2, 1) @ columns)
    return columns


def _angles_eliminated(
    jac: NDArray[np.float64], angles: NDArray[np.float64], looks: Looks, part: slice, shared: int
) -> NDArray[np.float64]:
    """Rows of (array, common angles) after each block's own angles are projected out."""
    sigma, emitter = looks.known_sigma_rad[part], looks.emitter[part]
    b, k, q = sigma.shape
    unit = looks.per_coordinate_rad[part]
    common = np.zeros((b, angles.shape[1], shared))
    tied = emitter >= 0
    for i in range(k):
        at = np.flatnonzero(tied[:, i])
        # tied angles move by the same number of radians; only the first coordinate turns with the table
        common[at, :, emitter[at, i]] += angles[at, :, i * q] / unit[at, i, 0, None]
    taken = sigma == 0
    taken[..., 0] |= tied
    free = angles * ~taken.reshape(b, 1, k * q)
    prior = np.where(taken | np.isinf(sigma), 0.0, unit / np.where(taken, 1.0, sigma)).reshape(b, k * q)
    rows = np.concatenate((jac, common), axis=2)
    if np.any(prior):
        # what is known about an angle is one more observation of it
        free = np.concatenate((free, prior[:, :, None] * np.eye(k * q)), axis=1)
        rows = np.concatenate((rows, np.zeros((b, k * q, rows.shape[2]))), axis=1)
    return _without(rows, free)
