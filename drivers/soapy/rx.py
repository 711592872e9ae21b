"""One SoapySDR device, or several as one array, behind the receiver contract: `soapy:driver=...;driver=...`."""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from drivers.array_intake import Taken
from drivers.array_starts import REALIGNMENTS, Alignment, aligned, misaligned
from drivers.settings import check_channels, restored
from drivers.soapy.address import Address, parse
from drivers.soapy.describe import abilities, identity, read_limits, wire_of, worse
from drivers.soapy.intake import RadioIntake, set_common_time, shares_time
from drivers.soapy.radio import Radio, Refused
from drivers.soapy.request import apply_settings, check_request, read_settings
from drivers.soapy.sample_clock import HandedOut
from drivers.state import CallOrder, check_wire_buffer
from hil.core.device import DeviceCaps, DeviceInfo, ReadResult, RxConfig, WireBuffer
from hil.core.epoch import EpochEvent, EpochScope, EpochTracker, new_epoch
from hil.core.errors import (
    ConfigError,
    ConnectionLost,
    DeviceError,
    HilError,
    ProtocolError,
)
from hil.core.frame import FrameFlag, StreamInfo
from hil.core.geometry import ArrayGeometry

if TYPE_CHECKING:
    from drivers.soapy.tx import SoapyTransmitter

_OPEN: weakref.WeakSet[SoapyDevice] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A stream that outlives the interpreter crashes in its driver's threads."""
    for device in list(_OPEN):
        with contextlib.suppress(HilError):
            device.close()


class SoapyDevice:
    """Receivers behind SoapySDR drivers.

    `configure` sets the streams up anew, so that no sample taken before it appears under the new settings. Samples are
    counted by the hardware time stamps where the driver gives them: a loss is then known to the sample.

    Parameters
    ----------
    addresses : the devices in the order of the array's channels.
    uri : as the user wrote it.
    geometry : nominal array for StreamInfo, or None.
    link_timeout_s : silence after which the connection counts as lost.

    Attributes
    ----------
    alignments : one entry per start of the streams: how the devices' first samples relate.
    """

    reads_ahead = True

    def __init__(
        self,
        addresses: tuple[Address, ...],
        uri: str,
        *,
        geometry: ArrayGeometry | None = None,
        link_timeout_s: float = 3.0,
    ) -> None:
        self._geometry = geometry
        self._link_timeout_s = link_timeout_s
        self._radios: list[Radio] = []
        try:
            for address in addresses:
                self._radios.append(Radio(address))
            wires = {wire_of(r) for r in self._radios}
            if len(wires) > 1:
                raise ConfigError(
                    f"{uri}: devices of different sample formats {sorted(wires)} cannot form one array",
                    hint="format=CF32 for each of them",
                )
            self._wire, bits = wires.pop()
            self._ports = [(r, c) for r, radio in enumerate(self._radios) for c in range(radio.n_channels)]
            self._info = identity(self._radios, uri, self._wire, bits)
            self._limits = read_limits(self._radios)
            self._common_time = shares_time(self._radios) and set_common_time(self._radios)
        except (HilError, Refused) as err:
            self._drop_radios()
            if isinstance(err, Refused):
                raise ProtocolError(f"{uri}: the driver refuses to describe itself: {err}", uri=uri) from err
            raise
        scopes = dict(self._radios[0].table.epoch)
        for radio in self._radios[1:]:
            scopes = {event: worse(scopes[event], radio.table.epoch[event]) for event in scopes}
        if len(self._radios) > 1 and not self._common_time:
            scopes[EpochEvent.STREAM_RESTART] = worse(
                scopes[EpochEvent.STREAM_RESTART], EpochScope.GROUP_PHASES
            )
        self._tracker = EpochTracker(new_epoch(self._info.serial), scopes)
        self._order = CallOrder(uri)
        self._control = threading.RLock()  # streams are opened and closed under it
        self._config: RxConfig | None = None
        self._stream: StreamInfo | None = None
        self._intake: RadioIntake | None = None
        self._lost: DeviceError | None = None
        self._flags = FrameFlag.NONE
        self._count = 0  # first_sample of the next read
        self._handed = HandedOut()
        self._reopened = False  # a device came back as it powers up: its settings are still to be restored
        self._gap = False
        self.alignments: list[Alignment] = []
        self._transmitter: SoapyTransmitter | None = None
        _OPEN.add(self)

    # ---- identity -------------------------------------------------------------------------------------

    @property
    def info(self) -> DeviceInfo:
        """Identity."""
        return self._info

    @property
    def caps(self) -> DeviceCaps:
        """Abilities as read at the latest configure; the gain range may depend on the carrier."""
        return abilities(self._radios, self._limits, self._info.full_scale_bits)

    @property
    def skipped_samples(self) -> tuple[int, ...]:
        """Samples of each device between its start and the first one handed out."""
        if not self.alignments:
            return (0,) * len(self._radios)
        return self.alignments[-1].skipped

    @property
    def alignment(self) -> dict[str, Any]:
        """The latest start: method, first_sample, per device uri, offset, fraction, skipped, ratio."""
        return self.alignments[-1].as_dict([r.uri for r in self._radios]) if self.alignments else {}

    # ---- settings -------------------------------------------------------------------------------------

    def configure(self, want: RxConfig) -> StreamInfo:
        """Apply and read back; reconnects after a lost connection. While running the stream goes on after a gap.

        Raises UnsupportedSetting (nothing later in the request was written), ConnectionLost, CaptureError.
        """
        self._order.check_open("configure")
        with self._control:
            was_running = self._order.running
            present = self._config.channels if self._config else None
            channels = check_channels(want.channels, present, len(self._ports), self._info.uri)
            want = self._check(want, channels)
            self._end_streams()
            try:
                self._apply(want, channels)
                self._reopened = False
            except ConnectionLost as err:
                self._lost = err
                raise
            except Refused as err:
                raise ProtocolError(f"{self._info.uri}: {err}", uri=self._info.uri) from err
            finally:
                if was_running and self._order.running and self._lost is None:
                    self._open_streams()
            assert self._stream is not None
            return self._stream

    def _check(self, want: RxConfig, channels: tuple[int, ...]) -> RxConfig:
        """The request, after a reconnection with what it leaves open as it was before."""
        self._reconnect()
        try:
            if self._reopened and self._config is not None:
                before = self._config
                if not all(radio.tells_bandwidth() for radio in self._radios):
                    before = replace(before, bandwidth_hz=None)
                want = restored(before, want)
            check_request(want, self._radios, self.caps, len(channels), self._info.uri)
            return want
        except ConnectionLost as err:
            self._lost = err
            raise
        except Refused as err:
            raise ProtocolError(f"{self._info.uri}: {err}", uri=self._info.uri) from err

    def _reconnect(self) -> None:
        broken = [r for r in self._radios if not r.connected]
        if self._lost is None and not broken:
            return
        self._end_streams()
        if self._transmitter is not None:
            self._transmitter.disconnected()  # or its streams would keep the dead devices
        self._reopened = True
        for radio in broken or self._radios:
            radio.reopen()
        self._common_time = shares_time(self._radios) and set_common_time(self._radios)
        self._tracker.record(EpochEvent.RECONNECT)
        self._lost = None
        self._handed.forget(clock_too=True)
        if self._transmitter is not None:
            self._transmitter.reconnected()

    def _apply(self, want: RxConfig, channels: tuple[int, ...]) -> None:
        events: list[EpochEvent] = []
        try:
            apply_settings(self._radios, self._ports, want, channels, events)
        finally:
            for event in events:
                self._tracker.record(event)
            self._flags |= FrameFlag.RETUNED
            if EpochEvent.RATE in events and want.fs_hz is not None and self._transmitter is not None:
                self._transmitter.stop()  # its samples were made for another rate
        before = self._config
        self._config = read_settings(self._radios, self._ports, channels, want, before)
        if before is not None and before.fs_hz != self._config.fs_hz:
            self._handed.forget()  # samples of two rates are not counted together
        if EpochEvent.LO in events:
            self._limits = read_limits(self._radios)
        self._renew_stream()

    def _renew_stream(self) -> None:
        assert self._config is not None
        self._stream = StreamInfo(self._config, self._info, self._tracker.epoch, self._geometry)

    # ---- streaming ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Set up and start the streams of all devices, align them, and start counting at 0."""
        self._order.check_startable()
        with self._control:
            if self._config is None or self._lost is not None or self._reopened:
                self.configure(RxConfig())
            self._order.started()
            self._count, self._gap = 0, False
            self._handed.forget()
            self._flags |= FrameFlag.RETUNED
            try:
                self._open_streams()
            except BaseException:
                self._order.stopped()
                raise

    def _open_streams(self) -> None:
        assert self._config is not None
        self._tracker.record(EpochEvent.STREAM_RESTART)
        self._renew_stream()
        config = self._config

        def opened() -> RadioIntake:
            self._intake = intake = RadioIntake(
                self._radios, self._ports, config, self._wire, self._link_timeout_s,
                common_time=self._common_time, transmitter=self._transmitter,
            )  # fmt: skip
            return intake

        try:
            alignment = aligned(opened, self._count, lambda: not self._order.running)
        except HilError as err:
            self._end_streams()
            if isinstance(err, ConnectionLost):
                self._lost = err
            raise
        self.alignments.append(alignment)

    def _end_streams(self) -> None:
        intake, self._intake = self._intake, None
        if intake is not None:
            self._gap = True
            intake.close()

    def read(self, out: WireBuffer, timeout_s: float) -> ReadResult:
        """Wait for samples of all devices; returns one block, and more that are there already if `out` has room.

        Where samples were lost the result carries OVERFLOW and GAP_BEFORE; `lost_before` is exact where the
        device stamps its samples, else None. What ended a transmission by itself (it ran dry) is raised once.
        """
        token = self._order.begin_read()
        assert self._stream is not None
        check_wire_buffer(out, self._stream.n_channels, self._wire)
        if self._lost is not None:
            raise self._lost
        try:
            if self._transmitter is not None:
                self._transmitter.tell_reader()
            taken = self._take(out, timeout_s, token)
        except ConnectionLost as err:
            self._order.check_read(token)
            self._lost = err
            raise
        self._order.check_read(token)
        return self._result(taken)

    def _take(self, out: WireBuffer, timeout_s: float, token: int) -> Taken:
        if (intake := self._intake) is not None:
            taken = intake.take(out, timeout_s, lambda: self._order.interrupted(token))
            if not taken.broken:
                return taken
        # no intake: an earlier start failed, the devices could not be aligned
        for _ in range(REALIGNMENTS):
            taken = self._realign(out, timeout_s, token)
            if not taken.broken:
                return taken
        raise misaligned(self._info.uri)

    def _result(self, taken: Taken) -> ReadResult:
        assert self._stream is not None
        flags, lost = self._flags | taken.flags, 0
        fs_hz, now_s = self._stream.fs_hz, taken.t_mono_ns * 1e-9
        if self._transmitter is not None and self._transmitter.sending:
            flags |= FrameFlag.TRANSMITTING
        if taken.lost:
            lost = taken.lost_samples
        elif self._gap and self._count:
            lost = self._handed.skipped(taken.time_ns, fs_hz, now_s)
        if lost != 0:
            flags |= FrameFlag.GAP_BEFORE
        self._count += lost or 0
        result = ReadResult(taken.n, self._count, taken.t_mono_ns, taken.t_utc_ns, flags, self._stream, lost)
        self._count += taken.n
        self._handed.handed(taken.n, taken.time_ns, fs_hz, now_s)
        self._flags, self._gap = FrameFlag.NONE, False
        return result

    def _realign(self, out: WireBuffer, timeout_s: float, token: int) -> Taken:
        """A device of the array lost samples: start all of them anew, or they stay shifted against each other."""
        with self._control:
            self._order.check_read(token)
            self._end_streams()
            self._flags |= FrameFlag.OVERFLOW
            self._open_streams()
            intake = self._intake
        assert intake is not None
        return intake.take(out, max(timeout_s, 1.0), lambda: self._order.interrupted(token))

    def stop(self) -> None:
        """Stop; a waiting read raises StreamStopped at once."""
        self._order.stopped()
        self._wind_down()

    def _wind_down(self) -> None:
        if (intake := self._intake) is not None:
            intake.wake()
        with self._control:
            self._end_streams()

    # ---- transmitting ---------------------------------------------------------------------------------

    def transmitter(self) -> SoapyTransmitter:
        """The devices' transmitters, silenced when first asked for; always the same object.

        Raises DriverUnavailable if the devices only receive, DeviceStateError, ConnectionLost.
        """
        from drivers.soapy.tx import SoapyTransmitter

        self._order.check_open("transmitter")
        with self._control:
            if self._transmitter is None:
                self._transmitter = SoapyTransmitter(
                    self._radios, self._info.uri, self._control, self._lo_written
                )
            return self._transmitter

    def _lo_written(self) -> None:
        self._tracker.record(EpochEvent.LO)
        self._flags |= FrameFlag.RETUNED
        if self._config is not None:
            self._renew_stream()

    # ---- end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Silence the transmitter, close the streams, then the devices, whatever is raised (ConnectionLost: it may go on)."""
        if self._order.closed():
            try:
                if self._transmitter is not None:
                    self._transmitter.close()
            finally:
                self._wind_down()
                self._drop_radios()
                _OPEN.discard(self)

    def _drop_radios(self) -> None:
        for radio in self._radios:
            radio.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_soapy(rest: str, **options: Any) -> SoapyDevice:
    """Open `soapy:REST`. Raises ConfigError, DeviceNotFound, DriverUnavailable, UnsupportedSetting."""
    return SoapyDevice(parse(rest), f"soapy:{rest}", **options)
