"""A Soapy device over one board or the whole array: what its calls read and set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from sim_backend.soapy_remote.board import N_TX, RX, TX, RadioBoard
from sim_backend.soapy_remote.errors import SoapyRefusal
from sim_backend.soapy_remote.peripherals import Peripherals
from sim_backend.soapy_remote.wire import ArgInfo, ArgType

DRIVER_KEY = "hil-sim"
_RATE_LOCK = threading.Lock()  # a change takes the locks of several streams
GAIN_ELEMENT, FREQUENCY_ELEMENT = "PGA", "RF"
REFERENCE_HZ = 40e6
WARNING = 4
Triple = tuple[float, float, float]


class SoapyDevice:
    """One device that FIND lists. Channels count over its boards in order; TX are those of its first board.

    Out-of-range numbers are brought to the nearest value, as receivers of this kind do, and logged; names that
    do not exist are refused. `log(level, text)` reaches the clients that forward logs.
    """

    def __init__(self, boards: list[RadioBoard], serial: str, label: str, log: Callable[[int, str], None]):
        self.boards, self.serial, self.label, self.log = boards, serial, label, log
        self.peripherals = Peripherals(self)
        self._channels = [(board, ch) for board in boards for ch in range(board.n_rx)]

    @property
    def first(self) -> RadioBoard:
        """The board whose clock counts for the device."""
        return self.boards[0]

    @property
    def found(self) -> dict[str, str]:
        """What FIND answers; the remote: keys set options of the client that opens it."""
        return {
            "driver": DRIVER_KEY,
            "type": self.first.spec.name,
            "serial": self.serial,
            "label": self.label,
            "remote:prot": "tcp",  # over UDP a lost datagram shifts samples without a word
            "remote:timeout": "5000000",  # the client's own deadline of 100 ms breaks on a busy machine
        }

    # -- identity ----------------------------------------------------------------------------------------------
    def hardware_info(self) -> dict[str, str]:
        """Board, serial number, boards, converter."""
        return {
            "board": self.first.spec.name,
            "serial": self.serial,
            "boards": str(len(self.boards)),
            "rx_channels": str(len(self._channels)),
            "tx_channels": str(N_TX),
            "adc_bits": str(self.first.spec.adc_bits),
            "remote:version": "0.5.2",
        }

    def n_channels(self, direction: int) -> int:
        """Channels of a direction."""
        if direction not in (RX, TX):
            raise SoapyRefusal(f"direction {direction} is neither 0 (TX) nor 1 (RX)")
        return len(self._channels) if direction == RX else N_TX

    def receiver(self, channel: int) -> tuple[RadioBoard, int]:
        """Board and channel of it."""
        self.check(RX, channel)
        return self._channels[channel]

    def check(self, direction: int, channel: int) -> None:
        """Raise SoapyRefusal unless there is such a channel."""
        n = self.n_channels(direction)
        if not 0 <= channel < n:
            raise SoapyRefusal(
                f"{'RX' if direction == RX else 'TX'} channel {channel}: there are 0 to {n - 1}"
            )

    def channel_info(self, direction: int, channel: int) -> dict[str, str]:
        """Which board, chip and LO a channel belongs to."""
        self.check(direction, channel)
        board, local = self.receiver(channel) if direction == RX else (self.first, channel)
        chip = board.spec.chip_of(local)
        names = {"board": str(board.index), "channel": str(local), "chip": str(chip)}
        return names | {"lo": f"{board.index}.{chip}"}

    # -- antennas ----------------------------------------------------------------------------------------------
    def antennas(self, direction: int, channel: int) -> list[str]:
        """Ports; the simulated boards have one per channel."""
        self.check(direction, channel)
        if not self.first.is_ad936x:
            return ["RX" if direction == RX else "TX"]
        return ["A_BALANCED" if direction == RX else "A"]

    def antenna(self, direction: int, channel: int) -> str:
        """The port in use."""
        return self.antennas(direction, channel)[0]

    def set_antenna(self, direction: int, channel: int, name: str) -> None:
        """Select a port."""
        one_of("antenna", name, self.antennas(direction, channel))

    # -- gain --------------------------------------------------------------------------------------------------
    def gain_range(self, direction: int, channel: int, element: str = GAIN_ELEMENT) -> Triple:
        """(minimum, maximum, step) in dB; TX: 0 is the greatest attenuation."""
        self.check(direction, channel)
        one_of("gain element", element, [GAIN_ELEMENT])
        if direction == TX:
            return 0.0, self.first.tx_gain_max_db, self.first.tx_gain_step_db
        board, local = self.receiver(channel)
        return board.gain_limits_db(local)

    def gain(self, direction: int, channel: int, element: str = GAIN_ELEMENT) -> float:
        """Gain in dB."""
        self.check(direction, channel)
        one_of("gain element", element, [GAIN_ELEMENT])
        if direction == TX:
            return self.first.tx_gain_db[channel]
        board, local = self.receiver(channel)
        return board.rx_gain_db(local)

    def set_gain(self, direction: int, channel: int, gain_db: float) -> None:
        """Set the gain in dB."""
        self.check(direction, channel)
        if direction == TX:
            taken = self.first.set_tx_gain(channel, gain_db)
        else:
            board, local = self.receiver(channel)
            taken = board.set_rx_gain(local, gain_db)
        self._warn("gain", gain_db, taken, self.gain_range(direction, channel)[2])

    def set_gain_element(self, direction: int, channel: int, element: str, gain_db: float) -> None:
        """Set the gain of an element; there is one."""
        one_of("gain element", element, [GAIN_ELEMENT])
        self.set_gain(direction, channel, gain_db)

    def gain_mode(self, direction: int, channel: int) -> bool:
        """True while automatic gain control is on."""
        self.check(direction, channel)
        if direction == TX:
            return False
        board, local = self.receiver(channel)
        return board.agc[local]

    def set_gain_mode(self, direction: int, channel: int, automatic: bool) -> None:
        """Switch automatic gain control; while on, gain writes are without effect."""
        self.check(direction, channel)
        if direction == TX:
            if automatic:
                raise SoapyRefusal("TX has no automatic gain control")
            return
        board, local = self.receiver(channel)
        board.agc[local] = automatic

    # -- frequency ---------------------------------------------------------------------------------------------
    def frequency(self, direction: int, channel: int, element: str = FREQUENCY_ELEMENT) -> float:
        """LO in Hz."""
        self.check(direction, channel)
        one_of("frequency component", element, [FREQUENCY_ELEMENT])
        if direction == TX:
            return self.first.tx_fc_hz
        board, local = self.receiver(channel)
        return board.fc_hz(local)

    def set_frequency(self, direction: int, channel: int, fc_hz: float, args: dict[str, str]) -> None:
        """Tune the LO that this channel shares with its chip; it relocks as the board does, tune args or not."""
        del args
        self.check(direction, channel)
        if direction == TX:
            taken = self.first.set_tx_fc(fc_hz)
        else:
            board, local = self.receiver(channel)
            taken = board.set_fc(local, fc_hz)
        self._warn("frequency", fc_hz, taken, 1.0)

    def set_frequency_element(
        self, direction: int, channel: int, element: str, fc_hz: float, args: dict[str, str]
    ) -> None:
        """Tune a component; there is one."""
        one_of("frequency component", element, [FREQUENCY_ELEMENT])
        self.set_frequency(direction, channel, fc_hz, args)

    def frequency_range(self, direction: int, channel: int, element: str = FREQUENCY_ELEMENT) -> list[Triple]:
        """Ranges of the LO in Hz."""
        self.check(direction, channel)
        one_of("frequency component", element, [FREQUENCY_ELEMENT])
        return [(*self.first.spec.fc_hz, 1.0)]

    # -- rate and bandwidth ------------------------------------------------------------------------------------
    def rate(self, direction: int, channel: int) -> float:
        """Sample rate in Hz, common to both directions."""
        self.check(direction, channel)
        return self.first.source.fs_hz(self.first.index)

    def set_rate(self, direction: int, channel: int, fs_hz: float) -> None:
        """Set the rate of the whole device; its boards run on one clock."""
        self.check(direction, channel)
        taken = self.first.nearest_rate(fs_hz)
        with _RATE_LOCK, ExitStack() as stack:
            for board in self.boards:
                stack.enter_context(board.held_streams())
            for board in self.boards:
                board.write_rate(taken)
        self._warn("sample rate", fs_hz, taken, 1.0)

    def rates(self, direction: int, channel: int) -> list[float]:
        """The fixed rates; of a board without such, common ones."""
        self.check(direction, channel)
        spec = self.first.spec
        common = (1e6, 2e6, 2.5e6, 3.84e6, 5e6, 10e6, 15.36e6, 20e6, 30.72e6, 61.44e6)
        return list(spec.fs_fixed_hz or common)

    def rate_range(self, direction: int, channel: int) -> list[Triple]:
        """Ranges of the rate in Hz."""
        self.check(direction, channel)
        spec = self.first.spec
        return [(fs, fs, 0.0) for fs in spec.fs_fixed_hz] or [(*spec.fs_hz, 1.0)]

    def bandwidth(self, direction: int, channel: int) -> float:
        """Analogue bandwidth in Hz."""
        self.check(direction, channel)
        return self.first.bandwidth_hz[direction]

    def set_bandwidth(self, direction: int, channel: int, bandwidth_hz: float) -> None:
        """Set the analogue bandwidth. The simulated filter is flat; 0 asks for that of the rate."""
        self.check(direction, channel)
        wanted = bandwidth_hz or self.rate(direction, channel)
        for board in self.boards:
            board.bandwidth_hz[direction] = board.clip_bandwidth(wanted)
        self._warn("bandwidth", wanted, self.first.bandwidth_hz[direction], 1.0)

    def bandwidth_range(self, direction: int, channel: int) -> list[Triple]:
        """Ranges of the bandwidth in Hz."""
        self.check(direction, channel)
        return [self.first.bandwidth_limits_hz]

    # -- streams -----------------------------------------------------------------------------------------------
    def native_format(self, direction: int, channel: int) -> tuple[str, float]:
        """("CS16", full scale): RX in steps of the converter, so that the client's division is exact."""
        from sim_backend.soapy_remote.datagram import TX_FULL_SCALE

        self.check(direction, channel)
        return "CS16", TX_FULL_SCALE if direction == TX else float(1 << (self.adc_bits - 1))

    @property
    def adc_bits(self) -> int:
        """Bits of the receive samples, including sign."""
        return self.first.spec.adc_bits

    def stream_args(self, direction: int, channel: int) -> list[ArgInfo]:
        """Stream arguments besides those that the client adds."""
        self.check(direction, channel)
        if direction == RX:
            return []
        words = "repeat what is written up to END_BURST until the stream is deactivated"
        return [ArgInfo("cyclic", "false", "Cyclic", words, kind=ArgType.BOOL)]

    # -- all the rest ------------------------------------------------------------------------------------------
    def opened(self) -> None:
        """A client has made this device."""
        for board in self.boards:
            board.opened()

    def closed(self) -> None:
        """That client has gone."""
        for board in self.boards:
            board.closed()

    def _warn(self, what: str, asked: float, taken: float, step: float) -> None:
        if abs(asked - taken) > step / 2 + 1e-9 * abs(asked):
            self.log(WARNING, f"{self.serial}: {what} {asked:.9g} is not possible, {taken:.9g} was taken")


def one_of(what: str, name: str, known: list[str]) -> None:
    """Raise SoapyRefusal unless the name is known; "" stands for the first."""
    if name and name not in known:
        raise SoapyRefusal(f"{what} {name!r} is not one of {', '.join(known) or '(none)'}")


def refuse(*_: Any) -> Any:
    """Handler of a call that this device does not support."""
    raise SoapyRefusal("not supported by this device")
