"""The neural baseline as the tests of the ISAC experiment use it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from calib.isac.beam import isac_beams
from calib.isac.neural import NeuralIsac
from calib.isac.train_neural import NeuralSettings, train_neural
from hil.reproduce.e2e_isac_data import LINK_SECTOR_DEG, SPACING_HZ, SPEED_M_S, WINDOW_S, Scenes
from hil.reproduce.e2e_isac_single import Found
from hil.reproduce.e2e_isac_source import X_NOMINAL, TrainingScenes

_CHUNK = 100
#: five to six minutes of one thread, on no clock: results do not depend on the machine's speed
_SETTINGS = NeuralSettings(n_steps=(1050, 1000), time_limit_s=(1e6, 1e6), batch=16)


class NeuralMethod:
    """A trained network: its beams, and what it finds of one target."""

    def __init__(self, network: NeuralIsac) -> None:
        self._network = network

    @property
    def n_parameters(self) -> int:
        """Real numbers that were learned."""
        return self._network.n_parameters()

    def sector_beam(self, sector_deg: NDArray[np.float64] | tuple[float, float]) -> NDArray[np.complex128]:
        """Beam (64,) of unit norm towards a sector."""
        return self._beams(sector_deg).numpy()[0]

    def isac_beam(
        self, sector_deg: NDArray[np.float64] | tuple[float, float], eta: float, phi: float
    ) -> NDArray[np.complex128]:
        """Beam (64,) of unit norm towards a sector and the communication receiver (5)."""
        return isac_beams(self._beams(sector_deg), self._beams(LINK_SECTOR_DEG), eta, phi).numpy()[0]

    def find_single(self, scenes: Scenes, beams: Sequence[NDArray[np.complex128]]) -> Found:
        """As `e2e_isac_single.find_single`; strength is the logit of the probability of a target."""
        count = len(scenes.count)
        strength, angle, distance = (np.empty((len(beams), count)) for _ in range(3))
        for q, beam in enumerate(beams):
            strength[q], angle[q], distance[q] = self._answers(scenes, scenes.taps(beam))
        return Found(strength, angle, distance, self._answers(scenes, scenes.noise)[0])

    def _answers(
        self, scenes: Scenes, taps: NDArray[np.complex64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Logit, angle and range (B,)."""
        sector_u = torch.as_tensor(np.sin(np.deg2rad(scenes.sector_deg)))
        parts = []
        with torch.no_grad():
            for low in range(0, len(taps), _CHUNK):
                part = slice(low, low + _CHUNK)
                image = self._network.angle_delay_map(torch.as_tensor(taps[part]))
                theta, delay = self._network.position(image, sector_u[part])
                logit = self._network.presence(image, sector_u[part])
                parts.append([v.double().numpy() for v in (logit, theta, delay * (SPEED_M_S / 2))])
        logit, theta, distance = (np.concatenate(v) for v in zip(*parts, strict=True))
        return logit, theta, distance

    def _beams(self, sector_deg: NDArray[np.float64] | tuple[float, float]) -> torch.Tensor:
        sector_u = torch.as_tensor(np.sin(np.deg2rad(np.asarray(sector_deg, float)))[None])
        with torch.no_grad():
            return self._network.beam(sector_u).to(torch.complex128)


def train_limited(positions: TrainingScenes, detections: TrainingScenes, seed: int) -> NeuralMethod:
    """The network of 10 555 parameters, trained on positions, then on presence."""
    network = NeuralIsac(X_NOMINAL, positions.basis, SPACING_HZ, WINDOW_S, "limited", seed)
    train_neural(network, positions, detections, _SETTINGS)
    return NeuralMethod(network)
