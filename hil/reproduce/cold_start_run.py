"""One case of the cold-start experiment: draw arrays, learn them, compare with the truth."""

from __future__ import annotations

import math
import time
from typing import Any

from hil.reproduce.cold_start_rows import ESTIMATED, setting_of

_FC_HZ = 2.45e9
_BLOCK_PERIOD_S = 1e-3
_SPEED_OF_LIGHT_M_S = 299_792_458.0


def run_arrays(setting: dict[str, Any], said: int | None, first_seed: int, count: int) -> dict[str, Any]:
    """Learn `count` arrays of consecutive seeds with the support as gauge.

    Returns lists with one entry per array: seed, converged, reason, correlation (smallest over the field),
    error_deg (what the gauge leaves, rms over the support), sigma_deg (as stated), excess, seconds (of
    processor time in the learner, eigendecompositions included), attempts (of the search).
    """
    answers = [_learn(setting, said, seed) for seed in range(first_seed, first_seed + count)]
    return {name: [answer[name] for answer in answers] for name in answers[0]}


def _learn(values: dict[str, Any], said: int | None, seed: int) -> dict[str, Any]:
    import numpy as np

    from calib.learn import learn
    from calib.observations import Observations
    from calib.result import GaugeRequest
    from hil.core.errors import NotIdentifiable
    from hil.core.geometry import ArrayGeometry
    from hil.reproduce.cold_start_arrays import draw
    from hil.reproduce.cold_start_compare import Learned, agreement

    setting = setting_of(values)
    drawn = draw(setting, seed)
    wavelength_m = _SPEED_OF_LIGHT_M_S / _FC_HZ
    geometry = ArrayGeometry(np.column_stack((drawn.nominal, np.zeros(setting.n))) * wavelength_m)
    time_s = np.arange(setting.blocks, dtype=np.float64) * _BLOCK_PERIOD_S
    observations = Observations(drawn.covariance, setting.snapshots, time_s)
    told = setting.k if said is None else said
    begin = time.process_time()
    try:
        result = learn(
            observations, geometry, _FC_HZ, None if told == ESTIMATED else told,
            GaugeRequest("support", setting.limits_deg), seed=seed,
        )  # fmt: skip
    except NotIdentifiable as error:
        nothing = dict.fromkeys(("correlation", "error_deg", "sigma_deg", "excess"))
        seconds = time.process_time() - begin
        return {
            "seed": seed,
            "converged": False,
            "reason": str(error),
            "seconds": seconds,
            "attempts": 0,
        } | nothing
    seconds = time.process_time() - begin
    position = drawn.nominal + result.impairments.position_error_m[:, :2] / wavelength_m
    found = agreement(drawn, Learned(result.impairments.gain, position), setting.limits_deg)
    searched = result.attempts > 0
    return {
        "seed": seed,
        "converged": result.converged,
        "reason": result.reason,
        "seconds": seconds,
        "attempts": result.attempts,
        "correlation": _number(found.correlation) if searched else None,
        "error_deg": _number(found.angle_error_deg) if searched else None,
        "sigma_deg": _number(result.gauge.angle_sigma_deg),
        "excess": _number(result.excess),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
