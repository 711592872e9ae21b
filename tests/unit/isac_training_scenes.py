"""Echoes for the tests of the ISAC learners, by the definitions in all S subcarriers: no code of calib but the basis."""

from __future__ import annotations

import numpy as np
import torch

from calib.gpi.delay import delay_basis
from calib.isac.source import Batch


class Scenes:
    """Targets in random sectors (or one) in front of elements at x (wavelengths); T = n_targets, unit noise."""

    def __init__(
        self,
        x,
        *,
        seed=0,
        n_targets=1,
        sector_deg=None,
        absent=0.0,
        labels=True,
        snr_db=15.0,
        n_subcarriers=64,
        simulated=True,
    ):
        self.x, self.n_targets, self.sector_deg, self.absent = np.asarray(x), n_targets, sector_deg, absent
        self.labels, self.simulated = labels, simulated
        self.spacing_hz, self.window_s = 480e3, (6.7e-8, 1.27e-6)
        self.n_subcarriers = n_subcarriers
        self.basis = delay_basis(n_subcarriers, self.spacing_hz, self.window_s)
        self.variance = 10 ** (snr_db / 10) / len(x)
        self.rng = np.random.default_rng(seed)
        self.beams = []

    def __call__(self, beam_of, count):
        rng, shape = self.rng, (count, self.n_targets)
        if self.sector_deg is None:
            mean, span = rng.uniform(-60, 60, count), rng.uniform(10, 20, count)
            sector = np.deg2rad(np.stack((mean - span / 2, mean + span / 2), axis=1))
        else:
            sector = np.tile(np.deg2rad(self.sector_deg), (count, 1))
        theta = rng.uniform(sector[:, :1], sector[:, 1:], shape)
        delay = rng.uniform(*self.window_s, shape)
        present = rng.uniform(size=shape) >= self.absent
        psi = np.sqrt(self.variance / 2) * (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * present
        noise = rng.normal(size=(count, len(self.x), self.n_subcarriers, 2)) / np.sqrt(2)
        a = torch.from_numpy(np.exp(2j * np.pi * np.sin(theta)[..., None] * self.x))
        frequency = self.spacing_hz * np.arange(self.n_subcarriers)
        b = torch.from_numpy(np.exp(-2j * np.pi * delay[..., None] * frequency))
        sector_u = torch.from_numpy(np.sin(sector))
        f = beam_of(sector_u).to(torch.complex128)
        f = f if self.simulated else f.detach()
        self.beams.append(f.detach().numpy())
        alpha = torch.from_numpy(psi / np.sqrt(self.n_subcarriers)) * torch.einsum("btk,bk->bt", a, f)
        y = torch.einsum("bt,btk,bts->bks", alpha, a, b) + torch.view_as_complex(torch.from_numpy(noise))
        taps = (y @ torch.from_numpy(self.basis.conj())).to(torch.complex64)
        if not self.labels:
            return Batch(taps, sector_u)
        return Batch(
            taps, sector_u, torch.from_numpy(theta), torch.from_numpy(delay), torch.from_numpy(present)
        )
