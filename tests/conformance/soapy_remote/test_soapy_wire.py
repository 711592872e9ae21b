"""Typed items, frames and sample datagrams, against vectors captured from real clients and a slow reference."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from sim_backend.soapy_remote import wire
from sim_backend.soapy_remote.datagram import END_BURST, TX_FULL_SCALE, Layout, control
from sim_backend.soapy_remote.errors import LinkClosed, SoapyRefusal

_VECTORS = [
    ("d", 0.0, "04 0200000000 030000000000000000"),
    ("d", 1.0, "04 0200000001 030010000000000000"),
    ("d", -0.5, "04 0200000000 03fff0000000000000"),
    ("d", 0.1, "04 02fffffffd 03001999999999999a"),
    ("d", 433.92e6, "04 020000001d 030019dd1800000000"),
    ("z", 0.25 - 0.5j, "05 0402ffffffff030010000000000000 04020000000003fff0000000000000"),
    ("b", True, "01 01"),
    ("s", "A", "06 0200000001 41"),
    ("N", [0, 1], "10 0200000002 0200000000 0200000001"),
    ("K", {"a": "b"}, "0b 0200000001 06020000000161 06020000000162"),
]


@pytest.mark.parametrize(("code", "value", "octets"), _VECTORS)
def test_items_are_those_of_real_clients_in_both_directions(code: str, value: object, octets: str) -> None:
    data = bytes.fromhex(octets)
    assert wire.encode(code, value) == data
    assert wire.Reader(data).take(code) == [value]


@pytest.mark.parametrize(
    ("code", "value", "octets"),
    [
        ("S", ["A", "B"], "09 0200000002 06020000000141 06020000000142"),
        (
            "R",
            (0.0, 60.0, 1.0),
            "07 040200000000030000000000000000 04020000000603001e000000000000 040200000001030010000000000000",
        ),
        ("V", None, "0e"),
        ("c", 1, "00 01"),
        ("l", -1, "03 ffffffffffffffff"),
    ],
)
def test_items_of_replies(code: str, value: object, octets: str) -> None:
    assert wire.encode(code, value) == bytes.fromhex(octets)


def test_exceptions_and_frames() -> None:
    assert wire.exception("x") == bytes.fromhex("0d 06020000000178")
    assert wire.frame(b"\x0e") == bytes.fromhex("53525043 00000400 00000011 0e 43505253")


@pytest.mark.parametrize("value", [math.pi, -1e300, 5e-324, 2.0**-1074, 1e-310, 61.44e6, -0.1])
def test_floats_survive(value: float) -> None:
    assert wire.Reader(wire.encode("d", value)).take("d") == [value]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_the_format_cannot_say_becomes_zero(value: float) -> None:
    assert wire.encode("d", value) == wire.encode("d", 0.0)


@pytest.mark.parametrize(
    "header",
    ["00000000 00000400 00000011", "53525043 00000400 00000010", "53525043 00000400 ffffffff"],
)
def test_what_is_no_frame_ends_the_connection(header: str) -> None:
    with pytest.raises(LinkClosed):
        wire.payload_bytes(bytes.fromhex(header))
    with pytest.raises(LinkClosed):
        wire.strip_trailer(b"\x0eCPRX")


@pytest.mark.parametrize(
    ("codes", "octets"),
    [
        ("i", ""),
        ("i", "02 0000"),
        ("s", "06 0200000005 41"),
        ("s", "06 02ffffffff 41"),
        ("K", "0b 027fffffff"),
        ("N", "10 02ffffffff"),
        ("d", "04 027fffffff 030010000000000000"),
        ("i", "01 01"),
    ],
)
def test_broken_items_are_refused(codes: str, octets: str) -> None:
    with pytest.raises(SoapyRefusal):
        wire.Reader(bytes.fromhex(octets)).take(codes)


@pytest.mark.parametrize(
    ("channels", "fmt", "mtu", "elems"),
    [
        (4, "CS16", 4096, 251), (4, "CS16", 16384, 1019), (4, "CS16", 65536, 4091), (4, "CS16", 262144, 16379),
        (2, "CS16", 4096, 503), (1, "CS16", 4096, 1006), (4, "CS16", 1500, 89), (4, "CS16", 100, 1),
    ],
)  # fmt: skip
def test_elements_of_a_datagram(channels: int, fmt: str, mtu: int, elems: int) -> None:
    assert Layout.of(fmt, channels, mtu).buff_elems == elems


@pytest.mark.parametrize(
    ("fmt", "mtu"), [("CS16", 80), ("CS16", 0), ("CS16", 1e9), ("CF64", 4096), ("", 4096)]
)
def test_impossible_layouts_are_refused(fmt: str, mtu: float) -> None:
    with pytest.raises(SoapyRefusal):
        Layout.of(fmt, 4, mtu)


def test_headers_as_captured() -> None:
    layout = Layout.of("CS16", 4, 4096)
    columns = [np.zeros((251, 2), np.int16)] * 4
    data = layout.pack(columns, 12, 0, np.array([1000]))
    assert data[:24].tobytes() == bytes.fromhex("00000fc8 00000000 000000fb 00000004 00000000000003e8")
    assert len(data) == 0xFC8
    overflow = control(7, -4, 4, 1000)
    assert overflow == bytes.fromhex("00000018 00000007 fffffffc 00000004 00000000000003e8")
    assert control(0x80, 0x400) == bytes.fromhex("00000018 00000080 00000400 00000000 0000000000000000")


def _reference(fmt: str, i: int, q: int, bits: int) -> bytes:
    """One element of the wire, in exact integers."""
    if fmt == "CS16":
        return struct.pack("<hh", i, q)
    if fmt == "CF32":
        return struct.pack("<ff", i / 2 ** (bits - 1), q / 2 ** (bits - 1))
    to = 8 if fmt == "CS8" else 12
    top = 2 ** (to - 1)
    i, q = (min(math.floor(v / 2 ** (bits - to) + 0.5), top - 1) for v in (i, q))
    if fmt == "CS8":
        return struct.pack("bb", i, q)
    return bytes([i & 0xFF, (q & 0xF) << 4 | (i >> 8) & 0xF, (q >> 4) & 0xFF])


@pytest.mark.parametrize("fmt", ["CS16", "CF32", "CS8", "CS12"])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize(("channels", "elems"), [(1, 0), (3, 0), (3, 2), (2, 1)])
def test_datagrams_are_channel_planar_at_a_fixed_stride(
    fmt: str, bits: int, channels: int, elems: int
) -> None:
    layout = Layout.of(fmt, channels, 72 + channels * 5 * {"CS16": 4, "CF32": 8, "CS8": 2, "CS12": 3}[fmt])
    assert layout.buff_elems == 5
    elems = elems or 5
    count = 3 if elems == 5 else 1
    rng = np.random.default_rng(1)
    top = 1 << (bits - 1)
    block = rng.integers(-top, top, (count * elems, 2 * channels)).astype(np.int16)
    block[0, :2] = top - 1, -top
    times = np.array([10, 20, 30])[:count]
    packed = layout.pack(
        [block[:, 2 * c : 2 * c + 2] for c in range(channels)], bits, 0xFFFFFFFF, times, END_BURST
    ).tobytes()
    size = layout.n_bytes(elems)
    for k in range(count):
        flags = 4 | (END_BURST if k == count - 1 else 0)
        want = bytearray(struct.pack(">IIiiq", size, (0xFFFFFFFF + k) % 2**32, elems, flags, times[k]))
        want += bytes(size - 24)
        for c in range(channels):
            for n in range(elems):
                at = 24 + (c * 5 + n) * layout.elem_bytes
                i, q = (int(v) for v in block[k * elems + n, 2 * c : 2 * c + 2])
                want[at : at + layout.elem_bytes] = _reference(fmt, i, q, bits)
        assert packed[k * size : (k + 1) * size] == bytes(want)


@pytest.mark.parametrize(
    ("fmt", "element", "value"),
    [
        ("CF32", struct.pack("<ff", 0.5, -1.0), 0.5 - 1j),
        ("CS16", struct.pack("<hh", 32767, -32767), 1 - 1j),
        ("CS8", struct.pack("bb", 64, -128), 0.5 - 1j),
        ("CS12", bytes([0x00, 0x04, 0x80]), 0.5 - 1j),
    ],
)
def test_transmitted_samples_have_full_scale_one(fmt: str, element: bytes, value: complex) -> None:
    layout = Layout.of(fmt, 2, 4096)
    payload = bytearray((layout.buff_elems + 2) * layout.elem_bytes)
    payload[-layout.elem_bytes :] = element
    samples = layout.unpack(payload, 2)
    assert samples.shape == (2, 2)
    assert samples[1, 1] == value
    assert not np.any(samples[0])
    assert TX_FULL_SCALE == 32767  # 32768 would turn the client's +1.0 into -1.0
