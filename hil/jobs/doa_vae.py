"""The dual-path VAE on one covariance: pseudo-labels, a trained path if there is one, likelihood steps, deviations.

Without a network it is maximum likelihood of the one recording: it needs no subspace, so that correlated sources are found,
and a calibration is part of its decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S

if TYPE_CHECKING:
    from calib.methods.dual_path_vae.decoder import KnownArray
    from calib.methods.dual_path_vae.estimate import Directions
    from calib.trained.dual_path_vae import TrainedVae

LABEL = "dual-path VAE"
_WIDEST_DEG = 89.0


@dataclass(frozen=True, slots=True, eq=False)
class VaeDirections:
    """doa_deg (K,), strongest first; sigma_deg (K,), of the bound at the powers found. spectrum (G,) : see `VaeFinder.look`."""

    doa_deg: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]
    spectrum: NDArray[np.float64]


def known_array(
    array: ArrayGeometry | Calibration, fc_hz: float, kept: tuple[int, ...] | None = None
) -> KnownArray:
    """The decoder's array: a line on x, with gains, coupling and places of a calibration. kept : channels that are used.

    Raises ConfigError for other arrays, for a table of responses over angle, and for coupling where channels are missing.
    """
    from calib.methods.dual_path_vae.decoder import KnownArray

    geometry = array.geometry if isinstance(array, Calibration) else array
    if geometry.kind != "line":
        raise ConfigError(f"{LABEL} works on lines of elements only", hint="choose MUSIC for this array")
    rows = list(range(geometry.n_elements) if kept is None else kept)
    scale = fc_hz / SPEED_OF_LIGHT_M_S
    if isinstance(array, ArrayGeometry):
        return KnownArray(scale * array.positions_m[rows, 0])
    errors = array.impairments
    if errors.angle_response is not None:
        raise ConfigError(
            f"{LABEL} cannot use a calibration with a response table over angle", hint="choose MUSIC"
        )
    coupled = bool(np.any(errors.coupling != np.eye(len(errors.coupling))))
    if coupled and len(rows) < geometry.n_elements:
        raise ConfigError(
            f"{LABEL}: the calibration couples all elements, and a channel is missing",
            hint="mend the channel, or choose MUSIC",
        )
    coupling = errors.coupling if coupled else None
    return KnownArray(scale * array.positions_m[rows, 0], errors.gain[rows], coupling)


class VaeFinder:
    """Directions of many covariances of one array.

    Parameters
    ----------
    stream : of the samples, with its line. calibration : of this array, None: nominal. grid_deg : (G,) ascending; its ends are
    the sector searched. network : gives a better start where as many sources are there as it was trained for, and then its
    own sector counts; None: likelihood alone. kept : channels that the covariances are of, None: all.

    Raises ConfigError where `known_array` does; ConfigError, CalibrationMismatch for a network that does not fit.
    """

    def __init__(
        self,
        stream: StreamInfo,
        calibration: Calibration | None,
        grid_deg: NDArray[np.float64],
        network: TrainedVae | None = None,
        kept: tuple[int, ...] | None = None,
    ) -> None:
        import torch

        torch.set_num_threads(1)  # of matrices this small; others need the cores
        array = calibration or stream.geometry
        if array is None:
            raise ConfigError("the array is not known", where="--array", hint="give for example ula:4:0.5")
        self.grid_deg = grid_deg
        self._known = known_array(array, stream.fc_hz, kept)
        if network is not None:
            if kept is not None and len(kept) < stream.n_channels:
                raise ConfigError(
                    f"the network of the {LABEL} needs every channel, and one delivers nothing",
                    hint="mend the channel, or work without the network",
                )
            network.require_fit(stream, calibration)
        ends = np.clip([grid_deg[0], grid_deg[-1]], -_WIDEST_DEG, _WIDEST_DEG)
        self._sector_deg = (float(ends[0]), float(ends[1]))
        self._network = network
        self._u = torch.as_tensor(np.sin(np.deg2rad(grid_deg)))

    def look(self, covariance: NDArray[np.complex128], n_snapshots: int, n_sources: int) -> VaeDirections:
        """From (M, M) of the last n_snapshots.

        The spectrum is 1 / (rise + K / N): the rise of the negative log likelihood per snapshot where one of the K sources is
        moved to an angle and the others stay. Its peaks are as wide as the standard deviations.
        """
        found = self._found(covariance, n_snapshots, n_sources)
        doa = np.rad2deg(np.arcsin(np.clip(found.u[0].numpy(), -1.0, 1.0)))
        sigma = np.rad2deg(found.sigma_u[0].numpy() / np.maximum(np.cos(np.deg2rad(doa)), 1e-3))
        first = np.argsort(-found.prior.covariance[0].diagonal().real.numpy())
        return VaeDirections(doa[first], sigma[first], self._profile(covariance, n_snapshots, found))

    def _found(self, covariance: NDArray[np.complex128], n_snapshots: int, n_sources: int) -> Directions:
        from calib.methods.dual_path_vae.estimate import estimate

        network = self._network
        if network is not None and network.n_users == n_sources:
            return network.directions(self._known, covariance[None], n_snapshots)
        return estimate(
            self._known, covariance[None], n_sources, n_snapshots=n_snapshots, sector_deg=self._sector_deg
        )

    def _profile(
        self, covariance: NDArray[np.complex128], n_snapshots: int, found: Directions
    ) -> NDArray[np.float64]:
        import torch

        from calib.methods.dual_path_vae.posterior import marginal

        r, k = torch.as_tensor(covariance)[None].to(torch.complex128), found.u.shape[1]
        with torch.no_grad():
            here = self._u.clone()
            for u in found.u[0]:  # a peak narrower than the grid's step shows all the same
                here[(self._u - u).abs().argmin()] = u
            moved = found.u.repeat(k, len(here), 1)
            for j in range(k):
                moved[j, :, j] = here
            value = marginal(self._known, r, moved.flatten(0, 1), found.prior).unflatten(0, (k, len(here)))
            least = marginal(self._known, r, found.u, found.prior)
            rise = ((value.amin(0) - least) / found.prior.noise).clamp_min(0)
        return 1 / (rise.numpy() + k / n_snapshots)
