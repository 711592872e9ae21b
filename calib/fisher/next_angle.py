"""Which direction to look at next: the one whose block tells most about the array (D-optimal design).

    gain(theta) = log det(F + F_theta) / 2 - log det F / 2,   F_theta = J^T J of one block, its own nuisances eliminated

in nats of entropy of the parameters (Fedorov 1972, 2.2; Chaloner and Verdinelli 1995, eq. 4). F holds what was
seen plus what is believed beforehand, so that it is finite where nothing has been seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from calib.fisher.array import TWO_PI, ArrayPoint, Unknowns
from calib.fisher.information import Information, Looks, SourceModel, block_rows, triangular

_GAIN_STD = 0.3  # nepers
_PHASE_STD = np.pi / np.sqrt(3)  # radians: uniform on the circle
_COUPLING_STD = 0.1


@dataclass(frozen=True, slots=True)
class NextAngle:
    """angle_deg : most informative. bits : what one block there tells. worst_deg, worst_bits : the least.

    angles_deg, gain_bits : (G,) float64, the whole curve.
    """

    angle_deg: float
    bits: float
    worst_deg: float
    worst_bits: float
    angles_deg: NDArray[np.float64]
    gain_bits: NDArray[np.float64]

    def text(self) -> str:
        """In words."""
        if self.bits < 1.02 * self.worst_bits:
            return f"one more block tells {self.bits:.2g} bits about the array, whatever its angle"
        shrink = 2.0 ** min(self.bits, 60.0)
        factor = f"{shrink:.3g} times" if shrink < 100 else f"over {10 ** int(np.log10(shrink)):,} times"
        return (
            f"the next most informative angle is {self.angle_deg:.0f} degrees: one block there tells {self.bits:.2g} "
            f"bits about the array (its volume of uncertainty becomes {factor} smaller), one at "
            f"{self.worst_deg:.0f} degrees {self.worst_bits:.2g}"
        )


def prior_precision(unknowns: Unknowns, n: int, position_std_wavelengths: float) -> NDArray[np.float64]:
    """(P,) 1/variance of what is believed before any data; weak on purpose."""
    out = np.zeros(unknowns.size(n))
    std = {"gain": _GAIN_STD, "phase": _PHASE_STD, "coupling": _COUPLING_STD}
    for name, columns in unknowns.groups(n).items():
        out[columns] = 1 / std.get(name, TWO_PI * max(position_std_wavelengths, 1e-6)) ** 2
    return out


def next_angle(
    point: ArrayPoint,
    unknowns: Unknowns,
    seen: Information,
    candidates: Looks,
    candidates_deg: NDArray[np.float64],
    *,
    position_std_wavelengths: float = 0.1,
    source_model: SourceModel = "correlated",
) -> NextAngle:
    """Compare candidate blocks.

    Parameters
    ----------
    seen : information of the blocks so far. candidates : one look each, (G, 1, ...); known angles (see
        `Looks.known_sigma_rad`) are compared as known ones. candidates_deg : (G,) their angles.
    """
    n = point.n_elements
    rows = block_rows(point, unknowns, candidates, source_model)
    prior = prior_precision(unknowns, n, position_std_wavelengths)
    stacked = triangular(np.concatenate((seen.factor, np.diag(np.sqrt(prior)))))
    # rows times the inverse factor: log det(I + J F^-1 J^T) without forming F
    flat = solve_triangular(stacked, rows.reshape(-1, rows.shape[2]).T, trans=1)
    white = flat.T.reshape(rows.shape)
    values = np.linalg.svd(white, compute_uv=False)
    bits = np.sum(np.log1p(values**2), axis=1) / (2 * np.log(2))
    best, worst = int(np.argmax(bits)), int(np.argmin(bits))
    return NextAngle(
        float(candidates_deg[best]), float(bits[best]), float(candidates_deg[worst]), float(bits[worst]),
        np.asarray(candidates_deg, float), bits,
    )  # fmt: skip
