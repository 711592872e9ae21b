"""Networks of both methods, trained for some seconds on an array's own responses: rough, and enough to see them at work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.mod_dnn.network import Shape
from calib.methods.mod_dnn.regions import Regions
from calib.methods.mod_dnn.tones import normalised
from calib.methods.mod_dnn.train import TrainPlan, train
from calib.trained.belongs import Belongs
from calib.trained.dual_path_vae import TrainedVae
from calib.trained.mod_dnn import TrainedModDnn, network_for
from hil.core.calibration import Calibration

SECTOR_DEG = (-60.0, 60.0)


def belongs_of(positions_m: NDArray[np.float64], fc_hz: float, calibration: Calibration | None) -> Belongs:
    """Where elements lie, and whose calibration they come from."""
    known = calibration is not None
    identity = calibration.id if calibration is not None else ""
    return Belongs(fc_hz, positions_m, SECTOR_DEG, known, identity, scores={"rms_deg": 0.5})


def mod_dnn(
    belongs: Belongs, frequency_hz: NDArray[np.float64], *, steps: int = 150, snr_db: float = 20.0
) -> TrainedModDnn:
    """One plane wave at random angles of the sector, seen by the array as the calibration knows it, in white noise."""
    torch.set_num_threads(1)
    k, m = len(frequency_hz), belongs.n_elements
    network = network_for(Shape(k, m, Regions(field_deg=SECTOR_DEG)), belongs)

    def source(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        a = np.exp(2j * np.pi * np.sin(np.deg2rad(angle_deg))[:, None, None] * belongs.x)
        noise = rng.standard_normal((len(angle_deg), k, m, 2)).view(np.complex128)[..., 0] / np.sqrt(2)
        return normalised(a + 10 ** (-snr_db / 20) * noise)

    plan = replace(TrainPlan(), gate_steps=2 * steps, steps=steps, batch=24, seed=1)
    train(network, source, plan)
    return TrainedModDnn(network, frequency_hz, np.ones(m, complex), belongs)


def vae(belongs: Belongs, n_users: int) -> TrainedVae:
    """Not trained: a new path starts at its labels, and the likelihood steps do the rest."""
    torch.manual_seed(0)
    return TrainedVae(AnchoredPath(KnownArray(belongs.x), n_users, 32), "best", belongs)
