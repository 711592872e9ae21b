"""The nominal array as the search sees it: wavelengths, one or two dimensions, sorted along a line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.observations import Observations
from calib.result import Prior
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S

_DEFAULT_POSITION_STD = 0.1  # wavelengths


@dataclass(frozen=True, slots=True)
class Layout:
    """The nominal array as the search sees it: order (N,) sorts elements, nominal (N, D) wavelengths."""

    order: NDArray[np.intp]
    nominal: NDArray[np.float64]
    wavelength_m: float
    position_std: float

    @property
    def is_line(self) -> bool:
        """True for elements on x."""
        return self.nominal.shape[1] == 1


def layout_of(obs: Observations, geometry: ArrayGeometry, fc_hz: float, prior: Prior) -> Layout:
    """Check the array and put its elements in the order of the search."""
    if obs.n_elements != geometry.n_elements:
        raise ShapeError(f"covariances of {obs.n_elements} elements for an array of {geometry.n_elements}")
    if not fc_hz > 0:
        raise ConfigError("fc_hz: must be positive")
    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    std = _DEFAULT_POSITION_STD if prior.position_std_m is None else prior.position_std_m / wavelength_m
    positions = geometry.positions_m / wavelength_m
    positions = positions - positions.mean(axis=0)
    if geometry.kind == "volume":
        raise NotIdentifiable(
            "elements that do not lie on one line or in one plane are not supported",
            parameters=["gain", "position"],
            hint="learn the planar part of the array, with sources in its plane",
        )
    if geometry.kind == "line":
        order = np.argsort(positions[:, 0])
        nominal = positions[order, :1]
        if np.any(np.diff(nominal[:, 0]) < 1e-3):
            raise ConfigError("two elements have the same nominal place", where="array")
        return Layout(order, nominal, wavelength_m, std)
    plane = positions[:, :2]
    spread = np.linalg.svd(plane, compute_uv=False)
    if spread[1] < 0.05 * spread[0]:
        raise NotIdentifiable(
            "the elements lie on a line that is not the x axis: front and back look the same",
            parameters=["azimuth"], hint="describe the line along x; angles are then counted from its broadside",
        )  # fmt: skip
    return Layout(np.arange(len(plane)), plane, wavelength_m, std)
