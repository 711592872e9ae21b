"""Doppler shifts beyond half the block rate: what they lose in the blocks, and which of them a path really has.

A block is a mean over some symbols. What turns by nu T cycles within a block of length T keeps sinc(nu T) of its
amplitude, and from block to block nu looks like nu + k/T. The symbols themselves tell these apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay_comb import step_of
from hil.dsp.angle_delay_model import Complex, Real

if TYPE_CHECKING:
    from hil.dsp.angle_delay_paths import Path

#: Greatest loss that is given back: beyond, the level would be a guess.
_MOST_LOSS_DB = 20.0
#: The best must be this much stronger than the next to be believed.
_CLEAR = 2.0


def folded(doppler_hz: Real | float, period_hz: float) -> Real:
    """Doppler shifts in -period/2..period/2 that look the same."""
    if not np.isfinite(period_hz):
        return np.asarray(doppler_hz, float)
    return (np.asarray(doppler_hz, float) / period_hz + 0.5) % 1.0 * period_hz - period_hz / 2


def averaging_loss_db(doppler_hz: float, block_s: float) -> float:
    """Loss of level by averaging over block_s, positive; 0 without a Doppler shift."""
    if not np.isfinite(doppler_hz):
        return 0.0
    kept = abs(float(np.sinc(doppler_hz * block_s)))
    return min(-20 * float(np.log10(max(kept, 1e-9))), _MOST_LOSS_DB)


def unfolded(
    paths: Sequence[Path],
    reference_s: float,
    fc_hz: float,
    csi: NDArray[np.complexfloating[Any, Any]],
    frequency_hz: Real,
    time_s: Real,
    steering: Complex,
    block_s: float,
) -> tuple[tuple[Path, ...], int]:
    """(paths with the Doppler shift among nu + k/block_s that shorter blocks show, how many of them stay undecided).

    paths : found in blocks of block_s. reference_s : their delay zero. csi (B, M, S) : of shorter blocks at time_s
    (B,) whose number in block_s is whole, the receivers' responses taken out. steering (M, K) : of the paths.
    """
    step_s = step_of(time_s)
    most = int(np.floor(block_s / step_s / 2 + 0.5))
    moving = csi - csi.mean(axis=0)
    out: list[Path] = []
    undecided = 0
    for path, a in zip(paths, steering.T, strict=True):
        if abs(path.doppler_hz) * float(np.ptp(time_s)) < 1:
            out.append(path)  # whole turns per block leave nothing in the blocks: what was found stands still
            continue
        shape = np.exp(-2j * np.pi * frequency_hz * (path.delay_s + reference_s))
        heard = (moving @ shape.conj()) @ a.conj()
        nu = folded(path.doppler_hz + np.arange(-most, most + 1) / block_s, 1 / step_s)
        power = np.abs(np.exp(-2j * np.pi * np.outer(nu, time_s)) @ heard) ** 2
        best = int(np.argmax(power))
        others = power[np.abs(nu - nu[best]) > 0.5 / block_s]
        if len(others) and power[best] < _CLEAR * float(others.max()):
            undecided += 1
            out.append(path)
            continue
        at = float(nu[best])
        more = averaging_loss_db(at, block_s) - averaging_loss_db(path.doppler_hz, block_s)
        out.append(
            replace(
                path, doppler_hz=at, range_rate_m_s=-at * SPEED_OF_LIGHT_M_S / fc_hz / 2,
                power_db=path.power_db + more,
            )
        )  # fmt: skip
    return tuple(out), undecided
