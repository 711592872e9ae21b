"""A flipped cable: one element's phase has jumped by 180 degrees since a calibration was made.

Without a stored calibration a sign is part of the unknown gain and nobody can see it. With one, the new phases
learned from live data differ from the stored ones by a constant for every coherent group (a new epoch), by
the phase ramp along a line (the gauge of the new learning), by drift, and by 180 degrees where a cable was
turned round or an adapter inverts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from calib.diagnose.finding import Finding
from calib.diagnose.fitted import fit_array
from calib.observations import Observations
from hil.core.calibration import Calibration
from hil.core.errors import NotConverged
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S

_MOST_FLIPS = 2
_DRIFT_RAD = np.deg2rad(12.0)
_FLIP_COST = 4.0
_SURE = np.log(100.0)


@dataclass(frozen=True, slots=True)
class PhaseJump:
    """flipped : elements. rivals : other sets that explain the phases as well. residual_rad : rms of what is left
    (of all elements). log_odds : of the likeliest flips against none."""

    flipped: tuple[int, ...]
    rivals: tuple[tuple[int, ...], ...]
    residual_rad: float
    log_odds: float


def phase_jumps(
    before: NDArray[np.complex128],
    now: NDArray[np.complex128],
    x_wavelengths: NDArray[np.float64] | None,
    groups: tuple[tuple[int, ...], ...] = (),
) -> PhaseJump:
    """Which elements jumped by 180 degrees between two gain vectors (M,).

    x_wavelengths : (M,) places on a line whose ramp is open between the two, None: no ramp is open.
    groups : elements that share an LO phase within each epoch; (): all share one.
    """
    m = len(before)
    step = now / before
    step = step / np.abs(step)
    parts = [list(p) for p in groups] if groups else [list(range(m))]
    ramps = np.zeros((1, m))
    if x_wavelengths is not None:
        x = x_wavelengths - x_wavelengths.mean()
        be = np.arange(-1.2, 1.2, 0.02 / max(float(np.ptp(x)), 0.5))
        ramps = 2 * np.pi * be[:, None] * x
    turned = step * np.exp(-1j * ramps)
    found: list[tuple[float, float, tuple[int, ...]]] = []
    for count in range(_MOST_FLIPS + 1):
        for flips in combinations(range(m), count):
            trial = turned.copy()
            trial[:, list(flips)] *= -1
            square = np.zeros(len(trial))
            for part in parts:
                mean = trial[:, part].sum(axis=1)
                off = np.angle(trial[:, part] * np.exp(-1j * np.angle(mean))[:, None])
                square += np.sum(off**2, axis=1)
            least = float(square.min())
            found.append((least / (2 * _DRIFT_RAD**2) + _FLIP_COST * count, least, flips))
    found.sort()
    cost, least, flips = found[0]
    rivals = tuple(f for c, _, f in found[1:] if c < cost + 3.0 and len(f) == len(flips))
    none = next(c for c, _, f in found if not f)
    flipped = next(c for c, _, f in found if f)
    return PhaseJump(flips, rivals, float(np.sqrt(least / m)), none - flipped)


def diagnose_cables(
    obs: Observations,
    calibration: Calibration,
    n_sources: int | None,
    *,
    seed: int = 0,
    time_limit_s: float = 5.0,
) -> Finding:
    """Compare phases learned from live blocks (positions as calibrated) with those stored.

    Raises NotIdentifiable if nothing moves, NotConverged if the calibrated positions do not fit the data.
    """
    imp, geometry = calibration.impairments, calibration.geometry
    known = ArrayGeometry(geometry.positions_m + imp.position_error_m, geometry.labels, geometry.name)
    fitted = fit_array(
        obs, known, calibration.fc_hz, n_sources, position_std_m=0.0, seed=seed, time_limit_s=time_limit_s
    )
    if not fitted.fits:
        raise NotConverged(
            "the calibrated positions do not explain these data",
            hint="is it the same array with the same ports? hil diagnose without --calibration looks for swapped ports",
        )
    now = np.empty(geometry.n_elements, complex)
    now[fitted.layout.order] = fitted.fit.model.g / fitted.prepared.whitening
    x = known.positions_m[:, 0] * calibration.fc_hz / SPEED_OF_LIGHT_M_S if fitted.layout.is_line else None
    jump = phase_jumps(imp.gain, now, x, tuple(tuple(g) for g in calibration.coherent_groups))
    confidence = float(1 / (1 + np.exp(-min(abs(jump.log_odds), 500.0))))
    if not jump.flipped or jump.log_odds < _SURE:
        return Finding(
            "flipped-cable", False,
            f"no element jumped by 180 degrees (phases differ by {np.rad2deg(jump.residual_rad):.1f} degrees rms)",
            "", confidence if not jump.flipped else 0.5,
        )  # fmt: skip
    which = " and ".join(str(c) for c in jump.flipped)
    rivals = "".join(f", or channel {' and '.join(map(str, r))}" for r in jump.rivals[:6])
    return Finding(
        "flipped-cable", True, f"channel {which}{rivals} jumped by 180 degrees since the calibration",
        "check its cable, balun or adapter for reversed polarity, or learn again (hil learn)",
        confidence / (1 + len(jump.rivals)), jump.flipped,
    )  # fmt: skip
