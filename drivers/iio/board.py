"""One board: settings through pyadi-iio's properties, every one read back; no samples here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from drivers.iio.board_table import BoardTable
from drivers.iio.context import AttributeRefused, open_board, probe_board, release, wire_errors
from drivers.settings import check_in_range
from hil.core.device import GainMode, Range
from hil.core.errors import ConnectionLost, DeviceError, UnsupportedSetting

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_CONTROL_TIMEOUT_MS = 5000


class Board:
    """A board and its pyadi-iio object.

    After an error of the connection the context is dropped at once, because its answers would be out of
    step; `reopen` makes a new one.

    Parameters
    ----------
    uri : libiio URI, e.g. "ip:192.168.2.1"; kept, because the context's own attribute loses the port.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.table: BoardTable
        self.table, self.n_channels, attrs = probe_board(uri)
        self.model = attrs.get("hw_model", self.table.model)
        self.serial = attrs.get("hw_serial", "") or f"{self.table.name}@{uri}"
        self.firmware = attrs.get("fw_version", "")
        #: A free-running emulator says so: wall-clock checks make no sense there.
        self.free_running = attrs.get("hil,free-running", "0") == "1"
        self._sdr: Any = open_board(uri, self.table, self.n_channels)
        self.full_scale_bits = self.table.full_scale_bits
        self._prepare()

    def _prepare(self) -> None:
        with self._access("open"):
            self._sdr.ctx.set_timeout(_CONTROL_TIMEOUT_MS)
            element = next(
                c for c in self.rx_device.channels if c.scan_element and not c.output and c.index == 0
            )
            self.full_scale_bits = element.data_format.bits
        self.fc_range = self._available("frequency", self.table.fc_hz)
        high = self._available("sampling_frequency", self.table.fs_hz).maximum
        self.fs_range = Range(self.table.fs_hz.minimum, max(high, self.table.fs_hz.maximum), 1.0)
        self.gain_range = self._available("hardwaregain", self.table.gain_db)
        self.reports_overflow = self.clear_overflow()
        self.has_common_start = self._common_start()
        self.last_fs_hz = self.fs_hz()

    # ---- access ---------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """False once the context was dropped."""
        return self._sdr is not None

    @property
    def sdr(self) -> Any:
        """The pyadi-iio object. Raises ConnectionLost once the context was dropped."""
        if self._sdr is None:
            raise ConnectionLost(
                f"{self.uri}: the connection was lost", uri=self.uri, hint="configure() connects again"
            )
        return self._sdr

    @property
    def rx_device(self) -> Any:
        """The iio.Device with the receive buffer."""
        return self.sdr.ctx.find_device(self.table.rx_device)

    def _access(self, what: str) -> Any:
        return _Access(self, what)

    def drop(self) -> None:
        """Give the context up."""
        sdr, self._sdr = self._sdr, None
        if sdr is not None:
            release(sdr)

    def reopen(self) -> None:
        """Connect anew to the same URI. Raises DeviceNotFound."""
        self.drop()
        self._sdr = open_board(self.uri, self.table, self.n_channels)
        self._prepare()

    def _available(self, attribute: str, fallback: Range) -> Range:
        """The range "[min step max]" that the control device states, or the table's."""
        device = self.sdr.ctx.find_device(self.table.devices[0])
        channel = device.find_channel("altvoltage0", True) if attribute == "frequency" else None
        channel = channel or device.find_channel("voltage0", False)
        name = f"{attribute}_available"
        if channel is None or name not in channel.attrs:
            return fallback
        try:
            with self._access(name):
                text = channel.attrs[name].value
        except AttributeRefused:
            return fallback
        numbers = [float(n) for n in _NUMBER.findall(text)]
        if not text.startswith("[") or len(numbers) != 3 or numbers[0] > numbers[2]:
            return fallback
        return Range(numbers[0], numbers[2], numbers[1])

    def _get(self, name: str) -> Any:
        with self._access(f"read {name}"):
            return getattr(self.sdr, name)

    def _number(self, name: str) -> float:
        with self._access(f"read {name}"):
            return float(getattr(self.sdr, name))

    def _set(self, field: str, name: str, value: object, allowed: object) -> None:
        try:
            with self._access(f"write {name}"):
                setattr(self.sdr, name, value)
        except AttributeRefused as err:
            raise UnsupportedSetting(field, value, f"{allowed}; it refused ({err})", uri=self.uri) from err

    # ---- settings -------------------------------------------------------------------------------------

    def fc_hz(self) -> float:
        """Carrier of the first chip, Hz."""
        return self._number(self.table.lo[0])

    def fs_hz(self) -> float:
        """Samples per second."""
        self.last_fs_hz = self._number(self.table.rate)
        return self.last_fs_hz

    def bandwidth_hz(self) -> float:
        """Analogue bandwidth, Hz."""
        return self._number(self.table.bandwidth[0])

    def gain_db(self, channel: int) -> float:
        """Gain of a channel, dB."""
        return self._number(self.table.gain[channel])

    def gain_mode(self, channel: int) -> str:
        """Gain mode of a channel."""
        return str(self._get(self.table.gain_mode[channel]))

    def set_fc(self, fc_hz: float) -> bool:
        """Tune all chips; True if an LO was written."""
        wrote = False
        for name in self.table.lo:
            if abs(self._number(name) - fc_hz) >= 1.0:
                # pyadi-iio passes on what it gets, and the drivers parse an integer: 2.4e9 would be refused
                self._set("fc_hz", name, round(fc_hz), self.fc_range)
                wrote = True
            self._check_taken("fc_hz", fc_hz, self._number(name), 1000.0, self.fc_range)
        if wrote:
            self.gain_range = self._available("hardwaregain", self.table.gain_db)  # depends on the carrier
        return wrote

    def set_fs(self, fs_hz: float) -> bool:
        """Set the rate by pyadi-iio's sequence (decimating filter, rate); True if it was written."""
        present = self.fs_hz()
        if abs(present - fs_hz) < 1.0:
            return False
        if "rate" in self.table.read_only:
            raise UnsupportedSetting(
                "fs_hz",
                fs_hz,
                f"{present:.10g} (that of the loaded profile)",
                uri=self.uri,
                hint="load another profile on the board, or leave the rate out",
            )
        self._set("fs_hz", self.table.rate, round(fs_hz), self.fs_range)
        self._check_taken("fs_hz", fs_hz, self.fs_hz(), max(4.0, 2e-6 * fs_hz), self.fs_range)
        return True

    def set_bandwidth(self, bandwidth_hz: float) -> bool:
        """Set the analogue bandwidth of all chips; True if it was written."""
        if abs(self.bandwidth_hz() - bandwidth_hz) < 1.0:
            return False
        if "bandwidth" in self.table.read_only:
            allowed = f"{self.bandwidth_hz():.10g} (that of the loaded profile)"
            raise UnsupportedSetting("bandwidth_hz", bandwidth_hz, allowed, uri=self.uri)
        for name in self.table.bandwidth:
            self._set("bandwidth_hz", name, round(bandwidth_hz), self.table.bandwidth_hz)
            taken = self._number(name)
            self._check_taken(
                "bandwidth_hz", bandwidth_hz, taken, 0.01 * bandwidth_hz, self.table.bandwidth_hz
            )
        return True

    def set_gain_mode(self, mode: GainMode, channels: Sequence[int]) -> bool:
        """Set the gain mode; True if it was written."""
        wrote = False
        for channel in channels:
            if self.gain_mode(channel) != mode.value:
                self._set("gain_mode", self.table.gain_mode[channel], mode.value, self.table.gain_modes)
                wrote = True
            taken = self.gain_mode(channel)
            if taken != mode.value:
                raise UnsupportedSetting("gain_mode", mode.value, f"{taken} only", uri=self.uri)
        return wrote

    def set_gain(self, channel: int, gain_db: float) -> bool:
        """Set a manual gain; True if it was written. The mode must be manual, else pyadi-iio ignores it."""
        check_in_range("gain_db", gain_db, self.gain_range, self.uri)
        if abs(self.gain_db(channel) - gain_db) < 1e-6:
            return False
        self._set("gain_db", self.table.gain[channel], float(gain_db), self.gain_range)
        tolerance = 0.5 * (self.gain_range.step or 1.0) + 1e-6
        self._check_taken("gain_db", gain_db, self.gain_db(channel), tolerance, self.gain_range)
        return True

    def _check_taken(self, field: str, wanted: float, taken: float, tolerance: float, allowed: Range) -> None:
        if not abs(taken - wanted) <= tolerance:
            raise UnsupportedSetting(
                field, f"{wanted:.10g}", f"{allowed}; it took {taken:.10g}", uri=self.uri
            )

    def _common_start(self) -> bool:
        """True if the board can wait for a trigger that starts several boards at once."""
        attrs = self.rx_device.attrs
        if "sync_start_enable" not in attrs or "sync_start_enable_available" not in attrs:
            return False
        try:
            with self._access("sync_start_enable_available"):
                words = attrs["sync_start_enable_available"].value.split()
        except AttributeRefused:
            return False
        return "arm" in words and "trigger_manual" in words

    def sync_start(self, word: str) -> None:
        """Write "arm", "disarm" or "trigger_manual" to the receive core."""
        with self._access(f"sync_start_enable = {word}"):
            self.sdr.rx_sync_start = word

    # ---- overflow -------------------------------------------------------------------------------------

    def clear_overflow(self) -> bool:
        """Clear the overflow bit; False if the board has no register access."""
        try:
            with self._access("clear the overflow bit"):
                self.rx_device.reg_write(self.table.overflow_register, self.table.overflow_mask)
        except AttributeRefused:
            return False
        return True

    def poll_overflow(self, device: Any) -> bool:
        """True if samples were lost since the last call; clears the bit. `device` from `rx_device`."""
        try:
            with self._access("read the overflow bit"):
                lost = bool(device.reg_read(self.table.overflow_register) & self.table.overflow_mask)
                if lost:
                    device.reg_write(self.table.overflow_register, self.table.overflow_mask)
        except AttributeRefused:
            return False
        return lost


class _Access:
    """wire_errors that drops the board's context after an error of the connection."""

    def __init__(self, board: Board, what: str) -> None:
        self._board = board
        self._errors = wire_errors(board.uri, what)

    def __enter__(self) -> None:
        self._errors.__enter__()

    def __exit__(self, *exc: Any) -> bool | None:
        try:
            return self._errors.__exit__(*exc)
        except DeviceError:
            self._board.drop()
            raise
