"""Windows of a stream: exactly the samples asked for, none older than the table's rest, loss told, memory flat."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import DeviceTimeout, StreamStopped
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.recorder import Recorder
from hil.recorder.metadata import Point
from hil.sweep.checks import failures, snr_db
from hil.sweep.window import SampleClock, Taken, Windows

FS_HZ = 1e6
SIZE = 1000  # samples of a block: a millisecond
M = 2


def _stream() -> StreamInfo:
    info = DeviceInfo(
        uri="test:", driver="test", model="test", serial="t", firmware="", coherent_groups=((0, 1),), wire=WireFormat.CI16,
        full_scale_bits=12,
    )  # fmt: skip
    config = RxConfig(
        fc_hz=1e9, fs_hz=FS_HZ, bandwidth_hz=FS_HZ, gain_db=(0.0, 0.0), channels=(0, 1), block_samples=SIZE
    )
    return StreamInfo(config, info, new_epoch("t"))


STREAM = _stream()


def _block(first: int, *, late_ns: int = 0, lost: int | None = 0, flags: FrameFlag = FrameFlag.NONE) -> Block:
    """Samples that are their own index (modulo 1000), arriving as soon as the last one is taken, or later."""
    index = np.arange(first, first + SIZE)
    wire = np.zeros((SIZE, M, 2), np.int16)
    wire[:, :, 0] = (index % 1000)[:, None]
    wire[:, :, 1] = ((index // 1000) % 1000)[:, None]
    t_ns = round((first + SIZE) / FS_HZ * 1e9) + late_ns
    return Block(wire, first, first // SIZE, t_ns, t_ns, flags, STREAM, lost)


def _asked(windows: Windows, n: int, after_ns: int) -> tuple[threading.Thread, list[Taken]]:
    got: list[Taken] = []
    point = Point(table_azimuth_deg=3.0, emitter_angles_deg=(-3.0,), extras={"hil:point": 0})
    thread = threading.Thread(
        target=lambda: got.append(windows.take(n, point, after_ns, lambda: False, 20.0))
    )
    thread.start()
    while windows._wanted is None and thread.is_alive():
        pass
    return thread, got


def _windows(path: Path) -> Windows:
    return Windows(lambda block: Recorder(path, block.stream, policy="gap"))


@pytest.mark.parametrize("late_ms", [0.0, 40.0])
def test_a_window_begins_with_the_first_sample_taken_after_the_moment(tmp_path: Path, late_ms: float) -> None:
    path = tmp_path / "a.sigmf-meta"
    windows = _windows(path)
    after_ns = round(57.3e6)  # sample 57300
    first = 0
    for _ in range(30):  # the usual delay is none
        windows.write(_block(first))
        first += SIZE
    thread, got = _asked(windows, 2500, after_ns)
    while thread.is_alive():
        # what waited in a buffer arrives after the moment, but was taken before it
        windows.write(_block(first, late_ns=round(late_ms * 1e6)))
        first += SIZE
    thread.join()
    windows.close()
    assert (got[0].start, got[0].n, got[0].lost, got[0].overflow) == (0, 2500, 0, False)
    with open_recording(path) as recording:
        assert recording.n_samples == 2500
        assert recording.segments[0].global_index == 57_300
        wire = recording.read(0, 2500)
        assert list(wire[:2, 0, 0]) == [300, 301]
        assert list(wire[:2, 1, 1]) == [57, 57]
        assert recording.segments[0].emitter_angles_deg == (-3.0,)


def test_two_windows_are_two_segments_and_nothing_counts_as_lost_between_them(tmp_path: Path) -> None:
    path = tmp_path / "a.sigmf-collection"
    windows = _windows(path)
    first = 0
    for k in range(2):
        thread, got = _asked(windows, 1500, round(first / FS_HZ * 1e9))
        while thread.is_alive():
            windows.write(_block(first))
            first += SIZE
        thread.join()
        assert got[0].start == 1500 * k
        for _ in range(3):
            windows.write(_block(first))
            first += SIZE
    summary = windows.close()
    assert (summary.samples, summary.lost, summary.gaps) == (3000, 0, 0)
    with open_recording(path) as recording:
        assert [(s.start, s.n, s.dropped_before, s.cause) for s in recording.segments] == [
            (0, 1500, 0, "start"), (1500, 1500, 0, "point"),
        ]  # fmt: skip
        assert recording.segments[1].left_out == recording.segments[1].global_index - 1500


def test_loss_within_a_window_is_told_loss_before_it_is_not(tmp_path: Path) -> None:
    windows = _windows(tmp_path / "a.sigmf-meta")
    windows.write(_block(0))
    thread, got = _asked(windows, 2500, round(1e6))
    windows.write(_block(5000, lost=4000, flags=FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW))
    windows.write(_block(6000))
    windows.write(_block(7000))
    thread.join()
    assert (got[0].lost, got[0].lost_unknown, got[0].overflow) == (0, 0, False)
    thread, got = _asked(windows, 2500, round(8e6))
    windows.write(_block(8000))
    windows.write(_block(9700, lost=700, flags=FrameFlag.GAP_BEFORE))
    windows.write(_block(10_700, flags=FrameFlag.OVERFLOW))
    thread.join()
    assert (got[0].lost, got[0].lost_unknown, got[0].overflow, got[0].n) == (700, 0, True, 2500)
    windows.close()


def test_waiting_ends_with_the_stream_or_the_patience(tmp_path: Path) -> None:
    windows = _windows(tmp_path / "a.sigmf-meta")
    point = Point()
    with pytest.raises(DeviceTimeout):
        windows.take(10, point, 0, lambda: False, 0.1)
    with pytest.raises(StreamStopped):
        windows.take(10, point, 0, lambda: True, 60.0)
    assert windows.close().samples == 0
    assert not list(tmp_path.iterdir()), "a run without a window leaves no files"


def test_the_clock_takes_the_shortest_delay_seen_lately() -> None:
    clock = SampleClock()
    assert clock.start_ns(_block(0, late_ns=5_000_000)) == 5_000_000
    assert clock.start_ns(_block(1000)) == 1_000_000
    assert clock.start_ns(_block(2000, late_ns=300_000_000)) == 2_000_000
    # where that was long ago the delay seen since then counts
    assert clock.start_ns(_block(3_000_000, late_ns=7_000_000)) == 3_007_000_000


def _taken(**other: object) -> Taken:
    given = {
        "start": 0, "n": 100_000, "lost": 0, "lost_unknown": 0, "overflow": False, "overloads": (0, 0, 0), "epochs": ("e",),
        "covariance": np.eye(3, dtype=complex),
    }  # fmt: skip
    return Taken(**(given | other))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("other", "back", "snr", "says"),
    [
        ({}, (10.0, 10.05), 20.0, ""), ({"lost": 5}, (10, 10), 20.0, "5 samples were lost"),
        ({"lost": 1, "lost_unknown": 1}, (10, 10), 20.0, "at least 1"), ({"overflow": True}, (10, 10), 20.0, "some samples were lost"),
        ({"overloads": (0, 50, 0)}, (10, 10), 20.0, "overload on channel 1"), ({"overloads": (0, 3, 0)}, (10, 10), 20.0, ""),
        ({"epochs": ("a", "b")}, (10, 10), 20.0, "epoch"), ({}, (10, 10.2), 20.0, "10.20 degrees after"), ({}, (9.8, 10), 20.0, "9.80 degrees before"),
        ({}, (10, 10), 3.0, "SNR 3.0 dB"), ({}, (10, 10), float("nan"), "SNR"),
        ({"covariance": np.diag([1, 1e-4, 1]).astype(complex)}, (10, 10), 20.0, "no signal on channel 1"),
        ({"covariance": np.diag([1, np.nan, 1]).astype(complex)}, (10, 10), 20.0, "no signal on"),
    ],
)  # fmt: skip
def test_each_check_names_its_cause(
    other: dict[str, object], back: tuple[float, float], snr: float, says: str
) -> None:
    from hil.campaign.plan import Plan

    found = "; ".join(failures(Plan((10.0,), min_snr_db=5.0), _taken(**other), 10.0, *back, snr))
    assert (says in found) if says else not found


@pytest.mark.parametrize("level_db", [-10.0, 0.0, 25.0])
def test_snr_is_that_of_one_channel(level_db: float) -> None:
    rng = np.random.default_rng(5)
    n, m = 40_000, 4
    noise = (rng.normal(size=(m, n)) + 1j * rng.normal(size=(m, n))) / np.sqrt(2)
    x = noise + np.exp(1j * rng.uniform(0, 6, (m, 1))) * 10 ** (level_db / 20) * np.exp(
        1j * rng.uniform(0, 6, n)
    )
    assert snr_db(x @ x.conj().T / n, 1, n) == pytest.approx(level_db, abs=0.3)
