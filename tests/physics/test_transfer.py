"""After a retune only the phases between coherent groups are new: at most a second of data brings them back."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.learn import Observations, relearn_phase
from calib.result import GaugeRequest
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.errors import ConfigError
from hil.core.gauge import Gauge, canonical
from hil.core.impairments import ideal
from hil.dsp.doa import DoaFinder, assign_errors_deg
from tests.physics.array_scenes import FC_HZ, ArrayScene, make_scene, uniform_line

SUPPORT = GaugeRequest("support", (-60.0, 60.0))


def _groups(size: int, n: int = 8) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(range(i, i + size)) for i in range(0, n, size))


def _stored(scene: ArrayScene, size: int) -> Calibration:
    """What was known before the retune."""
    error = scene.positions_m - scene.geometry.positions_m
    imp = canonical(replace(ideal(len(scene.gain)), gain=scene.gain, position_error_m=error))
    return Calibration(
        scene.geometry, imp, unknown_sigma(imp.n_elements), Gauge("anchor", angle_sigma_deg=0.01), FC_HZ,
        Validity(FC_HZ, FC_HZ), "cold-start", coherent_groups=_groups(size),
    )  # fmt: skip


def _second(
    seed: int, size: int, k: int, n_blocks: int = 1000, per_dwell: int = 10
) -> tuple[ArrayScene, Observations, NDArray[np.complex128]]:
    """100 hops a second, ten blocks (or fewer) of 256 snapshots in each, 20 dB, after new phases of the groups."""
    scene = make_scene(seed, uniform_line(8), k, n_blocks, blocks_per_dwell=per_dwell)
    turn = np.exp(2j * np.pi * np.random.default_rng(seed + 1).random(8 // size).repeat(size))
    cov = scene.covariance * (turn[:, None] * turn.conj())
    return scene, replace(scene.observations, covariance=cov), turn


def _doa_error_deg(
    scene: ArrayScene, turn: NDArray[np.complex128], calibration: Calibration, seed: int
) -> float:
    """Mean over 150 blocks of other angles."""
    k = scene.angle_deg.shape[1]
    other = make_scene(seed, uniform_line(8), k, 150)
    assert np.array_equal(other.gain, scene.gain)
    finder = DoaFinder(calibration)
    errors = []
    cov = other.covariance * (turn[:, None] * turn.conj())
    for found, true in zip(finder.find_many(cov, k), other.angle_deg, strict=True):
        filled = np.concatenate((found, np.full(k - len(found), found[0])))
        errors.append(np.sqrt(np.mean(assign_errors_deg(filled, true) ** 2)))
    return float(np.mean(errors))


@pytest.mark.parametrize(("size", "k"), [(4, 1), (2, 1), (4, 2), (2, 2)])
def test_a_second_brings_groups_of_two_and_more_back_without_a_gauge(size: int, k: int) -> None:
    """10 arrays each: the error is that of the known array within 1.2, and no ramp is left."""
    for seed in range(9200, 9210):
        scene, obs, turn = _second(seed, size, k, 1000 if (size, k) == (2, 1) else 300)
        stored = _stored(scene, size)
        begin = time.process_time()
        result = relearn_phase(obs, stored, k)
        assert time.process_time() - begin < 10.0  # ten times the figure
        assert result.converged, (seed, result.reason)
        new = replace(stored, impairments=result.impairments)
        known = replace(stored, impairments=canonical(replace(stored.impairments, gain=scene.gain * turn)))
        assert _doa_error_deg(scene, turn, new, seed) < 1.2 * _doa_error_deg(scene, turn, known, seed)
        # what the new phases cost is stated on top of what the calibration said
        assert 0.01 < result.gauge.angle_sigma_deg < 0.05
        assert result.gauge.kind == "anchor"


def test_short_data_state_a_larger_sigma() -> None:
    covered = []
    for seed in range(9220, 9230):
        scene, obs, turn = _second(seed, 2, 1, 20)
        stored = replace(_stored(scene, 2), gauge=Gauge("anchor"))
        result = relearn_phase(obs, stored, 1)
        assert result.converged, result.reason
        error = np.angle(result.impairments.gain * (scene.gain * turn).conj())
        x = scene.positions_m[:, 0] / (299_792_458.0 / FC_HZ)
        slope = np.polyfit(x, np.unwrap(error), 1)[0] / (2 * np.pi)  # the ramp as a shift of u
        covered.append(np.rad2deg(abs(slope)) < result.gauge.angle_sigma_deg)
    assert np.mean(covered) >= 0.8


@pytest.mark.parametrize("k", [1, 2])
def test_groups_of_one_leave_the_ramp_to_the_support(k: int) -> None:
    """10 arrays: every phase new. The shape is right, the offset as good as the support's edges, and stated."""
    for seed in range(9240, 9250):
        scene, obs, turn = _second(seed, 1, k, 200, 2)
        stored = _stored(scene, 1)
        result = relearn_phase(obs, stored, k, SUPPORT, seed=seed)
        assert result.converged, (seed, result.reason)
        assert result.gauge.kind == "support"
        assert "angle offset" in result.not_identifiable[0]
        # the moduli are the stored ones
        assert np.allclose(np.abs(result.impairments.gain), np.abs(stored.impairments.gain), rtol=1e-6)
        retuned = replace(scene, gain=scene.gain * turn)
        compared = retuned.compare(result)
        assert compared.error < 1e-5
        assert compared.gauge_error_deg < 2 * result.gauge.angle_sigma_deg
        assert result.gauge.angle_sigma_deg < 2.5
    with pytest.raises(ConfigError, match="ramp"):
        relearn_phase(obs, stored, k)


def test_an_exact_line_with_every_phase_new() -> None:
    """Half a wavelength exactly: the ramp of one period more is the same array; 10 arrays, stated sigma covers."""
    pulls = []
    for seed in range(9280, 9290):
        scene = make_scene(seed, uniform_line(8), 1, 200, position_std=0.0)
        stored = _stored(replace(scene, gain=np.abs(scene.gain) + 0j), 1)
        result = relearn_phase(scene.observations, stored, 1, SUPPORT, seed=seed)
        assert result.converged, (seed, result.reason)
        assert scene.compare(result).error < 1e-5
        error = np.angle(result.impairments.gain * scene.gain.conj() * scene.gain[0] / abs(scene.gain[0]))
        assert result.sigma.phase_deg[-1] > result.sigma.phase_deg[1]  # the ramp is most open at the far end
        pulls.append(np.rad2deg(error[-1]) / result.sigma.phase_deg[-1])
    assert np.sqrt(np.mean(np.square(pulls))) < 1.8


def test_a_calibration_of_another_array_is_not_relearned() -> None:
    for seed in range(9260, 9262):
        _, obs, _ = _second(seed, 2, 1, 100)
        other = make_scene(seed + 1000, uniform_line(8), 1, 10)
        result = relearn_phase(obs, _stored(other, 2), 1, time_limit_s=1.0)
        assert not result.converged
        assert result.reason


def test_a_learned_calibration_keeps_its_accuracy() -> None:
    """Positions with the errors of unsupervised learning: after the retune as good as before it."""
    for seed in range(9270, 9273):
        scene, obs, turn = _second(seed, 4, 1, 300)
        before = make_scene(seed, uniform_line(8), 1, 600)
        learned = before.learn(SUPPORT)
        assert learned.converged
        stored = replace(_stored(scene, 4), impairments=learned.impairments, gauge=learned.gauge)
        result = relearn_phase(obs, stored, 1)
        assert result.converged, result.reason
        still = np.ones(8, complex)
        old = _doa_error_deg(scene, still, stored, seed)
        new = _doa_error_deg(scene, turn, replace(stored, impairments=result.impairments), seed)
        assert new < 1.2 * old + 0.01
