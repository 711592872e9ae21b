"""Drift after learning is followed without labels: simulated array, learner and follower together."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.geometry import ArrayGeometry
from hil.dsp.doa import DoaFinder
from hil.learning.batch import learn_batch
from hil.learning.follow import PhaseFollower
from hil.learning.observe import CovarianceBatch
from hil.learning.settings import LearnSettings
from sim_backend.drawn import element_positions
from sim_backend.engine import ArrayEngine
from sim_backend.scene import Scene, parse_scene

_T = 256
_DRIFT = "[impairments]\ndrift_deg_per_minute = 30.0\n"


def _covariances(
    engine: ArrayEngine, scene: Scene, start_s: float, end_s: float, rate_hz: float
) -> CovarianceBatch:
    fs = scene.receiver.fs_hz
    first = np.arange(round(start_s * fs), round(end_s * fs), round(fs / rate_hz), dtype=np.int64)
    cov = np.empty((len(first), 8, 8), complex)
    for b, sample in enumerate(first):
        wire = np.concatenate([engine.read(k, int(sample), _T) for k in range(2)], axis=1).astype(float)
        x = (wire[:, 0::2] + 1j * wire[:, 1::2]).T
        cov[b] = x @ x.conj().T / _T
    return CovarianceBatch(cov, first, _T, fs)


@pytest.mark.parametrize("seed", [11, 12])
def test_half_a_degree_a_second_is_followed(seed: int) -> None:
    scene = parse_scene(f"seed = {seed}\n{_DRIFT}")
    engine = ArrayEngine(scene, free_running=True)
    geometry, fc = ArrayGeometry(element_positions(scene)), scene.receiver.fc_hz
    learned = learn_batch(
        _covariances(engine, scene, 0.0, 2.0, 300.0), geometry, fc, LearnSettings(support_deg=(-60.0, 60.0))
    )
    assert learned.gauge.angle_sigma_deg < 1.5
    follower = PhaseFollower(learned, geometry, fc, _T, round(2.0 * scene.receiver.fs_hz))
    for second in range(2, 22):
        assert follower.follow(_covariances(engine, scene, second, second + 1, 100.0)) >= 99
        assert follower.healthy
    now = follower.result().impairments

    drawn = engine.drawn
    turned = drawn.drift_rad_per_s * 21.0  # learned around second 1, now second 22
    seen = np.angle(now.gain / learned.impairments.gain)
    x = geometry.positions_m[:, 0]
    hidden = np.column_stack((np.ones(8), x))  # the common phase and the ramp cannot be seen on a line
    error = np.angle(np.exp(1j * (turned - seen)))
    error = np.unwrap(error)
    error -= hidden @ np.linalg.lstsq(hidden, error, rcond=None)[0]
    whole = turned - hidden @ np.linalg.lstsq(hidden, turned, rcond=None)[0]
    assert np.degrees(np.std(whole)) > 3.0  # there is something to follow
    assert np.degrees(np.std(error)) < 0.25

    # directions: nulls as deep as at the start, where the unfollowed array has lost them
    late = _covariances(engine, scene, 21.5, 22.0, 100.0).covariance

    def depth(gain: np.ndarray) -> float:
        moved = geometry.positions_m + learned.impairments.position_error_m
        finder = DoaFinder(lambda deg: gain[:, None] * np.exp(2j * np.pi * fc / 299_792_458.0 * np.outer(moved[:, 0], np.sin(np.deg2rad(deg)))), fc, np.linspace(-70, 70, 1401))  # fmt: skip
        return float(np.median(1 / finder.spectrum(late, 1).max(axis=1)))

    assert depth(now.gain) < 0.2 * depth(learned.impairments.gain)


@pytest.mark.parametrize("seed", [11, 12, 13, 14, 15])
def test_the_ramp_is_followed_by_the_edges_of_the_support(seed: int) -> None:
    """What a drift moves all directions by is not in the nulls; the edges of the emitters' range show it."""
    scene = parse_scene(f"seed = {seed}\n{_DRIFT}")
    engine = ArrayEngine(scene, free_running=True)
    geometry, fc = ArrayGeometry(element_positions(scene)), scene.receiver.fc_hz
    learned = learn_batch(
        _covariances(engine, scene, 0.0, 2.0, 300.0), geometry, fc, LearnSettings(support_deg=(-60.0, 60.0))
    )
    follower = PhaseFollower(learned, geometry, fc, _T, round(2.0 * scene.receiver.fs_hz))
    for second in range(2, 22):
        follower.follow(_covariances(engine, scene, second, second + 1, 100.0))
    now = follower.result()
    drawn, x = engine.drawn, geometry.positions_m[:, 0] / (299_792_458.0 / fc)
    turned = drawn.drift_rad_per_s * 21.0

    def ramp_deg(phase: np.ndarray) -> float:
        """Shift of the directions near broadside that a phase (M,) rad over the line makes."""
        return float(np.rad2deg(np.polyfit(x, phase, 1)[0] / (2 * np.pi)))

    moved = ramp_deg(turned)
    seen = np.angle(now.impairments.gain / learned.impairments.gain)
    error = np.unwrap(np.angle(np.exp(1j * (turned - seen))))
    left = ramp_deg(error)
    assert abs(left) < 3 * np.hypot(now.gauge.offset_sigma_deg, learned.gauge.offset_sigma_deg)
    if abs(moved) > 1.0:  # there is something to follow
        assert abs(left) < 0.4 * abs(moved)


def test_another_array_is_noticed() -> None:
    scene = parse_scene("seed = 5\n")
    engine = ArrayEngine(scene, free_running=True)
    geometry, fc = ArrayGeometry(element_positions(scene)), scene.receiver.fc_hz
    learned = learn_batch(
        _covariances(engine, scene, 0.0, 2.0, 300.0), geometry, fc, LearnSettings(support_deg=(-60.0, 60.0))
    )
    follower = PhaseFollower(learned, geometry, fc, _T, round(2.0 * scene.receiver.fs_hz))
    other = parse_scene("seed = 6\n")
    follower.follow(_covariances(ArrayEngine(other, free_running=True), other, 2.0, 3.0, 100.0))
    assert not follower.healthy
