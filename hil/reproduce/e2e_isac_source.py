"""The generator as the learners see it: they choose beams, and scenes come back, with the truth where they may use it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.isac.beam import beams_of
from calib.isac.source import Batch
from hil.reproduce.e2e_isac_data import (
    NOMINAL,
    SPACING_HZ,
    SPEED_M_S,
    WINDOW_S,
    Scenes,
    TrueArray,
    draw_scenes,
)

#: the paper's steering is exp(-j): positions are negated, nothing else
X_NOMINAL = -NOMINAL


class TrainingScenes:
    """Fresh scenes of at most one target, sectors drawn as in training. blocks : scenes drawn so far.

    always : every scene has its target.
    """

    spacing_hz = SPACING_HZ
    window_s = WINDOW_S

    def __init__(
        self, array: TrueArray, basis: NDArray[np.complex128], seed: list[int], always: bool = True
    ) -> None:
        self.basis = basis
        self.blocks = 0
        self._fewest = int(always)
        self._array = array
        self._rng = np.random.default_rng(seed)

    def __call__(self, beam_of: Callable[[torch.Tensor], torch.Tensor], count: int) -> Batch:
        """A batch for gradient learners; its taps carry the gradient through the true channel to the beam."""
        scenes = self._draw(count)
        sector_u = torch.as_tensor(_sines(scenes))
        return Batch(
            scenes.taps_torch(beam_of(sector_u)),
            sector_u,
            torch.as_tensor(scenes.theta_rad),
            torch.as_tensor(2 * scenes.range_m / SPEED_M_S),
            torch.as_tensor(scenes.present),
        )

    def capture(self, x_wavelengths: NDArray[np.float64], count: int) -> tuple[Reduced, NDArray[np.float64]]:
        """Scenes lit with the beams of an array at x (64,), and their sectors in u (count, 2): no truth."""
        scenes = self._draw(count)
        sector_u = _sines(scenes)
        taps = scenes.taps(beams_of(x_wavelengths, sector_u))
        return Reduced(taps, scenes.outside, self.basis, SPACING_HZ, WINDOW_S), sector_u

    def labelled(self, x_wavelengths: NDArray[np.float64], count: int) -> tuple[Reduced, NDArray[np.float64]]:
        """As `capture`, but both limits of a sector are the target's own u."""
        scenes = self._draw(count)
        taps = scenes.taps(beams_of(x_wavelengths, _sines(scenes)))
        truth = np.repeat(np.sin(scenes.theta_rad[:, :1]), 2, axis=1)
        return Reduced(taps, scenes.outside, self.basis, SPACING_HZ, WINDOW_S), truth

    def _draw(self, count: int) -> Scenes:
        self.blocks += count
        return draw_scenes(self._rng, self._array, self.basis, count, max_targets=1, min_targets=self._fewest)


def _sines(scenes: Scenes) -> NDArray[np.float64]:
    return np.sin(np.deg2rad(scenes.sector_deg))
