"""Pilot calibration as a learner: the anchors of the gauge request are the labels, and only they are used."""

from __future__ import annotations

from typing import Unpack

from calib.observations import Observations
from calib.pilot.calibrate import pilot_calibrate
from calib.pilot.labels import Interval, Labels, labels_of_intervals
from calib.result import GaugeRequest, LearnOptions, LearnResult
from hil.core.errors import ConfigError
from hil.core.geometry import ArrayGeometry


def learn_pilot(
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    gauge: GaugeRequest,
    **options: Unpack[LearnOptions],
) -> LearnResult:
    """Same contract as `calib.learn.learn`; gauge.anchors_deg are the labels, a support is not used.

    time_limit_s, progress and stop are not used: it is over in a fraction of a second. Raises ConfigError without
    anchors, NotIdentifiable if they are too few.
    """
    prior = options.get("prior")
    return pilot_calibrate(
        obs, labels_of_anchors(gauge, obs), geometry, fc_hz,
        positions=prior is None or prior.position_std_m != 0, prior=prior, n_sources=n_sources,
        seed=options.get("seed", 0),
    )  # fmt: skip


def labels_of_anchors(gauge: GaugeRequest, obs: Observations) -> Labels:
    """The labels that a gauge request's anchors amount to."""
    if not gauge.anchors_deg:
        raise ConfigError(
            "method pilot: needs known directions", where="--labels",
            hint="--labels F.csv (t0_s,t1_s,angle_deg), or --anchor DEG@T0:T1 for each",
        )  # fmt: skip
    end = 0.0 if obs.time_s is None else float(obs.time_s[-1])
    intervals = [
        Interval(0.0 if t0 is None else t0, end + 1.0 if t1 is None else t1, angle)
        for angle, t0, t1 in gauge.anchors_deg
    ]
    return labels_of_intervals(intervals, obs.time_s)
