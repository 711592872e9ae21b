"""One simulated board: its context, its attribute files, its buffers, and what they do to the scene."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_backend.iiod import dds
from sim_backend.iiod.ad936x import Ad936x
from sim_backend.iiod.adrv9009 import Adrv9009
from sim_backend.iiod.attributes import File, parse_int
from sim_backend.iiod.context_xml import context_xml
from sim_backend.iiod.errors import IioError
from sim_backend.iiod.registers import Registers
from sim_backend.iiod.rx_core import RxCore
from sim_backend.iiod.rx_dma import LossModel, RxDma
from sim_backend.iiod.sync import Armable, SyncBus
from sim_backend.iiod.tables import Device, load_board
from sim_backend.iiod.tx_dma import TxDma
from sim_backend.source import SampleSource

DEFAULT_TIMEOUT_MS = 2500
_DECIMATION = 8
_MAX_START_OFFSET_SAMPLES = 4096


class Board:
    """Board `index` of the scene behind one IIO context. All methods may be called from any thread."""

    def __init__(
        self,
        source: SampleSource,
        index: int,
        sync: SyncBus,
        *,
        free_running: bool = False,
        seed: int = 0,
        losses: LossModel | None = None,
    ) -> None:
        self.source, self.index, self.sync = source, index, sync
        self.free_running = free_running
        self.table = load_board(source.board_name(index), serial=f"SIM{seed:08x}{index:04d}")
        self.xml = context_xml(self.table, free_running=free_running)
        self.lock = threading.RLock()
        self.registers = {device.id: Registers() for device in self.table.devices}
        self.rx: dict[str, RxDma] = {}
        self.tx: dict[str, TxDma] = {}
        self._losses = losses
        self._rng = np.random.default_rng([seed, index])
        self._timeouts: dict[object, int] = {}
        self._decimate = False
        self._dds_on = False
        model = Ad936x if self.table.model == "ad936x" else Adrv9009
        self.chips = [model(self, device) for device in self.devices("phy")]
        self._make_buffers()
        self._bind_data_devices()

    # -- structure ---------------------------------------------------------------------------------------------
    def devices(self, *roles: str) -> list[Device]:
        """Devices of these roles, in the order of `roles`."""
        return [device for role in roles for device in self.table.devices if device.role == role]

    def find(self, name: str) -> Device:
        """Device by id or name; -ENODEV."""
        for device in self.table.devices:
            if name in (device.id, device.name):
                return device
        raise IioError(errno.ENODEV)

    def _make_buffers(self) -> None:
        for device in self.devices("rx", "obs"):
            n_scan = len(device.scan_channels)
            if device.role == "rx":
                bits = int(re.findall(r"[sSuU](\d+)/", device.scan_channels[0].format)[0])
                self._core = RxCore(self.devices("rx", "rx-b"), n_scan, bits)
                read: Callable[[int, int], NDArray[np.int16]] = self._read_rx
            else:
                read = lambda _first, n, n_scan=n_scan: np.zeros((n, n_scan), dtype=np.int16)  # noqa: E731
            registers = self.registers[device.id]
            self.rx[device.id] = RxDma(
                self.source,
                self.index,
                read,
                n_scan,
                registers,
                free_running=self.free_running,
                start_offset=self._start_offset,
                losses=self._losses if device.role == "rx" else None,
                traced=device.role == "rx",
            )
            self._bind_sync(device, self.rx[device.id])
        for device in self.devices("tx"):
            self.tx[device.id] = TxDma(
                self.source,
                self.index,
                len(device.scan_channels),
                self.registers[device.id],
                free_running=self.free_running,
                on_idle=lambda: self.update_dds(idle=True),
                levels=self.tx_levels,
            )
            self._bind_sync(device, self.tx[device.id])

    def _read_rx(self, first: int, n: int) -> NDArray[np.int16]:
        return self._core.apply(self.source.read(self.index, first, n))

    def _start_offset(self) -> int:
        """Samples between OPEN and the first one. By the clock it comes by itself; else it is drawn."""
        if not self.free_running or self.source.n_boards < 2 or self.table.model != "ad936x":
            return 0
        return int(self._rng.integers(0, _MAX_START_OFFSET_SAMPLES))

    def _bind_sync(self, device: Device, stream: Armable) -> None:
        if "sync_start_enable" not in device.store:
            return

        def write(text: str) -> None:
            if text == "arm":
                self.sync.arm(stream)
            elif text == "disarm":
                self.sync.disarm(stream)
            else:
                self.sync.trigger()

        file = device.store["sync_start_enable"]
        file.on_write = write
        file.on_read = lambda: "arm" if self.sync.is_armed(stream) else "disarm"
        registers = self.registers[device.id]
        registers.on_sync = lambda: self.sync.arm(stream)
        registers.sync_armed = lambda: self.sync.is_armed(stream)

    def _bind_data_devices(self) -> None:
        for device in self.devices("rx", "rx-b", "tx", "tx-b", "obs"):
            for key, file in device.store.files.items():
                if key.endswith("sampling_frequency"):
                    file.on_read = lambda: str(round(self.source.fs_hz(self.index)))
                    file.on_write = self._write_decimation
                elif key.endswith("sampling_frequency_available"):
                    file.on_read = lambda: "{} {} ".format(*self._data_rates())
        for device, key in self._core.files():
            device.store[key].on_write = lambda text, file=device.store[key]: self._write_core(file, text)
        for device in self.devices("tx", "tx-b"):
            for channel in device.channels:
                if not channel.id.startswith("altvoltage"):
                    continue
                for name, key in channel.attributes.items():
                    file = device.store[key]
                    if "w" in file.mode and name != "sampling_frequency":
                        file.on_write = lambda text, file=file, name=name: self._write_dds(file, name, text)

    # -- attributes --------------------------------------------------------------------------------------------
    def read(self, device: Device, key: str) -> str:
        """Text of a file."""
        with self.lock:
            return device.store.read(key)

    def write(self, device: Device, key: str, text: str) -> None:
        """Write a file; IioError if the driver refuses."""
        with self.lock:
            device.store.write(key, text)

    def _write_core(self, file: File, text: str) -> None:
        file.value = text
        self._core.update()

    def _write_dds(self, file: File, name: str, text: str) -> None:
        if name == "frequency":
            text = str(dds.quantise_hz(float(parse_int(text)), self.source.fs_hz(self.index)))
        file.value = text
        self.update_dds()

    def update_dds(self, *, idle: bool = False) -> None:
        """Send what the DDS is set to, unless a buffer has the output; `idle`: one has just given it back."""
        with self.lock:
            if any(tx.is_open for tx in self.tx.values()):
                self._dds_on = False
                return
            waveform = dds.waveform(self._tones(), self.source.fs_hz(self.index))
            if waveform is not None or self._dds_on or idle:
                now = self.source.now(self.index)
                self.source.transmit(self.index, waveform, now, cyclic=True, scale=self.tx_levels())
            self._dds_on = waveform is not None

    def _tones(self) -> list[dds.Tone]:
        tones = []
        for device in self.devices("tx", "tx-b"):
            for channel in (c for c in device.channels if c.id.startswith("altvoltage")):
                frequency, phase, scale, raw = (
                    device.store.number(channel.attributes[name])
                    for name in ("frequency", "phase", "scale", "raw")
                )
                tones.append(dds.Tone(frequency, phase, scale, raw == 1.0))
        return tones

    # -- what reaches the scene --------------------------------------------------------------------------------
    def note(self, event: str, **details: Any) -> None:
        """Write an event of now to the truth file."""
        self.source.note(event, self.index, self.source.now(self.index), **details)

    def write_lo(self, chip: int, fc_hz: float) -> None:
        """Tune one chip."""
        self.source.write_lo(self.index, chip, fc_hz, self.source.now(self.index))

    def write_gain(self, channel: int, gain_db: float) -> None:
        """Set the gain of a receive channel of the board."""
        self.source.write_gain(self.index, channel, gain_db, self.source.now(self.index))

    def tx_levels(self) -> tuple[float, ...]:
        """Amplitude that attenuators and power-down leave to every transmit channel of the board."""
        return tuple(level for chip in self.chips for level in chip.tx_levels())

    def write_tx(self, chip: int, attribute: str, text: str) -> None:
        """An attenuator, a power-down or the state machine of a transmitter was written."""
        self.note("tx_write", chip=chip, attribute=attribute, value=text)
        self.update_tx()

    def update_tx(self) -> None:
        """What is being sent changes with the transmitters' settings."""
        if self._dds_on or any(tx.is_open for tx in self.tx.values()):
            self.source.rescale(self.index, self.tx_levels(), self.source.now(self.index))

    def write_tx_lo(self, chip: int, fc_hz: float) -> None:
        """Tune the transmitters of one chip."""
        self.source.write_tx_lo(self.index, chip, fc_hz, self.source.now(self.index))

    def write_rate(self, chip: int, fs_hz: float) -> None:
        """Set the rate. The receive core runs on the first chip's clock; on another chip only its lock is lost."""
        if chip == 0:
            self._apply_rate(fs_hz / (_DECIMATION if self._decimate else 1))
        else:
            self._apply_rate(self.source.fs_hz(self.index))

    def _apply_rate(self, fs_hz: float) -> None:
        with ExitStack() as stack:
            for dma in self.rx.values():
                stack.enter_context(dma.rate_change())
            self.source.write_rate(self.index, fs_hz, self.source.now(self.index))
        for buffer in self.tx.values():
            buffer.rate_changed()
        if self._dds_on:
            self.update_dds()  # the tones keep their frequencies

    def _data_rates(self) -> tuple[int, int]:
        full = round(self.source.fs_hz(self.index)) * (_DECIMATION if self._decimate else 1)
        return full, full // _DECIMATION

    def _write_decimation(self, text: str) -> None:
        full, decimated = self._data_rates()
        rate = parse_int(text)
        if rate not in (full, decimated):
            raise IioError(errno.EINVAL)
        if self._decimate != (rate == decimated):
            self._decimate = rate == decimated
            self._apply_rate(float(rate))

    # -- connections -------------------------------------------------------------------------------------------
    def set_timeout(self, token: object, timeout_ms: int) -> None:
        """Server-side timeout that a client asked for, 0: none."""
        with self.lock:
            self._timeouts[token] = timeout_ms

    def timeout_s(self, token: object) -> float | None:
        """Timeout that holds for a connection: its own, else the longest of the context's clients."""
        with self.lock:
            own = self._timeouts.get(token)
            asked = [own] if own is not None else list(self._timeouts.values()) or [DEFAULT_TIMEOUT_MS]
        return None if 0 in asked else max(asked) / 1000

    def forget(self, token: object) -> None:
        """A connection ended: what it had open is closed."""
        with self.lock:
            self._timeouts.pop(token, None)
        for buffer in (*self.rx.values(), *self.tx.values()):
            try:
                buffer.close(token)
            except IioError:
                continue

    def advance(self) -> None:
        """Let stalls and underflows be noted also while nobody reads."""
        for buffer in (*self.rx.values(), *self.tx.values()):
            buffer.advance()
