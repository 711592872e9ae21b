"""Targets that move towards the array or away, and other transmitters: levels, speeds and words against what was put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.csi import ChannelResponses
from hil.core.geometry import ula
from hil.core.waveform import ofdm, save_waveform
from hil.dsp.angle_delay_comb import Comb
from hil.dsp.angle_delay_foreign import whitener_of
from hil.dsp.angle_delay_paths import find_paths
from hil.jobs import angle_delay
from hil.jobs.angle_delay import AngleDelaySettings, of_recording, of_responses
from hil.learning.csi_steady import steady
from tests.physics.angle_delay_scenes import FC, C, echoes, record

#: 15 kHz apart: a bin of 156 m; symbols of 75 us tell speeds within +-408 m/s apart.
WAVE = ofdm(n_subcarriers=64, spacing_hz=15e3, cp_samples=16, n_symbols=10)
LEVEL = -5.0
#: |channel|^2 of an echo of 0 dB against noise of 1e-3: the power sits on 64 of 128 subcarriers.
ZERO_DB = -60.0 + 10 * np.log10(128 / 64)
SECONDS = 0.12


def scene(folder: Path, speed: float, *, seed: int = 3, foreign: tuple[float, float] | None = None) -> Path:
    """A recording of one target that moves away and a weaker one that stands still, beside a direct path."""
    save_waveform(WAVE, folder / "w.toml")
    targets = ((17.0, 600.0, LEVEL, speed), (-33.0, 300.0, LEVEL - 3))
    path = folder / "r.sigmf-meta"
    record(
        path, WAVE, ula(4, C / FC / 2), targets, direct_db=15.0, n_samples=round((SECONDS + 0.01) * WAVE.fs_hz),
        seed=seed, own=True, foreign=foreign,
    )  # fmt: skip
    return path


def look(path: Path) -> angle_delay.AngleDelay:
    return of_recording(path, None, AngleDelaySettings(waveform=path.parent / "w.toml", seconds=SECONDS))


@pytest.mark.parametrize("speed", [0.0, 5.0, 15.0, 25.0, -60.0])
def test_levels_speeds_and_ranges_of_targets_that_move(tmp_path, speed):
    found = look(scene(tmp_path, speed))
    assert len(found.estimate.paths) == 2, found.estimate.paths
    moving, still = found.estimate.paths
    assert moving.power_db == pytest.approx(ZERO_DB + LEVEL, abs=0.2)
    assert still.power_db == pytest.approx(ZERO_DB + LEVEL - 3, abs=0.2)
    assert abs(moving.range_rate_m_s - speed) < 4 * moving.range_rate_sigma_m_s
    assert abs(still.range_rate_m_s) < 4 * still.range_rate_sigma_m_s
    assert abs(moving.range_m - (600.0 + speed * SECONDS / 2)) < 4 * moving.range_sigma_m
    assert abs(still.range_m - 300.0) < 4 * still.range_sigma_m
    assert moving.range_sigma_m < 1.0
    assert found.unambiguous_speed_m_s == pytest.approx(C / (4 * FC * 144 / WAVE.fs_hz), rel=1e-3)
    assert found.estimate.residual == pytest.approx(1.0, abs=0.03)
    assert found.notes == ()


@pytest.mark.parametrize("speed", [25.0, -60.0])
def test_longer_blocks_are_unfolded_by_the_symbols(tmp_path, monkeypatch, speed):
    # 100 blocks of 1.2 ms: +-25.5 m/s, and whole turns per block at multiples of 51 m/s
    monkeypatch.setattr(angle_delay, "_USUAL_VALUES", 100 * 4 * 64)
    monkeypatch.setattr(angle_delay, "_ENOUGH_BLOCKS", 0)
    found = look(scene(tmp_path, speed))
    assert found.n_blocks <= 100
    moving = max(found.estimate.paths, key=lambda p: p.range_m)
    assert len(found.estimate.paths) == 2
    assert abs(moving.range_rate_m_s - speed) < 0.01
    assert moving.power_db == pytest.approx(ZERO_DB + LEVEL, abs=0.7)
    assert found.unambiguous_speed_m_s > 400
    assert any("not at multiples of 5" in note for note in found.notes)


def test_errors_of_the_speed_are_what_is_stated():
    z = []
    for seed in range(40):
        doppler = float(np.random.default_rng(seed).uniform(-400, 400))
        made = echoes(seed, ((10.0, 8.0, 25.0, doppler),), m=4, s=32, blocks=32)
        paths = find_paths(
            made.csi, made.positions_m, FC, made.frequency_hz, time_s=made.time_s, direct="yes"
        ).paths
        assert len(paths) == 1
        speed = -doppler * C / FC / 2
        z.append((paths[0].range_rate_m_s - speed) / paths[0].range_rate_sigma_m_s)
    assert 0.75 < np.sqrt(np.mean(np.square(z))) < 1.25
    assert abs(np.mean(z)) < 0.5


def test_the_edge_of_the_speeds_is_named(tmp_path):
    # blocks of 1 ms: +-500 Hz, that is 30.6 m/s
    for doppler, named in ((499.0, True), (200.0, False)):
        made = echoes(1, ((10.0, 8.0, 35.0, doppler),), m=4, blocks=64)
        ChannelResponses(made.csi, made.frequency_hz[1] - made.frequency_hz[0], made.time_s).save(
            tmp_path / "a.npz"
        )
        found = of_responses(tmp_path / "a.npz", "ula:4:0.5", FC, AngleDelaySettings())
        assert found.unambiguous_speed_m_s == pytest.approx(C / FC / 4 / 1e-3, rel=1e-6)
        assert any("look the same" in note for note in found.notes) == named
        assert any("faster than 30.6 m/s is listed at another speed" in note for note in found.notes)


@pytest.mark.parametrize("level", [0.0, 20.0])
def test_another_transmitter_in_the_band_is_named_and_makes_no_paths(tmp_path, level):
    found = look(scene(tmp_path, 0.0, foreign=(40.0, level)))
    (note,) = (n for n in found.notes if "another signal in the band" in n)
    assert "--fc" in note
    assert found.estimate.foreign_db == pytest.approx(10 * np.log10(1 + 10 ** (level / 10)), abs=0.3)
    assert len(found.estimate.paths) == 2
    for path, (angle, distance) in zip(found.estimate.paths, ((17.0, 600.0), (-33.0, 300.0)), strict=True):
        assert abs(path.angle_deg - angle) < 4 * path.angle_sigma_deg
        assert abs(path.range_m - distance) < 4 * path.range_sigma_m


def test_noise_of_receivers_is_no_other_transmitter():
    for seed in range(20):
        made = echoes(seed, ((10.0, 8.0, 50.0, 77.0),), m=4, blocks=16, direct_db=60.0)
        whitener, rise_db = whitener_of(made.csi)
        assert rise_db == 0
        np.testing.assert_array_equal(whitener, np.eye(4))


@pytest.mark.parametrize(
    "values",
    [np.arange(40) * 1e-3, np.delete(np.arange(40), [3, 20, 21]) * 1e-3, np.arange(9.0) ** 1.5 * 1e-3],
)
def test_sums_on_a_grid_are_those_of_the_definition(values):
    comb = Comb(values, -450.0, 450.0, 2.5)
    data = np.random.default_rng(1).standard_normal((3, len(values))) + 0j
    direct = data @ np.exp(-2j * np.pi * np.outer(values, comb.shifts))
    np.testing.assert_allclose(np.abs(comb(data)), np.abs(direct), atol=1e-4)
    assert np.all(np.diff(comb.shifts) * np.ptp(values) < 1 / 2.4)
    assert comb.shifts[0] < -440
    assert comb.shifts[-1] > 440
    offset = np.linspace(-700, 700, 999)
    want = np.abs(np.exp(-2j * np.pi * np.outer(offset, values)).mean(axis=1)) ** 2
    np.testing.assert_allclose(comb.likeness(offset), want, atol=0.005)


def test_a_fast_echo_beside_the_direct_path_does_not_look_like_a_transmitter_that_comes_and_goes():
    made = echoes(2, ((10.0, 0.2, 75.0, 130.0),), m=4, blocks=400, direct_db=90.0)
    assert steady(made.csi, own=True).all()
    late = made.csi.copy()
    late[:60] *= 0.3
    on = steady(late, own=True)
    assert not on[:60].any()
    assert on[60:].all()
