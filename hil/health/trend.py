"""Did the array change at once or bit by bit? Its log gains followed from block to block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hil.health.manifold import Manifold, Signals
from hil.health.nulls import normal_equations, quality, solve

_STEPS = 3
_JOINED = 3  # blocks: their mean is one point of the way
#: A change is gradual if no single step holds more of it. At once, it would fall on two steps at most.
_LARGEST_STEP = 0.45


def follow(
    manifold: Manifold, blocks: Sequence[Signals], allowance: float
) -> tuple[NDArray[np.complex128], float]:
    """Log gains (B, M) of every block, each started from the one before; median q of the last blocks with them."""
    m = manifold.n_elements
    z = np.zeros(m, complex)
    out, misfit = [], []
    for signals in blocks:
        k = signals.u.shape[2]
        for _ in range(_STEPS):
            nulls = manifold.nulls(signals, np.exp(z))
            step = solve(normal_equations(nulls, k, allowance), ridge=1e-3).z
            z = z + step * min(1.0, 0.5 / max(float(np.abs(step).max()), 1e-9))
        misfit.append(float(np.median(quality(manifold.nulls(signals, np.exp(z)), k, allowance))))
        out.append(z)
    return np.array(out), float(np.median(misfit[-4:]))


def is_gradual(z: NDArray[np.complex128]) -> bool:
    """True if the phases of z (B, M) moved in many steps of the same direction."""
    count = len(z) // _JOINED
    if count < 6:
        return False
    phase = np.unwrap(z.imag, axis=0)[-count * _JOINED :].reshape(count, _JOINED, -1).mean(axis=1)
    total = phase[-1] - phase[0]
    size = float(np.linalg.norm(total))
    if size < np.deg2rad(1.0):
        return False
    progress = (phase - phase[0]) @ total / size**2
    return bool(np.max(np.abs(np.diff(progress))) < _LARGEST_STEP)


def drift_rms_deg(z: NDArray[np.complex128]) -> float:
    """Root mean square of the phases (M,) without their mean, degrees."""
    phase = z.imag - z.imag.mean()
    return float(np.rad2deg(np.sqrt(np.mean(phase**2))))
