"""The simulated array in this process, without a network: `sim:`, `sim:scene.toml`, `sim:scene.toml?free`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from drivers.iio.board_table import board_tables
from drivers.settings import check_block_samples, check_channels, check_in_range, gains_per_channel
from drivers.state import CallOrder, check_wire_buffer, default_block_samples
from hil.core.device import (
    DeviceCaps,
    DeviceInfo,
    GainMode,
    Range,
    ReadResult,
    RxConfig,
    WireBuffer,
    WireFormat,
)
from hil.core.epoch import EpochEvent, EpochTracker, new_epoch
from hil.core.errors import ConfigError, DeviceTimeout, UnsupportedSetting
from hil.core.frame import FrameFlag, StreamInfo
from hil.core.geometry import ArrayGeometry
from sim_backend.source import SampleSource

if TYPE_CHECKING:
    from drivers.sim_tx import SimTransmitter
    from sim_backend.turntable_shared import Place

_RING_S = 0.5  # what the simulated receiver keeps for a slow reader
_WAIT_SLICE_S = 0.05  # so that stop() ends a waiting read


class SimDevice:
    """All boards of a scene as one receiver; every board starts on the same sample.

    In real time a reader that falls more than 0.5 s behind loses the oldest samples: the next read carries
    OVERFLOW and GAP_BEFORE with the exact `lost_before`. Free-running it never loses any.

    Parameters
    ----------
    source : the simulated radio.
    uri : as the user wrote it.
    free_running : True if the source does not follow the clock.
    geometry : nominal array for StreamInfo, or None.
    place : where it stands on the simulated turntable, left by `close`.
    """

    def __init__(
        self,
        source: SampleSource,
        uri: str = "sim:",
        *,
        free_running: bool = False,
        geometry: ArrayGeometry | None = None,
        place: Place | None = None,
    ) -> None:
        self._source = source
        self._place = place
        self._free = free_running
        self._geometry = geometry
        self._boards = [board_tables()[source.board_name(b)] for b in range(source.n_boards)]
        self._counts = [source.n_channels(b) for b in range(source.n_boards)]
        table = self._boards[0]
        #: (board, channel of the board) of every channel of the array.
        self._ports = [(b, c) for b, count in enumerate(self._counts) for c in range(count)]
        first = np.cumsum([0, *self._counts[:-1]])
        groups = [
            g for t, n, f in zip(self._boards, self._counts, first, strict=True) for g in t.groups(n, int(f))
        ]
        self._info = DeviceInfo(
            uri=uri,
            driver="sim",
            model=f"simulated {table.model}" + (f" x {len(self._boards)}" if len(self._boards) > 1 else ""),
            serial="sim",
            firmware="",
            coherent_groups=tuple(groups),
            wire=WireFormat.CI16,
            full_scale_bits=table.full_scale_bits,
        )
        self._order = CallOrder(uri)
        self._tracker = EpochTracker(new_epoch(self._info.serial), table.epoch)
        self._config = self._read_back(tuple(range(len(self._ports))), None)
        self._stream = self._stream_info()
        self._configured = False
        self._start_scene = 0  # scene sample of first_sample 0
        self._next = 0  # scene sample of the next one to be read
        self._delivered_to = 0
        self._flags = FrameFlag.NONE
        self._transmitter: SimTransmitter | None = None

    # ---- identity -------------------------------------------------------------------------------------

    @property
    def info(self) -> DeviceInfo:
        """Identity."""
        return self._info

    @property
    def caps(self) -> DeviceCaps:
        """Abilities: those of the simulated board."""
        table = self._boards[0]
        fixed = (self._source.fs_hz(0),) if "rate" in table.read_only else ()
        return DeviceCaps(
            fc_hz=table.fc_hz,
            fs_hz=Range(fixed[0], fixed[0]) if fixed else table.fs_hz,
            gain_db=table.gain_db,
            n_channels=len(self._ports),
            full_scale_bits=table.full_scale_bits,
            has_hw_time=False,
            reports_overflow=not self._free,
            fs_fixed_hz=fixed,
        )

    @property
    def skipped_samples(self) -> tuple[int, ...]:
        """Samples of each board between its "open" event and first_sample 0: always 0 here."""
        return (0,) * len(self._boards)

    @property
    def scene_start(self) -> int:
        """Scene sample of first_sample 0 (also the "open" event of the truth file)."""
        return self._start_scene

    # ---- settings -------------------------------------------------------------------------------------

    def configure(self, want: RxConfig) -> StreamInfo:
        """Apply settings; while running they hold from the next sample, which is marked RETUNED."""
        self._order.check_open("configure")
        channels = check_channels(want.channels, self._config.channels, len(self._ports), self._info.uri)
        self._check(want, len(channels))
        check_block_samples(want.block_samples, self._info.uri)
        at = self._source.now(0)
        changed = self._apply(want, channels, at)
        self._config = self._read_back(channels, want.block_samples)
        if self._order.running:
            # what lies before `at` belongs to the old settings: never hand it out under the new epoch
            self._next = max(self._next, at)
            changed = True
        if changed or not self._configured:
            self._flags |= FrameFlag.RETUNED
        self._configured = True
        self._stream = self._stream_info()
        return self._stream

    def _check(self, want: RxConfig, n_channels: int) -> None:
        caps, table, uri = self.caps, self._boards[0], self._info.uri
        check_in_range("fc_hz", want.fc_hz, caps.fc_hz, uri)
        check_in_range("fs_hz", want.fs_hz, caps.fs_hz, uri)
        if want.bandwidth_hz is not None and want.bandwidth_hz != self._config.bandwidth_hz:
            raise UnsupportedSetting(
                "bandwidth_hz", want.bandwidth_hz, f"{self._config.bandwidth_hz:g} (not simulated)", uri=uri
            )
        if want.gain_mode is not GainMode.MANUAL:
            raise UnsupportedSetting("gain_mode", want.gain_mode, "manual (no AGC is simulated)", uri=uri)
        for gain in gains_per_channel(want.gain_db, n_channels, uri) or ():
            check_in_range("gain_db", gain, table.gain_db, uri)

    def _apply(self, want: RxConfig, channels: tuple[int, ...], at: int) -> bool:
        """Write what differs; True if anything did."""
        source = self._source
        wrote = False
        for b in range(len(self._boards)):
            if want.fs_hz is not None and want.fs_hz != source.fs_hz(b):
                source.write_rate(b, want.fs_hz, at)
                wrote = True
        if wrote:
            self._tracker.record(EpochEvent.RATE)
            if self._transmitter is not None:
                self._transmitter.stop()  # its samples were made for another rate
        retuned = False
        for b, table in enumerate(self._boards):
            for chip in range(len(table.lo)):
                if want.fc_hz is not None and want.fc_hz != source.fc_hz(b, chip):
                    source.write_lo(b, chip, want.fc_hz, at)
                    retuned = True
        if retuned:
            self._tracker.record(EpochEvent.LO)
        regained = False
        gains = gains_per_channel(want.gain_db, len(channels), self._info.uri) or ()
        for channel, gain in zip(channels, gains, strict=False):
            if gain != source.gain_db(*self._ports[channel]):
                source.write_gain(*self._ports[channel], gain, at)
                regained = True
        if regained:
            self._tracker.record(EpochEvent.GAIN)
        return wrote or retuned or regained

    def _read_back(self, channels: tuple[int, ...], block_samples: int | None) -> RxConfig:
        fs_hz = self._source.fs_hz(0)
        return RxConfig(
            fc_hz=self._source.fc_hz(0),
            fs_hz=fs_hz,
            bandwidth_hz=fs_hz,
            gain_db=tuple(self._source.gain_db(*self._ports[c]) for c in channels),
            gain_mode=GainMode.MANUAL,
            channels=channels,
            block_samples=block_samples or default_block_samples(fs_hz),
        )

    def _stream_info(self) -> StreamInfo:
        return StreamInfo(self._config, self._info, self._tracker.epoch, self._geometry)

    # ---- streaming ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start on the sample that is being converted now."""
        self._order.check_startable()
        if not self._configured:
            self.configure(RxConfig())
        self._start_scene = self._next = max(self._source.now(b) for b in range(len(self._boards)))
        for b in range(len(self._boards)):
            self._source.note("open", b, self._start_scene)
        self._tracker.record(EpochEvent.STREAM_RESTART)
        self._stream = self._stream_info()
        self._flags |= FrameFlag.RETUNED
        self._delivered_to = self._next
        self._order.started()

    def read(self, out: WireBuffer, timeout_s: float) -> ReadResult:
        """Wait for up to one block of samples and copy it into `out`."""
        token = self._order.begin_read()
        check_wire_buffer(out, len(self._config.channels or ()), WireFormat.CI16)
        n = min(len(out), self._config.block_samples or len(out))
        lost = self._next - self._delivered_to  # a retune skipped these
        flags = self._flags
        if self._transmitter is not None and self._transmitter.sending:
            flags |= FrameFlag.TRANSMITTING
        overrun = self._overrun()
        if overrun:
            flags |= FrameFlag.OVERFLOW
            self._next += overrun
            lost += overrun
        if lost:
            flags |= FrameFlag.GAP_BEFORE
        self._wait(self._next + n, timeout_s, token)
        out[:n] = self._samples(self._next, n)
        self._order.check_read(token)
        result = ReadResult(
            n=n,
            first_sample=self._next - self._start_scene,
            t_mono_ns=time.monotonic_ns(),
            t_utc_ns=time.time_ns(),
            flags=flags,
            stream=self._stream,
            lost_before=lost,
        )
        self._next += n
        self._delivered_to = self._next
        self._flags = FrameFlag.NONE
        return result

    def _overrun(self) -> int:
        """Samples lost because the reader is late, in whole blocks as a ring of blocks loses them."""
        if self._free:
            return 0
        behind = self._source.now(0) - self._next
        excess = behind - int(_RING_S * (self._config.fs_hz or 0.0))
        if excess <= 0:
            return 0
        block = self._config.block_samples or 1
        lost = -(-excess // block) * block
        for b in range(len(self._boards)):
            self._source.note("stall", b, self._next, lost_samples=lost)
        return lost

    def _wait(self, sample: int, timeout_s: float, token: int) -> None:
        deadline = time.monotonic() + timeout_s
        for board in range(len(self._boards)):
            while True:
                self._order.check_read(token)
                left = deadline - time.monotonic()
                if self._source.wait_until(board, sample, max(min(left, _WAIT_SLICE_S), 0.0)):
                    break
                if left <= 0:
                    raise DeviceTimeout(
                        f"{self._info.uri}: no block within {timeout_s:g} s", uri=self._info.uri
                    )

    def _samples(self, first: int, n: int) -> np.ndarray[Any, Any]:
        """(n, M, 2) int16 of the selected channels."""
        channels = self._config.channels or ()
        used = sorted({self._ports[c][0] for c in channels})
        start = {b: sum(self._counts[:b]) for b in used}
        wires = {b: self._source.read(b, first, n).reshape(n, self._counts[b], 2) for b in used}
        if len(used) == 1 and channels == tuple(range(self._counts[used[0]])) and used[0] == 0:
            return wires[used[0]]
        return np.stack([wires[self._ports[c][0]][:, c - start[self._ports[c][0]]] for c in channels], axis=1)

    def stop(self) -> None:
        """Stop; a waiting read raises StreamStopped."""
        if self._order.stopped():
            for b in range(len(self._boards)):
                self._source.note("close", b, self._source.now(b))

    def transmitter(self) -> SimTransmitter:
        """The simulated boards' transmitters; always the same object. Raises DeviceStateError."""
        from drivers.sim_tx import SimTransmitter

        self._order.check_open("transmitter")
        if self._transmitter is None:
            self._transmitter = SimTransmitter(
                self._source, self._boards, self._counts, self._info.uri, free_running=self._free,
                on_event=self._disturbed,
            )  # fmt: skip
        return self._transmitter

    def _disturbed(self, event: EpochEvent, at: int) -> None:
        """The transmitter disturbed the receivers at a scene sample: a new epoch from there on."""
        self._tracker.record(event)
        self._stream = self._stream_info()
        self._flags |= FrameFlag.RETUNED
        if self._order.running:
            self._next = max(self._next, at)

    def close(self) -> None:
        """Silence the transmitter and stop for good."""
        if self._transmitter is not None:
            self._transmitter.close()
        self.stop()
        self._order.closed()
        if self._place is not None:
            self._place.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_sim(rest: str, *, free_running: bool | None = None, scene: Any = None, **options: Any) -> SimDevice:
    """Open `sim:REST` with REST = [scene file][?free].

    Parameters
    ----------
    free_running : overrides `?free`: samples as fast as they are asked for.
    scene : a loaded scene instead of a file.
    """
    from sim_backend.engine import ArrayEngine
    from sim_backend.scene import load_scene
    from sim_backend.turntable_shared import Place

    path, _, query = rest.partition("?")
    words = [w for w in query.split("&") if w]
    if set(words) - {"free"}:
        raise ConfigError(f"sim:{rest}: unknown option {query!r}", hint="sim:SCENE.toml?free is the only one")
    free = "free" in words if free_running is None else free_running
    if scene is None:
        scene = load_scene(Path(path) if path else None)
    if scene.chamber.steps_deg:
        return SimDevice(ArrayEngine(scene, free_running=free), f"sim:{rest}", free_running=free, **options)
    place = Place(by_scene=asdict(scene.chamber.table) if scene.chamber.positioner else None)
    engine = ArrayEngine(scene, free_running=free, table=place.table)
    return SimDevice(engine, f"sim:{rest}", free_running=free, place=place, **options)


def list_sim(*, discover: bool = False) -> list[dict[str, Any]]:
    """Entry of `hil devices`: the default scene is always there."""
    del discover
    with open_sim("?free") as device:
        info, caps = device.info, device.caps
    return [
        {
            "uri": "sim:",
            "driver": info.driver,
            "model": info.model,
            "serial": info.serial,
            "n_channels": caps.n_channels,
        }
    ]
