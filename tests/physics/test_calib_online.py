"""Tracking phase drift block by block."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from calib.tracking.tracker import Tracker
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


def drift_of(kind: str, n: int, rng: np.random.Generator):
    """Phases in degrees at a time in seconds; 30 degrees a minute at the fastest, on every element."""
    sign = rng.choice([-1.0, 1.0], n)
    if kind == "linear":
        return lambda t: 0.5 * sign * t
    if kind == "sine":
        w, start = 2 * np.pi / rng.uniform(20, 60, n), rng.uniform(0, 2 * np.pi, n)
        return lambda t: 0.5 / w * (np.sin(w * t + start) - np.sin(start))
    tau = rng.uniform(10, 40, n)  # warming up
    return lambda t: 0.5 * sign * tau * (1 - np.exp(-t / tau))


def seen_part(scene, phase: np.ndarray) -> np.ndarray:
    """Without the common phase and the ramp, which are no business of unlabelled data."""
    hidden = [np.ones(len(phase))]
    if scene.is_line:
        hidden.append(scene.positions_m[:, 0])
    basis = np.linalg.qr(np.array(hidden).T)[0]
    return phase - basis @ (basis.T @ phase)


def follow(
    scene, k: int, drift, *, pause_s: float = 0.0, whole: bool = False, known_too: bool = True, **options
):
    """Angle errors (B, K) tracked and of a drift-free array that is known exactly, phase errors, CPU seconds a block."""
    support = (-60.0, 60.0)
    tracker = Tracker(
        calibrated(scene), scene.geometry, FC_HZ, k, 256, support_deg=support, rates=True, **options
    )
    known = Tracker(
        calibrated(scene),
        scene.geometry,
        FC_HZ,
        k,
        256,
        support_deg=support,
        walk_deg=0.0,
        start_sigma_deg=1e-9,
    )
    true, rows, seconds = np.sort(scene.angle_deg, axis=1), [], 0.0
    for b, covariance in enumerate(scene.covariance):
        t = 0.01 * b + pause_s * (b >= len(scene.covariance) // 2)
        phase = drift(t) if whole else seen_part(scene, drift(t))
        turn = np.exp(1j * np.deg2rad(phase))
        begin = time.process_time()
        track = tracker.update(covariance * (turn[:, None] * turn.conj()[None, :]), t)
        seconds += time.process_time() - begin
        reference = known.update(covariance) if known_too else track
        rows.append(
            (
                np.sort(track.theta_deg) - true[b], np.sort(reference.theta_deg) - true[b],
                np.sqrt(np.mean((track.phase_deg - phase) ** 2)), track.offset_sigma_deg,
            )
        )  # fmt: skip
    tracked, reference, phase_error, sigma = (np.array(column) for column in zip(*rows, strict=True))
    return tracked, reference, phase_error, sigma, seconds / len(rows)


def compare(tracked: np.ndarray, reference: np.ndarray, skip: int) -> tuple[float, float]:
    """Ratio of the rms errors over blocks that both resolve, and the share that only the known array resolves."""
    a, b = tracked[skip:], reference[skip:]
    known, followed = np.all(np.abs(b) < 1, axis=1), np.all(np.abs(a) < 1, axis=1)
    both = known & followed
    return float(np.sqrt(np.mean(a[both] ** 2) / np.mean(b[both] ** 2))), float(np.mean(known & ~followed))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("seed", range(200, 210))
def test_ten_arrays_keep_their_accuracy_under_drift(seed: int, k: int) -> None:
    scene = make_scene(seed, uniform_line(8), k, 500)
    drift = drift_of("linear", 8, np.random.default_rng(seed))
    tracked, reference, phase, _, seconds = follow(scene, k, drift)
    ratio, lost = compare(tracked, reference, 100)
    assert ratio < 1.1  # the bar is 1.5
    assert lost <= 0.005
    assert np.sqrt(np.mean(phase[250:] ** 2)) < 0.1
    assert seconds < 5e-3  # ten times the figure


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("kind", ["sine", "warming"])
def test_drift_that_changes_its_pace_is_followed(kind: str, k: int) -> None:
    scene = make_scene(220 + k, uniform_line(8), k, 800)
    drift = drift_of(kind, 8, np.random.default_rng(k))
    tracked, reference, phase, _, _ = follow(scene, k, drift)
    ratio, lost = compare(tracked, reference, 200)
    assert ratio < 1.1
    assert lost <= 0.005
    assert np.sqrt(np.mean(phase[200:] ** 2)) < 0.15


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("kind", ["linear", "sine"])
def test_a_minute_without_data_is_caught_up_within_a_few_blocks(kind: str, k: int) -> None:
    scene = make_scene(230 + k, uniform_line(8), k, 1200)
    drift = drift_of(kind, 8, np.random.default_rng(7 + k))
    tracked, reference, phase, _, _ = follow(scene, k, drift, pause_s=60.0)
    ratio, lost = compare(tracked[605:], reference[605:], 0)
    assert ratio < 1.1
    assert lost <= 0.005
    assert phase[605:].max() < 1.0
    # the rates that were learned carry a steady drift across: 30 degrees without them
    if kind == "linear":
        assert phase[600] < 5.0


@pytest.mark.parametrize("seed", [240, 241, 242])
def test_the_hidden_ramp_is_followed_by_the_edges_of_the_support(seed: int) -> None:
    """Nothing is taken out of the drift: the ramp moves every direction by up to a degree and more a minute."""
    scene = make_scene(seed, uniform_line(8), 1, 3000)
    drift = drift_of("linear", 8, np.random.default_rng(seed))
    tracked, _, _, sigma, _ = follow(scene, 1, drift, whole=True, known_too=False, follow_offset=True)
    late = slice(1000, None)
    offset = np.median(tracked.reshape(-1, 20), axis=1)[50:]
    assert np.sqrt(np.mean(offset**2)) < 0.1
    assert np.sqrt(np.mean(tracked[late] ** 2)) < 0.15
    # what is stated covers what is left
    assert np.mean(np.abs(offset) < 2 * sigma.reshape(-1, 20)[50:, -1]) > 0.85


def test_without_the_edges_the_ramp_of_a_drift_moves_every_direction() -> None:
    scene = make_scene(240, uniform_line(8), 1, 1500)
    drift = drift_of("linear", 8, np.random.default_rng(240))
    tracked, _, _, sigma, _ = follow(scene, 1, drift, whole=True, known_too=False)
    x = scene.positions_m[:, 0] / WAVELENGTH_M
    moved = np.deg2rad(drift(15.0)) @ x / (x @ x) / (2 * np.pi)
    shift = np.sin(np.deg2rad(scene.angle_deg + tracked)) - np.sin(np.deg2rad(scene.angle_deg))
    assert np.all(np.isnan(sigma))
    assert np.median(shift[-50:]) == pytest.approx(moved, rel=0.1)
    assert abs(np.rad2deg(moved)) > 0.05


def test_following_the_offset_needs_a_support() -> None:
    scene = make_scene(33, uniform_line(4), 1, 2)
    with pytest.raises(ConfigError, match="support"):
        Tracker(calibrated(scene), scene.geometry, FC_HZ, 1, 256, follow_offset=True)


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


@pytest.mark.parametrize("rates", [False, True])
def test_many_blocks_at_once_are_followed_exactly_as_one_by_one(rates: bool) -> None:
    scene = make_scene(34, uniform_line(8), 2, 60)
    times = 0.01 * np.arange(60)
    turns = np.exp(1j * np.deg2rad(np.linspace(0, 4, 60)[:, None] * np.arange(8)))
    covariance = scene.covariance * turns[:, :, None] * turns.conj()[:, None, :]
    alone, together = (
        Tracker(calibrated(scene), scene.geometry, FC_HZ, 2, 256, rates=rates, support_deg=(-60.0, 60.0))
        for _ in range(2)
    )
    one = [alone.update(c, t) for c, t in zip(covariance, times, strict=True)]
    all_ = together.follow(covariance, times)
    for a, b in zip(one, all_, strict=True):
        np.testing.assert_array_equal(a.phase_deg, b.phase_deg)
        np.testing.assert_array_equal(a.theta_deg, b.theta_deg)
        assert a.used == b.used
    np.testing.assert_array_equal(alone.gain, together.gain)
    assert together.follow(covariance[:0]) == []


def test_wrong_use_is_named() -> None:
    scene = make_scene(33, uniform_line(4), 1, 2)
    with pytest.raises(ConfigError):
        Tracker(calibrated(scene), scene.geometry, FC_HZ, 4, 256)
    tracker = Tracker(calibrated(scene), scene.geometry, FC_HZ, 1, 256)
    with pytest.raises(ShapeError):
        tracker.update(np.eye(3))
