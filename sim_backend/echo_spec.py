"""What a scene says about echoes: its targets and the array's own transmitters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim_backend.scene import Track


@dataclass(frozen=True, slots=True)
class TargetHop:
    """A new angle and, if both limits are given, a new range, uniform in min_m..max_m, every `period_s`."""

    period_s: float = 0.01
    min_deg: float = -60.0
    max_deg: float = 60.0
    min_m: float | None = None
    max_m: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A point that echoes the device's own transmission (levels: sim_backend.echo).

    `range_m` from the array's origin at scene second 0; `speed_m_s` positive: receding. `phase_deg` of the
    reflection. A hop draws new angles (and ranges), a track turns the target about the array.
    """

    angle_deg: float = 0.0
    range_m: float = 10.0
    rcs_db: float = 0.0
    speed_m_s: float = 0.0
    elevation_deg: float = 0.0
    phase_deg: float = 0.0
    hop: TargetHop | None = None
    track: Track | None = None

    @property
    def range_deg(self) -> tuple[float, float]:
        """Declared range of the angle."""
        move = self.hop or self.track
        return (move.min_deg, move.max_deg) if move else (self.angle_deg, self.angle_deg)

    @property
    def still(self) -> bool:
        """True if neither its range nor its angle changes."""
        return not (self.speed_m_s or self.hop or self.track)


@dataclass(frozen=True, slots=True)
class TransmitSpec:
    """The array's own transmitters: leakage into the receivers, and errors drawn once from the seed.

    Attributes
    ----------
    leakage_db : direct path from a transmit channel to a receive element, relative to the echo of a target of
        rcs_db = 0; every pair has a phase of its own and a level within +-`leakage_spread_db`.
    leakage_delay_s : of the direct path. gain_std : of |dg| around 1 of the transmit chains, complex normal.
    phase_std_deg : extra random phase of every transmit chain; None: uniform on the circle.
    """

    leakage_db: float = 10.0
    leakage_spread_db: float = 2.0
    leakage_delay_s: float = 0.0
    gain_std: float = 0.0
    phase_std_deg: float | None = None
