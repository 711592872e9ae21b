"""The receiver as a stream: pieces, gaps, silence, strangers, inversion, clocks, options."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import CaptureError, ConfigError, ShapeError
from hil.core.waveform import chirp, cw, ofdm, srs
from hil.dsp.ofdm import OfdmReceiver, channel_responses
from tests.unit.ofdm_signals import noise, pushed, received

WAVE = ofdm(64, 15e3, 16, seed=3)
PERIOD = len(WAVE.samples)


@pytest.mark.parametrize("piece", [7, 100, 144, 1000, 4097, 30_000])
@pytest.mark.parametrize("average", [1, 5])
def test_pieces_of_any_size_give_the_same_blocks(piece, average):
    x, _ = received(WAVE, 30_000, delay=300.4, snr_db=20)
    whole = channel_responses(x, WAVE, average=average)
    blocks = pushed(OfdmReceiver(WAVE, 4, average=average), x, piece)
    assert len(blocks) == len(whole) == 208 // average
    for a, b in zip(blocks, whole, strict=True):
        assert (a.first_sample, a.symbol) == (b.first_sample, b.symbol)
        np.testing.assert_allclose(a.csi, b.csi, atol=1e-5)


def test_blocks_say_where_their_symbol_lies():
    x, phasors = received(WAVE, 20_000, delay=300.0)
    level = np.sqrt(np.mean(np.abs(WAVE.samples) ** 2, dtype=np.float64))
    gain = np.mean(
        np.fft.fft(WAVE.samples[16:144], norm="ortho")[WAVE.layout.subcarriers] / WAVE.layout.grid[0]
    )
    for block in channel_responses(x, WAVE, first_sample=5_000_000_000, common_phase="keep"):
        since = block.first_sample - 5_000_000_000 - 300
        assert since % 144 == 0
        assert block.symbol == since // 144 % 10
        assert block.timing_samples == pytest.approx((5_000_000_300) % PERIOD, abs=1e-3)
        np.testing.assert_allclose(block.csi, np.outer(phasors, np.full(65, gain / level)), atol=2e-3)


def test_the_carrier_column_is_interpolated():
    receiver = OfdmReceiver(WAVE, 1)
    assert receiver.columns.tolist() == list(range(-32, 33))
    assert receiver.columns[receiver.interpolated].tolist() == [0]
    assert receiver.subcarrier_spacing_hz == 15e3
    for delay in (0, 5, 12):  # an echo well inside the prefix
        x, _ = received(WAVE, 20_000, paths=((0, 1.0), (delay, 0.5j)), channels=1)
        csi = channel_responses(x, WAVE, reference=0.0, common_phase="keep", max_carrier_offset_hz=0.0)[
            20
        ].csi[0]
        k = receiver.columns
        want = 1 + 0.5j * np.exp(-2j * np.pi * k * delay / 128)
        ratio = csi / want
        np.testing.assert_allclose(ratio, np.mean(ratio), rtol=0.01)


def test_gaps_keep_the_timing():
    x, _ = received(WAVE, 100_000, delay=77.3, snr_db=25)
    receiver = OfdmReceiver(WAVE, 4)
    blocks = []
    lost = [(10_000, 11_000), (20_000, 20_001), (30_000, 62_345)]
    for i in range(0, 100_000, 500):
        low = i
        for a, b in lost:
            if a <= i < b:
                low = b
        if low < i + 500:
            blocks += receiver.push(x[:, low : i + 500], low)
    assert receiver.locked
    assert len({b.timing_samples for b in blocks}) == 1
    for block in blocks:
        begin = block.first_sample
        assert not any(begin < b and begin + 140 > a for a, b in lost), "a symbol across a gap"
        assert (begin - 77) % 144 == 0
    covered = 100_000 - sum(b - a for a, b in lost)
    assert len(blocks) > covered / 144 - 8


def test_a_jump_back_is_a_new_stream():
    receiver = OfdmReceiver(WAVE, 4)
    receiver.push(received(WAVE, 20_000, delay=300.0, snr_db=20)[0], 50_000)
    blocks = receiver.push(received(WAVE, 20_000, delay=40.0, snr_db=20)[0], 0)
    assert blocks[-1].timing_samples == pytest.approx(40.0, abs=0.01)


def test_noise_never_locks():
    rng = np.random.default_rng(1)
    for wave in (WAVE, srs(96, n_id=4), ofdm(12, 15e3, n_symbols=1), ofdm(600, 30e3, 72, n_symbols=3)):
        receiver = OfdmReceiver(wave, 4, max_carrier_offset_hz=20e3)
        for i in range(0, 400_000, 20_000):
            assert receiver.push(noise(20_000, 4, rng).astype(np.complex64), i) == []
            assert not receiver.locked
    with pytest.raises(CaptureError, match="not in these"):
        channel_responses(noise(20_000, 4, rng).astype(np.complex64), WAVE)
    with pytest.raises(CaptureError):
        channel_responses(np.zeros((4, 20_000), np.complex64), WAVE)
    with pytest.raises(CaptureError):
        channel_responses(received(WAVE, 500)[0], WAVE)


@pytest.mark.parametrize(
    "other",
    [ofdm(64, 15e3, 16, seed=9), srs(96, n_id=11), cw(1.92e6, 1e5), chirp(1.92e6, 1e6)],
    ids=lambda w: w.kind,
)
@pytest.mark.parametrize("wave", [WAVE, srs(96), ofdm(12, 15e3, n_symbols=1)], ids=["ofdm", "srs", "short"])
def test_other_signals_do_not_lock(wave, other):
    receiver = OfdmReceiver(wave, 4)
    assert receiver.push(received(other, 60_000, delay=12.0, snr_db=20)[0], 0) == []
    assert not receiver.locked


@pytest.mark.parametrize("wave", [WAVE, srs(96, n_id=4)], ids=["ofdm", "srs"])
def test_an_inverted_spectrum_is_reported_and_not_mended(wave):
    x = np.conj(received(wave, 30_000, delay=12.0, snr_db=20)[0])
    receiver = OfdmReceiver(wave, 4)
    assert receiver.push(x, 0) == []
    assert receiver.inverted
    assert not receiver.locked
    with pytest.raises(CaptureError, match="inverted") as caught:
        channel_responses(x, wave)
    assert "swap" in caught.value.hint


def test_a_signal_that_comes_and_goes():
    rng = np.random.default_rng(2)
    burst = received(WAVE, 40_000, delay=10.0, snr_db=15)[0]
    quiet = (0.3 * noise(150_000, 4, rng)).astype(np.complex64)
    x = np.concatenate((quiet[:, :30_000], burst, quiet, burst, burst), axis=1)
    receiver = OfdmReceiver(WAVE, 4)
    seen = np.array([b.first_sample for b in pushed(receiver, x, 1000)])
    assert not np.any(seen < 29_000)
    assert np.sum((seen > 30_000) & (seen < 70_000)) > 200
    assert not np.any((seen > 72_000) & (seen < 219_000))
    assert np.sum(seen > 220_000) > 200
    assert receiver.locked


@pytest.mark.parametrize("ppm", [0.0, 0.5, 5.0, 20.0, -20.0])
def test_the_clock_of_the_emitter(ppm):
    x, _ = received(WAVE, 800_000, delay=300.4, snr_db=15, ppm=ppm)
    receiver = OfdmReceiver(WAVE, 4, average=10)
    blocks = pushed(receiver, x, 16384)
    assert receiver.slips == 0
    assert receiver.clock_error * 1e6 == pytest.approx(ppm, abs=0.1)
    rest = [-np.angle(np.sum(b.csi[:, 1:] * np.conj(b.csi[:, :-1]))) * 128 / 2 / np.pi for b in blocks]
    assert np.max(np.abs(rest[60:])) < 0.15  # samples; one is 520 ns
    if ppm == 0:
        assert len({b.timing_samples for b in blocks}) == 1  # a common clock: no jitter at all
    # sub-samples accumulate: at the end the transmitter is this late
    late = (blocks[-1].timing_samples - 300.4 + PERIOD / 2) % PERIOD - PERIOD / 2
    want = blocks[-1].first_sample * ppm * 1e-6
    assert late == pytest.approx(want, abs=0.1)


def test_a_slip_of_all_channels_is_followed():
    x, _ = received(WAVE, 400_000, delay=300.0, snr_db=20)
    slipped = np.concatenate((x[:, :200_000], x[:, 200_002:]), axis=1)  # two samples vanish, nobody says so
    receiver = OfdmReceiver(WAVE, 4)
    blocks = pushed(receiver, slipped, 8192)
    assert receiver.slips == 1
    assert blocks[0].timing_samples == pytest.approx(300.0, abs=0.02)
    assert blocks[-1].timing_samples == pytest.approx(298.0, abs=0.02)


def test_reference_paths():
    x, _ = received(WAVE, 60_000, delay=300.4, paths=((0, 0.3), (7.0, 1.0)), snr_db=30)
    at = {
        r: channel_responses(x, WAVE, reference=r, average=20)[-1].timing_samples
        for r in ("strongest", "first", 300.4)
    }
    assert at["strongest"] == pytest.approx(307.4, abs=0.2)
    assert at["first"] == pytest.approx(300.4, abs=0.2)
    assert at[300.4] == pytest.approx(300.4, abs=1e-9)


def test_common_phase_leaves_relative_phases():
    x, phasors = received(WAVE, 60_000, delay=3.0, snr_db=30, offset_hz=1234.0)
    for common in ("remove", "keep"):
        for block in channel_responses(x, WAVE, common_phase=common, average=8):
            ratio = np.sum(block.csi * np.conj(block.csi[:1]), axis=1)
            turn = np.angle(ratio * np.conj(phasors * np.conj(phasors[0])))
            assert np.max(np.abs(turn)) < 0.02
            if common == "remove":  # one channel is real and positive: it is the strongest
                assert np.min(np.abs(np.angle(np.sum(block.csi, axis=1)))) < 1e-3


def test_kept_phases_show_doppler():
    # a co-clocked echo that turns by 1 Hz, under the resolution of the lock
    x, _ = received(WAVE, 400_000, delay=3.0, snr_db=30, offset_hz=1.0)
    blocks = channel_responses(x, WAVE, common_phase="keep", average=20, max_carrier_offset_hz=0.0)
    assert blocks[0].carrier_offset_hz == 0.0
    t_s = np.array([b.first_sample for b in blocks]) / WAVE.fs_hz
    phase = np.unwrap([np.angle(np.sum(b.csi[0])) for b in blocks])
    assert np.polyfit(t_s, phase, 1)[0] / 2 / np.pi == pytest.approx(1.0, abs=0.01)


def test_every_and_subcarriers():
    x, _ = received(WAVE, 60_000, delay=3.0, snr_db=30)
    full = channel_responses(x, WAVE, common_phase="keep", reference=3.0)
    some = channel_responses(x, WAVE, common_phase="keep", reference=3.0, every=4)
    assert np.all(np.diff([b.first_sample for b in some]) == 4 * 144)
    by_first = {b.first_sample: b for b in full}
    np.testing.assert_allclose(some[3].csi, by_first[some[3].first_sample].csi, atol=1e-5)
    pick = np.arange(-30, 31, 6)
    receiver = OfdmReceiver(WAVE, 4, subcarriers=pick, common_phase="keep", reference=3.0)
    block = receiver.push(x, 0)[3]
    assert receiver.subcarrier_spacing_hz == 90e3
    np.testing.assert_allclose(block.csi, by_first[block.first_sample].csi[:, pick + 32], atol=1e-5)


def test_wrong_use_is_named():
    for options in ({"average": 0}, {"every": 0}, {"reference": "middle"}, {"common_phase": "x"}, {"subcarriers": [1, 2, 4]},
                    {"subcarriers": [99]}, {"subcarriers": []}):  # fmt: skip
        with pytest.raises(ConfigError):
            OfdmReceiver(WAVE, 4, **options)
    with pytest.raises(ConfigError, match="subcarriers"):
        OfdmReceiver(cw(1e6), 4)
    receiver = OfdmReceiver(WAVE, 4)
    for bad in (np.zeros((3, 5), np.complex64), np.zeros((4, 5)), np.zeros(5, np.complex64)):
        with pytest.raises(ShapeError):
            receiver.push(bad, 0)
    assert receiver.push(np.zeros((4, 0), np.complex64), 0) == []


def test_a_dead_channel_does_not_stop_the_others():
    x, _ = received(WAVE, 30_000, delay=3.0, snr_db=20)
    x[2] = 0
    block = channel_responses(x, WAVE)[-1]
    assert np.all(np.isfinite(block.csi))
    assert block.snr_db[2] == -np.inf
    assert np.all(block.snr_db[[0, 1, 3]] > 20)
