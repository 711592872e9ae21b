"""Channel delays and responses against data made with known ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.channel.fit import fit_channels, skew_s
from hil.core.errors import NotIdentifiable, ShapeError

SPACING_HZ = 30e3


def _made(rng, *, m=6, s=48, b=60, snr_db=10.0, ripple=0.0, delay_std_s=2e-9):
    """csi, model, carriers, delays, response of one source at random directions with its own multipath."""
    f: NDArray[np.float64] = (np.arange(s, dtype=np.float64) - s // 2) * SPACING_HZ
    model = np.exp(2j * np.pi * 0.5 * np.arange(m) * np.sin(rng.uniform(-1, 1, b))[:, None])
    beta = np.exp(-2j * np.pi * f * rng.uniform(0, 3e-6, (b, 1))) + 0.3 * np.exp(-2j * np.pi * f * 4e-6)
    beta = beta * np.exp(2j * np.pi * rng.random((b, 1)))
    delay = delay_std_s * rng.normal(size=m)
    shape = 1 + ripple * np.exp(2j * np.pi * (f / (s * SPACING_HZ) + rng.random((m, 1))))
    gain = 1 + 0.05 * (rng.normal(size=m) + 1j * rng.normal(size=m))
    c = gain[:, None] * shape * np.exp(-2j * np.pi * delay[:, None] * f)
    noise = 10 ** (-snr_db / 20) * np.sqrt(0.5)
    y = c * model[:, :, None] * beta[:, None, :]
    y = y + noise * (rng.normal(size=y.shape) + 1j * rng.normal(size=y.shape))
    return y, model, f, delay, c


@pytest.mark.parametrize("snr_db", [3.0, 20.0])
def test_delays_within_their_sigma(snr_db: float) -> None:
    errors, flat = [], 0
    for seed in range(40):
        y, model, f, delay, _ = _made(np.random.default_rng(seed), snr_db=snr_db)
        fit = fit_channels(y, model, f)
        assert fit.delay_s[0] == 0 == fit.delay_sigma_s[0]
        errors.append((fit.delay_s - (delay - delay[0]))[1:] / fit.delay_sigma_s[1:])
        flat += fit.flat
    spread = np.sqrt(np.mean(np.square(errors)))
    assert 0.85 < spread < 1.15
    assert flat == 40


def test_ripple_is_seen_and_stored_with_its_sigma() -> None:
    errors = []
    for seed in range(20):
        y, model, f, _, c = _made(np.random.default_rng(seed), ripple=0.1)
        fit = fit_channels(y, model, f, reference=2)
        assert not fit.flat
        again = (
            fit.gain[:, None] * fit.response * np.exp(-2j * np.pi * fit.delay_s[:, None] * fit.frequency_hz)
        )
        errors.append(((again - c / c[2]) / fit.response_sigma.clip(1e-12))[[0, 1, 3, 4, 5]])
    parts = np.array(errors).view(float)
    assert 0.8 < np.sqrt(np.mean(parts**2)) < 1.2


def test_a_delay_is_not_taken_for_a_phase() -> None:
    # band beside the carrier: f = 1..3 MHz, so that a wrong split would show
    rng = np.random.default_rng(5)
    y, model, f, _, _ = _made(rng, snr_db=40.0, delay_std_s=0.0)
    f = f + 2e6
    y = y * np.exp(-2j * np.pi * f * np.array([0, 5, -3, 1, 0, 2])[None, :, None] * 1e-9)
    fit = fit_channels(y, model, f)
    np.testing.assert_allclose(fit.delay_s * 1e9, [0, 5, -3, 1, 0, 2], atol=5 * fit.delay_sigma_s.max() * 1e9)
    turned = fit_channels(y * np.exp(1j * np.arange(6))[None, :, None], model, f)
    np.testing.assert_allclose(turned.delay_s, fit.delay_s, atol=1e-14)
    np.testing.assert_allclose(
        np.angle(turned.gain / fit.gain), np.angle(np.exp(1j * np.arange(6))), atol=1e-9
    )


def test_blind_skew_finds_large_delays() -> None:
    rng = np.random.default_rng(1)
    y, _, f, delay, _ = _made(rng, snr_db=10.0, delay_std_s=50e-9)
    np.testing.assert_allclose(skew_s(y, f), delay - delay.mean(), atol=3e-9)


def test_refusals() -> None:
    y, model, f, _, _ = _made(np.random.default_rng(0), snr_db=-25.0)
    with pytest.raises(NotIdentifiable, match="dB per subcarrier"):
        fit_channels(y, model, f)
    with pytest.raises(ShapeError):
        fit_channels(y[:1], model[:1], f)
    with pytest.raises(ShapeError):
        fit_channels(y, model[:, :3], f)
    with pytest.raises(ShapeError):
        fit_channels(y, model, f[::-1])


def test_a_channel_that_hears_nothing_is_said_to_and_spoils_no_other() -> None:
    rng = np.random.default_rng(3)
    f: NDArray[np.float64] = (np.arange(64, dtype=np.float64) - 32) * SPACING_HZ
    model = np.exp(1j * np.pi * np.outer(np.linspace(-0.6, 0.6, 20), np.arange(4)))
    late = np.array([0.0, 2e-8, 0.0, -1e-8])
    csi = model[:, :, None] * np.exp(-2j * np.pi * late[:, None] * f)
    csi = csi + 0.01 * (rng.standard_normal(csi.shape) + 1j * rng.standard_normal(csi.shape))
    csi[:, 2] = 0.0
    with pytest.raises(NotIdentifiable, match="element 2 hears nothing"):
        fit_channels(csi, model, f)
    found = skew_s(csi, f)
    assert found[[1, 3]] - found[0] == pytest.approx(late[[1, 3]], abs=5e-10)
