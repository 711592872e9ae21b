"""Sample datagrams of SoapyRemote: 24-byte header, then channel-planar samples at a fixed stride.

xfer = mtu - 48;  buff_elems = floor(floor((xfer - 24) / C) / bytes per element);
channel k begins at payload byte k * buff_elems * bytes per element, also where fewer elements are sent.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_backend.soapy_remote.errors import SoapyRefusal

HEADER = struct.Struct(">IIiiq")
END_BURST, HAS_TIME, END_ABRUPT = 2, 4, 8
#: Bytes of one complex element of each format on the wire.
ELEM_BYTES = {"CS16": 4, "CF32": 8, "CS8": 2, "CS12": 3}
#: dtype that is copied, and how many of it make an element: one word of I and Q for CS16.
_WIRE = {"CS16": ("<i4", 1), "CF32": ("<f4", 2), "CS8": ("i1", 2), "CS12": ("u1", 3)}
_IP_UDP_HEADER_BYTES = 48
MAX_MTU_BYTES = 8 << 20
_HEADER_FIELDS = [("bytes", ">u4"), ("seq", ">u4"), ("elems", ">i4"), ("flags", ">i4"), ("time", ">i8")]


def control(sequence: int, elems: int, flags: int = 0, time_ns: int = 0, n_bytes: int = 24) -> bytes:
    """A datagram without samples: an ACK, a status, an error (elems < 0)."""
    return HEADER.pack(n_bytes, sequence & 0xFFFFFFFF, elems, flags, time_ns)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples of a stream lie on the wire.

    n_channels : C of the stream. buff_elems : elements per channel of a full datagram.
    """

    fmt: str
    n_channels: int
    buff_elems: int

    @classmethod
    def of(cls, fmt: str, n_channels: int, mtu_bytes: float) -> Layout:
        """Layout for an MTU. Raises SoapyRefusal for an unknown format, or an MTU that holds no element."""
        if fmt not in ELEM_BYTES:
            raise SoapyRefusal(f"stream format {fmt!r} is not one of {', '.join(ELEM_BYTES)}")
        if not 0 < mtu_bytes <= MAX_MTU_BYTES:
            raise SoapyRefusal(f"remote:mtu = {mtu_bytes:g}: allowed are 1 to {MAX_MTU_BYTES} bytes")
        room = int(mtu_bytes) - _IP_UDP_HEADER_BYTES - HEADER.size
        elems = max(0, room // n_channels // ELEM_BYTES[fmt])
        if elems == 0:
            raise SoapyRefusal(
                f"remote:mtu = {mtu_bytes:g} holds no sample of {n_channels} channels {fmt}; use a greater one"
            )
        return cls(fmt, n_channels, elems)

    @property
    def elem_bytes(self) -> int:
        """Bytes of one complex element."""
        return ELEM_BYTES[self.fmt]

    def n_bytes(self, elems: int) -> int:
        """Bytes of a datagram with so many elements per channel."""
        return HEADER.size + ((self.n_channels - 1) * self.buff_elems + elems) * self.elem_bytes

    def pack(
        self,
        columns: list[NDArray[np.int16]],
        bits: int,
        sequence: int,
        times_ns: NDArray[np.int64],
        last_flags: int = 0,
    ) -> NDArray[np.uint8]:
        """Datagrams of equally many elements, one after the other as they go to the wire.

        columns : per channel (n, 2) int16, I and Q in steps of a converter of `bits` bits; n is a multiple of
        the datagrams' number. times_ns : (datagrams,) of their first samples. last_flags : added to the last.
        """
        n = len(times_ns)
        elems = len(columns[0]) // n
        out = np.zeros(n, self._dtype(elems)) if elems < self.buff_elems else np.empty(n, self._dtype(elems))
        out["bytes"] = self.n_bytes(elems)
        out["seq"] = (sequence + np.arange(n)) & 0xFFFFFFFF
        out["elems"] = elems
        out["flags"] = HAS_TIME
        out["flags"][-1] |= last_flags
        out["time"] = times_ns
        for k, column in enumerate(columns):
            self._encode(column.view(np.int32).reshape(n, elems), bits, out[f"ch{k}"])
        return out.view(np.uint8)

    def _dtype(self, elems: int) -> np.dtype[np.void]:
        """A datagram as a record, one field per channel."""
        kind, each = _WIRE[self.fmt]
        field = np.dtype((kind, (each * elems,)))
        stride = self.buff_elems * self.elem_bytes
        channels = range(self.n_channels)
        return np.dtype(
            {
                "names": [name for name, _ in _HEADER_FIELDS] + [f"ch{k}" for k in channels],
                "formats": [kind for _, kind in _HEADER_FIELDS] + [field] * self.n_channels,
                "offsets": [0, 4, 8, 12, 16, *(HEADER.size + k * stride for k in channels)],
                "itemsize": self.n_bytes(elems),
            }
        )

    def _encode(self, words: NDArray[np.int32], bits: int, out: NDArray[Any]) -> None:
        """Words of I and Q (datagrams, elems) into one channel's field of every datagram."""
        if self.fmt == "CS16":
            out[...] = words
            return
        iq = np.ascontiguousarray(words).view(np.int16)  # (datagrams, 2 elems): long inner loops
        if self.fmt == "CF32":
            out[...] = iq * np.float32(2.0 ** (1 - bits))
        elif self.fmt == "CS8":
            out[...] = _narrowed(iq, bits, 8)
        else:
            narrow = _narrowed(iq, bits, 12)
            i, q = narrow[:, 0::2], narrow[:, 1::2]
            out[:, 0::3] = i & 0xFF
            out[:, 1::3] = (i >> 8) & 0x0F | (q & 0x0F) << 4
            out[:, 2::3] = (q >> 4) & 0xFF

    def unpack(self, payload: bytes | bytearray | memoryview, elems: int) -> NDArray[np.complex64]:
        """(C, elems) complex64 of full scale 1 from the payload of a transmitted datagram."""
        data = np.frombuffer(payload, np.uint8)
        out = np.empty((self.n_channels, elems), np.complex64)
        stride, width = self.buff_elems * self.elem_bytes, elems * self.elem_bytes
        for k in range(self.n_channels):
            out[k] = self._decode(data[k * stride : k * stride + width], elems)
        return out

    def _decode(self, data: NDArray[np.uint8], elems: int) -> NDArray[np.complex64]:
        if self.fmt == "CF32":
            return data.view("<c8")
        if self.fmt == "CS16":
            return (data.view("<i2") / np.float32(TX_FULL_SCALE)).view(np.complex64)
        if self.fmt == "CS8":
            return (data.view(np.int8) / np.float32(128)).view(np.complex64)
        b0, b1, b2 = data.reshape(elems, 3).astype(np.int16).T
        i = (b0 | (b1 & 0x0F) << 8) << 4
        q = (b1 >> 4 | b2 << 4) << 4
        # sign-extended by the shift to the top of the word
        return (np.stack((i, q), axis=-1) / np.float32(32768)).reshape(-1).view(np.complex64)


#: CS16 steps of the transmitters' full scale: the client multiplies by it without saturation, and 32768 would
#: turn a sample of exactly +1.0 into -1.0.
TX_FULL_SCALE = 32767.0


def _narrowed(iq: NDArray[np.int16], bits: int, to_bits: int) -> NDArray[np.int16]:
    """Steps of a converter of `bits` bits as those of one of `to_bits`: rounded half up, clipped."""
    shift = bits - to_bits
    if shift <= 0:
        return iq << -shift
    rounded = (iq >> shift) + (iq >> (shift - 1) & 1)  # int16 does not overflow on the way
    return np.minimum(rounded, (1 << (to_bits - 1)) - 1)
