"""Frames and typed items of SoapyRemote's RPC: big-endian, every item led by its type byte.

Source: SoapyRemote 0.5 protocol (header "SRPC", version, length; trailer "CPRS"), as stock clients speak it.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim_backend.soapy_remote.errors import LinkClosed, SoapyRefusal

VERSION = 0x000400
#: Longest request that is read. Real ones are below 10 kB; writeRegisters is the only call without a bound.
MAX_FRAME_BYTES = 1 << 20
HEADER = struct.Struct(">4sII")
_MAGIC, _TRAILER = b"SRPC", b"CPRS"
_OVERHEAD = HEADER.size + len(_TRAILER)


class Type(enum.IntEnum):
    """Type bytes of items."""

    CHAR = 0
    BOOL = 1
    INT32 = 2
    INT64 = 3
    FLOAT64 = 4
    COMPLEX128 = 5
    STRING = 6
    RANGE = 7
    RANGE_LIST = 8
    STRING_LIST = 9
    FLOAT64_LIST = 10
    KWARGS = 11
    KWARGS_LIST = 12
    EXCEPTION = 13
    VOID = 14
    CALL = 15
    SIZE_LIST = 16
    ARG_INFO = 17
    ARG_INFO_LIST = 18


class ArgType(enum.IntEnum):
    """Types of a setting or sensor."""

    BOOL = 0
    INT = 1
    FLOAT = 2
    STRING = 3


@dataclass(frozen=True, slots=True)
class ArgInfo:
    """Description of a setting, stream argument or sensor. `bounds`: (minimum, maximum, step)."""

    key: str
    value: str
    name: str
    description: str
    units: str = ""
    kind: ArgType = ArgType.STRING
    bounds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    options: tuple[str, ...] = ()


def frame(payload: bytes | bytearray) -> bytes:
    """A complete frame around items."""
    return HEADER.pack(_MAGIC, VERSION, len(payload) + _OVERHEAD) + payload + _TRAILER


def payload_bytes(header: bytes) -> int:
    """Bytes after this header, trailer included. Raises LinkClosed if it is none, or announces too much."""
    magic, _, length = HEADER.unpack(header)
    if magic != _MAGIC or not _OVERHEAD < length <= MAX_FRAME_BYTES:
        raise LinkClosed(f"not a SoapyRemote frame: {header.hex()}")
    return length - HEADER.size


def strip_trailer(body: bytes) -> bytes:
    """The items of a frame. Raises LinkClosed if the trailer is missing."""
    if body[-len(_TRAILER) :] != _TRAILER:
        raise LinkClosed("frame without its trailer")
    return body[: -len(_TRAILER)]


def _int32(value: int) -> bytes:
    # register and GPIO values are unsigned on one side and signed on the other: keep the bits
    return struct.pack(">BI", Type.INT32, int(value) & 0xFFFFFFFF)


def _int64(value: int) -> bytes:
    return struct.pack(">Bq", Type.INT64, value)


def _float(value: float) -> bytes:
    value = float(value)
    if not math.isfinite(value):
        value = 0.0  # the format has no code for it
    mantissa, exponent = math.frexp(value)
    return bytes([Type.FLOAT64]) + _int32(exponent) + _int64(int(mantissa * (1 << 53)))


def _string(value: str) -> bytes:
    data = value.encode("utf-8", errors="surrogateescape")
    return bytes([Type.STRING]) + _int32(len(data)) + data


def _complex(value: complex) -> bytes:
    return bytes([Type.COMPLEX128]) + _float(value.real) + _float(value.imag)


def _range(value: Sequence[float]) -> bytes:
    low, high, step = value
    return bytes([Type.RANGE]) + _float(low) + _float(high) + _float(step)


def _kwargs(value: Mapping[str, str]) -> bytes:
    items = b"".join(_string(k) + _string(v) for k, v in value.items())
    return bytes([Type.KWARGS]) + _int32(len(value)) + items


def _arg_info(value: ArgInfo) -> bytes:
    texts = (value.key, value.value, value.name, value.description, value.units)
    return (
        bytes([Type.ARG_INFO])
        + b"".join(_string(text) for text in texts)
        + _int32(value.kind)
        + _range(value.bounds)
        + _list(Type.STRING_LIST, _string, value.options)
        + _list(Type.STRING_LIST, _string, ())
    )


def _list(kind: Type, item: Callable[[Any], bytes], values: Sequence[Any]) -> bytes:
    return bytes([kind]) + _int32(len(values)) + b"".join(item(value) for value in values)


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "c": lambda v: struct.pack(">Bb", Type.CHAR, v),
    "b": lambda v: bytes([Type.BOOL, bool(v)]),
    "i": _int32,
    "l": _int64,
    "d": _float,
    "z": _complex,
    "s": _string,
    "R": _range,
    "K": _kwargs,
    "A": _arg_info,
    "r": lambda v: _list(Type.RANGE_LIST, _range, v),
    "S": lambda v: _list(Type.STRING_LIST, _string, v),
    "D": lambda v: _list(Type.FLOAT64_LIST, _float, v),
    "L": lambda v: _list(Type.KWARGS_LIST, _kwargs, v),
    "N": lambda v: _list(Type.SIZE_LIST, _int32, v),
    "a": lambda v: _list(Type.ARG_INFO_LIST, _arg_info, v),
    "V": lambda _: bytes([Type.VOID]),
}


def encode(codes: str, *values: Any) -> bytes:
    """Items by their codes: c CHAR, b BOOL, i INT32, l INT64, d FLOAT64, z COMPLEX128, s STRING, R RANGE,
    K KWARGS, A ARG_INFO, V VOID; lists: r ranges, S strings, D floats, L kwargs, N sizes, a arg infos."""
    return b"".join(_ENCODERS[code](value) for code, value in zip(codes, values, strict=True))


def exception(message: str) -> bytes:
    """The reply that raises in the client."""
    return bytes([Type.EXCEPTION]) + _string(message)


class Reader:
    """Takes typed items from the payload of one request. Raises SoapyRefusal where they are not as expected."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._decoders: dict[str, Callable[[], Any]] = {
            "c": lambda: self._unpack(Type.CHAR, ">b"),
            "b": lambda: bool(self._unpack(Type.BOOL, ">B")),
            "i": self._int32,
            "l": lambda: self._unpack(Type.INT64, ">q"),
            "d": self._float,
            "z": self._complex,
            "s": self._string,
            "K": self._kwargs,
            "N": self._sizes,
        }

    def call(self) -> int:
        """Id of the call, the first item."""
        self._expect(Type.CALL)
        return self._int32()

    def take(self, codes: str) -> list[Any]:
        """The next items, see `encode`; c, b, i, l, d, z, s, K and N."""
        return [self._decoders[code]() for code in codes]

    def _bytes(self, n: int) -> memoryview:
        if not 0 <= n <= len(self._data) - self._at:
            raise SoapyRefusal("request ends within an item")
        piece = self._data[self._at : self._at + n]
        self._at += n
        return piece

    def _expect(self, kind: Type) -> None:
        found = self._bytes(1)[0]
        if found != kind:
            raise SoapyRefusal(f"expected an item of type {kind.name}, got type {found}")

    def _unpack(self, kind: Type, code: str) -> int:
        self._expect(kind)
        return struct.unpack(code, self._bytes(struct.calcsize(code)))[0]

    def _int32(self) -> int:
        return self._unpack(Type.INT32, ">i")

    def _count(self) -> int:
        n = self._int32()
        if not 0 <= n <= len(self._data) - self._at:  # every item takes a byte at least
            raise SoapyRefusal(f"a list of {n} items does not fit in the request")
        return n

    def _float(self) -> float:
        self._expect(Type.FLOAT64)
        exponent, mantissa = self._int32(), self._unpack(Type.INT64, ">q")
        try:
            return math.ldexp(mantissa, exponent - 53)
        except OverflowError:
            raise SoapyRefusal("a number is out of range") from None

    def _complex(self) -> complex:
        self._expect(Type.COMPLEX128)
        real = self._float()
        return complex(real, self._float())

    def _string(self) -> str:
        self._expect(Type.STRING)
        return bytes(self._bytes(self._int32())).decode("utf-8", errors="surrogateescape")

    def _kwargs(self) -> dict[str, str]:
        self._expect(Type.KWARGS)
        out: dict[str, str] = {}
        for _ in range(self._count()):
            key = self._string()
            out[key] = self._string()
        return out

    def _sizes(self) -> list[int]:
        self._expect(Type.SIZE_LIST)
        return [self._int32() for _ in range(self._count())]
