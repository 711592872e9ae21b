"""Delays, IQ images, DC and frequency responses from echoes: right, and with sigmas that are true."""

from __future__ import annotations

import numpy as np
import pytest

import hil.jobs.learn_csi
from tests.physics.channel_scenes import capture, filtered, learn


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
    found = learn(tmp_path, capture(tmp_path, 4, fs_hz=30.72e6, board="fmcomms5", n_samples=200_000))
    assert np.sqrt(np.mean(found.delay_errors**2)) < 2.0
    assert np.median(found.calibration.sigma.delay_s[1:]) < 400e-12
    assert found.phase_error_deg < 0.5  # 2 ns are 11 degrees at the band's edge


def test_an_image_is_taken_out_before_gains_are_learned(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = capture(tmp_path, 1, iq_image_db=-30.0, n_symbols=2, n_samples=200_000)
    mended = learn(tmp_path, anchor)
    monkeypatch.setattr(hil.jobs.learn_csi, "stands_out", lambda iq: False)
    left = learn(tmp_path, anchor)
    assert mended.phase_error_deg < 0.5 * left.phase_error_deg


def test_channels_that_are_not_flat(tmp_path) -> None:
    anchor = capture(tmp_path, 3, n_samples=300_000, delay_std_s=0.0)
    rng = np.random.default_rng(3)
    taps = np.zeros((8, 3), complex)
    taps[:, 1] = 1.0
    taps[:, ::2] = 0.1 * (rng.normal(size=(8, 2)) + 1j * rng.normal(size=(8, 2)))
    filtered(tmp_path, taps)
    found = learn(tmp_path, anchor, "f")
    imp = found.calibration.impairments
    assert not found.json["channels"]["flat"]
    assert imp.frequency_hz is not None
    assert found.calibration.sigma.frequency_response is not None
    f = imp.frequency_hz
    true = taps @ np.exp(-2j * np.pi * np.outer(np.arange(3), f / 2.5e6))
    have = imp.gain[:, None] * imp.channel_response(f)
    ratio = have / (true * found.drawn.gain[:, None])
    ratio = ratio / ratio[0]
    before = true / true[0]
    spread = np.abs(ratio / ratio.mean(axis=1, keepdims=True) - 1)[1:]
    flat = np.abs(before / before.mean(axis=1, keepdims=True) - 1)[1:]
    assert np.sqrt(np.mean(spread**2)) < 0.15 * np.sqrt(np.mean(flat**2))
    error = spread / np.hypot(found.calibration.sigma.frequency_response[1:], 1e-12)
    assert np.sqrt(np.mean(error**2) / 2) < 1.6
