"""Tracking phase drift block by block."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from calib.online import Tracker
from hil.core.errors import ConfigError, ShapeError
from hil.core.impairments import ideal
from tests.physics.array_scenes import FC_HZ, WAVELENGTH_M, circle, make_scene, uniform_line


def calibrated(scene):
    """The true impairments."""
    error = scene.positions_m - scene.geometry.positions_m
    return replace(ideal(len(scene.gain)), gain=scene.gain, position_error_m=error)


@pytest.mark.parametrize(("nominal", "k"), [(uniform_line(8), 1), (uniform_line(8), 2), (circle(), 1)])
def test_drift_of_thirty_degrees_a_minute_is_followed(nominal, k: int) -> None:
    limits = (-60.0, 60.0) if np.ptp(nominal[:, 1]) == 0 else (-180.0, 180.0)
    scene = make_scene(30, nominal, k, 1000, limits_deg=limits)
    n = len(nominal)
    tracker = Tracker(calibrated(scene), scene.geometry, FC_HZ, k, 256)
    hidden = [np.ones(n)]
    if scene.is_line:
        hidden.append(scene.positions_m[:, 0] / WAVELENGTH_M)
    basis = np.linalg.qr(np.array(hidden).T)[0]
    rate = np.random.default_rng(1).choice([-0.005, 0.005], n)  # degrees per block, 100 blocks/s
    rate = rate - basis @ (basis.T @ rate)
    late, used, begin = [], [], time.process_time()
    for b, covariance in enumerate(scene.covariance):
        turn = np.exp(1j * np.deg2rad(rate * b))
        track = tracker.update(covariance * (turn[:, None] * turn.conj()[None, :]))
        used.append(track.used)
        if b > 500:
            late.append(track.phase_deg - rate * b)
    seconds = (time.process_time() - begin) / len(scene.covariance)
    without = np.sqrt(np.mean((rate * 750) ** 2))
    error = np.sqrt(np.mean(np.square(late)))
    assert error < 0.15
    assert error < without / 10
    assert np.mean(used) > 0.85 * k
    assert seconds < 5e-3  # ten times the figure


def test_a_block_of_something_else_moves_nothing() -> None:
    scene = make_scene(31, uniform_line(8), 1, 20)
    tracker = Tracker(calibrated(scene), scene.geometry, FC_HZ, 1, 256)
    for covariance in scene.covariance:
        before = tracker.update(covariance).phase_deg
    stranger = make_scene(99, uniform_line(8), 1, 1).covariance[0]
    track = tracker.update(stranger)
    assert track.used == 0
    np.testing.assert_array_equal(track.phase_deg, before)


def test_channel_order_is_kept() -> None:
    nominal = uniform_line(6)[[3, 0, 5, 1, 4, 2]]
    scene = make_scene(32, nominal, 1, 300)
    tracker = Tracker(calibrated(scene), scene.geometry, FC_HZ, 1, 256)
    turn = np.exp(1j * np.deg2rad([0, 0, 3.0, 0, 0, 0]))
    for covariance in scene.covariance:
        track = tracker.update(covariance * (turn[:, None] * turn.conj()[None, :]))
    assert int(np.argmax(np.abs(track.phase_deg))) == 2


def test_wrong_use_is_named() -> None:
    scene = make_scene(33, uniform_line(4), 1, 2)
    with pytest.raises(ConfigError):
        Tracker(calibrated(scene), scene.geometry, FC_HZ, 4, 256)
    tracker = Tracker(calibrated(scene), scene.geometry, FC_HZ, 1, 256)
    with pytest.raises(ShapeError):
        tracker.update(np.eye(3))
