"""Gains of transmit chains from echoes: a forward model made here, in the time domain, sample by sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.isac.transmit_gains import TransmitGains, beam_weights, transmit_gains
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.errors import CalibrationMismatch, ConfigError, NotIdentifiable
from hil.core.waveform import chirp, ofdm
from hil.dsp.sounding import read_sounding, sounding

WAVE = ofdm(n_subcarriers=52, spacing_hz=1e6 / 64, n_fft=64, cp_samples=16, n_symbols=4, seed=1)
FS_HZ, C, M = 1e6, 4, 8
EPOCH = new_epoch("board")


class Air:
    """An array of M receivers of which the first C also send."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.x = (np.arange(M) - 3.5) / 2 + 0.1 * self.rng.standard_normal(M)
        self.b = (1 + 0.3 * self.rng.standard_normal(C)) * np.exp(2j * np.pi * self.rng.random(C))
        self.sent = sounding(WAVE, C)

    def heard(self, targets, *, periods=40, leakage=0.0, noise=0.01, dwell=None, speed_hz=0.0):
        """(M, N) complex64. targets: (u, delay_s, amplitude); dwell: samples after which they are drawn anew."""
        stream = np.tile(self.sent, (1, periods))
        n = stream.shape[1]
        spectrum, f = np.fft.fft(stream, axis=1), np.fft.fftfreq(n, 1 / FS_HZ)
        out = np.zeros((M, n), complex)
        for low in range(0, n, dwell or n):
            if dwell:
                targets = [
                    (self.rng.uniform(-0.8, 0.8), self.rng.uniform(3e-6, 9e-6), a) for _, _, a in targets
                ]
            for u, tau, amplitude in targets:
                at_target = (self.b * np.exp(2j * np.pi * self.x[:C] * u)) @ spectrum
                echo = np.fft.ifft(at_target * np.exp(-2j * np.pi * f * tau))
                part = slice(low, low + (dwell or n))
                out[:, part] += amplitude * np.exp(2j * np.pi * self.x * u)[:, None] * echo[part]
        out *= np.exp(2j * np.pi * speed_hz * np.arange(n) / FS_HZ)
        out += (leakage * np.exp(2j * np.pi * self.rng.random((M, C))) * self.b) @ stream
        out = np.roll(out, 777, axis=1)
        out += noise * (self.rng.standard_normal(out.shape) + 1j * self.rng.standard_normal(out.shape))
        return out.astype(np.complex64)

    def measured(self, samples, x=None) -> TransmitGains:
        heard = read_sounding(samples, WAVE, C)
        x = self.x if x is None else x
        return transmit_gains(heard.csi, heard.frequency_hz, x, x[:C], heard.window_s, EPOCH)

    def error(self, gains: TransmitGains) -> np.ndarray:
        """Relative error of each gain in its own sigmas."""
        factor = np.vdot(gains.gain, self.b) / np.vdot(gains.gain, gains.gain)
        return np.abs(self.b / (factor * gains.gain) - 1) / gains.sigma


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        pytest.param([(0.3, 5e-6, 1.0)], {}, id="one"),
        pytest.param([(0.3, 5e-6, 0.1)], {"leakage": 1.0}, id="leakage"),
        pytest.param([(0.3, 5e-6, 0.1), (-0.5, 8e-6, 0.05)], {"leakage": 1.0}, id="two"),
        pytest.param([(0.0, 5e-6, 0.1)], {"leakage": 1.0, "dwell": 10_000}, id="hopping"),
        pytest.param([(0.0, 5e-6, 0.1)], {"dwell": 10_000}, id="hopping-alone"),
        pytest.param([(0.3, 5e-6, 1.0)], {"speed_hz": 150.0}, id="moving"),
    ],
)
def test_gains_within_their_sigma(targets, options):
    air = Air(3)
    gains = air.measured(air.heard(targets, **options))
    assert np.all(air.error(gains) < 5), (air.error(gains), gains)
    assert gains.sigma_deg < 3


def test_weights_bring_a_plane_wave_to_where_the_beam_points():
    air = Air(4)
    gains = air.measured(air.heard([(0.3, 5e-6, 1.0)]))
    wanted = np.exp(-2j * np.pi * air.x[:C] * 0.5)
    weights = beam_weights(wanted, gains, EPOCH)
    assert np.max(np.abs(weights)) == pytest.approx(1.0)
    left = air.b * weights
    field = abs(np.exp(2j * np.pi * air.x[:C] * 0.5) @ left) / np.abs(left).sum()
    assert field > 0.999


@pytest.mark.parametrize("event", [EpochEvent.LO, EpochEvent.RECONNECT])
def test_gains_of_another_epoch_make_no_beam(event):
    gains = TransmitGains(np.ones(C, complex), np.zeros(C), 1, 0.0, EPOCH)
    later = EPOCH.after(event, EpochScope.GROUP_PHASES)
    with pytest.raises(CalibrationMismatch, match="another epoch"):
        beam_weights(np.ones(C), gains, later)
    with pytest.raises(CalibrationMismatch, match="another epoch"):
        beam_weights(np.ones(C), gains, replace(EPOCH, session="another process"))


def test_refused_without_an_echo_or_with_another_array():
    air = Air(5)
    with pytest.raises(CalibrationMismatch, match="no echo stands out"):
        air.measured(air.heard([], leakage=1.0))
    # gains of the receivers that are not those of now look like a direct path: nothing is believed of them
    samples = air.heard([(0.3, 5e-6, 0.5)], leakage=1.0)
    turned = samples * np.exp(2j * np.pi * air.rng.random((M, 1))).astype(np.complex64)
    with pytest.raises(CalibrationMismatch):
        air.measured(turned)


def test_a_channel_that_sends_nothing_is_named_as_the_cause():
    air = Air(6)
    air.b[2] = 0
    with pytest.raises(NotIdentifiable, match="not every transmit channel"):
        air.measured(air.heard([(0.3, 5e-6, 1.0)]))


def test_a_waveform_without_subcarriers_cannot_sound():
    with pytest.raises(ConfigError, match="no subcarriers"):
        sounding(chirp(fs_hz=1e6, bandwidth_hz=5e5), 2)
