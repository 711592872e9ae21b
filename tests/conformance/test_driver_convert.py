"""Wire samples to frames: exact, transposed, clipping counted."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.convert import convert, to_block, wire_buffer, wire_to_complex
from hil.core.device import DeviceInfo, GainMode, ReadResult, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import ShapeError
from hil.core.frame import FrameFlag, StreamInfo


@pytest.mark.parametrize(("bits", "n"), [(12, 1), (12, 20_001), (16, 8192)])
def test_every_value_is_exact_and_returns_to_the_same_integer(bits: int, n: int) -> None:
    top = 2 ** (bits - 1)
    wire = np.random.default_rng(1).integers(-top, top, (n, 3, 2)).astype("<i2")
    samples, clipped = wire_to_complex(wire, bits)
    assert samples.shape == (3, n)
    assert samples.dtype == np.complex64
    expected = (wire[..., 0] + 1j * wire[..., 1]).T / top
    assert np.array_equal(samples, expected)
    back = np.stack([samples.real.T * top, samples.imag.T * top], axis=-1).astype(np.int16)
    assert np.array_equal(back, wire)
    full = (wire == top - 1) | (wire == -top)
    assert np.array_equal(clipped, full.any(axis=2).sum(axis=0))


def test_a_view_of_a_larger_buffer_and_a_given_output_are_used() -> None:
    wire = np.arange(4000, dtype="<i2").reshape(500, 4, 2)
    out = np.empty((2, 250), np.complex64)
    samples, _ = wire_to_complex(wire[::2, 1:3], 16, out)
    assert samples is out
    assert np.array_equal(out, ((wire[::2, 1:3, 0] + 1j * wire[::2, 1:3, 1]) / 32768).T)


def test_float_wire_is_taken_as_it_is() -> None:
    wire = np.random.default_rng(2).normal(0, 0.3, (100, 2, 2)).astype("<f4")
    wire[7, 1, 0] = 1.0
    samples, clipped = wire_to_complex(wire, 12)
    assert np.array_equal(samples, (wire[..., 0] + 1j * wire[..., 1]).T.astype(np.complex64))
    assert clipped[1] >= 1


@pytest.mark.parametrize("bad", [np.zeros((5, 2), "<i2"), np.zeros((5, 2, 3), "<i2"), np.zeros((5, 2, 2))])
def test_other_shapes_and_dtypes_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        wire_to_complex(bad, 12)


def test_clipped_samples_flag_the_frame_and_only_it() -> None:
    info = DeviceInfo("sim:", "sim", "m", "s", "", ((0, 1),), WireFormat.CI16, 12)
    config = RxConfig(1e9, 1e6, 1e6, (0.0, 0.0), GainMode.MANUAL, (0, 1), 16)
    stream = StreamInfo(config, info, new_epoch("s"))
    wire = wire_buffer(16, 2, WireFormat.CI16)
    result = ReadResult(10, 160, 1, 2, FrameFlag.RETUNED, stream, 0)
    block = to_block(wire, result, seq=3)
    frame, clipped = convert(block)
    assert (frame.first_sample, frame.seq, frame.samples.shape) == (160, 3, (2, 10))
    assert frame.flags == FrameFlag.RETUNED
    assert not clipped.any()
    wire[4, 1, 1] = -2048
    wire[12, 0, 0] = 2047  # behind the block
    frame, clipped = convert(block)
    assert frame.flags == FrameFlag.RETUNED | FrameFlag.CLIPPED
    assert clipped.tolist() == [0, 1]
