"""From the spacings that an impaired line was built with to the positions of its elements, in wavelengths.

    mult: x_k = (k - (K-1)/2) d_k        (Mateos-Ramos et al. 2025, example 1: errors grow outwards)
    cum:  x_k = x_0 + d_1 + ... + d_k    (the authors' program), x_0 = -(K-1)/2 * 0.5

The paper's positions are the negative of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

ArrayModel = Literal["mult", "cum"]
Spacings = TypeVar("Spacings", NDArray[np.float64], "Tensor")
NOMINAL = 0.5


def nominal(n_elements: int) -> NDArray[np.float64]:
    """Spacings (K,) of the array without errors: half a wavelength, in either model."""
    return np.full(n_elements, NOMINAL)


def positions(model: ArrayModel, spacings: Spacings) -> Spacings:
    """Positions x (K,) in wavelengths from spacings d (K,) in wavelengths; numpy or torch (differentiable).

    In `cum` the first element is fixed and d_0 has no effect.

    Raises
    ------
    ConfigError : unknown model.
    """
    count, d = spacings.shape[0], cast("Any", spacings)  # numpy and torch have what is used in common
    if model == "mult":
        index = np.arange(count) - (count - 1) / 2
        return d * (index if isinstance(spacings, np.ndarray) else d.new_tensor(index))
    if model == "cum":
        return d.cumsum(0) - d[0] - (count - 1) / 2 * NOMINAL
    raise ConfigError(f"array model {model!r} is not one of mult, cum", hint="use mult or cum")
