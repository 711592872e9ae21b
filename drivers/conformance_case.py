"""A device under test, and what the checks of the conformance kit share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hil.core.device import RxConfig, RxDevice, WireBuffer
from hil.core.errors import (
    HilError,
)
from hil.core.frame import StreamInfo

STOP_S = 0.2  # a blocked read ends that soon after stop()
TOLERANCE = 10.0


class NonConformance(AssertionError):
    """A driver broke a rule of the receiver contract."""


@dataclass(frozen=True, slots=True)
class Case:
    """A device under test.

    Attributes
    ----------
    name : for messages.
    open : opens a fresh device.
    finite : True if the stream ends by itself (a recording): it ends in StreamStopped.
    real_time : True if samples come at their rate and are lost when nobody reads.
    disconnect : cuts the connection of the open device for good, or None if there is none.
    library : Python module without which the driver is unavailable, or "".
    n_reopen : how often the leak check opens and closes.
    """

    name: str
    open: Callable[[], RxDevice]
    finite: bool = False
    real_time: bool = False
    disconnect: Callable[[], None] | None = None
    library: str = ""
    n_reopen: int = 50


def require(condition: bool, message: str) -> None:
    """Raise NonConformance with the message unless the condition holds."""
    if not condition:
        raise NonConformance(message)


@contextmanager
def must_raise(what: str, *kinds: type[BaseException]) -> Iterator[None]:
    """The block must raise one of `kinds`."""
    try:
        yield
    except kinds:
        return
    except HilError as err:
        raise NonConformance(f"{what}: raised {type(err).__name__} ({err})") from err
    raise NonConformance(f"{what}: did not raise {' or '.join(k.__name__ for k in kinds)}")


def wire_buffer_for(device: RxDevice, stream: StreamInfo, n: int | None = None) -> WireBuffer:
    """A read buffer of n samples, or of one block."""
    n = n or stream.config.block_samples or 4096
    return np.zeros((n, stream.n_channels, 2), device.info.wire.dtype)


@contextmanager
def running(case: Case, want: RxConfig | None = None) -> Iterator[tuple[RxDevice, StreamInfo, WireBuffer]]:
    """An opened, configured, started device, its StreamInfo and a buffer."""
    with case.open() as device:
        stream = device.configure(want or RxConfig())
        device.start()
        # a recording is short: small pieces of it
        yield device, stream, wire_buffer_for(device, stream, 2048 if case.finite else None)
