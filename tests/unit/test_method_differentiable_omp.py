"""Positions from unlabelled echoes: what is found, what is refused, and where one scale or one sector is not enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.csi import ChannelResponses
from calib.methods.differentiable_omp import learn_element_positions
from calib.registry import CSI_METHODS, get_method
from calib.result import GaugeRequest, LearnResult, Prior
from hil.core.calibration import Sigma
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.gauge import Gauge
from hil.core.geometry import uca, ula
from hil.core.impairments import ideal
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.learning.csi_known import with_receivers
from tests.gui.pictures import calibration_of, stream_of

FC_HZ = 2.45e9
WAVELENGTH_M = SPEED_OF_LIGHT_M_S / FC_HZ
SPACING_HZ, S = 30e3, 32
WIDE = GaugeRequest("support", (-60.0, 60.0))


def echoes(
    seed, *, elements=8, std=0.1, blocks=600, snr_db=15.0, targets=1, dwell=1, sector=(-60.0, 60.0), gain=None
):
    """(true x (K,) wavelengths of mean 0, responses): strongest target of amplitude 1, others 0.4, anywhere in range."""
    rng = np.random.default_rng(seed)
    x = (np.arange(elements) - (elements - 1) / 2) / 2 + std * rng.standard_normal(elements)
    f, turns = np.arange(S) * SPACING_HZ, -(-blocks // dwell)
    csi = np.zeros((blocks, elements, S), complex)
    for t in range(targets):
        u = np.sin(np.deg2rad(rng.uniform(*sector, turns))).repeat(dwell)[:blocks]
        tau = (rng.uniform(1, 10, turns) / (S * SPACING_HZ)).repeat(dwell)[:blocks]
        path = np.exp(-2j * np.pi * np.outer(tau, f)) * (0.4 if t else 1.0)
        path = path * np.exp(2j * np.pi * rng.random((blocks, 1)))
        csi += np.exp(2j * np.pi * np.outer(u, x))[:, :, None] * path[:, None]
    noise = rng.standard_normal(csi.shape) + 1j * rng.standard_normal(csi.shape)
    csi = csi + 10 ** (-snr_db / 20) / np.sqrt(2) * noise
    if gain is not None:
        csi = csi * np.asarray(gain)[:, None]
    window_s = (0.0, 11 / (S * SPACING_HZ))
    return x - x.mean(), ChannelResponses(csi, SPACING_HZ, 5e-4 * np.arange(blocks), None, window_s)


def learn(csi, gauge=WIDE, std=0.1) -> LearnResult:
    geometry = ula(csi.n_elements, WAVELENGTH_M / 2)
    return learn_element_positions(csi, geometry, FC_HZ, gauge, prior=Prior(std * WAVELENGTH_M))


def found_x(result: LearnResult) -> np.ndarray:
    nominal = ula(len(result.impairments.gain), WAVELENGTH_M / 2).positions_m
    x = (nominal + result.impairments.position_error_m)[:, 0] / WAVELENGTH_M
    return x - x.mean()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"elements": 4, "std": 0.05}, id="four"),
        pytest.param({"elements": 4, "blocks": 2000, "dwell": 20}, id="four-dwelling"),
        pytest.param({"elements": 8}, id="eight"),
        pytest.param({"elements": 8, "blocks": 2000, "targets": 2, "dwell": 5}, id="two-targets"),
        pytest.param({"elements": 16, "targets": 3, "snr_db": 10.0}, id="three-targets"),
        pytest.param({"elements": 8, "sector": (-40.0, -20.0)}, id="narrow"),
    ],
)
@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_places_within_their_sigma(options, seed) -> None:
    x, csi = echoes(seed, **options)
    gauge = GaugeRequest("support", options.get("sector", (-60.0, 60.0)))
    result = learn(csi, gauge, options.get("std", 0.1))
    assert result.converged, result.reason
    sigma = result.sigma.position_m[:, 0] / WAVELENGTH_M
    assert np.all(np.abs(found_x(result) - x) < 4 * sigma), (found_x(result) - x, sigma)
    assert np.all(result.impairments.gain == 1)
    assert result.gauge.angle_sigma_deg < 1.0
    assert result.not_identifiable[0].startswith("one factor of all positions")


def test_a_target_that_dwells_counts_as_one_angle() -> None:
    alone, dwelling = (learn(echoes(2, blocks=1000, dwell=d)[1]).gauge.scale_sigma for d in (1, 20))
    assert dwelling > 3 * alone


@pytest.mark.parametrize("sector", [(-60.0, 60.0), (-40.0, -20.0)], ids=["wide", "narrow"])
@pytest.mark.parametrize("kind", ["phases", "levels"])
def test_gains_that_are_not_divided_out_are_refused(kind, sector) -> None:
    rng = np.random.default_rng(1)
    gain = np.exp(2j * np.pi * rng.random(8)) if kind == "phases" else 1 + 0.2 * rng.standard_normal(8)
    result = learn(echoes(2, gain=gain, sector=sector)[1], GaugeRequest("support", sector))
    assert not result.converged
    assert "gain" in result.reason


def test_the_scale_comes_from_an_anchor_or_from_the_nominal_size() -> None:
    x, moving = echoes(4, std=0.05)
    _, standing = echoes(4, std=0.05, blocks=100, sector=(29.9999, 30.0001))
    csi = replace(moving, csi=np.concatenate([standing.csi, moving.csi]), time_s=5e-4 * np.arange(700))
    result = learn(csi, GaugeRequest("anchor", anchors_deg=((30.0, 0.0, 0.0499),)), 0.05)
    assert result.converged, result.reason
    assert np.abs(found_x(result) - x).max() < 2e-3
    assert result.gauge.angle_sigma_deg < 0.05
    loose = learn(moving, GaugeRequest("prior"), 0.05)
    shape = found_x(loose) * (found_x(loose) @ x) / (found_x(loose) @ found_x(loose))
    assert loose.converged
    assert np.abs(shape - x).max() < 2e-3  # right but for the factor
    assert loose.gauge.angle_sigma_deg > 0.5  # which is said: exit 4
    with pytest.raises(NotIdentifiable, match="near broadside"):
        learn(csi, GaugeRequest("anchor", anchors_deg=((2.0, None, None),)))
    with pytest.raises(NotIdentifiable, match="no target stands still"):
        learn(csi, GaugeRequest("anchor", anchors_deg=((30.0, 0.1, 0.3),)))


def test_targets_that_do_not_reach_the_edges_do_not_tell_the_scale() -> None:
    result = learn(echoes(3, sector=(-40.0, 40.0))[1])
    assert not result.converged
    assert "%" in result.reason or "edges" in result.reason


def test_too_little_is_said() -> None:
    few = learn(echoes(3, blocks=10)[1])
    assert not few.converged
    assert "at least 16" in few.reason
    nothing = learn(echoes(3, blocks=200, snr_db=-45.0)[1])
    assert not nothing.converged
    assert "stands out of the noise" in nothing.reason


def test_what_it_does_not_take() -> None:
    _, csi = echoes(0, blocks=20)
    with pytest.raises(ConfigError, match="lines along x"):
        learn_element_positions(csi, uca(8, 0.1), FC_HZ, WIDE)
    with pytest.raises(ConfigError, match="cannot be exact"):
        learn(csi, std=0.0)
    with pytest.raises(ShapeError):
        learn_element_positions(csi, ula(4, 0.06), FC_HZ, WIDE)
    assert get_method("differentiable-omp") is learn_element_positions
    assert "differentiable-omp" in CSI_METHODS


def test_known_receivers_come_back_and_their_phase_errors_count() -> None:
    known = calibration_of(stream_of("ula:4:0.5"))
    zero = np.zeros(4)
    known = replace(known, sigma=Sigma(zero, np.full(4, 2.0), np.zeros((4, 3)), zero))
    place = np.zeros((4, 3))
    place[:, 0] = [1e-3, -1e-3, 2e-3, -2e-3]
    sigma = np.zeros((4, 3))
    sigma[:, 0] = 1e-5
    result = LearnResult(
        replace(ideal(4), position_error_m=place), Sigma(zero, zero, sigma, zero), Gauge("support"), True,
        peaks_deg=np.full((10, 1), 30.0),
    )  # fmt: skip
    both = with_receivers(result, known)
    np.testing.assert_allclose(both.impairments.gain, known.impairments.gain)
    np.testing.assert_allclose(both.impairments.position_error_m, place, atol=1e-15)
    # two degrees at u = 0.5 look like this much of a wavelength
    shift_m = np.deg2rad(2.0) / (2 * np.pi * 0.5) * SPEED_OF_LIGHT_M_S / known.fc_hz
    np.testing.assert_allclose(both.sigma.position_m[:, 0], np.hypot(1e-5, shift_m), rtol=1e-6)


@pytest.mark.slow
def test_the_published_gradient_stays_where_the_scan_is() -> None:
    x, csi = echoes(0, blocks=300)
    geometry = ula(8, WAVELENGTH_M / 2)
    prior = Prior(0.1 * WAVELENGTH_M)
    result = learn_element_positions(
        csi, geometry, FC_HZ, WIDE, prior=prior, time_limit_s=2.0, loss="max-map"
    )
    assert result.converged, result.reason
    assert np.abs(found_x(result) - x).max() < 0.01
    with pytest.raises(ConfigError, match="max-map"):
        learn_element_positions(csi, geometry, FC_HZ, WIDE, loss="mse")  # pyright: ignore[reportArgumentType]
