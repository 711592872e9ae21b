"""diffMUSIC: the cold start's basin, then gradients of an unlabelled loss (Chatelier et al. 2025).

From the nominal array alone the published loss ends in a wrong minimum for most arrays whose phases are
unknown; so the search is the cold start's, and the loss does the polish. The last Gauss-Newton steps and
the verdict are those of the cold start: the loss proposes, the same test decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

from calib.learn import GaugeRequest, LearnResult, Observations, Prior, Progress, learn
from calib.losses import LOSSES
from calib.model import Model
from calib.observations import Subspaces
from calib.result import LearnOptions
from calib.train import Trained, TrainSettings, train
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry

JAIN = TrainSettings(loss="jain")


def learn_diffmusic(
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
    settings: TrainSettings | None = None,
) -> LearnResult:
    """Same contract as `calib.learn.learn`, with a polish by the loss of `settings` (default log-peak).

    Raises what `learn` raises, ConfigError for a loss that needs labels, and HilError if torch is missing.
    """
    if settings is not None and settings.loss not in LOSSES:
        raise ConfigError(
            f"loss {settings.loss!r} cannot learn without labels", hint=f"one of {', '.join(LOSSES)}"
        )
    begin = time.monotonic()
    trained: list[Trained] = []

    def polish(model: Model, sub: Subspaces, free_positions: bool) -> Model:
        plan = replace(settings or TrainSettings(), free_positions=free_positions)

        def on_step(step: int, loss: float) -> bool:
            if progress is not None and step % 10 == 0:
                progress(Progress(f"{plan.loss} step {step}", loss, time.monotonic() - begin))
            return bool(stop is not None and stop()) or time.monotonic() - begin > time_limit_s

        trained.append(train(model, sub, plan, seed=seed, on_step=on_step))
        return trained[-1].model

    result = learn(
        obs, geometry, fc_hz, n_sources, gauge,
        prior=prior, seed=seed, time_limit_s=time_limit_s, progress=progress, stop=stop, polish_with=polish,
    )  # fmt: skip
    if trained:
        result.steps += trained[-1].steps
        result.notes.append(
            f"{trained[-1].steps} steps of the loss, {trained[-1].history[-1]:.2f} at the end"
        )
    return result


def learn_diffmusic_jain(
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    gauge: GaugeRequest,
    **options: Unpack[LearnOptions],
) -> LearnResult:
    """`learn_diffmusic` with the published unlabelled loss, Jain's index (eq. 17)."""
    return learn_diffmusic(obs, geometry, fc_hz, n_sources, gauge, settings=JAIN, **options)
