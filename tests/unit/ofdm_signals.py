"""Received signals made by hand: delays by phase in the frequency domain, no code of the receiver."""

from __future__ import annotations

import numpy as np

from hil.core.waveform import Waveform


def received(
    wave: Waveform,
    n: int,
    *,
    delay: float = 0.0,
    paths: tuple[tuple[float, complex], ...] = ((0.0, 1.0),),
    snr_db: float | None = None,
    offset_hz: float = 0.0,
    channels: int = 4,
    ppm: float = 0.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(M, n) complex64 and the channels' phasors (M,). Mean power 1 of the first path, noise of -snr_db.

    delay, paths : in samples; ppm > 0: the transmitter's clock is slower.
    """
    rng = np.random.default_rng(seed)
    period = len(wave.samples)
    lines = np.fft.fft(wave.samples.astype(np.complex128))
    f = np.fft.fftfreq(period)
    total = sum(a * lines * np.exp(-2j * np.pi * f * (delay + d)) for d, a in paths)
    if ppm == 0:
        x = np.tile(np.fft.ifft(total), n // period + 1)[:n]
    else:
        up = 64
        wide = np.zeros(period * up, complex)
        wide[np.round(f * period).astype(int) % (period * up)] = total
        fine = np.fft.ifft(wide) * up
        fine = np.append(fine, fine[0])
        at = (np.arange(n) * (1 - ppm * 1e-6)) % period * up
        low = at.astype(int)
        x = fine[low] * (1 - (at - low)) + fine[low + 1] * (at - low)
    x = x / np.sqrt(np.mean(np.abs(wave.samples) ** 2, dtype=np.float64))
    phasors = np.exp(2j * np.pi * rng.random(channels))
    out = phasors[:, None] * x * np.exp(2j * np.pi * offset_hz / wave.fs_hz * np.arange(n))
    if snr_db is not None:
        out = out + 10 ** (-snr_db / 20) * noise(n, channels, rng)
    return out.astype(np.complex64), phasors


def noise(n: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """(M, n) complex noise of power 1."""
    return (rng.standard_normal((channels, n)) + 1j * rng.standard_normal((channels, n))) / np.sqrt(2)


def pushed(receiver, x: np.ndarray, piece: int, first: int = 0) -> list:
    """All blocks of a capture pushed in pieces."""
    out = []
    for i in range(0, x.shape[1], piece):
        out += receiver.push(x[:, i : i + piece], first + i)
    return out
