"""Faults on purpose, around any receiver: `faults:drop_every=10,short_every=3:sim:`."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from hil.core.device import (
    DeviceCaps,
    DeviceInfo,
    ReadResult,
    RxConfig,
    RxDevice,
    Transceiver,
    TxDevice,
    WireBuffer,
)
from hil.core.errors import ConfigError, ConnectionLost, DeviceTimeout, DriverUnavailable, StreamStopped
from hil.core.frame import FrameFlag, StreamInfo


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What to break; reads are counted from 1 since start, 0 means never.

    Attributes
    ----------
    drop_every : every n-th read is thrown away and reported: GAP_BEFORE, OVERFLOW and the exact `lost_before`.
    inexact : 1: such losses are reported without their number (lost_before None), as IIO hardware does.
    hide_gaps : 1: such losses are not reported at all, `first_sample` jumps without a flag.
    disconnect_after : the connection is lost after that many reads.
    stall_after, stall_s : after that many reads nothing comes for so many seconds.
    short_every : every n-th read returns half of what was asked for.
    overflow_every : every n-th read carries OVERFLOW although nothing is missing.
    """

    drop_every: int = 0
    inexact: int = 0
    hide_gaps: int = 0
    disconnect_after: int = 0
    stall_after: int = 0
    stall_s: float = 1.0
    short_every: int = 0
    overflow_every: int = 0


class FaultyDevice:
    """A receiver that passes everything on to another one and breaks what the plan says."""

    def __init__(self, device: RxDevice, plan: FaultPlan, uri: str) -> None:
        self._device = device
        self._plan = plan
        self._uri = uri
        self._reads = 0
        self._missing = 0  # samples dropped since the last one handed out
        self._stalled = False
        self._stopped = threading.Event()

    @property
    def info(self) -> DeviceInfo:
        """Identity of the device inside, under this URI."""
        return replace(self._device.info, uri=self._uri, driver="faults")

    @property
    def caps(self) -> DeviceCaps:
        """Abilities of the device inside."""
        return self._device.caps

    def configure(self, want: RxConfig) -> StreamInfo:
        """As the device inside."""
        return replace(self._device.configure(want), device=self.info)

    def start(self) -> None:
        """Start and count reads from 1 again."""
        self._device.start()
        self._reads = self._missing = 0
        self._stalled = False
        self._stopped.clear()

    def read(self, out: WireBuffer, timeout_s: float) -> ReadResult:
        """As the device inside, with the planned faults."""
        plan = self._plan
        if plan.disconnect_after and self._reads >= plan.disconnect_after:
            raise ConnectionLost(f"{self._uri}: disconnected on purpose", uri=self._uri)
        if plan.stall_after and self._reads >= plan.stall_after and not self._stalled:
            self._stall(timeout_s)
        self._reads += 1
        buffer = out
        if _due(plan.short_every, self._reads):
            buffer = out[: max(len(out) // 2, 1)]
        result = self._device.read(buffer, timeout_s)
        if _due(plan.drop_every, self._reads):
            self._missing += result.n + (result.lost_before or 0)
            result = self._device.read(buffer, timeout_s)
        return self._labelled(result)

    def _labelled(self, result: ReadResult) -> ReadResult:
        flags, lost = result.flags, result.lost_before
        if self._missing and not self._plan.hide_gaps:
            flags |= FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW
            lost = None if lost is None or self._plan.inexact else lost + self._missing
        self._missing = 0
        if _due(self._plan.overflow_every, self._reads):
            flags |= FrameFlag.OVERFLOW
        stream = replace(result.stream, device=self.info)
        return replace(result, flags=flags, lost_before=lost, stream=stream)

    def _stall(self, timeout_s: float) -> None:
        until = time.monotonic() + self._plan.stall_s
        wait_s = min(timeout_s, self._plan.stall_s)
        if self._stopped.wait(wait_s):
            raise StreamStopped(f"{self._uri}: the stream was stopped", uri=self._uri)
        if time.monotonic() < until:
            self._plan = replace(self._plan, stall_s=until - time.monotonic())
            raise DeviceTimeout(f"{self._uri}: no block within {timeout_s:g} s", uri=self._uri)
        self._stalled = True

    def stop(self) -> None:
        """As the device inside."""
        self._stopped.set()
        self._device.stop()

    def transmitter(self) -> TxDevice:
        """That of the device inside, unbroken. Raises DriverUnavailable if it has none."""
        if not isinstance(self._device, Transceiver):
            raise DriverUnavailable(
                f"{self._uri}: the device inside only receives", uri=self._uri, hint="use one that transmits"
            )
        return self._device.transmitter()

    def close(self) -> None:
        """As the device inside."""
        self._stopped.set()
        self._device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _due(every: int, count: int) -> bool:
    return bool(every) and count % every == 0


def parse_plan(text: str) -> FaultPlan:
    """FaultPlan of "KEY=VALUE,...". Raises ConfigError."""
    kinds: dict[str, type[int] | type[float]] = {
        f.name: float if f.name.endswith("_s") else int for f in fields(FaultPlan)
    }
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        try:
            number: float = kinds[key](value) if equals else -1
        except (KeyError, ValueError):
            number = -1
        if not 0 <= number < 1e9:
            raise ConfigError(
                f"faults:{text}: {part!r} is not a fault", hint=f"KEY=VALUE of {', '.join(kinds)}"
            )
        values[key] = number
    return FaultPlan(**values)


def open_faults(rest: str, **options: Any) -> FaultyDevice:
    """Open `faults:KEY=VALUE,...:URI`; options go to the device inside."""
    from drivers.registry import open_device

    text, colon, uri = rest.partition(":")
    if not colon:
        raise ConfigError(
            f"faults:{rest}: no device", hint="faults:KEY=VALUE,...:URI, e.g. faults:drop_every=10:sim:"
        )
    plan = parse_plan(text)
    return FaultyDevice(open_device(uri, **options), plan, f"faults:{rest}")
