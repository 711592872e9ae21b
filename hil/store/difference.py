"""Two calibrations of one array, element by element, both in the gauge of files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.gauge import canonical

_FIELD_DEG = (-60.0, 60.0)


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Second minus first.

    Attributes
    ----------
    first, second : ids. same_device, same_epoch, same_geometry : whether they speak of the same.
    correlation_min : smallest normalised |a^H b| of the steering vectors between -60 and 60 degrees at the carrier of
        the first; NaN where angle-dependent tables do not overlap. coupling_change : greatest of all entries, ratio.
    gain_db, phase_deg, delay_s (M,), position_m (M, 3) : changes. sigma_gain_db, sigma_phase_deg, sigma_delay_s (M,),
        sigma_position_m (M, 3) : one standard deviation of each change, NaN where a method does not know its own.
    """

    first: str
    second: str
    same_device: bool
    same_epoch: bool
    same_geometry: bool
    correlation_min: float
    coupling_change: float
    gain_db: NDArray[np.float64]
    phase_deg: NDArray[np.float64]
    position_m: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    sigma_gain_db: NDArray[np.float64]
    sigma_phase_deg: NDArray[np.float64]
    sigma_position_m: NDArray[np.float64]
    sigma_delay_s: NDArray[np.float64]


def difference(a: Calibration, b: Calibration) -> Difference:
    """What changed from `a` to `b`. Raises ConfigError if they have different numbers of elements."""
    if a.geometry.n_elements != b.geometry.n_elements:
        raise ConfigError(
            f"{a.geometry.n_elements} and {b.geometry.n_elements} elements: nothing to compare",
            hint="compare calibrations of one array",
        )
    x, y = canonical(a.impairments), canonical(b.impairments)
    ratio = y.gain / x.gain
    return Difference(
        first=a.id,
        second=b.id,
        same_device=a.device_serial == b.device_serial,
        same_epoch=a.epoch is not None and a.epoch == b.epoch,
        same_geometry=a.geometry.equals(b.geometry),
        correlation_min=_correlation_min(a, b),
        coupling_change=float(np.max(np.abs(y.coupling - x.coupling))),
        gain_db=20 * np.log10(np.abs(ratio)),
        phase_deg=np.degrees(np.angle(ratio)),
        position_m=y.position_error_m - x.position_error_m,
        delay_s=y.delay_s - x.delay_s,
        sigma_gain_db=np.hypot(a.sigma.gain_db, b.sigma.gain_db),
        sigma_phase_deg=np.hypot(a.sigma.phase_deg, b.sigma.phase_deg),
        sigma_position_m=np.hypot(a.sigma.position_m, b.sigma.position_m),
        sigma_delay_s=np.hypot(a.sigma.delay_s, b.sigma.delay_s),
    )


def _correlation_min(a: Calibration, b: Calibration) -> float:
    angles_deg = np.linspace(*_FIELD_DEG, 121)
    for table_deg in (a.impairments.angle_table_deg, b.impairments.angle_table_deg):
        if table_deg is not None:
            angles_deg = angles_deg[(angles_deg >= table_deg[0]) & (angles_deg <= table_deg[-1])]
    if not len(angles_deg):
        return float("nan")
    p, q = (c.steering(angles_deg, a.fc_hz) for c in (a, b))
    match = np.abs(np.sum(p.conj() * q, axis=0)) / (np.linalg.norm(p, axis=0) * np.linalg.norm(q, axis=0))
    return float(match.min())
