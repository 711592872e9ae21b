"""Covariances, source counts and power spectra against known cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hil.core.errors import ShapeError
from hil.dsp.covariance import block_covariances, sample_covariance, spatial_smoothing
from hil.dsp.psd import power_spectrum
from hil.dsp.source_count import aic, mdl


def noise(rng: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 6000), st.integers(1, 5000), st.booleans())
def test_block_covariances_are_those_of_the_definition(m: int, total: int, n: int, single: bool) -> None:
    x = noise(np.random.default_rng(m * total), m, total).astype(np.complex64 if single else np.complex128)
    if n > total:
        with pytest.raises(ShapeError):
            block_covariances(x, n)
        return
    r = block_covariances(x, n)
    assert r.shape == (total // n, m, m)
    assert r.dtype == np.complex128
    last = x[:, (total // n - 1) * n : (total // n) * n].astype(np.complex128)
    np.testing.assert_allclose(r[-1], last @ last.conj().T / n, atol=2e-6 if single else 1e-12)
    np.testing.assert_array_equal(r, r.conj().swapaxes(1, 2))


def test_single_precision_keeps_a_weak_signal_over_a_long_sum() -> None:
    """-100 dB beside full scale over a million snapshots: what summing in single precision would bury."""
    rng = np.random.default_rng(0)
    x = noise(rng, 2, 1_000_000)
    x[1] *= 1e-5
    r = sample_covariance(x.astype(np.complex64))
    assert r[1, 1].real == pytest.approx(1e-10, rel=1e-2)
    assert r[0, 0].real == pytest.approx(np.mean(np.abs(x[0]) ** 2), rel=1e-7)


def test_covariance_is_x_x_hermitian_and_not_its_transpose() -> None:
    x = np.array([[1.0 + 0j], [1j]])
    np.testing.assert_array_equal(sample_covariance(x), [[1, -1j], [1j, 1]])
    with pytest.raises(ShapeError):
        sample_covariance(x.real)
    with pytest.raises(ShapeError):
        sample_covariance(x[0])
    with pytest.raises(ShapeError):
        spatial_smoothing(np.eye(4, dtype=complex), 5)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_mdl_counts_sources_and_noise_alone_as_none(k: int) -> None:
    rng = np.random.default_rng(k)
    a = noise(rng, 8, k)
    x = np.stack([a @ noise(rng, k, 500) + 0.1 * noise(rng, 8, 500) for _ in range(50)])
    values = np.linalg.eigvalsh(sample_covariance(x))
    found = mdl(values, 500)
    assert found.shape == (50,)
    assert np.mean(found == k) >= 0.98
    assert mdl(values[0][::-1], 500) == found[0]
    assert np.mean(aic(values, 500) == k) >= 0.8
    assert np.all(aic(values, 500) >= k)


def test_mdl_by_hand() -> None:
    """Eigenvalues 10, 1, 1, N = 100: MDL(0) > MDL(1) < MDL(2); with N = 2 nothing can be told."""
    assert mdl([10.0, 1.0, 1.0], 100) == 1
    assert mdl([1.02, 1.0, 0.98], 100) == 0
    assert mdl([2.0, 1.0, 1.0], 2) == 0
    assert mdl([1.0, 0.0, -1e-18], 100) == 1
    with pytest.raises(ShapeError):
        mdl([1.0], 100)


@pytest.mark.parametrize("window", ["hann", "flattop", "boxcar", "blackmanharris"])
def test_full_scale_tone_reads_0_dbfs_at_its_frequency(window: str) -> None:
    fs, n_fft = 2.5e6, 512
    f = 37 * fs / n_fft
    t = np.arange(20_000) / fs
    x = np.stack((np.exp(2j * np.pi * f * t), 0.01 * np.exp(-2j * np.pi * f * t))).astype(np.complex64)
    p = power_spectrum(x, fs, n_fft, window)
    assert np.all(np.diff(p.frequency_hz) > 0)
    assert p.frequency_hz[n_fft // 2] == 0.0
    assert p.frequency_hz[np.argmax(p.level_dbfs[0])] == pytest.approx(f)
    assert p.frequency_hz[np.argmax(p.level_dbfs[1])] == pytest.approx(-f)
    assert p.level_dbfs.max(axis=1) == pytest.approx([0.0, -40.0], abs=1e-3)


def test_tone_between_bins_reads_0_dbfs_with_the_flat_top() -> None:
    x = np.exp(2j * np.pi * (37.5 / 512) * np.arange(5120))[None]
    assert power_spectrum(x, 1.0, 512, "flattop").level_dbfs.max() == pytest.approx(0.0, abs=0.02)


def test_noise_density_follows_from_the_resolution() -> None:
    fs = 1e6
    x = 0.1 * noise(np.random.default_rng(1), 1, 400_000)
    for n_fft, window in ((256, "hann"), (2048, "blackmanharris")):
        p = power_spectrum(x, fs, n_fft, window)
        density = 10 * np.log10(np.mean(10 ** (p.level_dbfs / 10)) / p.resolution_hz)
        assert density == pytest.approx(-20 - 60, abs=0.05)
    with pytest.raises(ShapeError):
        power_spectrum(x[:, :100], fs, 256)
