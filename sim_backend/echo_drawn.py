"""Errors of the transmit chains and the leakage between channels, drawn once from the seed of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_backend.drawn import NOTHING_DB, stream
from sim_backend.scene import Scene


@dataclass(frozen=True, slots=True, eq=False)
class TxDrawn:
    """Transmit side of the M channels that carry elements, in channel order.

    Attributes
    ----------
    gain : (M,) complex128, of every transmit chain without LO phase and attenuation.
    leakage : (M, M) complex128, [transmit channel, receive element], 1 is as strong as the echo of a target of
        rcs_db = 0 of the same transmission; without the gains of the chains. All zero: none.
    """

    gain: NDArray[np.complex128]
    leakage: NDArray[np.complex128]


def draw_tx(scene: Scene) -> TxDrawn:
    """Draw the transmit errors of a scene; every field has a random stream of its own."""
    spec, m = scene.transmit, scene.n_elements
    phase_rng, gain_rng = stream(scene.seed, "tx", 2), stream(scene.seed, "tx", 3)
    if spec.phase_std_deg is None:
        phase_rad = 2 * np.pi * phase_rng.random(m)
    else:
        phase_rad = np.deg2rad(spec.phase_std_deg) * phase_rng.standard_normal(m)
    dg = (gain_rng.standard_normal(m) + 1j * gain_rng.standard_normal(m)) / np.sqrt(2)
    rng = stream(scene.seed, "tx", 4)
    level_db = spec.leakage_db + spec.leakage_spread_db * (2 * rng.random((m, m)) - 1)
    leakage = np.asarray(10 ** (level_db / 20) * np.exp(2j * np.pi * rng.random((m, m))), np.complex128)
    if spec.leakage_db <= NOTHING_DB:
        leakage *= 0
    return TxDrawn((1 + spec.gain_std * dg) * np.exp(1j * phase_rad), leakage)
