"""Directions by the two methods with networks: MoD-DNN on channel responses, the dual-path VAE on covariances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gui.doa_apart import Found
from gui.doa_sources import NOTHING, Look, Setup, relative_db
from hil.core.errors import ConfigError

#: MoD-DNN's spectrum is an amplitude that may be negative beside its peak.
_FLOOR_DB = -40.0


class Likelihood:
    """The dual-path VAE: likelihood of each covariance, from a trained path where one is loaded for as many sources."""

    def __init__(self, setup: Setup) -> None:
        from hil.jobs.doa_vae import VaeFinder

        self._open_deg = 0.0 if setup.calibration is None else setup.calibration.gauge.angle_sigma_deg
        network = None if setup.networks is None else setup.networks.vae
        self._finder = VaeFinder(setup.stream, setup.calibration, setup.grid_deg, network, setup.kept)
        self._last: tuple[NDArray[np.complex128] | None, NDArray[np.float64] | None, Found] = (
            None,
            None,
            NOTHING,
        )

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        """(G,) dB."""
        return self._at(look)[0]

    def find(self, look: Look) -> Found:
        """Directions and standard deviations, degrees."""
        return self._at(look)[1]

    def _at(self, look: Look) -> tuple[NDArray[np.float64] | None, Found]:
        if self._last[0] is not look.covariance:
            if look.n_sources:
                found = self._finder.look(look.covariance, look.n_snapshots, look.n_sources)
                sigma = np.hypot(found.sigma_deg, self._open_deg)
                self._last = look.covariance, relative_db(found.spectrum), (found.doa_deg, sigma)
            else:
                self._last = look.covariance, None, NOTHING
        return self._last[1:]


class Unrolled:
    """MoD-DNN: one direction from the newest responses of a known waveform, block by block.

    The standard deviation is that of the mean over the blocks of a look, by their scatter, with what the network itself is
    wrong by on angles that it was not trained on.
    """

    def __init__(self, setup: Setup) -> None:
        assert setup.echoes is not None
        assert setup.networks is not None
        network, geometry = setup.networks.mod_dnn, setup.stream.geometry
        assert network is not None
        assert geometry is not None
        if setup.kept is not None and len(setup.kept) < geometry.n_elements:
            raise ConfigError(
                "MoD-DNN needs every channel that it was trained with, and one delivers nothing",
                hint="mend the channel, or choose MUSIC",
            )
        network.require_fit(setup.stream, setup.calibration)
        self._network, self._echoes, self._calibration = network, setup.echoes, setup.calibration
        self._grid_deg = setup.grid_deg
        self._last: tuple[object, NDArray[np.float64] | None, Found] = None, None, NOTHING

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        """(G,) dB of amplitude, over the grids of the subregions that were chosen; the floor elsewhere."""
        return self._at(look)[0]

    def find(self, look: Look) -> Found:
        """Direction (1,) and standard deviation, degrees."""
        return self._at(look)[1]

    def _at(self, look: Look) -> tuple[NDArray[np.float64] | None, Found]:
        heard = self._echoes.heard()
        if heard is None:
            reason = self._echoes.reason
            raise ConfigError(reason.words, hint=reason.remedy)
        capture, _ = heard
        if capture.stream.epoch.id != look.frame.stream.epoch.id:
            return None, NOTHING
        if self._last[0] is not capture:
            angle, spectrum, grid = self._network.estimate(
                capture.csi, capture.frequency_hz, self._calibration, capture.stream.fc_hz
            )
            level = np.zeros(len(self._grid_deg))
            for one, at in zip(spectrum, grid, strict=True):
                level += np.interp(self._grid_deg, at, one, left=0.0, right=0.0)
            sigma = float(np.hypot(np.std(angle) / np.sqrt(max(len(angle) - 1, 1)), self._network.sigma_deg))
            if len(angle) < 2:
                sigma = float("nan")
            over = 2 * relative_db(np.maximum(level, 0.0))
            self._last = (
                capture, np.maximum(over, _FLOOR_DB), (np.array([np.median(angle)]), np.array([sigma]))
            )  # fmt: skip
        return self._last[1:]
