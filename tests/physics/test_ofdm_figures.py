"""Figures of the receiver: timing, carrier and SNR against what was put in, and against the bounds."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.waveform import ofdm, srs
from hil.dsp.ofdm import channel_responses
from sim_backend.drawn import stream
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene
from sim_backend.signals import emitter_waveform
from tests.unit.ofdm_signals import received

WAVES = {
    "ofdm": ofdm(64, 15e3, 16),
    "16qam": ofdm(64, 15e3, 16, modulation="16qam"),
    "srs": srs(96, n_id=17),
    "srs comb 4": srs(144, comb=4, n_id=5),
    "pilots": ofdm(240, 30e3, 40, pilots="comb"),
    "no prefix": ofdm(64, 15e3, 0),
}


@pytest.mark.parametrize("name", list(WAVES))
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0, 30.0, 40.0])
def test_snr_is_unbiased(name, snr_db):
    wave = WAVES[name]
    lay = wave.layout
    assert lay is not None
    level = np.sqrt(np.mean(np.abs(wave.samples) ** 2, dtype=np.float64))
    body = np.fft.fft(wave.samples.reshape(-1, lay.symbol_samples)[:, lay.cp_samples :], axis=1, norm="ortho")
    gain = np.mean(np.abs(body[:, lay.subcarriers % lay.n_fft] / lay.grid) ** 2) / level**2
    want = snr_db + 10 * np.log10(gain)  # per subcarrier: noise of the unitary DFT is that of the samples
    x, _ = received(wave, 150_000, delay=3 * lay.symbol_samples, snr_db=snr_db, seed=int(snr_db))
    blocks = channel_responses(x, wave, max_carrier_offset_hz=0.0)
    seen = np.mean([b.snr_db for b in blocks[64::16]], axis=0)
    np.testing.assert_allclose(seen, want, atol=0.35)


@pytest.mark.parametrize("name", ["ofdm", "srs", "srs comb 4"])
@pytest.mark.parametrize("offset_hz", [0.0, 300.0, 28_050.0, -100_050.0])
@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 30.0])
def test_timing_and_carrier(name, offset_hz, snr_db):
    wave = WAVES[name]
    x, phasors = received(wave, 30_000, delay=77.3, snr_db=snr_db, offset_hz=offset_hz, seed=2)
    block = channel_responses(x, wave, average=40)[-1]
    # bounds: sigma_tau = N / (2 pi sqrt(2 E/N0 var(k))), sigma_f = fs sqrt(6 / (snr n)) / (2 pi n), n = 4096
    energy = 4 * 4096 * 10 ** (snr_db / 10)
    spread = np.std(wave.layout.subcarriers)
    tau = wave.layout.n_fft / (2 * np.pi * spread * np.sqrt(2 * energy))
    assert block.timing_samples == pytest.approx(77.3, abs=6 * tau + 5e-3)
    assert block.carrier_offset_hz == pytest.approx(
        offset_hz, abs=6 * wave.fs_hz * np.sqrt(6 / energy) / (2 * np.pi * 4096) + 2
    )
    turn = np.angle(np.sum(block.csi, axis=1) * np.conj(phasors))
    assert np.ptp(np.angle(np.exp(1j * (turn - turn[0])))) < 1.0 / np.sqrt(10 ** (snr_db / 10)) + 0.01


def test_averages_have_less_noise():
    wave = WAVES["16qam"]
    x, _ = received(wave, 200_000, delay=3.0, snr_db=10.0)

    def spread(average: int) -> float:
        rows = np.array([b.csi[0] for b in channel_responses(x, wave, average=average, common_phase="keep")])
        return float(np.mean(np.var(rows, axis=0)))

    # 16-QAM: one symbol divides by |X|^2 (mean of 1/|X|^2 is 17/9), least squares over many by its mean, 1
    assert spread(1) / spread(50) == pytest.approx(50 * 17 / 9, rel=0.15)


SCENE = """
seed = {seed}
[receiver]
fs_hz = {fs}
snr_db = 20.0
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
relock_phase = false
[ofdm]
n_subcarriers = {n}
spacing_hz = {spacing}
cp_samples = {cp}
"""


def simulated(text: str, kind: str, n: int):
    """(samples (8, n), waveform of the emitter) of a scene, read as a board delivers them."""
    scene = parse_scene(text)
    engine = ArrayEngine(scene, free_running=True)
    wire = np.concatenate([engine.read(b, 0, n) for b in range(engine.n_boards)], axis=1)
    x = ((wire[:, 0::2] + 1j * wire[:, 1::2]).T / 2048).astype(np.complex64)
    which = next(k for k, e in enumerate(scene.emitters) if e.waveform == kind)
    return x, emitter_waveform(scene.ofdm, kind, scene.receiver.fs_hz, stream(scene.seed, "waveform", which))


@pytest.mark.parametrize("kind", ["ofdm", "srs"])
@pytest.mark.parametrize(
    ("seed", "fs", "n", "spacing", "cp", "offset"),
    [
        (1, 1.92e6, 64, 15e3, 16, 0.0),
        (2, 1.92e6, 60, 15e3, 8, -1e5),
        (3, 2.5e6, 96, 19531.25, 20, 3e5),
        (4, 30.72e6, 600, 30e3, 72, 1e6),
    ],
)
def test_emitters_of_a_scene_send_the_waveform(kind, seed, fs, n, spacing, cp, offset):
    head = SCENE.format(seed=seed, fs=fs, n=n, spacing=spacing, cp=cp)
    x, wave = simulated(
        f'{head}[[emitter]]\nwaveform = "{kind}"\noffset_hz = {offset}\nangle_deg = 20.0\n', kind, 120_000
    )
    blocks = channel_responses(x, wave, average=4)
    # the scene's clock is the receiver's: periods begin at multiples of the period
    late = (blocks[-1].timing_samples + len(wave.samples) / 2) % len(wave.samples) - len(wave.samples) / 2
    assert abs(late) < 0.01
    assert blocks[-1].carrier_offset_hz == pytest.approx(offset, abs=20)
    csi = blocks[-1].csi
    step = np.mean(np.angle(np.sum(csi[1:] * np.conj(csi[:-1]), axis=1))) / np.pi
    assert np.rad2deg(np.arcsin(step * 2.45e9 / (2.45e9 + offset))) == pytest.approx(20.0, abs=0.3)


def test_a_path_of_a_scene_lies_at_its_delay():
    head = SCENE.format(seed=5, fs=30.72e6, n=600, spacing=30e3, cp=72)
    paths = "paths = [{angle_deg = 30.0, delay_s = 1.0e-6, power_db = -6.0}]"
    x, wave = simulated(f'{head}[[emitter]]\nwaveform = "ofdm"\noffset_hz = 0.0\n{paths}\n', "ofdm", 200_000)
    csi = channel_responses(x, wave, average=20)[-1].csi
    f_hz = wave.layout.columns * 30e3
    delays = np.arange(0, 2e-6, 2e-9)
    power = np.sum(np.abs((csi * np.hamming(601)) @ np.exp(2j * np.pi * np.outer(f_hz, delays))) ** 2, axis=0)
    late = np.argmax(np.where(delays > 3e-7, power, 0))
    assert delays[late] == pytest.approx(1e-6, abs=2e-9)
    assert 10 * np.log10(power[late] / power[0]) == pytest.approx(-6.0, abs=0.2)
