"""Samples on their way through the program.

A `Block` holds wire samples as they came (rings and the recorder); a `Frame` holds complex64 with full
scale 1, axis order (M, N), made from a Block by `drivers/convert.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.device import DeviceInfo, RxConfig
from hil.core.epoch import Epoch
from hil.core.errors import ShapeError
from hil.core.geometry import ArrayGeometry


class FrameFlag(enum.IntFlag):
    """What happened at or before a block."""

    NONE = 0
    OVERFLOW = 1  # the device lost samples somewhere before or in this block
    GAP_BEFORE = 2  # first_sample jumped
    CLIPPED = 4  # samples at full scale
    RETUNED = 8  # first block of a new configuration or epoch
    CAL_SOURCE = 16  # a calibration source was switched in
    TRANSMITTING = 32  # the device's own transmitter is on: leakage and echoes are in the samples


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is true of every sample until the next StreamInfo.

    Attributes
    ----------
    config : as read back from the hardware.
    device : identity, wire format and full scale.
    geometry : nominal array in channel order; None if the user did not say.
    epoch : coherence epoch.
    """

    config: RxConfig
    device: DeviceInfo
    epoch: Epoch
    geometry: ArrayGeometry | None = None

    def __post_init__(self) -> None:
        c = self.config
        if c.fc_hz is None or c.fs_hz is None or c.channels is None or not isinstance(c.gain_db, tuple):
            raise ShapeError("StreamInfo: the configuration must be a complete read-back")

    @property
    def n_channels(self) -> int:
        """M."""
        return len(self.config.channels or ())

    @property
    def fc_hz(self) -> float:
        """Carrier in Hz as read back."""
        return self.config.fc_hz or 0.0

    @property
    def fs_hz(self) -> float:
        """Sample rate in Hz as read back."""
        return self.config.fs_hz or 0.0

    @property
    def gains_db(self) -> tuple[float, ...]:
        """(M,) gains in dB as read back."""
        return self.config.gain_db if isinstance(self.config.gain_db, tuple) else ()


@dataclass(frozen=True, slots=True)
class Block:
    """Wire samples of one read.

    Attributes
    ----------
    wire : (n, M, 2) int16 or float32: I and Q as they came, in `stream.device.wire`.
    first_sample : absolute index of the first sample since the stream was started.
    seq : counts blocks of this stream.
    t_mono_ns, t_utc_ns : clocks when the block had arrived.
    flags : FrameFlag.
    stream : StreamInfo.
    lost_before : samples missing before this block; None if it is known that some are, not how many.
    """

    wire: NDArray[Any]
    first_sample: int
    seq: int
    t_mono_ns: int
    t_utc_ns: int
    flags: FrameFlag
    stream: StreamInfo
    lost_before: int | None = 0

    @property
    def n(self) -> int:
        """Samples per channel."""
        return len(self.wire)


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples ready for array processing.

    Attributes
    ----------
    samples : (M, N) complex64, full scale 1.
    """

    samples: NDArray[np.complex64]
    first_sample: int
    seq: int
    t_mono_ns: int
    t_utc_ns: int
    flags: FrameFlag
    stream: StreamInfo

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.complex64:
            raise ShapeError(f"samples: {self.samples.dtype} {self.samples.shape}, expected complex64 (M, N)")
