"""A few labels and many unlabelled blocks: never worse than labels alone or unlabelled blocks with anchors."""

from __future__ import annotations

import numpy as np
import pytest

from calib.learn import learn
from calib.metrics import manifold_error, steering_of
from calib.pilot.calibrate import pilot_calibrate
from calib.pilot.semi_supervised import semi_supervised
from calib.result import GaugeRequest, LearnResult
from hil.core.errors import NotIdentifiable
from hil.dsp.doa import DoaFinder
from tests.physics.array_scenes import FC_HZ, ArrayScene, make_scene, uniform_line

NAN = float("nan")
FIELD_DEG = np.arange(-60, 61, 10.0)


def _mixed(
    seed: int, known: np.ndarray, blocks: int, unlabelled: int, n: int = 8, k: int = 1, **options
) -> tuple[ArrayScene, np.ndarray, tuple[tuple[float, float, float], ...]]:
    """Scene, labels (B,) and the same labels as anchors."""
    rng = np.random.default_rng(seed)
    first = known.repeat(blocks)
    angle = np.column_stack([first] + [rng.uniform(-60, 60, len(first)) for _ in range(k - 1)])
    angle = np.concatenate((angle, rng.uniform(-60, 60, (unlabelled, k))))
    scene = make_scene(seed, uniform_line(n), k, len(angle), angle_deg=angle, **options)
    labels = np.concatenate((first, np.full(unlabelled, NAN)))
    anchors = tuple(
        (float(a), 1e-3 * (i * blocks - 0.5), 1e-3 * ((i + 1) * blocks - 0.5)) for i, a in enumerate(known)
    )
    return scene, labels, anchors


def _angle_error_deg(scene: ArrayScene, result: LearnResult) -> float:
    """Rms error of the directions that noise-free signals of the field of view would get: absolute, no fit."""
    learned = scene.geometry.positions_m + result.impairments.position_error_m
    gain = result.impairments.gain
    manifold = steering_of(gain, learned, FC_HZ)
    finder = DoaFinder(lambda deg: manifold(np.deg2rad(deg)), FC_HZ, np.linspace(-90, 90, 721))
    a = steering_of(scene.gain, scene.positions_m, FC_HZ)(np.deg2rad(FIELD_DEG)).T
    cov = a[:, :, None] * a[:, None, :].conj() + 1e-3 * np.eye(a.shape[1])
    found = np.array([f[0] for f in finder.find_many(cov, 1)])
    return float(np.sqrt(np.mean((found - FIELD_DEG) ** 2)))


def test_never_worse_than_either_alone() -> None:
    """12 arrays: few short labels at 5 dB, where the labels alone know the shape badly."""
    errors = []
    for seed in range(8800, 8812):
        scene, labels, anchors = _mixed(seed, np.array([-45.0, 10.0, 50.0]), 4, 240, snr_db=5.0)
        alone = pilot_calibrate(scene.observations, labels, scene.geometry, FC_HZ)
        both = semi_supervised(scene.observations, labels, scene.geometry, FC_HZ)
        request = GaugeRequest("anchor", (-60.0, 60.0), anchors)
        unlabelled = learn(scene.observations, scene.geometry, FC_HZ, 1, request)
        assert both.converged, both.reason
        assert both.gauge.kind == "anchor"
        errors.append([_angle_error_deg(scene, r) for r in (both, alone, unlabelled)])
    both_deg, alone_deg, unlabelled_deg = np.array(errors).T
    # each is a draw of noise: every array within a margin of its own error, the mean without one
    assert np.all(both_deg < 1.25 * np.minimum(alone_deg, unlabelled_deg) + 0.015)
    assert both_deg.mean() < 1.03 * alone_deg.mean()
    assert both_deg.mean() < 1.03 * unlabelled_deg.mean()
    assert both_deg.mean() < 0.1


def test_two_sources_and_one_label_each() -> None:
    for seed in range(8820, 8823):
        scene, labels, _ = _mixed(seed, np.array([-40.0, 5.0, 45.0]), 10, 300, k=2)
        result = semi_supervised(scene.observations, labels, scene.geometry, FC_HZ, 2)
        assert result.converged, result.reason
        assert _angle_error_deg(scene, result) < 0.05


def test_one_label_sets_the_offset_and_leaves_the_scale_to_the_prior() -> None:
    scene, labels, _ = _mixed(8830, np.array([20.0]), 10, 300)
    result = semi_supervised(scene.observations, labels, scene.geometry, FC_HZ)
    assert result.converged, result.reason
    assert scene.compare(result).error < 1e-5
    assert result.gauge.scale_sigma > 5e-3
    assert _angle_error_deg(scene, result) < 1.2 * result.gauge.angle_sigma_deg
    at = result.peaks_deg[:10, 0]
    assert np.nanmedian(at) == pytest.approx(20.0, abs=0.05)


def test_a_wrong_label_is_found_by_the_unlabelled_blocks() -> None:
    """Two right labels and a wrong one: alone they only contradict one another."""
    for seed in range(8840, 8843):
        scene, labels, _ = _mixed(seed, np.array([-45.0, 10.0, 50.0, 30.0]), 10, 300)
        labels[10:20] = 25.0
        result = semi_supervised(scene.observations, labels, scene.geometry, FC_HZ)
        assert result.converged, result.reason
        assert any(n.startswith("label 25 degrees") and "seen at 10.0" in n for n in result.notes)
        assert _angle_error_deg(scene, result) < 0.05


def test_unlabelled_blocks_of_another_kind_do_no_harm() -> None:
    """Coherent reflections in the unlabelled blocks: the labels alone decide, and it is said."""
    scene, labels, _ = _mixed(8850, np.linspace(-50, 50, 6), 10, 100)
    other = make_scene(8850, uniform_line(8), 2, 100, coherent=True)
    scene.covariance[60:] = other.covariance
    result = semi_supervised(scene.observations, labels, scene.geometry, FC_HZ)
    assert result.converged, result.reason
    assert any("only the labels were used" in note for note in result.notes)
    assert _angle_error_deg(scene, result) < 0.05


def test_every_block_labelled() -> None:
    known = np.random.default_rng(5).uniform(-60, 60, 40)
    scene, labels, _ = _mixed(8870, known, 4, 0)
    result = semi_supervised(scene.observations, labels, scene.geometry, FC_HZ)
    assert result.converged, result.reason
    assert _angle_error_deg(scene, result) < 0.1


def test_neither_enough_labels_nor_enough_blocks() -> None:
    scene, labels, _ = _mixed(8860, np.array([20.0]), 5, 5)
    with pytest.raises(NotIdentifiable, match="nor do so few labels"):
        semi_supervised(scene.observations, labels, scene.geometry, FC_HZ)
    with pytest.raises(NotIdentifiable, match="no labelled block"):
        semi_supervised(scene.observations, np.full(10, NAN), scene.geometry, FC_HZ)


def test_known_positions_and_comparison_with_the_truth() -> None:
    from calib.result import Prior

    scene, labels, _ = _mixed(8870, np.array([-20.0, 30.0]), 10, 200, position_std=0.0)
    result = semi_supervised(scene.observations, labels, scene.geometry, FC_HZ, prior=Prior(0.0))
    assert result.converged, result.reason
    assert not result.impairments.position_error_m.any()
    compared = manifold_error(
        steering_of(scene.gain, scene.positions_m, FC_HZ),
        steering_of(result.impairments.gain, scene.geometry.positions_m, FC_HZ), is_line=True,
    )  # fmt: skip
    assert compared.gauge_error_deg < 0.06
