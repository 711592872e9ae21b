"""The gauge taken from the truth: shows what a method reaches once nothing is open. For diagnosis only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.layout import Layout
from calib.metrics import ManifoldError, manifold_error, steering_of
from calib.model import Model
from hil.core.errors import ConfigError, ShapeError
from hil.core.impairments import Impairments
from hil.core.units import SPEED_OF_LIGHT_M_S

ASSUMES = "the true array is known (oracle: for diagnosis only, not a calibration)"


def align_to_truth(model: Model, truth: Impairments, layout: Layout | None) -> ManifoldError:
    """The gauge that lays the learned manifold on the true one, by `calib.metrics.manifold_error`.

    On a line u_true = al u_hat + be, on a plane azimuth_true = azimuth_hat - rotation_rad. truth : in the order
    of the receiver's channels; layout : the search's order and wavelength.

    Raises ConfigError without a layout or with coupling, ShapeError if the truth is of another array.
    """
    if layout is None:
        raise ConfigError(
            "gauge oracle: the nominal array is not at hand here", hint="learn from a cold start"
        )
    if truth.n_elements != model.n_elements:
        raise ShapeError(f"gauge oracle: truth of {truth.n_elements} elements for {model.n_elements}")
    dims = model.r.shape[1]
    error = truth.position_error_m[layout.order, :dims] / layout.wavelength_m
    if not np.array_equal(truth.coupling, np.eye(truth.n_elements)):
        raise ConfigError("gauge oracle: a truth with coupling is not one gain per element")
    gain = truth.gain[layout.order]
    # lengths in wavelengths and a carrier of c Hz make one wavelength one metre
    true = steering_of(gain, _three(layout.nominal + error), SPEED_OF_LIGHT_M_S)
    learned = steering_of(model.g, _three(model.r), SPEED_OF_LIGHT_M_S)
    return manifold_error(true, learned, is_line=model.is_line)


def _three(r: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack((r, np.zeros((len(r), 3 - r.shape[1]))))
