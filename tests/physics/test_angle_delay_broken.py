"""Captures with missing samples, times in no equal steps, and limits: few true paths in bounded work."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil.core.frame import Frame, FrameFlag
from hil.core.geometry import ula
from hil.core.waveform import ofdm, save_waveform
from hil.dsp import angle_delay_paths
from hil.dsp.angle_delay_comb import step_of
from hil.dsp.angle_delay_paths import find_paths
from hil.jobs import angle_delay
from hil.jobs.angle_delay import AngleDelaySettings
from hil.learning.csi_recording import CsiCapture, CsiTap
from hil.learning.csi_speeds import what_was_used
from tests.physics.angle_delay_scenes import FC, C, echoes, record

WAVE = ofdm(n_subcarriers=64, spacing_hz=15e3, cp_samples=16, n_symbols=10)
SECONDS, PIECE = 0.12, 2000


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """(samples (M, N), stream) of a strong slow target and a weaker one that stands still."""
    path = tmp_path_factory.mktemp("broken") / "r.sigmf-meta"
    save_waveform(WAVE, path.parent / "w.toml")
    targets = ((17.0, 600.0, 0.0, 0.5), (-33.0, 300.0, -8.0))
    record(
        path, WAVE, ula(4, C / FC / 2), targets, direct_db=15.0, n_samples=round(SECONDS * WAVE.fs_hz), seed=3,
        own=True,
    )  # fmt: skip
    with open_recording(path) as recording:
        x, _ = wire_to_complex(
            recording.read(0, recording.n_samples), recording.stream.device.full_scale_bits
        )
        return x, recording.stream


def captured(samples, lost: set[int], *, counted: bool) -> CsiCapture:
    """Frames of PIECE samples without those numbered in `lost`; counted : the index tells how many."""
    x, stream = samples
    tap = CsiTap(WAVE, x.shape[1], 4096, own=True)
    missing = 0
    for k in range(x.shape[1] // PIECE):
        if k in lost:
            missing += PIECE
            continue
        flags = FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW if k - 1 in lost else FrameFlag.NONE
        piece = np.ascontiguousarray(x[:, k * PIECE : (k + 1) * PIECE])
        at = k * PIECE - (0 if counted else missing)
        tap(Frame(piece, at, k, 0, 0, flags, stream), np.zeros(4, np.int64))
    return tap.result()


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("lost", [{30}, {7, 21, 60, 61, 90}])
def test_lost_samples_make_no_ghosts(samples, lost, counted):
    capture = captured(samples, lost, counted=counted)
    found = angle_delay._analyse(capture, AngleDelaySettings(seconds=SECONDS), own=True)
    assert len(found.estimate.paths) == 2, found.estimate.paths
    moving, still = found.estimate.paths
    assert abs(moving.range_rate_m_s - 0.5) < 4 * moving.range_rate_sigma_m_s
    assert abs(still.range_rate_m_s) < 4 * still.range_rate_sigma_m_s
    assert abs(moving.range_m - 600.0) < 0.1 + 4 * moving.range_sigma_m
    assert abs(still.range_m - 300.0) < 4 * still.range_sigma_m
    (note,) = found.notes
    assert f"of {len(lost - {61}) + 1} pieces only the longest was used" in note
    assert f"{found.n_symbols} of {len(capture)} symbols" in note
    assert found.unambiguous_speed_m_s == pytest.approx(C / (4 * FC * 144 / WAVE.fs_hz), rel=1e-3)


def test_without_losses_nothing_is_left_out(samples):
    capture = captured(samples, set(), counted=True)
    assert capture.unbroken() is capture
    assert np.ptp(np.diff(capture.time_s)) < 1e-9


def test_steps_of_times():
    even = np.arange(200, dtype=np.float64) * 1e-3
    assert step_of(even) == pytest.approx(1e-3)
    assert step_of(np.delete(even, [3, 50, 51])) == pytest.approx(1e-3)
    assert step_of(even * (1 + 2e-5)) == pytest.approx(1e-3, rel=1e-4)
    # two that come close by chance do not set the greatest Doppler shift
    assert step_of(np.sort(np.append(even, 0.0501 + 1e-9))) > 5e-4


def test_the_search_is_bounded_and_says_so(monkeypatch):
    monkeypatch.setattr(angle_delay_paths, "_MOST_EFFORT", 2e7)
    made = echoes(1, ((10.0, 8.0, 60.0, 130.0),), m=4, blocks=128)
    walk = np.cumsum(0.3 * np.random.default_rng(2).standard_normal(128))
    csi = made.csi * np.exp(1j * walk)[:, None, None]
    found = find_paths(
        csi, made.positions_m, FC, made.frequency_hz, time_s=made.time_s, direct="yes", max_paths=256
    )
    assert found.exhausted
    assert not found.complete
    assert len(found.paths) < 256


def test_paths_beyond_the_limit_leave_nothing_at_it():
    made = echoes(4, ((17.0, 5.0, 35.0), (-33.0, 8.2, 60.0)), m=4)
    limit_s = 7.0 * made.bin_s
    found = find_paths(
        made.csi, made.positions_m, FC, made.frequency_hz, direct="yes", max_delay_s=limit_s, max_paths=1
    )
    (path,) = found.paths
    assert found.complete
    assert abs(path.delay_s / made.bin_s - 5.0) < 0.1
    everything = find_paths(made.csi, made.positions_m, FC, made.frequency_hz, direct="yes")
    assert [p.delay_s for p in everything.paths if p.delay_s <= limit_s] == [path.delay_s]


def test_speeds_of_a_lesson_are_told_modulo_the_span():
    text = what_was_used([-56.5, 0.0], 58.25, still=True, own=True)
    assert "told only modulo 116.5 m/s, from -58.25 to 58.25" in text
