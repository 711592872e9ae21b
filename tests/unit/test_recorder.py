"""Recordings come back bit for bit, with everything that happened while they were made."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.errors import CaptureOverrun, RecordingError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.core.geometry import ArrayGeometry, uca
from hil.recorder import Point, Recorder
from hil.recorder.files import overloads

KINDS = ["x.sigmf-collection", "x.sigmf-meta"]
N = 500


def make_stream(n_channels=4, wire=WireFormat.CI16, bits=12):
    groups = tuple((c, c + 1) for c in range(0, n_channels, 2))
    device = DeviceInfo("iio:ip:a", "iio", "fmcomms5", "S1", "0.39", groups, wire, bits)
    gains = tuple(10.0 + c for c in range(n_channels))
    config = RxConfig(2.45e9, 2.5e6, 2e6, gains, GainMode.MANUAL, tuple(range(n_channels)), N)
    geometry = replace(
        uca(n_channels, 0.0731), labels=tuple(f"port {c}" for c in range(n_channels)), name="ring"
    )
    return StreamInfo(config, device, new_epoch("S1"), geometry)


def make_wire(stream, seed, n=N):
    rng = np.random.default_rng(seed)
    if stream.device.wire is WireFormat.CI16:
        return rng.integers(-32768, 32768, (n, stream.n_channels, 2), dtype=np.int16)
    return rng.normal(size=(n, stream.n_channels, 2)).astype("<f4")


def block(stream, wire, first, seq=0, lost=0, flags=FrameFlag.NONE):
    t_ns = 1_790_000_000_000_000_000 + round((first + len(wire)) / 2.5e6 * 1e9)
    return Block(wire, first, seq, t_ns - 10**18, t_ns, flags, stream, lost)


def record(path, blocks, stream, **options):
    with Recorder(path, stream, **options) as recorder:
        for b in blocks:
            recorder.write(b)
        return recorder.close()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wire_format", list(WireFormat))
@pytest.mark.parametrize("n_channels", [1, 3, 8])
def test_samples_come_back_bit_for_bit(tmp_path, name, wire_format, n_channels):
    stream = make_stream(n_channels, wire_format, 16)
    wires = [make_wire(stream, k, n) for k, n in enumerate((N, 1, 7, N))]
    starts = np.cumsum([0, *(len(w) for w in wires)])
    summary = record(
        tmp_path / name, [block(stream, w, s) for w, s in zip(wires, starts, strict=False)], stream
    )
    everything = np.concatenate(wires)
    with open_recording(tmp_path / name) as recording:
        found = recording.read(0, 10**9)
        assert found.dtype == wire_format.dtype
        assert found.tobytes() == everything.tobytes()
        assert np.array_equal(recording.read(490, 30), everything[490:520])
        assert recording.read(len(everything), 5).shape == (0, n_channels, 2)
        assert recording.complete
        assert recording.verify() is True
    assert summary.samples == len(everything)
    assert summary.bytes == everything.nbytes
    assert sorted(summary.files) == sorted(tmp_path.iterdir()), "the journal is gone and nothing else is left"


@pytest.mark.parametrize("name", KINDS)
def test_stream_comes_back_with_every_field(tmp_path, name):
    stream = make_stream()
    record(tmp_path / name, [block(stream, make_wire(stream, 0), 1234)], stream, author="A", description="D")
    with open_recording(tmp_path / name) as recording:
        found = recording.stream
        segment = recording.segments[0]
    assert found.config == stream.config
    assert found.device == stream.device
    assert found.epoch == stream.epoch
    assert np.array_equal(found.geometry.positions_m, stream.geometry.positions_m)
    assert (found.geometry.labels, found.geometry.name) == (stream.geometry.labels, "ring")
    assert segment.global_index == 1234
    assert segment.t_utc_ns == 1_790_000_000_000_000_000 + round(1234 / 2.5e6 * 1e9)
    assert recording.global_keys["core:author"] == "A"


@pytest.mark.parametrize("name", KINDS)
def test_retunes_gains_and_points_start_segments_that_repeat_all_keys(tmp_path, name):
    first = make_stream()
    retuned = replace(first, config=replace(first.config, fc_hz=2.4e9),
                      epoch=first.epoch.after(EpochEvent.LO, EpochScope.GROUP_PHASES))  # fmt: skip
    louder = replace(retuned, config=replace(retuned.config, gain_db=(20.0,) * 4))
    restarted = replace(louder, epoch=louder.epoch.after(EpochEvent.STREAM_RESTART, EpochScope.GROUP_PHASES))
    with Recorder(tmp_path / name, first, extras={"hil:temperature_c": 21.5}) as recorder:
        for k, stream in enumerate([first, first, retuned, louder, restarted, restarted, restarted]):
            if k == 5:
                recorder.note_segment(table_azimuth_deg=-30.0, emitter_angles_deg=[30.0, -10.0])
            recorder.write(block(stream, make_wire(stream, k), k * N, k))
        summary = recorder.close()
    with open_recording(tmp_path / name) as recording:
        segments = recording.segments
    assert [(s.start, s.n, s.cause) for s in segments] == [
        (0, 2 * N, "start"), (2 * N, N, "retune"), (3 * N, N, "gain"), (4 * N, N, "epoch"), (5 * N, 2 * N, "point"),
    ]  # fmt: skip
    assert [s.stream.config.fc_hz for s in segments] == [2.45e9, 2.4e9, 2.4e9, 2.4e9, 2.4e9]
    assert [s.stream.epoch.counter for s in segments] == [0, 1, 1, 2, 2]
    assert segments[2].stream.config.gain_db == (20.0,) * 4
    assert segments[4].emitter_angles_deg == (30.0, -10.0)
    assert segments[3].emitter_angles_deg == ()
    assert segments[4].keys["spatial:aperture_azimuth"] == 330.0
    assert segments[4].keys["spatial:emitter_bearing"] == {"azimuth": 30.0}
    assert all(s.keys["hil:temperature_c"] == 21.5 for s in segments)
    common = set(segments[0].keys)
    assert all(common <= set(s.keys) for s in segments)
    assert (summary.epochs, summary.gaps, summary.lost) == (3, 0, 0)


@pytest.mark.parametrize("name", KINDS)
def test_gaps_become_segments_with_a_jump_of_the_global_index(tmp_path, name):
    stream = make_stream()
    blocks = [
        block(stream, make_wire(stream, 0), 100, lost=55),  # before the recording: not a gap of it
        block(stream, make_wire(stream, 1), 100 + N + 30, lost=30),
        block(stream, make_wire(stream, 2), 130 + 2 * N, lost=None, flags=FrameFlag.OVERFLOW),
        block(stream, make_wire(stream, 3), 130 + 3 * N + 8),  # dropped in our own ring: the index tells
    ]
    summary = record(tmp_path / name, blocks, stream, policy="gap")
    # of one gap no more is known than that a sample is missing
    assert (summary.samples, summary.gaps, summary.lost, summary.lost_unknown) == (4 * N, 3, 39, 1)
    assert not summary.lost_exact
    assert summary.gap_list == ((100 + N, 30), (130 + 2 * N, None), (130 + 3 * N, 8))
    with open_recording(tmp_path / name) as recording:
        assert [s.dropped_before for s in recording.segments] == [0, 30, None, 8]
        assert [s.global_index for s in recording.segments] == [100, 630, 1130, 1638]
        assert np.array_equal(recording.read(0, 4 * N), np.concatenate([b.wire for b in blocks]))


def test_a_gap_ends_the_recording_by_default_and_keeps_what_came_before(tmp_path):
    stream = make_stream()
    recorder = Recorder(tmp_path / "x.sigmf-meta", stream)
    recorder.write(block(stream, make_wire(stream, 0), 0))
    with pytest.raises(CaptureOverrun) as caught:
        recorder.write(block(stream, make_wire(stream, 1), N + 12, lost=12))
    assert caught.value.gaps == ((N, 12),)
    with pytest.raises(RecordingError, match="12 samples lost"):
        recorder.write(block(stream, make_wire(stream, 1), 2 * N + 12))
    summary = recorder.close()
    assert (summary.samples, summary.gaps, summary.lost) == (N, 1, 12)
    assert recorder.close() is summary
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert recording.n_samples == N
        assert recording.complete


def test_a_recording_is_never_overwritten_unasked(tmp_path):
    stream = make_stream()
    record(tmp_path / "x.sigmf-collection", [block(stream, make_wire(stream, 0), 0)], stream)
    for name in KINDS:
        with pytest.raises(RecordingError, match="exists") as caught:
            Recorder(tmp_path / name, stream)
        assert caught.value.exit_code == 2
    before = sorted(tmp_path.iterdir())
    assert len(before) == 9
    small = make_stream(2)
    summary = record(
        tmp_path / "x.sigmf-collection", [block(small, make_wire(small, 5), 0)], small, overwrite=True
    )
    assert sorted(tmp_path.iterdir()) == sorted(summary.files), "members of the old one would be left over"
    (tmp_path / "y-ch00.sigmf-data").write_bytes(b"someone else's")
    record(tmp_path / "y.sigmf-meta", [block(small, make_wire(small, 5), 0)], small, overwrite=True)
    assert (tmp_path / "y-ch00.sigmf-data").read_bytes() == b"someone else's"


@pytest.mark.parametrize("name", ["x.wav", "x", ".sigmf-meta", "no/such/folder/x.sigmf-meta"])
def test_names_that_are_no_recordings_are_refused_with_a_hint(tmp_path, name):
    with pytest.raises(RecordingError) as caught:
        Recorder(tmp_path / name, make_stream())
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_free_space_is_checked_before_starting(tmp_path):
    with pytest.raises(RecordingError, match="MB are free"):
        Recorder(tmp_path / "x.sigmf-meta", make_stream(), expected_samples=10**15)
    assert not list(tmp_path.iterdir())


def test_what_no_single_recording_can_hold_is_refused(tmp_path):
    stream = make_stream()
    faster = replace(stream, config=replace(stream.config, fs_hz=5e6))
    with Recorder(tmp_path / "x.sigmf-meta", stream) as recorder:
        recorder.write(block(stream, make_wire(stream, 0), 0))
        with pytest.raises(RecordingError, match="sample rate"):
            recorder.write(block(faster, make_wire(stream, 1), N))
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert recording.n_samples == N
    with (
        Recorder(tmp_path / "y.sigmf-meta", stream) as recorder,
        pytest.raises(RecordingError, match="namespaces"),
    ):
        recorder.note_segment(Point(extras={"mine:key": 1}))


def test_overloads_are_counted_per_channel_and_segment(tmp_path):
    stream = make_stream()
    wire = np.zeros((N, 4, 2), np.int16)
    wire[3, 1, 0], wire[4, 1, 1], wire[4, 1, 0], wire[9, 2, 1] = 2047, -2048, -2048, -2048
    quiet = np.full((N, 4, 2), 2046, np.int16)
    blocks = [block(stream, wire, 0), block(stream, quiet, N), block(stream, wire, 2 * N + 1, lost=1)]
    summary = record(tmp_path / "x.sigmf-meta", blocks, stream, policy="gap")
    assert summary.overloads == 6
    with open_recording(tmp_path / "x.sigmf-meta") as recording:
        assert [s.overload_count for s in recording.segments] == [(0, 2, 1, 0), (0, 2, 1, 0)]
    floats = make_stream(4, WireFormat.CF32, 24)
    assert overloads(np.full((4, 2, 2), 0.99, "<f4"), floats.device) is None
    assert overloads(np.full((4, 2, 2), -1.0, "<f4"), floats.device) == [4, 4]


def test_an_unknown_array_stays_unknown(tmp_path):
    stream = replace(make_stream(), geometry=None)
    record(tmp_path / "x.sigmf-collection", [block(stream, make_wire(stream, 0), 0)], stream)
    with open_recording(tmp_path / "x.sigmf-collection") as recording:
        assert recording.geometry is None


def test_positions_are_written_in_sigmf_axes(tmp_path):
    geometry = ArrayGeometry(np.array([[0.1, 0.2, 0.3], [-0.1, 0.0, 0.0], [0.0, -0.2, 0.1], [0.5, 0.6, 0.7]]))
    stream = replace(make_stream(), geometry=geometry)
    record(tmp_path / "x.sigmf-meta", [block(stream, make_wire(stream, 0), 0)], stream)
    metadata = json.loads((tmp_path / "x.sigmf-meta").read_text())
    points = [e["point"] for e in metadata["captures"][0]["spatial:element_geometry"]]
    assert points[0] == [0.2, -0.1, 0.3]
    assert points[1] == [0.0, 0.1, 0.0]


def test_a_gap_in_every_block_stays_cheap(tmp_path):
    """Metadata are rewritten rarely then; the journal has the segments."""
    stream = make_stream(8)
    wire = make_wire(stream, 0)
    begin = time.process_time()
    with Recorder(tmp_path / "x.sigmf-collection", stream, policy="gap") as recorder:
        for k in range(1500):
            recorder.write(block(stream, wire, k * (N + 1), k, lost=1 if k else 0))
        summary = recorder.close()
    assert time.process_time() - begin < 20.0
    assert summary.gaps == 1499
    with open_recording(tmp_path / "x.sigmf-collection") as recording:
        assert len(recording.segments) == 1500


def test_empty_recordings_and_empty_blocks_are_possible(tmp_path):
    stream = make_stream()
    record(tmp_path / "x.sigmf-collection", [], stream)
    with open_recording(tmp_path / "x.sigmf-collection") as recording:
        assert recording.n_samples == 0
        assert recording.segments == ()
        with pytest.raises(RecordingError, match="no samples"):
            _ = recording.stream
    blocks = [block(stream, make_wire(stream, 0, 0), 0), block(stream, make_wire(stream, 0), 0)]
    assert record(tmp_path / "y.sigmf-meta", blocks, stream).samples == N
