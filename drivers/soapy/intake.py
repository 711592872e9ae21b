"""The receive streams of the devices with selected channels, started together where their clocks allow it."""

from __future__ import annotations

import time

from drivers.array_intake import ArrayIntake
from drivers.board_blocks import Source, columns_of
from drivers.soapy.radio import Radio, Refused
from drivers.soapy.stream import RadioStream
from drivers.sounding import Repeater
from hil.core.device import RxConfig, WireFormat
from hil.core.errors import DeviceError, HilError

_LEAD_NS = 150_000_000  # from the order to the common start
_PULSE_S = 1.1
_INTERNAL = frozenset({"", "internal", "none", "default"})


def shares_time(radios: list[Radio]) -> bool:
    """True if the user connected one outer time source to all devices (time_source=... in each URI part)."""
    sources = {r.address.words.get("time_source", "") for r in radios}
    return len(radios) > 1 and all(r.has_time for r in radios) and not sources & _INTERNAL


def set_common_time(radios: list[Radio]) -> bool:
    """Set the hardware times of all devices to 0 at the same pulse; False if a driver cannot."""
    try:
        began = radios[0].time_ns()
        deadline = time.monotonic() + 2 * _PULSE_S
        # orders given just before a pulse could be split by it: wait for one, if the clock shows it
        while radios[0].time_ns() // 10**9 == began // 10**9 and time.monotonic() < deadline:
            time.sleep(0.01)
        for radio in radios:
            radio.set_time_at_pulse(0)
        time.sleep(_PULSE_S)
    except Refused:
        return False
    return True


class RadioIntake(ArrayIntake):
    """Streams of all devices that have selected channels.

    Raises what opening a stream raises; then nothing stays open.
    """

    def __init__(
        self,
        radios: list[Radio],
        ports: list[tuple[int, int]],
        config: RxConfig,
        wire: WireFormat,
        link_timeout_s: float,
        *,
        common_time: bool,
        transmitter: Repeater | None = None,
    ) -> None:
        channels = config.channels or ()
        used = sorted({ports[c][0] for c in channels})
        method = "single" if len(used) == 1 else "hardware time" if common_time else "correlation"
        super().__init__([], len(radios), config, method, transmitter)
        streams: list[RadioStream] = []
        try:
            for r in used:
                own = sorted(ports[c][1] for c in channels if ports[c][0] == r)
                columns = [channels.index(ports.index((r, c))) for c in own]
                stream = RadioStream(
                    radios[r],
                    tuple(own),
                    wire,
                    config.fs_hz or 1.0,
                    config.block_samples or 1,
                    link_timeout_s,
                )
                streams.append(stream)
                self._sources.append(Source(r, stream, columns_of(columns)))
            at_ns = None
            if method == "hardware time":
                at_ns = max(radios[r].time_ns() for r in used) + _LEAD_NS
            for stream in streams:
                stream.activate(at_ns)
        except (HilError, Refused) as err:
            self.close()
            if isinstance(err, Refused):
                raise DeviceError(f"the devices' hardware time cannot be read: {err}") from err
            raise
