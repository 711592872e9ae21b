"""Puts a capture beside the simulator's truth file: which scene sample is which, and what was true then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.errors import SceneError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments, ideal
from sim_backend.truth import Truth


def scene_offset(truth: Truth) -> int:
    """Scene sample at which sample 0 of the newest capture was taken: the last "open" of the first board."""
    opens = [sample for board, sample in truth.opens if board == 0]
    if not opens:
        raise SceneError(
            f"{truth.where}: no capture was opened",
            hint="give the truth file of the server that was captured",
        )
    return opens[-1]


def true_impairments(truth: Truth, scene_sample: int) -> Impairments:
    """What the scene did to the array at a scene sample (gains with LO phases and drift)."""
    return replace(
        ideal(truth.n_elements),
        gain=truth.gain_at(scene_sample),
        coupling=truth.coupling,
        position_error_m=truth.position_error_m,
        delay_s=truth.delay_s,
    )


def known_array(truth: Truth, geometry: ArrayGeometry, fc_hz: float, scene_sample: int) -> Calibration:
    """The true array as a calibration: the yardstick `known`."""
    return Calibration(
        geometry, true_impairments(truth, scene_sample), unknown_sigma(geometry.n_elements), Gauge("oracle"),
        fc_hz, Validity(fc_hz, fc_hz), "truth",
    )  # fmt: skip


def true_directions(
    truth: Truth, first_samples: NDArray[np.int64], offset: int, fs_hz: float
) -> NDArray[np.float64]:
    """(n, K) degrees at absolute sample indices (n,)."""
    return truth.angles_deg(first_samples + offset, fs_hz)
