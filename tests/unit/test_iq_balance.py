"""IQ image and DC against samples made with known ones."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import NotIdentifiable, ShapeError
from hil.dsp.iq_balance import iq_balance


def _made(rng, n_symbols, snr_db, periods=40, image_db=-35.0):
    """Samples (3, N) of a short period sent again and again, its reference, the true image and DC."""
    n_fft, used = 64, np.r_[1:20, -19:0]
    grid = np.zeros((n_symbols, n_fft), complex)
    grid[:, used] = np.exp(0.5j * np.pi * (rng.integers(4, size=(n_symbols, len(used))) + 0.5))
    symbols = np.fft.ifft(grid, axis=1)
    period = np.concatenate((symbols[:, -16:], symbols), axis=1).ravel()
    w = np.tile(period / np.sqrt(np.mean(np.abs(period) ** 2)), periods)
    taps = rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))
    spectrum = np.fft.fft(w)
    z = np.array([np.fft.ifft(np.fft.fft(np.r_[h, np.zeros(len(w) - 4)]) * spectrum) for h in taps])
    z /= np.sqrt(np.mean(np.abs(z) ** 2, axis=1, keepdims=True))
    kappa = 10 ** (image_db / 20) * np.exp(2j * np.pi * rng.random(3))
    dc = 10 ** (-40 / 20) * np.exp(2j * np.pi * rng.random(3))
    sigma = 10 ** (-snr_db / 20) * np.sqrt(0.5)
    noise = sigma * (rng.normal(size=z.shape) + 1j * rng.normal(size=z.shape))
    x = z + noise
    x = x + kappa[:, None] * x.conj() + dc[:, None]
    return x, w, kappa, dc


@pytest.mark.parametrize("n_symbols", [2, 10])
@pytest.mark.parametrize("snr_db", [0.0, 20.0, 40.0])
def test_image_and_dc_within_their_sigma(n_symbols: int, snr_db: float) -> None:
    errors = []
    for seed in range(40):
        x, w, kappa, dc = _made(np.random.default_rng([seed, n_symbols]), n_symbols, snr_db, 200 // n_symbols)
        found = iq_balance(x, w)
        errors.append((found.iq_image - kappa) / found.iq_sigma)
        errors.append((found.dc_offset - dc) / found.dc_sigma)
    parts = np.array(errors).view(float)
    assert 0.85 < np.sqrt(np.mean(parts**2)) < 1.15
    assert abs(np.mean(parts)) < 0.15


def test_same_symbol_again_and_again_needs_free_tones() -> None:
    # one symbol whose tones come in pairs +-f: image and channel cannot be told apart beyond the few taps
    rng = np.random.default_rng(3)
    x, _, _, _ = _made(rng, 2, 30.0)
    with pytest.raises(NotIdentifiable, match="conjugate"):
        iq_balance(np.real(x) + 0j, np.cos(0.3 * np.arange(x.shape[1])) + 0j)


def test_refusals() -> None:
    with pytest.raises(ShapeError):
        iq_balance(np.zeros((2, 50), complex), np.zeros(50, complex))
    with pytest.raises(ShapeError):
        iq_balance(np.zeros((2, 500), complex), np.zeros(400, complex))
    with pytest.raises(NotIdentifiable, match="silent"):
        iq_balance(np.ones((2, 500), complex), np.zeros(500, complex))


def test_a_channel_that_hears_nothing_is_said_to() -> None:
    rng = np.random.default_rng(3)
    w = rng.standard_normal(4000) + 1j * rng.standard_normal(4000)
    with pytest.raises(NotIdentifiable, match="channel 1 hears nothing"):
        iq_balance(np.stack((w, 0 * w)), w)
