"""What others read: the official sigmf package, and our own schema."""

import json
import warnings

import jsonschema
import numpy as np
import pytest
import sigmf
from sigmf import sigmffile

from drivers.sigmf_checks import check_extension
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import RecordingError
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.core.geometry import ula
from hil.recorder import Recorder

N, M = 300, 4


@pytest.fixture(params=list(WireFormat))
def stream(request):
    device = DeviceInfo("sim:", "sim", "fmcomms5", "S1", "1", ((0, 1), (2, 3)), request.param, 12)
    config = RxConfig(2.45e9, 2.5e6, 2e6, (1.0,) * M, GainMode.MANUAL, tuple(range(M)), N)
    return StreamInfo(config, device, new_epoch("S1"), ula(M, 0.06))


def record(path, stream, close=True):
    rng = np.random.default_rng(1)
    wires = [rng.integers(-2048, 2048, (N, M, 2)).astype(stream.device.wire.dtype) for _ in range(3)]
    recorder = Recorder(path, stream, policy="gap", author="An Author", description="A test")
    for k, wire in enumerate(wires):
        recorder.note_segment(table_azimuth_deg=5.0 * k, emitter_angles_deg=[-5.0 * k], temperature_c=20.0)
        recorder.write(Block(wire, k * (N + 3), k, 10**10, 10**18, FrameFlag.NONE, stream, 3 if k else 0))
    if close:
        recorder.close()
    return np.concatenate(wires), recorder


def complex_of(wire, scale):
    return (wire[..., 0].astype(np.float32) + 1j * wire[..., 1].astype(np.float32)) / np.float32(scale)


def test_the_official_package_validates_and_reads_the_interleaved_file(tmp_path, stream):
    wire, _ = record(tmp_path / "x.sigmf-meta", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sigmffile.fromfile(str(tmp_path / "x.sigmf-meta"))  # compares the SHA-512, too
        found.validate()
        samples = found.read_samples()
    scale = 32768 if stream.device.wire is WireFormat.CI16 else 1
    assert np.array_equal(samples, complex_of(wire, scale))
    assert [c["core:global_index"] for c in found.get_captures()] == [0, N + 3, 2 * (N + 3)]


@pytest.mark.parametrize("close", [True, False])
def test_the_official_package_reads_the_collection_also_while_it_is_being_made(tmp_path, stream, close):
    wire, recorder = record(tmp_path / "x.sigmf-collection", stream, close)
    with recorder, warnings.catch_warnings():
        warnings.simplefilter("error")
        collection = sigmffile.fromfile(str(tmp_path / "x.sigmf-collection"))
        assert len(collection) == M
        scale = 32768 if stream.device.wire is WireFormat.CI16 else 1
        for m, name in enumerate(collection.get_stream_names()):
            member = sigmffile.fromfile(str(tmp_path / f"{name}.sigmf-meta"))
            member.validate()
            assert np.array_equal(member.read_samples(), complex_of(wire[:, m], scale))
            assert member.get_global_field("spatial:channel_index") == m
            written = json.loads((tmp_path / f"{name}.sigmf-meta").read_text())
            assert ("core:sha512" in written["global"]) is close
            assert len(written["captures"]) == 3 if close else written["captures"]


def test_the_official_validator_passes_on_the_command_line(tmp_path, stream, capsys):
    record(tmp_path / "x.sigmf-collection", stream)
    files = sorted(str(p) for p in tmp_path.glob("*.sigmf-meta"))
    sigmf.validate.main(tuple(files))  # exits where one fails
    assert len(files) == M


def test_every_namespace_in_use_is_declared_as_optional(tmp_path, stream):
    record(tmp_path / "x.sigmf-collection", stream)
    for file in tmp_path.glob("*.sigmf-*"):
        if file.suffix == ".sigmf-data":
            continue
        value = json.loads(file.read_text())
        top = value.get("global") or value["collection"]
        declared = {e["name"]: e["optional"] for e in top["core:extensions"]}
        used = {key.partition(":")[0] for part in (top, *value.get("captures", ())) for key in part} - {
            "core"
        }
        assert used <= set(declared)
        assert all(declared.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [("hil:epoch", {"serial": 1}), ("hil:gains_db", ["a"]), ("hil:overload_count", [-1]), ("hil:gain_mode", "loud"),
     ("hil:dropped_before", "many"), ("hil:epoch_id", 7)],
)  # fmt: skip
def test_our_schema_refuses_wrong_values_of_our_keys(key, value):
    check_extension({"captures": [{"core:sample_start": 0}]}, "x")
    with pytest.raises(RecordingError) as caught:
        check_extension({"captures": [{"core:sample_start": 0, key: value}]}, "x")
    assert key in str(caught.value)


def test_our_schema_is_a_schema():
    from drivers.sigmf_checks import _validator

    jsonschema.Draft202012Validator.check_schema(_validator().schema)
