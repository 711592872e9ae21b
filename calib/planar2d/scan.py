"""Alternating eigen-scan of a plane: closed-form gains, positions element by element, no gradient.

    W = mean over peaks of Z Z^H,  Z = diag(exp(-j 2 pi r . d)) U_s

For fixed positions and directions the gains with the smallest sum of null depths are W's principal
eigenvector. For one element, all others fixed, the largest eigenvalue on the span of the others' gains and
that element grows with |sum_m W_nm(p) g_m|, which is scanned over p on shrinking squares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.observations import Subspaces
from calib.planar2d.model import TWO_PI, Plane, find_peaks

_POINTS = 11


def eigen_scan(
    model: Plane,
    sub: Subspaces,
    d: NDArray[np.float64],
    used: NDArray[np.bool_] | None = None,
    *,
    free_positions: bool = True,
    reaches: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
    n_rounds: int = 3,
) -> Plane:
    """Gains and positions for known directions d (B, K, 2): with true directions this is pilot calibration.

    used (B, K): peaks that count, default all. reaches: half widths in wavelengths of the squares that are
    scanned one after the other around each element, n_rounds over all elements each.
    """
    keep = np.ones(d.shape[:2], bool) if used is None else used
    here = d[keep]
    signal = sub.signal[np.nonzero(keep)[0]]  # (L, N, K)
    g, r = model.g.copy(), model.r.copy()
    z = np.exp(-1j * TWO_PI * (here @ r.T))[:, :, None] * signal
    g = _principal(z)
    if not free_positions:
        return Plane(g, r).normalised()
    for reach in reaches:
        offset = np.linspace(-reach, reach, _POINTS)
        for _ in range(n_rounds):
            total = np.einsum("n,lnk->lk", g.conj(), z)
            for n in range(len(g)):
                rest = total - g[n].conj() * z[:, n]
                c = np.sum(signal[:, n] * rest.conj(), axis=1)
                along_x = np.exp(-1j * TWO_PI * np.multiply.outer(r[n, 0] + offset, here[:, 0])) * c
                along_y = np.exp(-1j * TWO_PI * np.multiply.outer(here[:, 1], r[n, 1] + offset))
                score = np.abs(along_x @ along_y)
                i, j = np.unravel_index(int(np.argmax(score)), score.shape)
                r[n] += offset[i], offset[j]
                z[:, n] = np.exp(-1j * TWO_PI * (here @ r[n]))[:, None] * signal[:, n]
                # the element's own gain follows at once; all gains follow after the round
                g[n] = np.abs(g[n]) * np.exp(1j * np.angle(np.sum(z[:, n] * rest.conj())))
                total = rest + g[n].conj() * z[:, n]
            g = _principal(z)
    return Plane(g, r).normalised()


def eigen_scan_unlabelled(
    model: Plane,
    sub: Subspaces,
    *,
    radius: float = 1.1,
    free_positions: bool = True,
    n_rounds: int = 12,
    dropped: float = 0.3,
    reach: float = 0.1,
) -> Plane:
    """Alternate the search of the nulls and the scan; the shallowest share `dropped` of nulls is left out.

    The squares shrink from `reach` to 1 % of it over the rounds. Which linear map and ramps the result has
    is arbitrary, as for every unlabelled method.
    """
    for step in range(n_rounds):
        d, depth = find_peaks(model, sub, radius)
        used = depth <= np.quantile(depth, 1 - dropped)
        width = reach * 0.01 ** (step / max(n_rounds - 1, 1))
        model = eigen_scan(
            model, sub, d, used, free_positions=free_positions, reaches=(width, width / 4), n_rounds=2
        )
    return model


def _principal(z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Unit-norm principal eigenvector of sum Z Z^H."""
    flat = z.transpose(1, 0, 2).reshape(z.shape[1], -1)
    return np.linalg.eigh(flat @ flat.conj().T)[1][:, -1]
