"""Dead, unlocked and conjugated channels: found in every one of 20 random arrays, never in healthy ones."""

from __future__ import annotations

import numpy as np
import pytest

from calib.diagnose.channels import channel_faults
from hil.core.errors import ShapeError

T, B = 256, 40


def products(seed: int, n: int = 6, k: int = 1, snr_db: float = 15.0, spoil=None):
    """(B, M, M) X X^H / T and X X^T / T of random sources in a random array; spoil(x) changes samples (B, M, T)."""
    rng = np.random.default_rng(seed)

    def noise(*shape: int):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)

    gain = (1 + 0.3 * noise(n)) * np.exp(2j * np.pi * rng.random(n))
    u = np.sin(rng.uniform(-1, 1, (B, k)))
    a = gain * np.exp(1j * np.pi * u[..., None] * np.arange(n))
    x = a.transpose(0, 2, 1) @ noise(B, k, T) + 10 ** (-snr_db / 20) * noise(B, n, T)
    if spoil is not None:
        x = spoil(x, rng, noise)
    return x @ x.conj().transpose(0, 2, 1) / T, x @ x.transpose(0, 2, 1) / T


@pytest.mark.parametrize(("k", "snr_db"), [(1, 15.0), (3, 5.0), (1, -5.0)])
def test_healthy_channels_raise_no_alarm(k: int, snr_db: float) -> None:
    for seed in range(20):
        cov, comp = products(seed, k=k, snr_db=snr_db)
        found = channel_faults(cov, T, comp)
        assert [f.fault for f in found] == [False], found[0].words


@pytest.mark.parametrize("db", [-60.0, -15.0, 0.0])
def test_a_channel_of_noise_is_found(db: float) -> None:
    for seed in range(20):
        bad = seed % 6

        def spoil(x, rng, noise, bad=bad):
            x[:, bad] = 10 ** (db / 20) * noise(*x[:, bad].shape)
            return x

        (found,) = channel_faults(products(seed, spoil=spoil)[0], T, products(seed, spoil=spoil)[1])
        assert (found.kind, found.fault, found.channels) == ("dead-channel", True, (bad,))
        assert ("no signal" in found.words) == (db < -12)


def test_swapped_i_and_q_are_found_also_on_two_channels() -> None:
    for seed in range(20):
        bad = [seed % 6] if seed % 2 else sorted({seed % 6, (seed + 2) % 6})

        def spoil(x, rng, noise, bad=bad):
            x[:, bad] = x[:, bad].conj()
            return x

        cov, comp = products(seed, k=1 + seed % 3, spoil=spoil)
        found = channel_faults(cov, T, comp)
        assert [f.kind for f in found] == ["swapped-iq"] * len(bad)
        assert [f.channels[0] for f in found] == bad
        unsure = channel_faults(cov, T)
        assert [f.kind for f in unsure] == ["dead-channel"] * len(bad)
        assert "I and Q" in unsure[0].words
        assert unsure[0].confidence <= 0.5


def test_a_weak_channel_and_an_array_without_signal() -> None:
    def weak(x, rng, noise):
        x[:, 2] *= 0.1
        return x

    (found,) = channel_faults(products(1, spoil=weak)[0], T)
    assert (found.kind, found.channels) == ("weak-channel", (2,))
    (silent,) = channel_faults(products(1, snr_db=-60.0)[0], T)
    assert silent.fault
    assert "no two channels" in silent.words
    with pytest.raises(ShapeError):
        channel_faults(products(1)[0], T, products(1, n=5)[1])
