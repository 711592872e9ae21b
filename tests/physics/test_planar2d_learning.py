"""Planar arrays, azimuth and elevation free: cold start, verdict, gauges and their sigmas on simulated blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import polygamma

from calib.methods.planar2d import learn_planar2d
from calib.observations import subspaces
from calib.planar2d.judge import PlaneResult
from calib.planar2d.metrics import PlaneError, compare_planes, on_sphere, plane_of
from calib.planar2d.model import Plane, directions, refine_peaks
from calib.planar2d.refine import polish
from calib.planar2d.scan import eigen_scan, eigen_scan_unlabelled
from calib.planar2d.score import degrees_of_freedom, score_peaks
from calib.planar2d.train import PlaneTrainSettings, train_plane
from calib.result import GaugeRequest, Prior
from hil.core.errors import ConfigError, NotIdentifiable
from hil.core.geometry import ula
from hil.core.impairments import ideal
from tests.physics.planar2d_scenes import (
    FC_HZ,
    WAVELENGTH_M,
    PlaneScene,
    circle,
    irregular,
    make_plane,
    rectangle,
)

PRIOR = GaugeRequest("prior")
CORNERS = ((0.0, 30.0), (120.0, 40.0), (-120.0, 20.0))


def learn(
    scene: PlaneScene, k: int = 1, *, std: float = 0.05, gauge: GaugeRequest = PRIOR, **options
) -> PlaneResult:
    result = learn_planar2d(
        scene.observations, scene.geometry, FC_HZ, k, gauge, prior=Prior(std * WAVELENGTH_M), **options
    )
    assert isinstance(result, PlaneResult)
    return result


def compare(scene: PlaneScene, result: PlaneResult, *, free: bool = True) -> PlaneError:
    r = scene.nominal + result.impairments.position_error_m[:, :2] / WAVELENGTH_M
    true = plane_of(scene.gain, scene.r)
    return compare_planes(true, plane_of(result.impairments.gain, r), free_positions=free)


def anchored(
    seed: int, nominal: np.ndarray, anchors: tuple[tuple[float, float], ...], std: float, n_blocks: int = 200
) -> tuple[PlaneScene, tuple[tuple[float, float, float, float], ...]]:
    """Blocks of 1 ms; the source stands at each anchor for 20 of them, then hops."""
    rng = np.random.default_rng(9000 + seed)
    az, el = rng.uniform(-180, 180, (n_blocks, 1)), rng.uniform(5, 80, (n_blocks, 1))
    given = []
    for i, (azimuth, elevation) in enumerate(anchors):
        az[20 * i : 20 * i + 20], el[20 * i : 20 * i + 20] = azimuth, elevation
        given.append((azimuth, elevation, 0.02 * i - 1e-4, 0.02 * i + 0.0191))
    d = directions(np.deg2rad(az), np.deg2rad(el))
    return make_plane(seed, nominal, d=d, position_std=std), tuple(given)


def direction_error_deg(scene: PlaneScene, result: PlaneResult) -> float:
    """Median angle on the sphere between found and true directions of single sources."""
    az, el = np.deg2rad(result.azimuth_deg), np.deg2rad(result.elevation_deg)
    cosine = np.sum(on_sphere(directions(az, el)) * on_sphere(scene.d), axis=-1)
    return float(np.rad2deg(np.nanmedian(np.arccos(np.clip(cosine, -1, 1)))))


@pytest.mark.parametrize(
    ("nominal", "k", "snr_db", "snapshots"),
    [(rectangle(4, 4), 1, 20, 256), (circle(), 2, 10, 64), (rectangle(2, 2), 1, 20, 256)],
)
def test_null_depth_at_the_truth_is_chi2_with_two_angles_fitted(nominal, k, snr_db, snapshots):
    per_peak = []
    for seed in range(3):
        scene = make_plane(2000 + seed, nominal, k, 300, snr_db=snr_db, n_snapshots=snapshots)
        sub = subspaces(scene.covariance, snapshots, k)
        model = Plane(scene.gain, scene.r).normalised()
        d, depth = refine_peaks(model, sub, scene.d, 0.05, 8)
        score = score_peaks(model, sub, d, depth)
        assert abs(score.excess) < score.threshold
        per_peak.append(score.per_peak)
    e = np.concatenate(per_peak)
    spread = np.sqrt(polygamma(1, degrees_of_freedom(len(nominal), k) / 2))
    assert abs(e.mean()) < 4 * spread / np.sqrt(e.size) + 0.01
    assert abs(e.std() / spread - 1) < 0.1
    # one degree of freedom more, as for a line, would be off by more than the tolerance above
    assert degrees_of_freedom(len(nominal), k) == 2 * (len(nominal) - k) - 2


@pytest.mark.parametrize(
    ("nominal", "k", "std"),
    [
        (rectangle(4, 4), 2, 0.05),
        (rectangle(3, 3), 1, 0.05),
        (circle(), 1, 0.05),
        (irregular(10, 7), 1, 0.05),
        (rectangle(3, 3), 1, 0.0),
    ],
)
def test_cold_start(nominal, k, std):
    scene = make_plane(40, nominal, k, 240, position_std=std)
    result = learn(scene, k, std=std)
    error = compare(scene, result, free=std > 0)
    assert result.converged, result.reason
    assert error.error < 1e-5
    assert error.error < result.field_loss < 1e-4
    assert error.direction_error_deg < 2 * result.gauge.angle_sigma_deg
    assert result.azimuth_deg.shape == result.elevation_deg.shape == (240, k)
    assert any("phase ramps" in text for text in result.not_identifiable)
    assert any("linear map" in text for text in result.not_identifiable) == (std > 0)


def test_three_anchors_settle_everything_and_sigma_tells_how_well():
    ratios, angle = [], []
    for seed in range(4):
        scene, given = anchored(seed, rectangle(3, 3), CORNERS, 0.05)
        result = learn(scene, anchors_2d=given)
        assert result.converged, result.reason
        assert result.gauge.kind == "anchor"
        assert direction_error_deg(scene, result) < 0.15
        true = (scene.r - scene.r.mean(axis=0) - scene.nominal) * WAVELENGTH_M
        ratios.append((result.impairments.position_error_m[:, :2] - true) / result.sigma.position_m[:, :2])
        angle.append(compare(scene, result).direction_error_deg / result.gauge.angle_sigma_deg)
    assert 0.5 < np.std(ratios) < 1.6
    assert np.median(angle) < 1


def test_one_anchor_settles_known_positions():
    scene, given = anchored(5, rectangle(3, 3), CORNERS[:1], 0.0)
    result = learn(scene, std=0.0, anchors_2d=given)
    assert result.converged, result.reason
    assert direction_error_deg(scene, result) < 0.15
    assert result.gauge.angle_sigma_deg < 0.1


def test_what_few_anchors_leave_open_is_said():
    scene, given = anchored(6, rectangle(3, 3), CORNERS[:2], 0.05)
    result = learn(scene, anchors_2d=given)
    assert any("three given directions" in text for text in result.not_identifiable)
    assert compare(scene, result).direction_error_deg < 1.5 * result.gauge.angle_sigma_deg
    three, given = anchored(6, rectangle(3, 3), CORNERS, 0.05)
    settled = learn(three, anchors_2d=given)
    assert not any("would set it" in text for text in settled.not_identifiable)
    assert result.gauge.angle_sigma_deg > 10 * settled.gauge.angle_sigma_deg


def test_wrong_anchor_is_refused():
    scene, given = anchored(0, rectangle(3, 3), CORNERS, 0.05)
    moved = ((given[0][0] + 60, *given[0][1:]), *given[1:])
    result = learn(scene, anchors_2d=moved)
    assert not result.converged
    assert "disagrees" in result.reason


def test_oracle_and_lowest_elevation():
    scene = make_plane(8, circle(), 1, 200, elevation_deg=(30.0, 80.0), position_std=0.0)
    wide = learn(scene, std=0.0)
    tight = learn(scene, std=0.0, lowest_elevation_deg=30.0)
    assert tight.gauge.offset_sigma_deg < 0.5 * wide.gauge.offset_sigma_deg
    assert compare(scene, wide, free=False).direction_error_deg < 1.5 * wide.gauge.angle_sigma_deg
    assert compare(scene, tight, free=False).direction_error_deg < 1.5 * tight.gauge.angle_sigma_deg
    truth = ideal(8)
    truth = type(truth)(scene.gain, truth.coupling, truth.position_error_m, truth.delay_s, truth.iq_image,
                        truth.dc_offset)  # fmt: skip
    oracle = learn(scene, std=0.0, gauge=GaugeRequest("oracle", truth=truth))
    assert direction_error_deg(scene, oracle) < 0.15


def test_data_that_cannot_be_explained_are_refused():
    coherent = make_plane(3, rectangle(3, 3), 2, 120, coherent=True)
    assert not learn(coherent, 2, time_limit_s=2.0).converged
    assert not learn(make_plane(3, rectangle(3, 3), 2, 120), 1, time_limit_s=2.0).converged
    narrow = make_plane(3, rectangle(3, 3), 1, 120, azimuth_deg=(0.0, 8.0), elevation_deg=(30.0, 36.0))
    result = learn(narrow, time_limit_s=3.0)
    assert not result.converged or compare(narrow, result).error < 1e-3


def test_what_no_method_could_learn():
    scene = make_plane(0, rectangle(3, 3), 1, 60)
    line = ula(9, 0.06)
    with pytest.raises(NotIdentifiable, match="one angle"):
        learn_planar2d(scene.observations, line, FC_HZ, 1, PRIOR)
    with pytest.raises(ConfigError, match="1 to 7"):
        learn(scene, 8)
    with pytest.raises(ConfigError, match="one for each anchor"):
        GaugeRequest("anchor", anchors_deg=((0.0, None, None),), anchor_elevations_deg=(30.0, 20.0))
    with pytest.raises(NotIdentifiable, match="stands still"):
        learn(
            scene,
            gauge=GaugeRequest("anchor", anchors_deg=((0.0, None, None),), anchor_elevations_deg=(30.0,)),
        )
    with pytest.raises(NotIdentifiable, match="stands still"):
        learn(scene, anchors_2d=((0.0, 30.0, None, None),))
    still = make_plane(0, rectangle(3, 3), 1, d=np.full((60, 1, 2), 0.3))
    with pytest.raises(NotIdentifiable, match="same 1 angle"):
        learn(still)


def test_eigen_scan_and_log_peak_end_at_the_same_array():
    scene = make_plane(101, rectangle(3, 3), 1, 120)
    true = plane_of(scene.gain, scene.r)
    sub = subspaces(scene.covariance, 256, 1)
    blank = Plane(np.ones(9, complex), scene.nominal).normalised()
    labelled = eigen_scan(blank, sub, scene.d)
    # directions were given: nothing is open, so no gauge may be needed
    assert np.abs(compare_planes(true, labelled).linear - np.eye(2)).max() < 1e-3
    assert compare_planes(true, labelled).error < 1e-5
    rng = np.random.default_rng(0)
    near = Plane(
        true.g * np.exp(0.2j * rng.standard_normal(9)), true.r + 0.02 * rng.standard_normal((9, 2))
    ).normalised()
    assert compare_planes(true, near).error > 5e-3
    assert compare_planes(true, eigen_scan_unlabelled(near, sub)).error < 1e-5
    trained = train_plane(near, sub, PlaneTrainSettings(n_steps=80, batch=60, lr=0.02, sharp=2.0))
    assert trained.history[-1] < trained.history[0] - 2
    assert compare_planes(true, trained.model).error < 1e-5
    assert compare_planes(true, polish(near, sub, scene.nominal, free_positions=True).model).error < 1e-5


@pytest.mark.parametrize("finish", ["eigen-scan", pytest.param("log-peak", marks=pytest.mark.slow)])
def test_polish_by_another_method(finish):
    scene = make_plane(41, circle(), 1, 120)
    result = learn(scene, finish=finish)
    assert result.converged, result.reason
    assert compare(scene, result).error < 1e-5
