"""Steering vectors between grid angles as polynomials, so that a compiled search needs no steering function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.dsp.doa_search import unit_columns
from hil.dsp.response import Steering

#: Orders tried, lowest first. A step of a twentieth of a beam needs 5 or 6.
_ORDERS = (4, 5, 6, 8, 10)
#: Largest error of a unit steering vector: D at a null then stays below 1e-18, and its angle within 1e-8 of a beam.
_LARGEST_ERROR = 1e-9
#: An order is taken where it is better than that by so much in the cells looked at.
_MARGIN, _LOOKED_AT = 0.1, 16
#: Where polynomials are compared with the array itself, in half widths; none is a node of an order.
_CHECKED = np.array([-0.97, -0.53, 0.08, 0.61, 1.0])
_MOST_BYTES = 1 << 28
_MISSED = -1.0


class Cells:
    """Polynomials of unit steering vectors, one set between the neighbours of each grid angle, made when asked for.

    Parameters
    ----------
    steering : (G,) degrees -> (M, G). grid_deg : (G,) ascending angles. periodic : the grid goes once round.

    Attributes
    ----------
    coefficients : (G, D + 1, 2 M) float64, real parts then imaginary parts, lowest order first, of the place -1..1 in
        the cell.
    brackets : (3, G) float64 degrees: grid angles, middles and half widths of the cells. Half width 0: not made yet;
        negative: polynomials miss the array by more than 1e-9 there (a table with kinks, a grid wider than a beam).
    """

    def __init__(self, steering: Steering, grid_deg: NDArray[np.float64], periodic: bool) -> None:
        self._steering = steering
        low, high = np.roll(grid_deg, 1), np.roll(grid_deg, -1)
        if periodic:
            low[0] -= 360.0
            high[-1] += 360.0
        self._half = 0.5 * (high - low)
        inner = np.arange(len(grid_deg)) if periodic else np.arange(1, len(grid_deg) - 1)
        self.brackets = np.stack((grid_deg, 0.5 * (low + high), np.zeros(len(grid_deg))))
        some = inner[np.linspace(0, len(inner) - 1, min(len(inner), _LOOKED_AT)).astype(np.intp)]
        errors = {order: self._fit(some, order)[1] for order in _ORDERS}
        smooth = errors[_ORDERS[-1]] <= _LARGEST_ERROR
        good = [o for o in _ORDERS if np.all(errors[o][smooth] <= _MARGIN * _LARGEST_ERROR)]
        order = good[0] if good else _ORDERS[-1]
        m = self._fit(some[:1], order)[0].shape[2]
        if 8 * len(grid_deg) * (order + 1) * m > _MOST_BYTES or not np.any(smooth):
            order = 0
            self.brackets[2] = _MISSED
        self.coefficients = np.zeros((len(grid_deg), order + 1, m))

    def add(self, index: int) -> None:
        """Make the cell of one grid angle, or mark it as missed."""
        made, error = self._fit(np.array([index]), self.coefficients.shape[1] - 1)
        self.coefficients[index] = made[0]
        # Last: another thread may be searching.
        self.brackets[2, index] = self._half[index] if error[0] <= _LARGEST_ERROR else _MISSED

    def _fit(self, index: NDArray[np.intp], order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(B, D + 1, 2 M) through Chebyshev's nodes, and the largest error (B,) beside them."""
        nodes = np.cos(np.pi * (np.arange(order + 1) + 0.5) / (order + 1))
        places = np.concatenate((nodes, _CHECKED))
        theta = self.brackets[1, index][:, None] + self._half[index][:, None] * places
        a = np.asarray(self._steering(theta.ravel()), np.complex128)
        unit = unit_columns(a).reshape(len(a), *theta.shape)
        planes = np.concatenate((unit.real, unit.imag)).transpose(1, 2, 0)
        powers = np.vander(places, order + 1, increasing=True)
        coefficients = np.linalg.inv(powers[: order + 1]) @ planes[:, : order + 1]
        miss = powers[order + 1 :] @ coefficients - planes[:, order + 1 :]
        error = np.sqrt(np.max(np.sum(miss**2, axis=2), axis=1))
        error[np.any(np.all(planes == 0.0, axis=2), axis=1)] = np.inf
        return coefficients, error
