"""The classical baseline as a learner: Weiss and Friedlander 1990, judged like every other method."""

from __future__ import annotations

import time
from collections.abc import Callable

from calib import judge
from calib.layout import layout_of
from calib.learn import assemble
from calib.model import Model, find_peaks
from calib.observations import Observations, prepare
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from calib.score import score_peaks
from calib.weiss_friedlander import iterate_gains
from hil.core.calibration import unknown_sigma
from hil.core.errors import ConfigError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import ideal


def learn_weiss_friedlander(
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    gauge: GaugeRequest,
    *,
    prior: Prior | None = None,
    seed: int = 0,
    time_limit_s: float = 20.0,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> LearnResult:
    """Same contract as `calib.learn.learn`; gains and phases only, from nominal gains and nominal positions.

    prior is not used (positions count as exact), nor is seed (nothing is random). Raises what `learn` raises.
    """
    del prior, seed
    begin = time.monotonic()
    layout = layout_of(obs, geometry, fc_hz, Prior(0.0))
    n = obs.n_elements
    if n_sources is not None and not 1 <= n_sources < n:
        raise ConfigError(f"{n_sources} sources: {n} elements separate 1 to {n - 1}")
    cov = obs.covariance[:, layout.order[:, None], layout.order[None, :]]
    prepared = prepare(Observations(cov, obs.n_snapshots, obs.time_s), n_sources)
    refusal = judge.unusable(prepared, n_sources)
    if refusal:
        return LearnResult(ideal(n), unknown_sigma(n), Gauge(), False, refusal, n_sources=prepared.n_sources)
    judge.require_motion(prepared)
    history: list[tuple[float, float]] = []

    def on_round(number: int, model: Model) -> bool:
        seconds = time.monotonic() - begin
        if number % 5 == 1:
            theta, depth = find_peaks(model, prepared.sub, (-1.02, 1.02))
            excess = score_peaks(model, prepared.sub, theta, depth).excess
            history.append((seconds, excess))
            if progress is not None:
                progress(Progress(f"round {number}", excess, seconds))
        return seconds > time_limit_s or bool(stop is not None and stop())

    found = iterate_gains(prepared.sub, layout.nominal, on_round=on_round)
    result = assemble(found.fit, prepared, layout, obs, gauge)
    result.notes.append("positions were taken as nominal; the start was nominal gains (classical baseline)")
    result.history, result.steps = history, found.rounds
    result.seconds = time.monotonic() - begin
    return result
