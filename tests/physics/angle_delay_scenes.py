"""Channel responses and recordings of echoes, computed in double precision from delays alone, sharing nothing with hil.dsp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.core.waveform import Waveform
from hil.recorder import Recorder

C = 299_792_458.0
FC = 2.45e9
_SENT = {"waveform": "w.toml", "sha256": "0" * 64, "attenuation_db": [30.0], "channels": [0], "fc_hz": FC}
#: What moves is delayed anew every so many samples; its carrier turns evenly.
_MOVING_SAMPLES = 144


@dataclass
class Echoes:
    """csi (B, M, S), positions (M, 3), frequency (S,), time (B,), bin_s: one over the occupied band."""

    csi: NDArray[np.complex128]
    positions_m: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]
    time_s: NDArray[np.float64]
    bin_s: float


def line(m: int) -> NDArray[np.float64]:
    """Half-wavelength line."""
    x = (np.arange(m) - (m - 1) / 2) * C / FC / 2
    return np.column_stack((x, np.zeros((m, 2))))


def echoes(
    seed: int,
    targets: tuple[tuple[float, ...], ...] = (),
    *,
    m: int = 8,
    s: int = 64,
    blocks: int = 1,
    band_hz: float = 2.5e6,
    direct_db: float | None = 35.0,
    direct_delay_s: float = 0.37e-6,
    gain: NDArray[np.complex128] | None = None,
    positions_m: NDArray[np.float64] | None = None,
) -> Echoes:
    """Targets (angle_deg, range bins, SNR in dB summed over everything[, Doppler Hz]); noise of power 1."""
    rng = np.random.default_rng(seed)
    positions = line(m) if positions_m is None else positions_m
    m = len(positions)
    f = (np.arange(s) - s // 2) * band_hz / s
    t = np.arange(blocks) * 1e-3
    bin_s = 1 / band_hz
    g = np.ones(m, complex) if gain is None else gain
    csi = np.zeros((blocks, m, s), complex)
    for angle, bins, snr_db, *moving in targets:
        amplitude = np.sqrt(10 ** (snr_db / 10) / (m * s * blocks)) * np.exp(2j * np.pi * rng.random())
        u = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle)), 0.0])
        for k in range(m):
            lead = float(positions[k] @ u) / C
            tau = bins * bin_s + direct_delay_s - lead
            tone = np.exp(2j * np.pi * (moving[0] if moving else 0.0) * t)
            carrier = np.exp(2j * np.pi * FC * lead)
            csi[:, k] += g[k] * amplitude * carrier * np.outer(tone, np.exp(-2j * np.pi * f * tau))
    if direct_db is not None:
        level = np.sqrt(10 ** (direct_db / 10) / (m * s * blocks)) * np.exp(2j * np.pi * rng.random(m))
        csi += level[None, :, None] * np.exp(-2j * np.pi * f * direct_delay_s)
    csi += (rng.standard_normal(csi.shape) + 1j * rng.standard_normal(csi.shape)) / np.sqrt(2)
    return Echoes(csi, positions, f, t, bin_s)


def record(
    path: Path,
    waveform: Waveform,
    geometry: ArrayGeometry,
    targets: tuple[tuple[float, ...], ...],
    *,
    direct_db: float | None,
    n_samples: int,
    seed: int,
    gain: NDArray[np.complex128] | None = None,
    hop: tuple[int, float, float] | None = None,
    foreign: tuple[float, float] | None = None,
    own: bool = False,
) -> None:
    """A recording of echoes: targets (angle_deg, range_m, SNR in dB per element and sample[, m/s away]), delays by the DFT
    of a period.

    hop : (samples, low, high) the first target takes a new angle every so many samples. foreign : (angle_deg, SNR in dB)
    of another transmitter in the band, noise-like. own : the recording says that the array transmitted.
    """
    rng = np.random.default_rng(seed)
    positions = geometry.positions_m
    m, fs, period = len(positions), waveform.fs_hz, len(waveform.samples)
    unit = waveform.samples.astype(complex) / np.sqrt(np.mean(np.abs(waveform.samples) ** 2))
    spectrum, f = np.fft.fft(unit), np.fft.fftfreq(period, 1 / fs)
    g = np.ones(m, complex) if gain is None else gain
    noise = 1e-3
    x = np.zeros((m, n_samples), complex)
    place = (np.arange(n_samples) - 777) % period

    def heard(
        response: NDArray[np.complex128], low: int, high: int, turn: NDArray[np.complex128] | float = 1.0
    ) -> None:
        x[:, low:high] += np.fft.ifft(spectrum * response, axis=1)[:, place[low:high]] * turn

    for k, (angle, range_m, snr_db, *moving) in enumerate(targets):
        speed = moving[0] if moving else 0.0
        step = hop[0] if hop is not None and k == 0 else _MOVING_SAMPLES if speed else n_samples
        level = noise * 10 ** (snr_db / 20) * np.exp(2j * np.pi * rng.random())
        for low in range(0, n_samples, step):
            at = rng.uniform(hop[1], hop[2]) if hop is not None and k == 0 else angle
            u = np.array([np.sin(np.deg2rad(at)), np.cos(np.deg2rad(at)), 0.0])
            lead = positions @ u / C
            late = 2 * (range_m + speed * (low + step / 2 if speed else 0) / fs) / C - lead
            response = (level * g * np.exp(2j * np.pi * FC * lead))[:, None]
            high = min(low + step, n_samples)
            turn = np.exp(-4j * np.pi * FC / C * speed * np.arange(low, high) / fs)
            heard(response * np.exp(-2j * np.pi * np.outer(late, f)), low, high, turn)
    if direct_db is not None:
        level = noise * 10 ** (direct_db / 20) * np.exp(2j * np.pi * rng.random(m))
        heard(level[:, None] * np.ones(period), 0, n_samples)
    if foreign is not None:
        u = np.array([np.sin(np.deg2rad(foreign[0])), np.cos(np.deg2rad(foreign[0])), 0.0])
        other = rng.standard_normal((2, n_samples)) * noise * 10 ** (foreign[1] / 20) / np.sqrt(2)
        x += (g * np.exp(2j * np.pi * FC * (positions @ u) / C))[:, None] * (other[0] + 1j * other[1])
    x += noise * (rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape)) / np.sqrt(2)
    device = DeviceInfo("test:", "test", "", "S1", "1", (tuple(range(m)),), WireFormat.CF32, 16)
    config = RxConfig(FC, fs, fs, (0.0,) * m, GainMode.MANUAL, tuple(range(m)), 4096)
    stream = StreamInfo(config, device, new_epoch("S1"), geometry)
    wire = np.ascontiguousarray(np.stack((x.real.T, x.imag.T), axis=2).astype(np.float32))
    with Recorder(path, stream, extras={"hil:transmitted": _SENT} if own else None) as recorder:
        recorder.write(Block(wire, 1000, 0, 0, 0, FrameFlag.NONE, stream, 0))
