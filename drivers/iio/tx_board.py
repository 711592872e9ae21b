"""The transmitters of one board: silence, attenuation, LO, power, and the transmit buffer."""

from __future__ import annotations

import ctypes
import errno
import math
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.iio.board import Board
from drivers.iio.context import AttributeRefused, import_iio, wire_errors
from drivers.iio.tx_silence import control_port, output_attribute, silence_board
from drivers.settings import check_in_range
from drivers.silence import MAY_TRANSMIT
from hil.core.device import Range
from hil.core.errors import (
    ConnectionLost,
    DeviceError,
    DeviceStateError,
    DriverUnavailable,
    ProtocolError,
    UnsupportedSetting,
)

_BUSY_S = 2.0
_EMERGENCY_TIMEOUT_MS = 2000
_MIN_CYCLIC_SAMPLES = 1024  # a DMA that starts anew every few bytes cannot keep up
_ALIGN_BYTES = 16  # where the board does not say
#: A streamed block is that long, so that the first one lasts until the second is there; and of the board's
#: contiguous memory at most so many bytes are taken, in at most so many blocks.
_STREAM_BLOCK_S = 0.1
_STREAM_BYTES = 32 * 2**20
_STREAM_BLOCKS = 16


class BoardTransmitter:
    """What belongs to one board; channels count from 0 on it. Not thread-safe.

    Raises DriverUnavailable if the board has no transmitter.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.table = board.table.transmit
        self._buffer: Any = None
        self._streamed = 0  # samples of a streamed block; 0: the buffer is cyclic
        self._pending = np.zeros((0, 0, 2), np.int16)
        core = board.sdr.ctx.find_device(self.table.devices[0])
        scan = [c for c in core.channels if c.scan_element and c.output] if core is not None else []
        self.n_channels = min(len(scan) // 2, board.table.max_channels)
        if not self.n_channels:
            raise DriverUnavailable(
                f"{board.uri}: {board.model} has no transmitter", uri=board.uri,
                hint="this board only receives; use another one to transmit",
            )  # fmt: skip
        self.fc_range = self._fc_range()
        self._align_bytes = self._read_align_bytes()
        self._silenced: Callable[[], Any] = lambda: None  # the connection, weakly: it must end when dropped
        self._align = self._kernel_blocks = 1
        self._started = False

    # ---- access ---------------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """The board's URI."""
        return self.board.uri

    @property
    def connection_is_new(self) -> bool:
        """True if the receiver has connected again since this board was last silenced."""
        return self.board.connected and self.board.sdr.ctx is not self._silenced()

    def _attribute(self, device: str, channel: str, name: str, value: str | None = None) -> str:
        """Read or write a channel attribute. A broken connection drops the board's context."""
        context = self.board.sdr.ctx
        try:
            with wire_errors(self.uri, f"{'read' if value is None else 'write'} {channel} {name}"):
                return output_attribute(context, device, channel, name, value)
        except DeviceError:
            self.board.drop()
            raise

    def _fc_range(self) -> Range:
        if not self.table.lo:
            return self.board.fc_range
        device = self.board.sdr.ctx.find_device(self.board.table.control_devices[0])
        channel = device.find_channel(self.table.lo, True)
        if channel is None or "frequency_available" not in channel.attrs:
            return self.table.fc_hz
        try:
            text = self._attribute(self.board.table.control_devices[0], self.table.lo, "frequency_available")
            low, step, high = (float(part) for part in text.strip("[] ").split())
        except (AttributeRefused, ValueError):
            return self.table.fc_hz
        return Range(low, high, step)

    # ---- silence --------------------------------------------------------------------------------------

    def silence(self) -> None:
        """Greatest attenuation, no samples, no tones, LO or channels powered down.

        Where the connection is lost a new one is tried, only for this.
        Raises ConnectionLost if nobody answers, DeviceStateError if the board refuses: it may go on transmitting.
        """
        self.release()
        if self.board.connected:
            context = self.board.sdr.ctx
            try:
                with wire_errors(self.uri, "silence the transmitter"):
                    silence_board(context, self.board.table, self.n_channels)
            except AttributeRefused as err:
                raise self._not_silenced(err) from err
            except DeviceError:
                self.board.drop()  # its answers are out of step
            else:
                self._silenced = weakref.ref(context)
                return
        try:
            with wire_errors(self.uri, "silence the transmitter"):
                context = import_iio().Context(self.uri)
                context.set_timeout(_EMERGENCY_TIMEOUT_MS)
                silence_board(context, self.board.table, self.n_channels)
        except (AttributeRefused, DeviceError) as err:
            raise self._not_silenced(err) from err

    def _not_silenced(self, err: Exception) -> DeviceError:
        kind = DeviceStateError if isinstance(err, AttributeRefused) else ConnectionLost
        return kind(
            f"{self.uri}: the transmitter could not be silenced ({err})", uri=self.uri, hint=MAY_TRANSMIT
        )

    def power_up(self, channels: Sequence[int]) -> None:
        """LO or channels on. Raises DeviceError."""
        try:
            if self.table.lo:
                for device in self.board.table.control_devices:
                    self._attribute(device, self.table.lo, "powerdown", "0")
            else:
                for channel in channels:
                    self._attribute(*self._port(channel), "powerdown", "0")
        except AttributeRefused as err:
            raise ProtocolError(
                f"{self.uri}: the transmitter does not power up ({err})", uri=self.uri
            ) from err

    # ---- settings -------------------------------------------------------------------------------------

    def _port(self, channel: int) -> tuple[str, str]:
        return control_port(self.board.table, channel)

    def attenuation_db(self, channel: int) -> float:
        """Attenuation of a channel, dB."""
        text = self._attribute(*self._port(channel), "hardwaregain")
        try:
            return 0.0 - float(text.split()[0])
        except (ValueError, IndexError) as err:
            raise ProtocolError(f"{self.uri}: attenuation {text!r}", uri=self.uri) from err

    def set_attenuation(self, channel: int, attenuation_db: float) -> None:
        """Set and read back. Raises UnsupportedSetting."""
        allowed = self.table.attenuation_db
        try:
            self._attribute(*self._port(channel), "hardwaregain", f"{0.0 - attenuation_db:.6f}")
        except AttributeRefused as err:
            raise UnsupportedSetting(
                "attenuation_db", attenuation_db, f"{allowed}; it refused ({err})", uri=self.uri
            ) from err
        taken = self.attenuation_db(channel)
        if not abs(taken - attenuation_db) < 0.5 * allowed.step:
            raise UnsupportedSetting(
                "attenuation_db", attenuation_db, f"{allowed}; it took {taken:g}", uri=self.uri
            )

    def fc_hz(self) -> float:
        """Carrier, Hz."""
        if not self.table.lo:
            return self.board.fc_hz()
        return float(self._attribute(self.board.table.control_devices[0], self.table.lo, "frequency"))

    def set_fc(self, fc_hz: float) -> None:
        """Tune the transmitters' own LO of every chip. Raises UnsupportedSetting."""
        check_in_range("fc_hz", fc_hz, self.fc_range, self.uri)
        for device in self.board.table.control_devices:
            down = self._attribute(device, self.table.lo, "powerdown")
            try:
                # a PLL that is powered down does not lock; the attenuation keeps it silent meanwhile
                self._attribute(device, self.table.lo, "powerdown", "0")
                self._attribute(device, self.table.lo, "frequency", str(round(fc_hz)))
            except AttributeRefused as err:
                raise UnsupportedSetting(
                    "fc_hz", fc_hz, f"{self.fc_range}; it refused ({err})", uri=self.uri
                ) from err
            finally:
                if down.strip() == "1" and self.board.connected:
                    self._attribute(device, self.table.lo, "powerdown", "1")
            taken = float(self._attribute(device, self.table.lo, "frequency"))
            if not abs(taken - fc_hz) <= 1000.0:
                raise UnsupportedSetting(
                    "fc_hz", fc_hz, f"{self.fc_range}; it took {taken:.10g}", uri=self.uri
                )

    def fs_hz(self) -> float:
        """Samples per second that the transmit core takes."""
        core = self.board.sdr.ctx.find_device(self.table.devices[0])
        channel = core.find_channel("voltage0", True) if core is not None else None
        if channel is None or "sampling_frequency" not in channel.attrs:
            return self.board.fs_hz()
        return float(self._attribute(self.table.devices[0], "voltage0", "sampling_frequency"))

    # ---- samples --------------------------------------------------------------------------------------

    def send_cyclic(self, block: NDArray[np.int16], channels: tuple[int, ...]) -> None:
        """Repeat a block (n, C, 2) of `whole_periods` on the channels (ascending). Raises DeviceError."""
        self.release()
        with wire_errors(self.uri, "send a waveform"):
            self._open(len(block), channels, cyclic=True)
            self._push(block)

    def whole_periods(self, wire: NDArray[np.int16]) -> NDArray[np.int16]:
        """The period (n, C, 2) as often as the DMA needs it: its transfers are multiples of some bytes.

        Raises UnsupportedSetting if that is longer than one transfer can be.
        """
        n, frame_bytes = len(wire), wire[0].nbytes
        align = self._alignment_samples(frame_bytes)
        periods = align // math.gcd(n, align)
        periods *= -(-_MIN_CYCLIC_SAMPLES // (n * periods))
        most = self.table.max_block_bytes // frame_bytes
        if n * periods > most:
            raise UnsupportedSetting(
                "samples", n,
                f"a period of at most {most // align * align} samples that is a multiple of {align}"
                if n <= most else f"at most {most // align * align}",
                uri=self.uri, hint="a shorter waveform, fewer channels, or stream it with write()",
            )  # fmt: skip
        return np.tile(wire, (periods, 1, 1)) if periods > 1 else wire

    def _alignment_samples(self, frame_bytes: int) -> int:
        return self._align_bytes // math.gcd(self._align_bytes, frame_bytes)

    def _read_align_bytes(self) -> int:
        """DMA transfers are multiples of so many bytes."""
        core = self.board.sdr.ctx.find_device(self.table.devices[0])
        if "length_align_bytes" not in core.buffer_attrs:
            return _ALIGN_BYTES
        try:
            with wire_errors(self.uri, "read length_align_bytes"):
                return max(int(core.buffer_attrs["length_align_bytes"].value), 1)
        except AttributeRefused:
            return _ALIGN_BYTES
        except DeviceError:
            self.board.drop()
            raise

    def open_stream(self, fs_hz: float, channels: tuple[int, ...]) -> None:
        """Open the buffer for `stream`; nothing is sent yet. Raises DeviceError."""
        self.release()
        self._align = self._alignment_samples(4 * len(channels))
        most = _STREAM_BYTES // 8 // (4 * len(channels))
        self._streamed = max(int(min(_STREAM_BLOCK_S * fs_hz, most)) // self._align, 1) * self._align
        fitting = _STREAM_BYTES // (4 * len(channels) * self._streamed)
        self._kernel_blocks = min(max(fitting, 4), _STREAM_BLOCKS)
        self._pending = np.zeros((0, len(channels), 2), np.int16)
        self._started = False
        with wire_errors(self.uri, "open the transmit buffer"):
            self._open(self._streamed, channels, cyclic=False)

    def stream(self, wire: NDArray[np.int16]) -> bool:
        """Queue wire (n, C, 2), at most one block; waits until the device has room.

        What does not fill a DMA word (a few samples) goes with the next call.
        Returns False if the device ran dry before. Raises DeviceError.
        """
        wire = np.concatenate([self._pending, wire]) if len(self._pending) else wire
        n = len(wire) // self._align * self._align
        for low in range(0, n, self._streamed):
            with wire_errors(self.uri, "send samples"):
                self._push(wire[low : min(low + self._streamed, n)])
        self._pending = wire[n:].copy()
        if not n:
            return True
        if not self._started:
            self._started = True
            self._poll_underflow()  # the core starved before the first block: nothing was missing
            return True
        return not self._poll_underflow()

    @property
    def block_samples(self) -> int:
        """Samples of a streamed block."""
        return self._streamed

    def _poll_underflow(self) -> bool:
        core = self.board.sdr.ctx.find_device(self.table.devices[0])
        register, mask = self.table.underflow_register, self.table.underflow_mask
        try:
            with wire_errors(self.uri, "read the underflow bit"):
                dry = bool(core.reg_read(register) & mask)
                if dry:
                    core.reg_write(register, mask)
        except AttributeRefused:
            return False  # no register access: not known
        except DeviceError:
            self.board.drop()
            raise
        return dry

    def _open(self, n_samples: int, channels: tuple[int, ...], *, cyclic: bool) -> None:
        core = self.board.sdr.ctx.find_device(self.table.devices[0])
        wanted = {2 * c + k for c in channels for k in (0, 1)}
        for element in core.channels:
            if element.scan_element and element.output:
                element.enabled = element.index in wanted
        try:
            self._buffer = self._create(core, n_samples, cyclic=cyclic)
        except OSError as err:
            if err.errno == errno.EBUSY:
                raise DeviceStateError(
                    f"{self.uri}: the transmit buffer is in use", uri=self.uri,
                    hint="another program transmits on this board (its power was turned down): end it",
                ) from err  # fmt: skip
            if err.errno in (errno.ENOMEM, errno.EINVAL):
                raise UnsupportedSetting(
                    "samples", n_samples, f"what its memory holds (it refused {4 * len(channels) * n_samples} bytes)",
                    uri=self.uri, hint="a shorter waveform, or fewer channels",
                ) from err  # fmt: skip
            raise

    def _create(self, core: Any, n_samples: int, *, cyclic: bool) -> Any:
        """iio.Buffer; waits a little while the device still closes an earlier one."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                core.set_kernel_buffers_count(1 if cyclic else self._kernel_blocks)
                return import_iio().Buffer(core, n_samples, cyclic)
            except OSError as err:
                if err.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _push(self, wire: NDArray[np.int16]) -> None:
        iio = import_iio()
        start = iio._buffer_start(self._buffer._buffer)
        room = iio._buffer_end(self._buffer._buffer) - start
        if self._buffer.step != wire[0].nbytes or room < wire.nbytes:
            raise ProtocolError(
                f"{self.uri}: a transmit buffer of {room} bytes, {self._buffer.step} a sample, for "
                f"{wire.nbytes} bytes, {wire[0].nbytes} a sample", uri=self.uri,
            )  # fmt: skip
        wire = np.ascontiguousarray(wire)
        ctypes.memmove(start, wire.ctypes.data, wire.nbytes)
        self._buffer.push(len(wire))

    def release(self) -> None:
        """End what is being sent. Destroys the C buffer now, whoever still refers to the object (a traceback does)."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.__del__()
            buffer._buffer = None
