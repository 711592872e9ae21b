"""How fast each source of a capture moves towards the array or away: the phase of its look from block to block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay_comb import Comb, step_of
from hil.dsp.angle_delay_looks import Look
from hil.dsp.angle_delay_model import Real

#: Share of a look's energy in one even turn from which it has a speed.
_EVEN = 0.5
#: Turns over the whole capture from which on a source moves.
_MOVES_TURNS = 0.5
_POINTS_PER_TURN = 8.0


def speeds_m_s(looks: Sequence[Look], time_s: Real, fc_hz: float) -> tuple[list[float], float]:
    """(speed away from the array of each look, greatest speed that the blocks tell from another).

    0 for what turns by less than half a cycle over all blocks, NaN for what does not turn evenly. time_s (B,) : of the
    blocks; with less than two nothing can be told.
    """
    if len(time_s) < 2:
        return [float("nan")] * len(looks), float("nan")
    step_s = step_of(time_s)
    turns = Comb(time_s, -0.5 / step_s, (0.5 - 1e-5) / step_s, _POINTS_PER_TURN)
    span_s = float(np.ptp(time_s))
    out = []
    for look in looks:
        along = look.values @ look.vector.conj()
        power = np.abs(turns(along[None])[0]) ** 2
        best = int(np.argmax(power))
        even = float(power[best]) / max(len(along) * float(np.sum(np.abs(along) ** 2)), 1e-300)
        nu = float(turns.shifts[best])
        moves = abs(nu) * span_s > _MOVES_TURNS
        out.append(float("nan") if even < _EVEN else -nu * SPEED_OF_LIGHT_M_S / fc_hz / 2 if moves else 0.0)
    return out, SPEED_OF_LIGHT_M_S / (4 * fc_hz * step_s)


def what_was_used(speeds: Sequence[float], most_m_s: float, *, still: bool, own: bool) -> str:
    """One line on the components that a lesson is made of, or "".

    still : each keeps its direction. own : echoes of the array's own transmission: a phase that turns evenly is a speed.
    """
    n = len(speeds)
    if not still:
        return f"{n} components at different delays were used" if n > 1 else ""
    moving = [v for v in speeds if v and np.isfinite(v)] if own else []
    if not moving:
        unsure = not own or not all(np.isfinite(speeds))
        kind = "components, each from one direction," if unsure else "targets that stand still"
        return f"{n} {kind} at different delays were used" if n > 1 else ""
    fast = ", ".join(f"{v:+.3g}" for v in moving)
    return (
        f"{n} target{'s' if n > 1 else ''}, each in one direction, {'were' if n > 1 else 'was'} used; "
        f"{len(moving)} of them move{'s' if len(moving) == 1 else ''} by {fast} m/s away from the array "
        f"(told only modulo {2 * most_m_s:.4g} m/s, from {-most_m_s:.4g} to {most_m_s:.4g}: what is faster shows as another speed)"
    )
