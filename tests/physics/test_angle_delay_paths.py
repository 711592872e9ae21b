"""Paths beside a strong direct path: angles, ranges and standard deviations against what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import ConfigError, ShapeError
from hil.dsp.angle_delay_looks import separate
from hil.dsp.angle_delay_paths import find_paths
from hil.dsp.angle_delay_phase import aligned
from tests.physics.angle_delay_scenes import FC, C, echoes, line


def found(scene, **options):
    time_s = scene.time_s if len(scene.time_s) > 1 else None
    return find_paths(scene.csi, scene.positions_m, FC, scene.frequency_hz, time_s=time_s, **options)


def matched(estimate, scene, targets, angle_deg=1.0, bins=0.3):
    """(errors in angle, errors in bins, z of angle, z of range); fails if one is missing or extra."""
    assert len(estimate.paths) == len(targets), estimate.paths
    rest, out = list(estimate.paths), []
    for angle, place, *_ in targets:
        near = min(rest, key=lambda p: abs(p.angle_deg - angle) / 5 + abs(p.delay_s / scene.bin_s - place))
        rest.remove(near)
        da, dr = near.angle_deg - angle, near.delay_s / scene.bin_s - place
        assert abs(da) < angle_deg, (near, angle)
        assert abs(dr) < bins, (near, place)
        out.append((da, dr, da / near.angle_sigma_deg, dr * scene.bin_s / near.delay_sigma_s))
    return np.array(out)


THREE = ((12.0, 5.3, 27.0), (-30.0, 9.1, 27.0), (37.0, 14.7, 27.0))


@pytest.mark.parametrize("direct_db", [37.0, 47.0, 57.0])
def test_three_targets_beside_a_direct_path_of_any_phases(direct_db):
    # 15 dB summed over array and band in each of 16 blocks
    scores = []
    for seed in range(6):
        scene = echoes(seed, THREE, blocks=16, direct_db=direct_db)
        estimate = found(scene)
        assert estimate.delay_reference == "direct path"
        assert estimate.complete
        assert estimate.reference_s == pytest.approx(0.37e-6, abs=0.05 * scene.bin_s)
        scores.append(matched(estimate, scene, THREE, angle_deg=1.4))
    z = np.concatenate(scores)
    assert 0.6 < np.sqrt(np.mean(z[:, 2] ** 2)) < 1.4
    assert 0.6 < np.sqrt(np.mean(z[:, 3] ** 2)) < 1.4


def test_half_a_degree_and_half_a_bin_where_the_bound_allows_it():
    targets = tuple((a, r, 35.0) for a, r, _ in THREE)
    for seed in range(8):
        scene = echoes(seed, targets, blocks=16, direct_db=60.0)
        matched(found(scene), scene, targets, angle_deg=0.5, bins=0.5)


@pytest.mark.parametrize(
    "targets",
    [
        ((10.0, 8.0, 32.0), (28.0, 8.0, 32.0)),
        ((10.0, 8.0, 32.0), (10.0, 9.3, 32.0)),
        ((10.0, 8.0, 32.0), (22.0, 8.6, 32.0), (-2.0, 7.3, 30.0)),
        ((10.0, 0.8, 32.0), (-28.0, 1.5, 32.0)),
        ((10.0, 8.0, 60.0), (-28.0, 15.0, 22.0)),
    ],
    ids=["same bin", "same angle", "neighbours", "near the direct path", "38 dB apart"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_hard_pairs(targets, seed):
    scene = echoes(seed, targets, blocks=16, direct_db=45.0)
    matched(found(scene), scene, targets, angle_deg=2.2, bins=0.35)


def test_targets_that_move_are_found_at_their_doppler():
    targets = ((10.0, 8.0, 30.0, 55.0), (-28.0, 8.0, 27.0, -100.0), (12.0, 8.3, 27.0, 0.0))
    scene = echoes(3, targets, blocks=64)
    estimate = found(scene)
    matched(estimate, scene, targets, angle_deg=1.5)
    by_speed = sorted(p.doppler_hz for p in estimate.paths)
    np.testing.assert_allclose(by_speed, [-100.0, 0.0, 55.0], atol=1.0)
    away = min(estimate.paths, key=lambda p: p.doppler_hz)
    assert away.range_rate_m_s == pytest.approx(100.0 * C / FC / 2, rel=0.02)


def test_without_a_direct_path_the_strongest_is_the_reference():
    scene = echoes(1, ((10.0, 8.0, 32.0), (-28.0, 3.0, 27.0)), blocks=8, direct_db=None)
    estimate = found(scene)
    assert estimate.delay_reference == "strongest path"
    assert [round(p.delay_s / scene.bin_s) for p in estimate.paths] == [0, -5]
    given = found(scene, reference_s=0.37e-6)
    assert given.delay_reference == "given"
    assert [round(p.delay_s / scene.bin_s) for p in given.paths] == [8, 3]


@pytest.mark.parametrize("direct_db", [None, 40.0])
@pytest.mark.parametrize("blocks", [1, 4])
def test_noise_gives_no_more_paths_than_stated(direct_db, blocks):
    n, rate = 150, 0.1
    hits = sum(
        bool(found(echoes(seed, s=32, blocks=blocks, direct_db=direct_db), false_alarm=rate).paths)
        for seed in range(n)
    )
    assert hits <= n * rate + 4 * np.sqrt(n * rate)


def test_few_elements_and_planar_arrays():
    scene = echoes(2, ((10.0, 8.0, 32.0), (-28.0, 15.0, 30.0)), m=4, blocks=8, direct_db=50.0)
    matched(found(scene), scene, ((10.0, 8.0), (-28.0, 15.0)), angle_deg=2.5)
    phi = 2 * np.pi * np.arange(7) / 7
    circle = 0.6 * C / FC * np.column_stack((np.cos(phi), np.sin(phi), np.zeros(7)))
    targets = ((170.0, 8.0, 32.0), (-60.0, 15.0, 30.0))
    scene = echoes(2, targets, positions_m=circle, blocks=8, direct_db=50.0)
    matched(found(scene), scene, targets, angle_deg=2.5)


def test_missing_subcarriers_and_limits():
    scene = echoes(4, THREE, blocks=16)
    keep = np.arange(64) != 32
    estimate = find_paths(
        scene.csi[:, :, keep], scene.positions_m, FC, scene.frequency_hz[keep], time_s=scene.time_s
    )
    matched(estimate, scene, THREE, angle_deg=1.5)
    near = found(scene, max_delay_s=11 * scene.bin_s)
    assert len(near.paths) == 2
    right = found(scene, angles_deg=(0.0, 90.0))
    assert sorted(round(p.angle_deg / 12) for p in right.paths)[:2] == [1, 3]
    two = found(scene, max_paths=2)
    assert len(two.paths) == 2
    assert not two.complete


def test_wrong_input_is_named():
    scene = echoes(0, THREE)
    for change, error in (
        ({"max_paths": 0}, ConfigError),
        ({"angles_deg": (95.0, 99.0)}, ConfigError),
        ({"max_delay_s": -1.0}, ConfigError),
        ({"false_alarm": 0.9}, ConfigError),
    ):
        with pytest.raises(error):
            found(scene, **change)
    with pytest.raises(ShapeError, match="zero"):
        find_paths(np.zeros((8, 64)), line(8), FC, scene.frequency_hz)
    with pytest.raises(ShapeError, match="ascending"):
        find_paths(scene.csi, line(8), FC, scene.frequency_hz[::-1])


def test_data_without_noise_do_no_harm():
    f = (np.arange(64) - 32) * 30e3
    csi = np.outer(np.ones(8), np.exp(-2j * np.pi * f * 3e-6))
    estimate = find_paths(csi, line(8), FC, f)
    assert estimate.paths[0].angle_deg == pytest.approx(0.0, abs=1e-3)


def test_common_phase_is_removed_only_where_it_scatters():
    scene = echoes(5, THREE, blocks=16, direct_db=50.0)
    turned = scene.csi * np.exp(2j * np.pi * np.random.default_rng(0).random(16))[:, None, None]
    mended, scatter, common = aligned(turned)
    assert common
    assert scatter > 0.5
    estimate = find_paths(mended, scene.positions_m, FC, scene.frequency_hz, time_s=scene.time_s)
    matched(estimate, scene, THREE, angle_deg=1.5)
    even = scene.csi * np.exp(2j * np.pi * 30.0 * scene.time_s)[:, None, None]
    assert aligned(even)[1] == 0.0


def gains(seed):
    rng = np.random.default_rng(seed)
    return (1 + 0.3 * rng.standard_normal(8)) * np.exp(2j * np.pi * rng.random(8))


def test_looks_are_told_apart_whatever_the_gains():
    apart = (*((a, r, 32.0) for a, r, _ in THREE), (-10.0, 20.0, 32.0), (40.0, 20.1, 32.0))
    for seed in range(4):
        scene = echoes(seed, apart, blocks=32, gain=gains(seed), direct_db=40.0)
        parts = separate(scene.csi, scene.positions_m, FC, scene.frequency_hz)
        assert parts.direct is not None
        places = sorted((look.delay_s - parts.direct.delay_s) / scene.bin_s for look in parts.looks)
        np.testing.assert_allclose(places, [5.3, 9.1, 14.7], atol=0.1)
        assert any("not one plane wave" in note for note in parts.notes)


def test_emitters_without_a_direct_path_lose_no_look():
    scene = echoes(1, tuple((a, r, 32.0) for a, r, _ in THREE), blocks=32, gain=gains(1), direct_db=None)
    parts = separate(scene.csi, scene.positions_m, FC, scene.frequency_hz)
    assert parts.direct is None
    assert len(parts.looks) == 3
    assert separate(scene.csi, scene.positions_m, FC, scene.frequency_hz, direct="yes").direct is not None
