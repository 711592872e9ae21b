"""Delays, IQ images, DC and frequency responses from echoes: right, and with sigmas that are true."""

from __future__ import annotations

import numpy as np
import pytest

import hil.jobs.learn_csi
from tests.physics.channel_scenes import capture, capture_hops, filtered, learn, learn_hops


def test_errors_are_what_their_sigmas_say(tmp_path) -> None:
    delay, iq, dc = [], [], []
    for seed in range(10):
        found = learn(tmp_path, capture(tmp_path, seed))
        assert found.json["channels"]["left_out"] == []
        assert found.json["channels"]["flat"]
        assert found.calibration.sigma.delay_s[1:].max() < 4e-9
        delay.append(found.delay_errors)
        iq.append(found.iq_errors)
        dc.append(found.dc_errors)
    for errors in (delay, iq, dc):
        assert 0.8 < np.sqrt(np.mean(np.square(errors))) < 1.25


def test_a_fast_stream_shows_picoseconds_and_no_phase(tmp_path) -> None:
    errors = []
    for seed in range(5):
        found = learn(tmp_path, capture(tmp_path, seed, fs_hz=30.72e6, n_samples=200_000))
        assert np.median(found.calibration.sigma.delay_s[1:]) < 600e-12
        assert found.phase_error_deg < 0.5  # 2 ns are 11 degrees at the band's edge
        errors.append(found.delay_errors)
    assert np.sqrt(np.mean(np.square(errors))) < 1.5


def test_an_image_is_taken_out_before_gains_are_learned(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = capture(tmp_path, 1, iq_image_db=-30.0, n_symbols=2, n_samples=200_000)
    mended = learn(tmp_path, anchor)
    monkeypatch.setattr(hil.jobs.learn_csi, "stands_out", lambda iq: False)
    left = learn(tmp_path, anchor)
    assert mended.phase_error_deg < 0.5 * left.phase_error_deg


def test_an_emitter_with_a_carrier_of_its_own(tmp_path) -> None:
    capture_hops(tmp_path, 2)
    found = learn_hops(tmp_path)
    assert found.json["converged"]
    for errors in (found.delay_errors, found.iq_errors, found.dc_errors):
        assert np.sqrt(np.mean(errors**2)) < 1.8
    assert np.median(found.calibration.sigma.delay_s[1:]) < 60e-12


def test_channels_that_are_not_flat(tmp_path) -> None:
    capture_hops(tmp_path, 3)
    rng = np.random.default_rng(3)
    taps = np.zeros((8, 3), complex)
    taps[:, 1] = 1.0
    taps[:, ::2] = 0.02 * (rng.normal(size=(8, 2)) + 1j * rng.normal(size=(8, 2)))
    filtered(tmp_path, taps)
    found = learn_hops(tmp_path, "f")
    assert not found.json["channels"]["flat"]
    imp, sigma = found.calibration.impairments, found.calibration.sigma.frequency_response
    assert imp.frequency_hz is not None
    assert sigma is not None
    f = imp.frequency_hz
    drawn_s = found.drawn.delay_s[:, None]
    true = _against_first(
        taps @ np.exp(-2j * np.pi * np.outer(np.arange(3), f / 2.5e6)) * np.exp(-2j * np.pi * drawn_s * f)
    )
    have = _against_first(imp.channel_response(f))
    error = _shape(have / true)
    assert np.sqrt(np.mean(np.abs(error) ** 2)) < 0.2 * np.sqrt(np.mean(np.abs(_shape(true)) ** 2))
    assert np.sqrt(np.mean(np.abs(error / sigma[1:]) ** 2) / 2) < 1.5


def _against_first(response):
    return response / response[0]


def _shape(response):
    """What is not flat, (M - 1, F)."""
    return (response / response.mean(axis=1, keepdims=True) - 1)[1:]
