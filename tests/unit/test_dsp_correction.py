"""`apply` undoes the forward model; positions stay with the steering vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import CalibrationError, CalibrationMismatch, ShapeError
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.core.gauge import Gauge
from hil.core.geometry import ula
from hil.core.impairments import Impairments, ideal
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.correction import apply, correct_samples, remaining
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import find_doas

FC_HZ, FS_HZ, M = 2.45e9, 2.5e6, 6
WAVELENGTH_M = SPEED_OF_LIGHT_M_S / FC_HZ
LINE = ula(M, 0.5 * WAVELENGTH_M)


def noise(rng: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def random_impairments(seed: int, delay_s: float = 30e-9) -> Impairments:
    rng = np.random.default_rng(seed)
    error = np.zeros((M, 3))
    error[:, 0] = 0.08 * WAVELENGTH_M * rng.standard_normal(M)
    return Impairments(
        gain=(1 + 0.3 * rng.random(M)) * np.exp(2j * np.pi * rng.random(M)),
        coupling=np.eye(M) + 0.15 * noise(rng, M, M) * (1 - np.eye(M)),
        position_error_m=error - error.mean(axis=0),
        delay_s=delay_s * rng.standard_normal(M),
        iq_image=0.05 * noise(rng, M),
        dc_offset=0.05 * noise(rng, M),
    )


def impair(imp: Impairments, y: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The forward model, written out: coupling, then gain and delay, then image, then DC."""
    frequency = np.fft.fftfreq(y.shape[1], 1 / FS_HZ)
    z = np.fft.fft(imp.coupling @ y)
    z = np.fft.ifft(z * np.exp(-2j * np.pi * np.outer(imp.delay_s, frequency))) * imp.gain[:, None]
    return z + imp.iq_image[:, None] * z.conj() + imp.dc_offset[:, None]


def calibration(imp: Impairments, **more) -> Calibration:
    values = {
        "sigma": unknown_sigma(M),
        "gauge": Gauge(),
        "valid": Validity(2.4e9, 2.5e9),
        "method": "oracle",
    } | more
    return Calibration(LINE, imp, fc_hz=FC_HZ, **values)


def frame(samples: NDArray[np.complexfloating], fc_hz: float = FC_HZ) -> Frame:
    m = len(samples)
    config = RxConfig(fc_hz, FS_HZ, 2e6, (30.0,) * m, channels=tuple(range(m)), block_samples=1000)
    info = DeviceInfo("sim:", "sim", "test", "0", "", (tuple(range(m)),), WireFormat.CI16, 12)
    stream = StreamInfo(config, info, new_epoch("0"), LINE if m == M else None)
    return Frame(samples.astype(np.complex64), 1234, 5, 6, 7, FrameFlag.CLIPPED, stream)


@pytest.mark.parametrize("n", [1000, 1001, 4096])
@pytest.mark.parametrize("seed", range(3))
def test_apply_undoes_impair(n: int, seed: int) -> None:
    imp = random_impairments(seed)
    y = 0.2 * noise(np.random.default_rng(100 + seed), M, n)
    dirty = frame(impair(imp, y))
    clean = apply(dirty, calibration(imp))
    assert clean.samples.dtype == np.complex64
    assert np.abs(clean.samples - y).max() < 1e-5 * np.abs(y).max() * 5
    assert np.sqrt(np.mean(np.abs(clean.samples - y) ** 2)) < 1e-6
    assert (clean.first_sample, clean.seq, clean.flags, clean.stream) == (
        1234,
        5,
        FrameFlag.CLIPPED,
        dirty.stream,
    )


@pytest.mark.parametrize("part", ["gain", "coupling", "delay_s", "iq_image", "dc_offset"])
def test_each_part_is_undone_alone_and_matters(part: str) -> None:
    imp = replace(ideal(M), **{part: getattr(random_impairments(4), part)})
    y = 0.2 * noise(np.random.default_rng(9), M, 512)
    x = impair(imp, y)
    assert np.abs(x - y).max() > 1e-3
    assert np.abs(correct_samples(x.astype(np.complex64), imp, FS_HZ) - y).max() < 2e-6


def test_ideal_calibration_changes_nothing() -> None:
    f = frame(noise(np.random.default_rng(1), M, 100))
    np.testing.assert_array_equal(apply(f, calibration(ideal(M))).samples, f.samples)


def test_delay_of_a_real_stream_is_undone_but_for_the_edges() -> None:
    """A block cut from a longer delayed signal: exact far from the edges, near them as documented."""
    n, cut = 1 << 15, slice(4000, 20_000)
    spectrum = np.fft.fft(noise(np.random.default_rng(2), M, n)) * (np.abs(np.fft.fftfreq(n)) < 0.4)
    y = np.fft.ifft(spectrum)
    imp = replace(ideal(M), delay_s=random_impairments(5, delay_s=20e-9).delay_s)
    clean = correct_samples(impair(imp, y)[:, cut].astype(np.complex64), imp, FS_HZ)
    error = np.abs(clean - y[:, cut])
    assert error[:, 2000:-2000].max() < 2e-4
    assert error[:, :10].max() < 0.3


def test_positions_act_through_the_steering_only() -> None:
    imp = random_impairments(7)
    cal = calibration(imp)
    rng = np.random.default_rng(3)
    doas = (-21.0, 33.0)
    phase = 2j * np.pi / WAVELENGTH_M * cal.positions_m[:, :1] * np.sin(np.deg2rad(doas))
    y = np.exp(phase) @ noise(rng, 2, 4096) * 0.1 + 1e-4 * noise(rng, M, 4096)
    clean = apply(frame(impair(imp, y)), cal)
    r = sample_covariance(clean.samples)
    np.testing.assert_allclose(np.sort(find_doas(r, remaining(cal), None, 2)), doas, atol=0.01)
    np.testing.assert_allclose(np.sort(find_doas(r, cal.positions_m, FC_HZ, 2)), doas, atol=0.01)
    assert np.abs(np.sort(find_doas(r, LINE, FC_HZ, 2)) - doas).max() > 0.3


def test_what_does_not_belong_is_refused() -> None:
    cal = calibration(random_impairments(7))
    x = noise(np.random.default_rng(4), M, 64)
    with pytest.raises(CalibrationMismatch) as wrong_m:
        apply(frame(x[:4]), cal)
    assert wrong_m.value.field == "geometry"
    with pytest.raises(CalibrationMismatch) as wrong_fc:
        apply(frame(x, 5.8e9), cal)
    assert wrong_fc.value.field == "fc_hz"
    apply(frame(x, 5.8e9), replace(cal, stale_reason="tried on purpose"))
    singular = replace(ideal(M), coupling=np.ones((M, M), complex))
    with pytest.raises(CalibrationError):
        correct_samples(x, singular, FS_HZ)
    with pytest.raises(CalibrationError):
        correct_samples(x, replace(ideal(M), iq_image=np.ones(M, complex)), FS_HZ)
    with pytest.raises(ShapeError):
        correct_samples(x[:3], ideal(M), FS_HZ)
