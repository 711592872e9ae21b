"""Gain-phase learning from blocks to a calibration, right and wrong assumptions, drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.csi import ChannelResponses
from calib.gpi.recursive import RecursiveGainPhase
from calib.methods.gain_phase_isac import learn_gain_phase
from calib.result import GaugeRequest, Prior, Progress
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.geometry import uca
from hil.core.impairments import ideal
from tests.physics.gpi_scenes import FC_HZ, SPACING_HZ, WINDOW_S, echoes

SUPPORT = GaugeRequest("support", support_deg=(-62, 62))


@pytest.mark.parametrize("seed", range(4))
def test_any_phases_are_found_and_the_edges_set_the_angles(seed: int) -> None:
    e = echoes(seed)
    result = learn_gain_phase(e.csi, e.geometry, FC_HZ, SUPPORT)
    shift, correlation = e.shift_and_correlation(result.impairments.gain)
    assert result.converged, result.reason
    assert correlation > 0.9995
    assert abs(shift) < 4 * np.deg2rad(result.gauge.offset_sigma_deg)
    assert result.gauge.angle_sigma_deg < 0.5
    assert result.field_loss < 1e-3
    assert result.impairments.gain[0].imag == pytest.approx(0, abs=1e-12)
    assert result.history
    assert result.steps > 0


@pytest.mark.parametrize("loss", ["max-map", "reconstruction"])
def test_the_published_losses_end_at_the_same_array(loss: str) -> None:
    e = echoes(5, blocks=500)
    result = learn_gain_phase(e.csi, e.geometry, FC_HZ, SUPPORT, loss=loss)
    assert result.converged, result.reason
    assert e.shift_and_correlation(result.impairments.gain)[1] > 0.9993


def test_one_wide_sector_uneven_line_and_unequal_noise() -> None:
    x = np.array([2.0, -1.7, -1.1, 0.55, 0.0, -0.6, 1.2, 1.6])  # wavelengths, in no order
    e = echoes(6, x=x, sector_deg=(-50, 50), blocks=1200, noise=np.array([1, 1, 2, 1, 0.5, 1, 1, 1.5]))
    plain = replace(e.csi, sector_deg=None)
    result = learn_gain_phase(plain, e.geometry, FC_HZ, GaugeRequest("support", support_deg=(-50, 50)))
    shift, correlation = e.shift_and_correlation(result.impairments.gain)
    assert result.converged, result.reason
    assert correlation > 0.999
    assert abs(shift) < 4 * np.deg2rad(result.gauge.offset_sigma_deg)


def test_sigma_covers_the_errors() -> None:
    pulls = []
    for seed in range(6):
        e = echoes(20 + seed, blocks=500)
        truth = replace(ideal(8), gain=e.gain)
        result = learn_gain_phase(e.csi, e.geometry, FC_HZ, GaugeRequest("oracle", truth=truth))
        assert result.gauge.kind == "oracle"
        ratio = result.impairments.gain / e.gain
        phase = np.rad2deg(np.angle(ratio / ratio[0]))[1:]
        pulls.append(phase / result.sigma.phase_deg[1:])
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.4


def test_an_anchor_sets_the_angle() -> None:
    e = echoes(9, blocks=900)
    angles = np.rad2deg(np.arcsin(e.u))
    angles[:100] = 17.0
    sector = np.asarray(e.csi.sector_deg).copy()
    sector[:100] = (0, 40)
    e = echoes(9, blocks=900, angles_deg=angles)
    csi = replace(e.csi, sector_deg=sector)
    result = learn_gain_phase(
        csi, e.geometry, FC_HZ, GaugeRequest("anchor", anchors_deg=((17.0, 0.0, 0.0995),))
    )
    shift, correlation = e.shift_and_correlation(result.impairments.gain)
    assert result.converged, result.reason
    assert correlation > 0.9995
    assert abs(shift) < 4 * np.deg2rad(result.gauge.offset_sigma_deg)
    assert result.gauge.kind == "anchor"
    moving = GaugeRequest("anchor", anchors_deg=((17.0, 0.2, 0.4),))
    with pytest.raises(NotIdentifiable, match="stand"):
        learn_gain_phase(csi, e.geometry, FC_HZ, moving)
    with pytest.raises(ConfigError, match="times"):
        learn_gain_phase(replace(csi, time_s=None), e.geometry, FC_HZ, moving)


def test_no_gauge_says_that_the_angles_are_open() -> None:
    e = echoes(10)
    result = learn_gain_phase(e.csi, e.geometry, FC_HZ, GaugeRequest("none"))
    assert result.converged
    assert result.gauge.angle_sigma_deg > 2
    assert "ramp" in result.not_identifiable[0]


def test_a_standing_source_does_not_claim_the_angle() -> None:
    e = echoes(11, sector_deg=(-20, 20), angles_deg=np.full(800, 17.0))
    result = learn_gain_phase(e.csi, e.geometry, FC_HZ, GaugeRequest("support", support_deg=(-20, 20)))
    assert result.gauge.angle_sigma_deg > 0.5
    assert any("follow each other" in note for note in result.notes)


def test_sources_that_leave_the_edges_empty_do_not_claim_the_angle() -> None:
    angles = np.random.default_rng(0).uniform(-10, 25, 800)
    e = echoes(14, sector_deg=(-40, 40), angles_deg=angles)
    result = learn_gain_phase(e.csi, e.geometry, FC_HZ, GaugeRequest("support", support_deg=(-40, 40)))
    shift, correlation = e.shift_and_correlation(result.impairments.gain)
    assert correlation > 0.999
    assert result.gauge.angle_sigma_deg > 5
    assert abs(shift) < 3 * np.deg2rad(result.gauge.offset_sigma_deg)


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"blocks": 30}, "blocks"),
        ({"snr_db": 3.0, "blocks": 400}, "noise"),
        ({"share": 0.0}, "blocks"),
        ({"position_error": 0.08, "blocks": 1500}, "positions"),
        ({"second_db": 0.0, "blocks": 1500}, "several paths"),
    ],
)
def test_what_cannot_be_trusted_is_refused(kwargs: dict, word: str) -> None:
    e = echoes(12, **kwargs)
    result = learn_gain_phase(e.csi, e.geometry, FC_HZ, SUPPORT)
    assert not result.converged
    assert word in result.reason


def test_wrong_input_is_named() -> None:
    e = echoes(0, blocks=20)
    with pytest.raises(ConfigError, match="line"):
        learn_gain_phase(e.csi, uca(8, 0.1), FC_HZ, SUPPORT)
    with pytest.raises(ConfigError, match="positions"):
        learn_gain_phase(e.csi, e.geometry, FC_HZ, SUPPORT, prior=Prior(0.01))
    with pytest.raises(ConfigError, match="loss"):
        learn_gain_phase(e.csi, e.geometry, FC_HZ, SUPPORT, loss="jain")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="elements"):
        learn_gain_phase(echoes(0, n=5, blocks=20).csi, e.geometry, FC_HZ, SUPPORT)
    with pytest.raises(ShapeError, match="zero"):
        learn_gain_phase(ChannelResponses(np.zeros((9, 8, 16)), 1e3), e.geometry, FC_HZ, SUPPORT)


def test_stop_and_progress() -> None:
    e = echoes(1)
    seen: list[Progress] = []
    result = learn_gain_phase(e.csi, e.geometry, FC_HZ, SUPPORT, progress=seen.append)
    assert seen
    assert seen[-1].stage == "gauge"
    assert result.converged
    stopped = learn_gain_phase(e.csi, e.geometry, FC_HZ, SUPPORT, stop=lambda: True)
    assert stopped.steps == 0


def test_recursion_follows_drift() -> None:
    e = echoes(13, blocks=3000, share=0.9, phases=1.0)
    drift = np.linspace(0, 1, 3000)[:, None] * np.random.default_rng(1).uniform(-1.5, 1.5, 8)
    learner = RecursiveGainPhase(np.ones(8), e.x, 48, SPACING_HZ, WINDOW_S, memory=150)
    sector = np.asarray(e.csi.sector_deg)
    for b in range(3000):
        peak = learner.update(e.csi.csi[b] * np.exp(1j * drift[b])[:, None], (sector[b, 0], sector[b, 1]))
        assert peak.statistic >= 0
    now = replace(e, gain=e.gain * np.exp(1j * drift[-1]))
    assert now.shift_and_correlation(learner.kappa)[1] > 0.997
    assert e.shift_and_correlation(learner.kappa)[1] < 0.9
    assert np.sum(np.abs(learner.kappa) ** 2) == pytest.approx(8)
    assert learner.n_used < learner.n_blocks == 3000
    before = learner.kappa
    learner.shift(0.01)
    np.testing.assert_allclose(np.abs(learner.kappa), np.abs(before), rtol=1e-9)


def test_recursion_refuses_wrong_blocks() -> None:
    learner = RecursiveGainPhase(np.ones(4), np.arange(4) / 2, 16, SPACING_HZ)
    with pytest.raises(ShapeError, match="csi"):
        learner.update(np.ones((4, 15), complex), (-10, 10))
    with pytest.raises(ShapeError, match="finite"):
        learner.update(np.full((4, 16), np.nan, complex), (-10, 10))
    with pytest.raises(ConfigError, match="sector"):
        learner.update(np.ones((4, 16), complex), (10, -10))
    with pytest.raises(ShapeError, match="one value"):
        RecursiveGainPhase(np.ones(3), np.arange(4) / 2, 16, SPACING_HZ)
    with pytest.raises(ConfigError, match="memory"):
        RecursiveGainPhase(np.ones(4), np.arange(4) / 2, 16, SPACING_HZ, memory=0)
