"""The response table of tones: what a turntable recording of an array with errors must give."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.methods.mod_dnn.bound import direction_bound_rad
from calib.methods.mod_dnn.tones import normalised
from calib.response.tones import measure_tones
from hil.core.errors import CalibrationError, ShapeError

X = -0.5 * np.arange(4)
TONES = 1 + 0.01 * np.linspace(-1, 1, 5)


def ideal(angle_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
    u = np.sin(np.deg2rad(angle_deg))[:, None, None]
    return np.exp(2j * np.pi * X * TONES[:, None] * u)


def actual(angle_deg: NDArray[np.float64], gains: bool = False) -> NDArray[np.complex128]:
    t = angle_deg[:, None, None]
    k = np.arange(5)[:, None]
    psi = np.array([0.0, 7, 9, 12]) * np.sin(2 * np.pi * t / 45 + np.array([0, 0.4, 2, 4]) + 0.1 * k)
    psi = psi + np.array([0.0, 1.5, 1.5, 2]) * np.sin(2 * np.pi * t / 10 + np.array([0, 1, 3, 5]))
    size = np.array([1.0, 1.3, 0.8, 0.9]) * (1 + 0.05 * np.cos(t / 20)) if gains else 1.0
    return ideal(angle_deg) * size * np.exp(1j * np.deg2rad(psi))


def recorded(
    angle_deg: NDArray[np.float64], snr_db: float, rng: np.random.Generator, gains: bool = False
) -> NDArray[np.complex64]:
    phase = np.exp(2j * np.pi * rng.random((len(angle_deg), 5)))[..., None]
    a = actual(angle_deg, gains) * phase
    noise = rng.standard_normal((*a.shape, 2)).view(np.complex128)[..., 0] / np.sqrt(2)
    return normalised(a + 10 ** (-snr_db / 20) * noise)


def bound_deg(angle_deg: NDArray[np.float64], snr_db: float) -> NDArray[np.float64]:
    slope = (actual(angle_deg + 1e-3) - actual(angle_deg - 1e-3)) / np.deg2rad(2e-3)
    return np.rad2deg(direction_bound_rad(actual(angle_deg), slope, 10 ** (-snr_db / 10)))


def overlap(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> NDArray[np.float64]:
    power = np.sum(np.abs(a) ** 2, axis=2) * np.sum(np.abs(b) ** 2, axis=2)
    return np.abs(np.sum(a.conj() * b, axis=2)) ** 2 / power


def test_angles_never_recorded_are_found_at_the_bound() -> None:
    rng = np.random.default_rng(0)
    even = np.repeat(np.arange(-60.0, 61, 2), 40)
    table = measure_tones(recorded(even, 25.0, rng), even, ideal)
    assert table.limits_deg == (-60.0, 60.0)
    assert table.n_angles == 61
    assert 10 * np.log10(table.noise) == pytest.approx(-25, abs=0.3)
    between = np.repeat(np.concatenate((np.arange(-57.0, 58, 2), np.arange(-57.5, 58))), 12)
    for snr_db, most in ((10.0, 1.08), (25.0, 1.08), (30.0, 1.15)):
        error = table.angles_deg(recorded(between, snr_db, rng)) - between
        bound = np.sqrt(np.mean(bound_deg(between, snr_db) ** 2))
        assert np.sqrt(np.mean(error**2)) < most * bound
    response = table.response(between)
    assert np.min(overlap(response, actual(between))) > 0.9995
    assert np.sum(np.abs(response) ** 2, axis=2) == pytest.approx(4.0, rel=1e-4)


def test_gains_are_learned_with_the_phases() -> None:
    rng = np.random.default_rng(1)
    angle = np.repeat(np.arange(-60.0, 61, 3), 10)
    table = measure_tones(recorded(angle, 30.0, rng, gains=True), angle, ideal)
    at = np.linspace(-60, 60, 333)
    assert np.min(overlap(table.response(at), actual(at, gains=True))) > 0.998
    assert np.median(overlap(table.response(at), actual(at, gains=True))) > 0.9998
    assert np.median(overlap(table.response(at), actual(at))) < 0.99


@pytest.mark.parametrize("kind", ["scattered", "jitter", "few"])
def test_any_turntable_will_do(kind: str) -> None:
    rng = np.random.default_rng(2)
    if kind == "scattered":  # a source that drives past: every symbol at an angle of its own
        angle = rng.uniform(-60, 60, 2500)
    elif kind == "jitter":  # an encoder that never reads twice the same
        angle = np.repeat(np.arange(-60.0, 61, 2), 20)
        angle = angle + rng.uniform(-1e-3, 1e-3, len(angle))
    else:  # two symbols add at most half of the variance
        angle = np.repeat(np.arange(-60.0, 61, 2), 2)
    table = measure_tones(recorded(angle, 25.0, rng), angle, ideal)
    true = rng.uniform(-55, 55, 400)
    error = table.angles_deg(recorded(true, 25.0, rng)) - true
    assert np.sqrt(np.mean(error**2)) < 1.3 * np.sqrt(np.mean(bound_deg(true, 25.0) ** 2))


def test_beyond_the_limits_errors_stay_as_they_are_at_the_limit() -> None:
    rng = np.random.default_rng(3)
    angle = np.repeat(np.arange(-30.0, 31, 2), 10)
    table = measure_tones(recorded(angle, 25.0, rng), angle, ideal)
    edge, far = np.array([30.0]), np.array([33.0])
    errors = table.response(far) / ideal(far)
    assert errors == pytest.approx(table.response(edge) / ideal(edge))
    found = table.angles_deg(recorded(np.full(20, 45.0), 25.0, rng))
    assert found == pytest.approx(np.full(20, 30.0))
    assert table.angles_deg(np.zeros((0, 5, 4), np.complex64)).shape == (0,)


def test_what_cannot_be_a_table_is_refused() -> None:
    rng = np.random.default_rng(4)
    few = np.repeat([0.0, 10.0, 20.0], 5)
    with pytest.raises(CalibrationError, match="3 angles are too few"):
        measure_tones(recorded(few, 25.0, rng), few, ideal)
    with pytest.raises(CalibrationError, match="0 angles"):
        measure_tones(np.zeros((0, 5, 4), np.complex64), np.zeros(0), ideal)
    with pytest.raises(ShapeError):
        measure_tones(recorded(few, 25.0, rng), few[:-1], ideal)
