"""What a receiver is to the rest of the program: a small protocol, no base class."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hil.core.frame import FrameFlag, StreamInfo

#: (n, M, 2) array of the wire dtype: I and Q per channel.
WireBuffer = NDArray[Any]


class WireFormat(enum.StrEnum):
    """Sample formats on the wire, in SigMF's names."""

    CI16 = "ci16_le"
    CF32 = "cf32_le"

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of I and of Q."""
        return np.dtype("<i2") if self is WireFormat.CI16 else np.dtype("<f4")


class GainMode(enum.StrEnum):
    """Who sets the gain. Array work needs MANUAL: an AGC changes gain and phase by itself."""

    MANUAL = "manual"
    SLOW_ATTACK = "slow_attack"
    FAST_ATTACK = "fast_attack"


@dataclass(frozen=True, slots=True)
class RxConfig:
    """Receiver settings; None means "leave as it is" in a request and never occurs in a read-back.

    Attributes
    ----------
    fc_hz, fs_hz, bandwidth_hz : Hz.
    gain_db : (M,) dB, one per selected channel; a request may give one number for all.
    gain_mode : GainMode.
    channels : receiver channels in the order of the array's elements; None in a request: all.
    block_samples : samples per channel of one hardware block.
    """

    fc_hz: float | None = None
    fs_hz: float | None = None
    bandwidth_hz: float | None = None
    gain_db: tuple[float, ...] | float | None = None
    gain_mode: GainMode = GainMode.MANUAL
    channels: tuple[int, ...] | None = None
    block_samples: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Identity of an opened device.

    Attributes
    ----------
    coherent_groups : channels that share LO and clock, e.g. ((0, 1), (2, 3)) on FMComms5.
    wire : format that `read` fills; full_scale_bits : bits of one of I, Q including sign (12: -2048..2047).
    """

    uri: str
    driver: str
    model: str
    serial: str
    firmware: str
    coherent_groups: tuple[tuple[int, ...], ...]
    wire: WireFormat
    full_scale_bits: int


@dataclass(frozen=True, slots=True)
class Range:
    """Allowed values minimum..maximum in steps (0: continuous)."""

    minimum: float
    maximum: float
    step: float = 0.0

    def contains(self, value: float) -> bool:
        """True if the value lies within the range (steps are the device's business)."""
        return self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"{self.minimum:g} to {self.maximum:g}{step}"


@dataclass(frozen=True, slots=True)
class DeviceCaps:
    """What the device can do. `fs_hz` may instead be a fixed set in `fs_fixed_hz`."""

    fc_hz: Range
    fs_hz: Range
    gain_db: Range
    n_channels: int
    full_scale_bits: int
    has_hw_time: bool = False
    reports_overflow: bool = False
    fs_fixed_hz: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What `RxDevice.read` put into the caller's buffer.

    `n` samples per channel from absolute index `first_sample`; `lost_before` samples are missing just
    before them (None: some, count not known); `stream` is the StreamInfo that holds for them.
    """

    n: int
    first_sample: int
    t_mono_ns: int
    t_utc_ns: int
    flags: FrameFlag
    stream: StreamInfo
    lost_before: int | None = 0


@runtime_checkable
class RxDevice(Protocol):
    """A receiver. `configure`, `start`, `read`, `close` belong to one thread; `stop` to any.

    The conformance kit `drivers.conformance.check_rx_device` states the rules as tests.
    """

    @property
    def info(self) -> DeviceInfo:
        """Identity; valid from construction on."""
        ...

    @property
    def caps(self) -> DeviceCaps:
        """Abilities; valid from construction on."""
        ...

    def configure(self, want: RxConfig) -> StreamInfo:
        """Apply settings and return what the hardware took. Raises UnsupportedSetting, never clips."""
        ...

    def start(self) -> None:
        """Start streaming; `first_sample` of the first read is 0. Raises DeviceStateError if running."""
        ...

    def read(self, out: WireBuffer, timeout_s: float) -> ReadResult:
        """Fill at most `len(out)` samples of `out` (n, M, 2) in `info.wire`.

        Raises DeviceTimeout, ConnectionLost, StreamStopped, DeviceStateError.
        """
        ...

    def stop(self) -> None:
        """Stop streaming, from any thread; a blocked read raises StreamStopped within 200 ms. Idempotent."""
        ...

    def close(self) -> None:
        """Release everything. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, slots=True)
class TxConfig:
    """Transmitter settings; None means "leave as it is" in a request and never occurs in a read-back.

    Attributes
    ----------
    fc_hz, fs_hz : Hz; many boards share the rate (and some the carrier) with the receiver.
    attenuation_db : (C,) dB below the greatest output, one per selected channel; a request may give one number
        for all. A transmitter opens with the greatest attenuation.
    channels : transmit channels in the order of the rows of what is sent; None in a request: (0,).
    """

    fc_hz: float | None = None
    fs_hz: float | None = None
    attenuation_db: tuple[float, ...] | float | None = None
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class TxCaps:
    """What the transmitter can do."""

    fc_hz: Range
    fs_hz: Range
    attenuation_db: Range
    n_channels: int
    full_scale_bits: int


@runtime_checkable
class TxDevice(Protocol):
    """A transmitter of an opened device (`Transceiver.transmitter`). All methods belong to one thread.

    Quiet until asked: it opens silent and with the greatest attenuation; `stop`, `close`, an error and the end
    of the process silence it and put the attenuation back. `drivers.conformance_tx` states the rules as tests.
    """

    @property
    def caps(self) -> TxCaps:
        """Abilities; valid from construction on."""
        ...

    def configure(self, want: TxConfig) -> TxConfig:
        """Apply settings and return what the hardware took. Raises UnsupportedSetting, never clips."""
        ...

    def send_cyclic(self, samples: NDArray[np.complex64]) -> None:
        """Repeat samples (C, n) complex64 of full scale 1 without a seam until `stop` or the next call.

        Raises ShapeError for another shape, a value over full scale or not finite; DeviceError.
        """
        ...

    def write(self, samples: NDArray[np.complex64], timeout_s: float) -> None:
        """Stream samples (C, n) complex64 of full scale 1 after those of the last call, without a seam.

        Returns when the device has taken them. Raises ShapeError, DeviceTimeout, ConnectionLost; and
        CaptureError if the device ran dry between two calls (underflow).
        """
        ...

    def stop(self) -> None:
        """Silence, greatest attenuation. Idempotent."""
        ...

    def close(self) -> None:
        """Stop for good and release. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Transceiver(RxDevice, Protocol):
    """A receiver that can also transmit."""

    def transmitter(self) -> TxDevice:
        """The transmitter of this device; the same object for every call. It ends with the device.

        Raises DriverUnavailable with a hint if this unit has no transmitter.
        """
        ...
