"""Foreign recordings open; damaged and hostile ones are one clear error, never a crash or gigabytes."""

import json
import os
import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from drivers.replay import ReplayDevice
from drivers.sigmf_files import open_recording
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import RecordingError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.core.geometry import ula
from hil.recorder import Recorder

N, M = 64, 3


def foreign(folder, wire, datatype="ci16_le", collection=False, **more):
    """A recording as other programs write it: no key of ours."""
    captures = more.pop("captures", [{"core:sample_start": 0, "core:frequency": 1e9}])
    names = [f"f-{m}" for m in range(M)] if collection else ["f"]
    for m, name in enumerate(names):
        keys = {
            "core:datatype": datatype,
            "core:version": "1.0.0",
            "core:sample_rate": 1e6,
            "core:hw": "X310",
        }
        keys |= {} if collection else {"core:num_channels": M}
        value = {"global": keys | more, "captures": captures, "annotations": []}
        (folder / f"{name}.sigmf-meta").write_text(json.dumps(value))
        part = wire[:, m] if collection else wire
        (folder / f"{name}.sigmf-data").write_bytes(np.ascontiguousarray(part).tobytes())
    if collection:
        streams = [{"name": name, "hash": "0" * 128} for name in names]
        (folder / "f.sigmf-collection").write_text(json.dumps({"collection": {"core:version": "1.0.0", "core:streams": streams}}))  # fmt: skip
        return folder / "f.sigmf-collection"
    return folder / "f.sigmf-meta"


@pytest.mark.parametrize("collection", [False, True])
@pytest.mark.parametrize("datatype", ["ci16_le", "cf32_le"])
def test_foreign_recordings_open(tmp_path, collection, datatype):
    dtype = "<i2" if datatype == "ci16_le" else "<f4"
    wire = np.random.default_rng(0).integers(-99, 99, (N, M, 2)).astype(dtype)
    captures = [{"core:sample_start": 0, "core:frequency": 1e9, "core:datetime": "2026-01-01T00:00:00Z"},
                {"core:sample_start": 40, "core:frequency": 2e9, "core:global_index": 50}]  # fmt: skip
    path = foreign(tmp_path, wire, datatype, collection, captures=captures)
    with ReplayDevice(path) as device:
        recording = device.recording
        assert np.array_equal(recording.read(0, N), wire)
        assert not recording.ours
        assert recording.geometry is None
        first, second = recording.segments
        assert (first.stream.fc_hz, second.stream.fc_hz, second.dropped_before) == (1e9, 2e9, 10)
        assert first.stream.epoch != second.stream.epoch, "a retune may have changed the phases"
        assert first.t_utc_ns == 1767225600 * 10**9
        assert len(first.stream.device.coherent_groups) == M, "nothing is known about shared clocks"
    with ReplayDevice(path) as again:
        assert again.recording.stream.epoch == first.stream.epoch, "the same file is the same epoch"


def test_a_recording_without_carrier_can_be_looked_at_but_not_played(tmp_path):
    path = foreign(tmp_path, np.zeros((N, M, 2), "<i2"), captures=[])
    assert np.isnan(open_recording(path).stream.fc_hz)
    with pytest.raises(RecordingError, match="carrier") as caught:
        ReplayDevice(path)
    assert caught.value.exit_code == 2


HOSTILE = {
    "no JSON": b"\x00\xff garbage",
    "empty": b"",
    "list": b"[]",
    "nested": b"[" * 200_000,
    "digits": b'{"global": {"core:num_channels": ' + b"9" * 10_000 + b"}}",
    "no global": b'{"captures": []}',
    "wrong kinds": b'{"global": {"core:datatype": 5}, "captures": {}, "annotations": 3}',
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("suffix", [".sigmf-meta", ".sigmf-collection"])
def test_files_that_are_no_metadata_are_refused(tmp_path, content, suffix):
    (tmp_path / f"f{suffix}").write_bytes(content)
    (tmp_path / "f.sigmf-data").write_bytes(b"")
    with pytest.raises(RecordingError) as caught:
        open_recording(tmp_path / f"f{suffix}")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("core:num_channels", 10**18), ("core:num_channels", 0), ("core:num_channels", -1), ("core:num_channels", "2"),
        ("core:num_channels", 1e400), ("core:sample_rate", -1.0), ("core:sample_rate", "fast"),
        ("core:sample_rate", float("nan")), ("core:datatype", "cf64_le"), ("core:datatype", "ri16_le"),
        ("core:datatype", "../x"), ("core:dataset", "../../etc/passwd"), ("core:dataset", "/dev/zero"),
        ("core:dataset", ["x"]), ("core:trailing_bytes", 10), ("core:offset", 5), ("core:metadata_only", True),
        ("hil:stream", {"device": {}, "channels": []}), ("hil:stream", 7),
        ("hil:stream", {"device": {"model": "m", "serial": "s", "coherent_groups": [[0]], "full_scale_bits": 10**9}, "channels": [0]}),
        ("hil:array", {"labels": [7]}),
        ("captures", [{"core:sample_start": 0, "core:frequency": "x"}]),
        ("captures", [{"core:sample_start": 5}]),
        ("captures", [{"core:sample_start": 10}, {"core:sample_start": 3}]),
        ("captures", [{"core:sample_start": 2**70}]), ("captures", [7]), ("captures", "x"),
        ("captures", [{"core:sample_start": 0, "core:header_bytes": 9}]),
        ("captures", [{"core:sample_start": 0, "core:global_index": -4}]),
        ("captures", [{"core:sample_start": 0, "hil:gains_db": [1.0]}]),
        ("captures", [{"core:sample_start": 0, "hil:epoch": {"serial": "a"}}]),
        ("captures", [{"core:sample_start": 0, "spatial:element_geometry": [{"point": [0, 0]}] * M}]),
        ("captures", [{"core:sample_start": 0, "spatial:element_geometry": [{"point": [0, 0, 1e300]}] * M}]),
        ("captures", [{"core:sample_start": 0, "spatial:element_geometry": [{"point": ["a", [], {}]}] * M}]),
        ("captures", [{"core:sample_start": 0, "spatial:element_geometry": "garbage"}]),
    ],
)  # fmt: skip
def test_absurd_values_are_refused(tmp_path, key, value):
    path = foreign(tmp_path, np.zeros((N, M, 2), "<i2"), **{key: value})
    with pytest.raises(RecordingError) as caught:
        open_recording(path)
    assert caught.value.exit_code == 2
    assert str(path.stem) in str(caught.value)


@pytest.mark.parametrize("streams", [[], [{"name": "../f"}], [{"name": 5}], [{"name": "gone"}], ["f-0", "f-0"], "x", [{}], [{"name": "f-0"}] * 5000])  # fmt: skip
def test_collections_that_lead_astray_are_refused(tmp_path, streams):
    path = foreign(tmp_path, np.zeros((N, M, 2), "<i2"), collection=True)
    path.write_text(json.dumps({"collection": {"core:version": "1", "core:streams": streams}}))
    with pytest.raises(RecordingError) as caught:
        open_recording(path)
    assert caught.value.exit_code == 2


def test_pipes_devices_and_missing_data_are_refused_at_once(tmp_path):
    path = foreign(tmp_path, np.zeros((N, M, 2), "<i2"))
    data = tmp_path / "f.sigmf-data"
    data.unlink()
    with pytest.raises(RecordingError, match="No such file"):
        open_recording(path)
    os.mkfifo(data)
    with pytest.raises(RecordingError, match="not a plain file"):
        open_recording(path)
    data.unlink()
    data.symlink_to("/dev/zero")
    with pytest.raises(RecordingError, match="not a plain file"):
        open_recording(path)


def test_data_that_shrink_while_reading_are_an_error(tmp_path):
    path = foreign(tmp_path, np.ones((N, M, 2), "<i2"))
    with open_recording(path) as recording:
        os.truncate(tmp_path / "f.sigmf-data", 100)
        with pytest.raises(RecordingError, match="shorter"):
            recording.read(0, N)


def test_huge_metadata_cost_no_memory(tmp_path):
    path = foreign(tmp_path, np.ones((N, M, 2), "<i2"))
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    tracemalloc.start()
    try:
        with pytest.raises(RecordingError, match="at most"):
            open_recording(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_mutated_metadata_are_readable_or_refused(tmp_path):
    """Bit flips, cuts and splices of our own metadata: RecordingError or a recording, nothing else."""
    device = DeviceInfo("sim:", "sim", "fmcomms5", "S1", "1", ((0, 1), (2,)), WireFormat.CI16, 12)
    config = RxConfig(2.45e9, 1e6, 8e5, (1.0,) * M, GainMode.MANUAL, (0, 1, 2), N)
    stream = StreamInfo(config, device, new_epoch("S1"), ula(M, 0.06))
    other = replace(stream, config=replace(config, fc_hz=2.4e9))
    with Recorder(tmp_path / "x.sigmf-meta", stream, policy="gap") as recorder:
        for k in range(4):
            wire = np.ones((N, M, 2), np.int16)
            recorder.write(Block(wire, k * N, k, 0, 10**18, FrameFlag.NONE, other if k % 2 else stream))
    path = tmp_path / "x.sigmf-meta"
    good = path.read_bytes()
    rng = random.Random(5)
    opened, codes = 0, set()
    for _ in range(600):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[at : at + 1] = rng.choice(
                    [b"9", b"-", b"null", b"[", b"1e999", b'"', b"{}", b"NaN", b"true"]
                )
            elif kind == 2:
                del data[at : at + rng.randrange(30)]
            else:
                source = rng.randrange(len(data))
                data[at:at] = data[source : source + rng.randrange(60)]
        path.write_bytes(data)
        try:
            with open_recording(path) as recording:
                recording.read(0, 10**6)
                opened += 1
            with ReplayDevice(path) as replay:
                replay.configure(RxConfig())
        except RecordingError as err:
            codes.add(err.exit_code)
    assert codes == {2}
    assert opened > 20, "some changes do no harm"
