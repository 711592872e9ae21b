"""Predicted expiry against simulated devices: coverage, pessimism, and what must not be taken for drift."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.gauge import Gauge
from hil.core.geometry import ula
from hil.core.impairments import ideal
from hil.store.drift import HORIZON, outlook

HOUR_S = 3600.0
START = datetime(2026, 1, 1, tzinfo=UTC)


def make(phases_deg, t_s: float, sigma_deg: float, **more) -> Calibration:
    m = len(phases_deg)
    gain = np.exp(1j * np.radians(phases_deg))
    return Calibration(
        ula(m, 0.06), replace(ideal(m), gain=gain), replace(unknown_sigma(m), phase_deg=np.full(m, sigma_deg)),
        Gauge(), 2.45e9, Validity(2.4e9, 2.5e9), "x", device_serial="S", converged=True,
        created_utc=(START + timedelta(seconds=t_s)).isoformat(), **more,
    )  # fmt: skip


class Device:
    """Phases that drift: constant rates and a random walk."""

    def __init__(self, rng, m: int, rate_deg_per_h: float, walk_deg_per_sqrt_h: float) -> None:
        self.rng, self.walk = rng, walk_deg_per_sqrt_h / 60
        self.rate = rate_deg_per_h / HOUR_S * rng.normal(size=m)
        self.now_s, self.phases_deg = 0.0, rng.uniform(-180, 180, m)

    def at(self, t_s: float):
        step_s = t_s - self.now_s
        moved = self.rate * step_s + self.walk * math.sqrt(step_s) * self.rng.normal(size=len(self.rate))
        self.now_s, self.phases_deg = t_s, self.phases_deg + moved
        return self.phases_deg


def rms_apart_deg(a, b) -> float:
    return float(np.std(a - b))


def ideal_time_s(
    rng, m: int, rate: float, walk: float, sigma_deg: float, tolerance_deg: float, span_s: float
) -> float:
    """Until when 90 % of such devices are within the tolerance: what one could say who knew rate and walk."""
    last = 0.0
    for t_s in np.geomspace(span_s / 1000, HORIZON * span_s, 60):
        z = rng.normal(size=(3, 500, m))
        error = rate / HOUR_S * t_s * z[0] + walk / 60 * math.sqrt(t_s) * z[1] + sigma_deg * z[2]
        if np.mean(np.std(error, axis=1) <= tolerance_deg) < 0.9:
            break
        last = float(t_s)
    return last


def test_nine_of_ten_devices_are_still_good_when_the_prediction_ends_and_it_is_not_timid():
    rng = np.random.default_rng(7)
    kept, share = [], []
    cases = [
        (4, 2, 0.5, 1.0),
        (4, 4, 0.5, 1.0),
        (8, 3, 0.0, 2.0),
        (8, 6, 1.0, 0.1),
        (4, 8, 0.2, 1.5),
        (8, 2, 0.0, 2.0),
    ]
    span_s, sigma_deg, tolerance_deg = 6 * HOUR_S, 0.4, 5.0
    for m, n, rate, walk in cases:
        best_s = ideal_time_s(rng, m, rate, walk, sigma_deg, tolerance_deg, span_s)
        for _ in range(30):
            device = Device(rng, m, rate, walk)
            times_s = [0.0, *np.sort(rng.uniform(0, span_s, n - 2)), span_s]
            seen = [device.at(t) + sigma_deg * rng.normal(size=m) for t in times_s]
            made = [make(p, t, sigma_deg) for p, t in zip(seen, times_s, strict=True)]
            found = outlook(made[-1], made[:-1], tolerance_deg)
            assert found.calibrations == n
            later = device.at(span_s + found.good_for_s)
            kept.append(rms_apart_deg(later, seen[-1]) <= tolerance_deg)
            share.append(found.good_for_s / best_s)
    assert np.mean(kept) >= 0.9
    assert np.median(share) > 1 / 3, "typically no less than a third of the time that one could promise"


def test_what_was_measured_is_told():
    rng = np.random.default_rng(1)
    device = Device(rng, 16, 0.0, 2.0)
    times_s = [k * HOUR_S for k in range(12)]
    made = [make(device.at(t), t, 0.05) for t in times_s]
    found = outlook(made[-1], made, 5.0)
    assert found.walk_deg_per_sqrt_h == pytest.approx(2.0, rel=0.3)
    assert found.span_s == 11 * HOUR_S
    assert "12 calibrations" in found.reason
    assert 1.5 * HOUR_S < found.good_for_s < 7 * HOUR_S


def test_still_devices_are_good_as_far_as_one_can_look_and_noise_is_not_drift():
    rng = np.random.default_rng(2)
    made = [make(0.5 * rng.normal(size=8), k * HOUR_S, 0.5) for k in range(10)]
    found = outlook(made[-1], made, 5.0)
    assert found.at_least
    assert found.good_for_s == pytest.approx(HORIZON * 9 * HOUR_S)
    assert outlook(made[-1], made, 0.2).good_for_s == 0, "not known to 0.2 degrees to begin with"


def test_jumps_of_another_epoch_and_others_calibrations_are_no_drift():
    rng = np.random.default_rng(3)
    one = new_epoch("S")
    two = one.after(EpochEvent.LO, EpochScope.GROUP_PHASES)
    jump = rng.uniform(-180, 180, 4)
    old = [make(0.1 * rng.normal(size=4), k * HOUR_S, 0.1, epoch=one) for k in range(3)]
    new = [make(jump + 0.1 * rng.normal(size=4), k * HOUR_S, 0.1, epoch=two) for k in (4, 6)]
    together = outlook(new[-1], [*old, *new], 5.0)
    assert together.good_for_s > 5 * HOUR_S
    first = outlook(new[0], [*old, new[0]], 5.0)
    assert first.good_for_s > 2 * HOUR_S, "the first after a retune drifts as those before it did"
    none = make(jump, 9 * HOUR_S, 0.1, epoch=two.after(EpochEvent.LO, EpochScope.GROUP_PHASES))
    for others, words in (
        ([], "two calibrations"),
        ([replace(none, id="a", created_utc="")], "two calibrations"),
        ([replace(none, id="a", device_serial="T")], "two calibrations"),
        ([replace(none, id="a", converged=False)], "two calibrations"),
        ([replace(old[0], epoch=one)], "coherence epoch"),
    ):
        found = outlook(none, others, 5.0)
        assert math.isnan(found.good_for_s)
        assert words in found.reason
    again = replace(new[0], id="again", captures=("r",), created_utc=none.created_utc)
    assert math.isnan(outlook(replace(new[0], captures=("r",)), [again], 5.0).good_for_s), (
        "the same recording twice"
    )


def test_the_same_time_and_a_single_element_are_no_error():
    assert math.isnan(outlook(make([0.0], 0, 0.1), [make([0.0], 9, 0.1)], 5.0).good_for_s)
    assert math.isnan(outlook(make([0.0, 1.0], 5, 0.1), [make([0.0, 2.0], 5, 0.1)], 5.0).good_for_s)
    same = [make([0.0, 1.0], t, 0.0) for t in (0, 10, 20)]
    assert outlook(same[-1], same, 5.0).at_least


def test_a_long_history_costs_no_more_than_its_end():
    rng = np.random.default_rng(4)
    made = [make(0.1 * rng.normal(size=4), k * HOUR_S, 0.1) for k in range(300)]
    found = outlook(made[-1], made, 5.0)
    assert found.calibrations == 40
    assert found.span_s == 39 * HOUR_S
