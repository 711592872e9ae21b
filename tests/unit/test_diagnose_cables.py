"""A cable with reversed polarity against a stored calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.diagnose.cables import diagnose_cables, phase_jumps
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.epoch import Epoch
from hil.core.gauge import Gauge
from hil.core.impairments import ideal
from tests.physics.array_scenes import FC_HZ, make_scene, uniform_line

GROUPS = ((0, 1, 2, 3), (4, 5, 6, 7))


def drawn(seed: int, flips: tuple[int, ...], drift_deg: float = 5.0):
    """Gains before and now: new phase per group, a ramp, drift and flips."""
    rng = np.random.default_rng(seed)
    before = np.exp(2j * np.pi * rng.random(8)) * rng.uniform(0.5, 2, 8)
    x = 0.5 * np.arange(8) + 0.1 * rng.standard_normal(8)
    phase = np.deg2rad(drift_deg) * rng.standard_normal(8) + 2 * np.pi * rng.uniform(-0.6, 0.6) * x
    for group in GROUPS:
        phase[list(group)] += rng.uniform(0, 2 * np.pi)
    phase[list(flips)] += np.pi
    return before, 3.0 * before * np.exp(1j * phase), x


def test_one_flip_is_found_with_unknown_group_phases_and_ramp() -> None:
    right = 0
    for seed in range(40):
        before, now, x = drawn(seed, (seed % 8,))
        jump = phase_jumps(before, now, x, GROUPS)
        right += jump.flipped == (seed % 8,) and jump.log_odds > np.log(100)
    assert right >= 38


def test_no_flip_is_announced_for_healthy_arrays() -> None:
    for seed in range(40):
        before, now, x = drawn(seed, (), drift_deg=8.0)
        jump = phase_jumps(before, now, x, GROUPS)
        assert jump.log_odds < np.log(100)


def test_two_flips_and_what_cannot_be_told_apart() -> None:
    for seed in range(20):
        before, now, x = drawn(seed, (1, 6), drift_deg=2.0)
        assert phase_jumps(before, now, x, GROUPS).flipped == (1, 6)
    # in a group of two the flip of either one is the same up to the group's own phase
    before, now, _ = drawn(3, (), drift_deg=0.0)
    now = before.copy()
    now[1] *= -1
    pairs = ((0, 1), (2, 3), (4, 5), (6, 7))
    jump = phase_jumps(before, now, None, pairs)
    assert {jump.flipped, *jump.rivals} == {(0,), (1,)}


@pytest.mark.parametrize("flipped", [None, 5])
def test_from_live_blocks_and_a_stored_calibration(flipped: int | None) -> None:
    for seed in range(8200, 8204):
        scene = make_scene(seed, uniform_line(8), n_blocks=200)
        error = scene.positions_m - scene.geometry.positions_m
        stored = scene.gain * np.exp(1j * np.repeat([0.4, 2.0], 4))  # another epoch of two groups
        if flipped is not None:
            stored[flipped] *= -1
        imp = replace(ideal(8), gain=stored, position_error_m=error)
        calibration = Calibration(
            scene.geometry, imp, unknown_sigma(8), Gauge(), FC_HZ, Validity(FC_HZ, FC_HZ), "test",
            epoch=Epoch("x", "session"), coherent_groups=GROUPS,
        )  # fmt: skip
        found = diagnose_cables(scene.observations, calibration, 1, time_limit_s=20)
        assert found.fault == (flipped is not None), found.words
        assert found.channels == (() if flipped is None else (flipped,))
        assert found.confidence > 0.9
