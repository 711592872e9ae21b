"""What is known and what is not, as numbers and as words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.fisher.array import Unknowns
from calib.fisher.gauge import Direction
from calib.fisher.next_angle import NextAngle
from calib.fisher.words import is_convention
from hil.core.calibration import Sigma

_MOST_WEAK = 4  # sentences in `text`
GAUGE_WORDS = (
    "gains relative to their mean, phases relative to element 1, positions around their mean; "
    "what cannot be known is held fixed"
)


@dataclass(frozen=True, slots=True)
class Identifiability:
    """What can be known.

    Attributes
    ----------
    null : directions of parameter space without any information, conventions (common complex gain, common shift)
        included. weak : directions seen so badly that one sigma along them spoils the array, or that have a
        singular value under 3 % of the largest. singular_values : (P,) descending, 1/sigma.
    null_space, weak_words : the same as sentences, conventions left out. notes : further remarks.
    covariance : (P, P) float64, Cramer-Rao bound of the parameters (nepers, radians, radians of path, numbers)
        in the least-squares gauge: no error along `null`.
    sigma : standard deviation per element in the gauge of `gauge`; NaN positions are not unknown.
    coupling_sigma : (L or N (N - 1),) standard deviation of each complex coupling number, empty if known.
    angle_deg : (B, K) where the sources were. crb_known_deg, crb_learned_deg : (B, K, Q) float64 bound on each angle
        (azimuth, elevation) with the array known, and with the array unknown and learned jointly.
    next_angle, next_known_angle : most informative further look, its angle unknown or known.
    assumptions : in words, what was taken as given. n_snapshots : T of a block.
    """

    unknowns: Unknowns
    null: tuple[Direction, ...]
    weak: tuple[Direction, ...]
    singular_values: NDArray[np.float64]
    null_space: tuple[str, ...]
    weak_words: tuple[str, ...]
    notes: tuple[str, ...]
    covariance: NDArray[np.float64]
    sigma: Sigma
    coupling_sigma: NDArray[np.float64]
    angle_deg: NDArray[np.float64]
    crb_known_deg: NDArray[np.float64]
    crb_learned_deg: NDArray[np.float64]
    next_angle: NextAngle
    next_known_angle: NextAngle | None
    assumptions: tuple[str, ...]
    n_snapshots: float
    gauge: str = GAUGE_WORDS

    @property
    def n_open(self) -> int:
        """Directions that cannot be known, besides the common complex gain and the common shift."""
        return sum(not is_convention(d) for d in self.null)

    @property
    def crb_doa_deg(self) -> dict[str, float]:
        """Rms of the azimuth or broadside angle over all sources and blocks, degrees: "known" array, and "learned"
        jointly."""

        def rms(bound: NDArray[np.float64]) -> float:
            first = bound[..., 0]
            first = first[np.isfinite(first)]
            return float(np.sqrt(np.mean(first**2))) if len(first) else float("inf")

        return {"known": rms(self.crb_known_deg), "learned": rms(self.crb_learned_deg)}

    @property
    def next_angle_deg(self) -> float:
        """Direction of the most informative further block."""
        return self.next_angle.angle_deg

    def text(self) -> str:
        """All of it in plain words, one statement a line."""
        lines = list(self.null_space) or ["these data leave nothing open"]
        lines += self.weak_words[:_MOST_WEAK]
        if len(self.weak_words) > _MOST_WEAK:
            lines.append(f"{len(self.weak_words) - _MOST_WEAK} more directions are weakly seen")
        lines += self.notes
        doa = self.crb_doa_deg
        lines.append(
            f"directions: at best {doa['known']:.2g} degrees rms per block of {self.n_snapshots:.0f} snapshots with the "
            f"array known, {doa['learned']:.2g} with the array learned from these blocks"
            + (", apart from what stays open" if self.n_open else "")
        )
        lines.append(self.next_angle.text())
        if self.next_known_angle is not None:
            lines.append(f"the best known angle to give is {self.next_known_angle.angle_deg:.0f} degrees")
        lines += [f"assumed: {words}" for words in self.assumptions]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: null_space, weak, sigma per element, crb_doa_deg, next_angle_deg, assumptions and more."""
        return {
            "null_space": list(self.null_space),
            "n_open": self.n_open,
            "weak": list(self.weak_words),
            "notes": list(self.notes),
            "sigma": {
                "gain_db": self.sigma.gain_db, "phase_deg": self.sigma.phase_deg, "position_m": self.sigma.position_m,
            },
            "coupling_sigma": self.coupling_sigma,
            "gauge": self.gauge,
            "crb_doa_deg": self.crb_doa_deg,
            "next_angle_deg": self.next_angle_deg,
            "next_angle_bits": self.next_angle.bits,
            "next_known_angle_deg": self.next_known_angle.angle_deg if self.next_known_angle else None,
            "assumptions": list(self.assumptions),
        }  # fmt: skip
