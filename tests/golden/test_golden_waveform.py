"""Numbers worked out by hand that pin the signs: DFT, delay, IQ order, symbols, prefix."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.waveform import OfdmLayout, Waveform, base_sequence, cw, ofdm, save_waveform
from hil.core.waveform_ofdm import constellation
from hil.core.waveform_types import modulated
from hil.dsp.ofdm import channel_responses

J = 1j


def test_subcarrier_plus_one_turns_forward():
    # x[n] = 4^(-1/2) X exp(+j 2 pi 1 n / 4), X = 1: half of 1, j, -1, -j
    out = modulated(np.array([1]), np.ones((1, 1), complex), 4, 0)
    np.testing.assert_allclose(out, np.array([1, J, -1, -J]) / 2, atol=1e-15)


def test_subcarrier_minus_one_turns_backward_and_the_prefix_is_the_end():
    # half of 1, -j, -1, j; the prefix of one sample is the last one, j
    out = modulated(np.array([-1]), np.ones((1, 1), complex), 4, 1)
    np.testing.assert_allclose(out, np.array([J, 1, -J, -1, J]) / 2, atol=1e-15)


def test_two_subcarriers_of_two_symbols():
    # symbol 0: X[+1] = 1, X[-1] = 1: cos(pi n / 2) = 1, 0, -1, 0. symbol 1: X[+1] = j, X[-1] = -j:
    # (j e^{j pi n/2} - j e^{-j pi n/2}) / 2 = -sin(pi n / 2) = 0, -1, 0, 1
    grid = np.array([[1, 1], [-J, J]])
    out = modulated(np.array([-1, 1]), grid, 4, 0)
    np.testing.assert_allclose(out, [1, 0, -1, 0, 0, -1, 0, 1], atol=1e-15)


def test_a_delay_of_d_samples_is_a_falling_phase():
    # y[n] = x[n - 3] of a period without an edge: CSI of subcarrier k is exp(-j 2 pi k 3 / 16) times that of x.
    # By hand for k = 4: exp(-j 3 pi / 2) = +j; for k = -4: -j; k = 2: exp(-j 3 pi / 4) = (-1 - j) / sqrt 2
    wave = ofdm(n_subcarriers=8, n_fft=16, cp_samples=8, n_symbols=12, seed=5)
    assert wave.layout is not None
    early = np.tile(wave.samples, 60)
    both = np.stack((early, np.roll(early, 3)))
    block = channel_responses(both, wave, max_carrier_offset_hz=0.0, reference=0.0)[5]
    at = {int(k): block.csi[1, i] / block.csi[0, i] for i, k in enumerate(wave.layout.columns)}
    assert at[4] == pytest.approx(J, abs=2e-3)
    assert at[-4] == pytest.approx(-J, abs=2e-3)
    assert at[2] == pytest.approx((-1 - J) / np.sqrt(2), abs=2e-3)


def test_columns_ascend_in_frequency():
    # a channel that doubles everything above the carrier: the last columns are twice the first
    layout = OfdmLayout(16, 1e3, 4, np.array([-2, -1, 1, 2]), np.ones((1, 4), complex))
    low = modulated(np.array([-2, -1]), np.ones((1, 2), complex), 16, 4)
    high = modulated(np.array([1, 2]), np.ones((1, 2), complex), 16, 4)
    wave = Waveform("ofdm", 16e3, ((low + high) / 8).astype(np.complex64), layout, {})
    x = np.tile((low + 2 * high) / 8, 300).astype(np.complex64)[None]
    block = channel_responses(x, wave, max_carrier_offset_hz=0.0, reference=0.0)[3]
    assert list(wave.layout.columns if wave.layout else []) == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(np.abs(block.csi[0, [0, 1, 3, 4]]), [0.125, 0.125, 0.25, 0.25], rtol=1e-3)


def test_iq_order_in_files(tmp_path):
    # a quarter of the rate: 1, j, -1, -j. Peak 32767 * 10^(-1/20) = 29203.6, rounded 29204 = 0x7214, little-endian.
    # I comes first: (29204, 0), (0, 29204), (-29204, 0), (0, -29204); -29204 = 0x8DEC
    save_waveform(cw(4e6, 1e6), tmp_path / "w.sigmf-meta")
    head = (tmp_path / "w.sigmf-data").read_bytes()[:16]
    assert head.hex() == "1472000000001472ec8d00000000ec8d"


def test_qpsk_and_16qam_points():
    # 38.211, 5.1.3: (b0, b1) = (0, 0) is (1 + j)/sqrt 2, (1, 0) is (-1 + j)/sqrt 2. 5.1.4: 0000 is (1 + j)/sqrt 10,
    # 0011 is (3 + 3j)/sqrt 10, 1011: (-3 + 3j)/sqrt 10. The bits are the top ones of PCG64's raw words.
    raw = np.random.PCG64(7).random_raw(64)
    for word, two, four in zip(
        raw, constellation("qpsk", 7, (1, 64))[0], constellation("16qam", 7, (1, 64))[0], strict=True
    ):
        b = [int(word) >> (63 - i) & 1 for i in range(4)]
        assert two * np.sqrt(2) == pytest.approx((1 - 2 * b[0]) + J * (1 - 2 * b[1]))
        real, imag = (1 - 2 * b[0]) * (2 - (1 - 2 * b[2])), (1 - 2 * b[1]) * (2 - (1 - 2 * b[3]))
        assert four * np.sqrt(10) == pytest.approx(real + J * imag)


def test_raw_words_are_those_of_every_machine():
    # PCG64 seeded through SeedSequence(0): its first output, as numpy documents both as stable
    assert np.random.PCG64(0).random_raw() == 11749869230777074271


@pytest.mark.parametrize(
    ("length", "u", "v", "n", "turns"),
    [
        (36, 0, 0, 1, (1, 31)),  # N = 31, q_bar = 1: q = 1; m (m + 1) q / N = 2 / 31
        (36, 0, 0, 32, (1, 31)),  # n mod 31 = 1
        (48, 4, 0, 2, (24, 47)),  # N = 47, q_bar = 235 / 31 = 7.58: q = 8; 6 * 8 / 47
        (72, 4, 0, 1, (11, 71)),  # N = 71, q_bar = 355 / 31 = 11.45: q = 11
        (72, 4, 1, 1, (12, 71)),  # floor(2 q_bar) = 22 is even: q = 12
        (72, 1, 1, 1, (4, 71)),  # q_bar = 4.58: floor(q_bar + 1/2) = 5, floor(9.16) = 9 is odd: q = 4
        (30, 2, 0, 0, (3, 31)),  # (u + 1)(n + 1)(n + 2) / 31 = 6 / 31
        (30, 2, 0, 3, (30, 31)),  # 3 * 4 * 5 = 60
    ],
)
def test_base_sequences(length, u, v, n, turns):
    # turns: numerator / N of a whole turn, as exp(-j pi q m (m + 1) / N) = exp(-j 2 pi (q m (m + 1) / 2) / N)
    numerator, prime = turns
    assert base_sequence(length, u, v)[n] == pytest.approx(np.exp(-2j * np.pi * numerator / prime), abs=1e-12)
