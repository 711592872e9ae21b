"""One board, or several as one array, behind the receiver contract: `iio:ip:HOST`, `iio:ip:A,ip:B`."""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from drivers.array_intake import Taken
from drivers.array_starts import REALIGNMENTS, aligned, misaligned
from drivers.iio.board import Board
from drivers.iio.intake import Alignment, Intake
from drivers.iio.request import apply_settings, check_request, read_settings
from drivers.settings import check_channels, restored
from drivers.state import CallOrder, check_wire_buffer
from hil.core.device import DeviceCaps, DeviceInfo, Range, ReadResult, RxConfig, WireBuffer, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, EpochTracker, new_epoch
from hil.core.errors import ConfigError, ConnectionLost, DeviceError, HilError
from hil.core.frame import FrameFlag, StreamInfo
from hil.core.geometry import ArrayGeometry

if TYPE_CHECKING:
    from drivers.iio.tx import IioTransmitter

_OPEN: weakref.WeakSet[IioDevice] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """libiio crashes the interpreter when a buffer outlives its context at exit."""
    for device in list(_OPEN):
        with contextlib.suppress(HilError):
            device.close()


class IioDevice:
    """Analog Devices boards on libiio contexts.

    Settings go through pyadi-iio and are read back; samples come raw. `configure` makes the buffers anew, so that no
    sample taken before it appears under the new settings.

    Parameters
    ----------
    uris : libiio URIs in the order of the array's channels.
    uri : as the user wrote it.
    geometry : nominal array for StreamInfo, or None.
    link_timeout_s : silence after which the connection counts as lost.

    Attributes
    ----------
    alignments : one entry per start of the buffers: how the boards' first samples relate.
    """

    reads_ahead = True  # a long buffer is filled with what is there: see hil.session

    def __init__(
        self,
        uris: tuple[str, ...],
        uri: str,
        *,
        geometry: ArrayGeometry | None = None,
        link_timeout_s: float = 3.0,
    ) -> None:
        self._geometry = geometry
        self._link_timeout_s = link_timeout_s
        self._boards: list[Board] = []
        try:
            for one in uris:
                self._boards.append(Board(one))
            bits = {b.full_scale_bits for b in self._boards}
            if len(bits) > 1:
                raise ConfigError(f"{uri}: boards of {sorted(bits)} bits cannot form one array")
        except HilError:
            self._drop_boards()
            raise
        self._ports = [(b, c) for b, board in enumerate(self._boards) for c in range(board.n_channels)]
        self._info = self._identity(uri)
        scopes = dict(self._boards[0].table.epoch)
        if len(self._boards) > 1 and not all(b.has_common_start for b in self._boards):
            # the start offset is measured anew each time
            scopes[EpochEvent.STREAM_RESTART] = EpochScope.GROUP_PHASES
        self._tracker = EpochTracker(new_epoch(self._info.serial), scopes)
        self._order = CallOrder(uri)
        self._control = threading.RLock()  # streams are opened and closed under it
        self._config: RxConfig | None = None
        self._stream: StreamInfo | None = None
        self._intake: Intake | None = None
        self._lost: DeviceError | None = None
        self._flags = FrameFlag.NONE
        self._count = 0  # first_sample of the next read
        self._gap = False
        self.alignments: list[Alignment] = []
        self._transmitter: IioTransmitter | None = None
        _OPEN.add(self)

    def _identity(self, uri: str) -> DeviceInfo:
        first, groups = 0, []
        for board in self._boards:
            groups += board.table.groups(board.n_channels, first)
            first += board.n_channels
        models = [b.model for b in self._boards]
        return DeviceInfo(
            uri=uri,
            driver="iio",
            model=models[0] if len(models) == 1 else " + ".join(models),
            serial="+".join(b.serial for b in self._boards),
            firmware=self._boards[0].firmware,
            coherent_groups=tuple(groups),
            wire=WireFormat.CI16,
            full_scale_bits=self._boards[0].full_scale_bits,
        )

    # ---- identity -------------------------------------------------------------------------------------

    @property
    def info(self) -> DeviceInfo:
        """Identity."""
        return self._info

    @property
    def caps(self) -> DeviceCaps:
        """Abilities; the gain range is that at the present carrier."""
        boards = self._boards
        fixed = (boards[0].last_fs_hz,) if "rate" in boards[0].table.read_only else ()
        return DeviceCaps(
            fc_hz=_common([b.fc_range for b in boards]),
            fs_hz=Range(fixed[0], fixed[0]) if fixed else _common([b.fs_range for b in boards]),
            gain_db=_common([b.gain_range for b in boards]),
            n_channels=len(self._ports),
            full_scale_bits=self._info.full_scale_bits,
            has_hw_time=False,
            reports_overflow=all(b.reports_overflow for b in boards),
            fs_fixed_hz=fixed,
        )

    @property
    def skipped_samples(self) -> tuple[int, ...]:
        """Samples of each board between its latest OPEN and the first one handed out after it."""
        if not self.alignments:
            return (0,) * len(self._boards)
        return self.alignments[-1].skipped

    @property
    def alignment(self) -> dict[str, Any]:
        """The latest start: method, first_sample, per board uri, offset, skipped, ratio."""
        return self.alignments[-1].as_dict([b.uri for b in self._boards]) if self.alignments else {}

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
            check_request(want, self.caps, len(channels), self._info.uri)
            self._end_streams()
            try:
                if self._reconnect():
                    want = restored(self._config, want)
                self._apply(want, channels)
            except ConnectionLost as err:
                self._lost = err
                raise
            finally:
                if was_running and self._order.running and self._lost is None:
                    self._open_streams()
            assert self._stream is not None
            return self._stream

    def _reconnect(self) -> bool:
        """Open lost connections again; True if there were any."""
        broken = [b for b in self._boards if not b.connected]
        if self._lost is not None and not broken:
            broken = list(self._boards)
        for board in broken:
            board.reopen()
        if broken:
            self._tracker.record(EpochEvent.RECONNECT)
        self._lost = None
        if broken and self._transmitter is not None:
            self._transmitter.reconnected()
        return bool(broken)

    def _apply(self, want: RxConfig, channels: tuple[int, ...]) -> None:
        events: list[EpochEvent] = []
        try:
            apply_settings(self._boards, self._ports, want, channels, events)
        finally:
            for event in events:
                self._tracker.record(event)
            self._flags |= FrameFlag.RETUNED
            if EpochEvent.RATE in events and want.fs_hz is not None and self._transmitter is not None:
                self._transmitter.stop()  # its samples were made for another rate
        self._config = read_settings(self._boards, self._ports, channels, want, self._config)
        self._renew_stream()

    def _renew_stream(self) -> None:
        assert self._config is not None
        self._stream = StreamInfo(self._config, self._info, self._tracker.epoch, self._geometry)

    # ---- streaming ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the buffers of all boards, align them, and start counting at 0."""
        self._order.check_startable()
        with self._control:
            if self._config is None or self._lost is not None:
                self.configure(RxConfig())
            self._order.started()
            self._count, self._gap = 0, False
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

        def opened() -> Intake:
            self._intake = intake = Intake(
                self._boards, self._ports, config, self._link_timeout_s, self._transmitter
            )
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
            if intake.failed:
                self._drop_boards()
            intake.close()

    def read(self, out: WireBuffer, timeout_s: float) -> ReadResult:
        """Wait for samples of all boards; returns one block, and more that are there already if `out` has room.

        Where the device lost samples the result carries OVERFLOW and GAP_BEFORE with lost_before None: the
        hardware does not tell how many. OVERFLOW alone on the following blocks: the gap may lie there.
        """
        token = self._order.begin_read()
        assert self._stream is not None
        check_wire_buffer(out, self._stream.n_channels, WireFormat.CI16)
        if self._lost is not None:
            raise self._lost
        try:
            taken = self._take(out, timeout_s, token)
        except ConnectionLost as err:
            self._order.check_read(token)
            self._lost = err
            raise
        self._order.check_read(token)
        flags, lost = self._flags | taken.flags, 0
        if self._transmitter is not None and self._transmitter.sending:
            flags |= FrameFlag.TRANSMITTING
        if taken.lost or (self._gap and self._count):
            flags |= FrameFlag.GAP_BEFORE
            lost = None
        result = ReadResult(taken.n, self._count, taken.t_mono_ns, taken.t_utc_ns, flags, self._stream, lost)
        self._count += taken.n
        self._flags, self._gap = FrameFlag.NONE, False
        return result

    def _take(self, out: WireBuffer, timeout_s: float, token: int) -> Taken:
        intake = self._intake
        if intake is not None:
            taken = intake.take(out, timeout_s, lambda: self._order.interrupted(token))
            if not taken.broken:
                return taken
        # no intake: an earlier start failed, the boards could not be aligned
        for _ in range(REALIGNMENTS):
            taken = self._realign(out, timeout_s, token)
            if not taken.broken:
                return taken
        raise misaligned(self._info.uri)

    def _realign(self, out: WireBuffer, timeout_s: float, token: int) -> Taken:
        """A board of the array lost samples: start all of them anew, or they stay shifted against each other."""
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
        intake = self._intake
        if intake is not None:
            intake.wake()
        with self._control:
            self._end_streams()

    # ---- transmitting ---------------------------------------------------------------------------------

    def transmitter(self) -> IioTransmitter:
        """The boards' transmitters, silenced when first asked for; always the same object.

        Raises DriverUnavailable if a board only receives, DeviceStateError, ConnectionLost.
        """
        from drivers.iio.tx import IioTransmitter

        self._order.check_open("transmitter")
        with self._control:
            if self._transmitter is None:
                self._transmitter = IioTransmitter(
                    self._boards, self._info.uri, self._control, self._disturbed
                )
            return self._transmitter

    @contextmanager
    def _disturbed(self, event: EpochEvent) -> Iterator[None]:
        """What happens in here disturbs the receivers: a new epoch, and a gap in a running stream."""
        with self._control:
            self._end_streams()
            try:
                yield
            finally:
                self._tracker.record(event)
                self._flags |= FrameFlag.RETUNED
                if self._config is not None:
                    self._renew_stream()
                if self._order.running and self._lost is None:
                    self._open_streams()

    # ---- end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Silence the transmitter, destroy buffers, then contexts, whatever is raised (ConnectionLost: it may go on)."""
        if self._order.closed():
            try:
                if self._transmitter is not None:
                    self._transmitter.close()
            finally:
                self._wind_down()
                self._drop_boards()
                _OPEN.discard(self)

    def _drop_boards(self) -> None:
        for board in self._boards:
            board.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _common(ranges: list[Range]) -> Range:
    """What all boards allow."""
    return Range(max(r.minimum for r in ranges), min(r.maximum for r in ranges), max(r.step for r in ranges))


def open_iio(rest: str, **options: Any) -> IioDevice:
    """Open `iio:REST`: libiio URIs separated by commas. Raises ConfigError, DeviceNotFound, DriverUnavailable."""
    uris = tuple(part.strip() for part in rest.split(","))
    for uri in uris:
        if (
            not uri.isascii()
            or uri.split(":", 1)[0] not in ("ip", "usb", "local", "serial")
            or ":" not in uri
            or uri == "ip:"
        ):
            raise ConfigError(
                f"iio:{rest}: {uri!r} is not an IIO address",
                hint="iio:ip:HOST[:PORT], iio:usb:, iio:local:, several boards: iio:ip:A,ip:B",
            )
    if len(set(uris)) != len(uris):
        raise ConfigError(f"iio:{rest}: the same board twice")
    return IioDevice(uris, f"iio:{rest}", **options)
