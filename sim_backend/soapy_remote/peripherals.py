"""Clocks, time, sensors, registers, settings, GPIO and corrections of a Soapy device."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sim_backend.iiod.errors import IioError
from sim_backend.iiod.registers import Registers
from sim_backend.soapy_remote.board import RX, RadioBoard
from sim_backend.soapy_remote.errors import SoapyRefusal
from sim_backend.soapy_remote.wire import ArgInfo, ArgType

if TYPE_CHECKING:
    from sim_backend.soapy_remote.device import SoapyDevice

_T = TypeVar("_T")
_SOURCES = ["internal", "external"]
_TIMES = ("", "PPS")
_GPIO_BANK = "GPIO"
_MAX_REGISTERS = 4096
_TEMPERATURE_DEGC = 36.5
_DEVICE_SENSORS = {
    "clock_locked": ArgInfo("clock_locked", "true", "Clock locked", "reference PLL", kind=ArgType.BOOL),
    "temperature": ArgInfo(
        "temperature", "0.0", "Temperature", "of the board", units="degC", kind=ArgType.FLOAT
    ),
}
_CHANNEL_SENSORS = {"lo_locked": ArgInfo("lo_locked", "true", "LO locked", "of its chip", kind=ArgType.BOOL)}
_TX_CYCLIC = ArgInfo(
    "tx_cyclic", "false", "Cyclic transmission", "default of the stream argument `cyclic`", kind=ArgType.BOOL
)
_TRUE = ("true", "1", "yes", "on")


def truth(text: str) -> bool:
    """A boolean as clients write it. Raises SoapyRefusal for anything else."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in ("false", "0", "no", "off", ""):
        return False
    raise SoapyRefusal(f"{text!r} is neither true nor false")


class Peripherals:
    """The parts of a device besides its signal path."""

    def __init__(self, device: SoapyDevice) -> None:
        self._device = device
        self._clock = self._time = _SOURCES[0]
        self.tx_cyclic = False
        self._gpio = {_GPIO_BANK: 0}
        self._gpio_dir = {_GPIO_BANK: 0}
        product = {0x37: 0x0A} if device.first.is_ad936x else {}
        self._registers = {
            f"phy{board.index}.{chip}": Registers(product)
            for board in device.boards
            for chip in range(len(board.spec.chips))
        }

    # -- clocks and time ---------------------------------------------------------------------------------------
    def clock_source(self) -> str:
        """Reference clock in use."""
        return self._clock

    def set_clock_source(self, name: str) -> None:
        """Select the reference clock; the boards of a scene share one either way."""
        self._clock = self._source("clock source", name)

    def time_source(self) -> str:
        """Source of the pulse that sets the time."""
        return self._time

    def set_time_source(self, name: str) -> None:
        """Select the source of the pulse."""
        self._time = self._source("time source", name)

    @staticmethod
    def sources() -> list[str]:
        """Clock and time sources."""
        return list(_SOURCES)

    def _source(self, what: str, name: str) -> str:
        if name not in _SOURCES:
            raise SoapyRefusal(f"{what} {name!r} is not one of {', '.join(_SOURCES)}")
        return name

    @staticmethod
    def has_time(what: str) -> bool:
        """ "" is the present, "PPS" the last pulse."""
        return what in _TIMES

    def time_ns(self, what: str) -> int:
        """Hardware time in ns."""
        board = self._device.first
        self._check_time(what)
        return board.pulse_time_ns() if what == "PPS" else board.time_ns(board.now())

    def set_time(self, time_ns: int, what: str) -> None:
        """Set the hardware time now, or at the next pulse ("PPS")."""
        self._check_time(what)
        for board in self._device.boards:
            board.set_time(time_ns, at_edge=what == "PPS")

    def set_command_time(self, time_ns: int, what: str) -> None:
        """Settings that follow hold from this time on; 0 ends it."""
        del what
        for board in self._device.boards:
            board.command_time_ns = time_ns or None

    def _check_time(self, what: str) -> None:
        if what not in _TIMES:
            raise SoapyRefusal(f"hardware time {what!r} is not one of '', 'PPS'")

    # -- sensors -----------------------------------------------------------------------------------------------
    @staticmethod
    def sensors() -> list[str]:
        """Sensors of the device."""
        return list(_DEVICE_SENSORS)

    def sensor_info(self, key: str) -> ArgInfo:
        """Description of a sensor of the device."""
        return _known("sensor", key, _DEVICE_SENSORS)

    def sensor(self, key: str) -> str:
        """Reading of a sensor of the device."""
        self.sensor_info(key)
        return "true" if key == "clock_locked" else f"{_TEMPERATURE_DEGC:.1f}"

    def channel_sensors(self, direction: int, channel: int) -> list[str]:
        """Sensors of a channel."""
        self._device.check(direction, channel)
        return list(_CHANNEL_SENSORS)

    def channel_sensor_info(self, direction: int, channel: int, key: str) -> ArgInfo:
        """Description of a sensor of a channel."""
        self._device.check(direction, channel)
        return _known("sensor", key, _CHANNEL_SENSORS)

    def channel_sensor(self, direction: int, channel: int, key: str) -> str:
        """Reading of a sensor of a channel."""
        return self.channel_sensor_info(direction, channel, key).value

    # -- registers ---------------------------------------------------------------------------------------------
    def register_interfaces(self) -> list[str]:
        """The chips, by board and number."""
        return list(self._registers)

    def read_register(self, name: str, address: int) -> int:
        """Value of a register of a chip; "" is the first."""
        try:
            return self._interface(name).read(address)
        except IioError:
            raise SoapyRefusal(f"there is no register {address:#x}") from None

    def write_register(self, name: str, address: int, value: int) -> None:
        """Write a register; unknown ones keep what is written."""
        try:
            self._interface(name).write(address & 0xFFFFFFFF, value)
        except IioError:
            raise SoapyRefusal(f"there is no register {address:#x}") from None

    def read_registers(self, name: str, address: int, length: int) -> list[int]:
        """Values of consecutive registers."""
        if not 0 <= length <= _MAX_REGISTERS:
            raise SoapyRefusal(f"{length} registers: up to {_MAX_REGISTERS} can be read at once")
        return [self.read_register(name, address + k) for k in range(length)]

    def write_registers(self, name: str, address: int, values: list[int]) -> None:
        """Write consecutive registers."""
        for k, value in enumerate(values):
            self.write_register(name, address + k, value)

    def _interface(self, name: str) -> Registers:
        return _known("register interface", name or next(iter(self._registers)), self._registers)

    # -- settings ----------------------------------------------------------------------------------------------
    @staticmethod
    def settings() -> list[ArgInfo]:
        """Settings of the device."""
        return [_TX_CYCLIC]

    def setting(self, key: str) -> str:
        """Value of a setting."""
        _known("setting", key, {_TX_CYCLIC.key: _TX_CYCLIC})
        return "true" if self.tx_cyclic else "false"

    def write_setting(self, key: str, value: str) -> None:
        """Change a setting."""
        _known("setting", key, {_TX_CYCLIC.key: _TX_CYCLIC})
        self.tx_cyclic = truth(value)

    def channel_setting(self, direction: int, channel: int, key: str) -> str:
        """There are no settings of channels."""
        self._device.check(direction, channel)
        return _known("channel setting", key, {})

    def write_channel_setting(self, direction: int, channel: int, key: str, value: str) -> None:
        """There are no settings of channels."""
        del value
        self.channel_setting(direction, channel, key)

    # -- GPIO --------------------------------------------------------------------------------------------------
    @staticmethod
    def gpio_banks() -> list[str]:
        """One bank of pins that lead nowhere."""
        return [_GPIO_BANK]

    def gpio(self, bank: str) -> int:
        """Value of the pins."""
        return _known("GPIO bank", bank, self._gpio)

    def write_gpio(self, bank: str, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Set the pins of the mask."""
        self._gpio[bank] = self.gpio(bank) & ~mask | value & mask

    def gpio_dir(self, bank: str) -> int:
        """Direction of the pins, 1: output."""
        return _known("GPIO bank", bank, self._gpio_dir)

    def write_gpio_dir(self, bank: str, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Set the direction of the pins of the mask."""
        self._gpio_dir[bank] = self.gpio_dir(bank) & ~mask | value & mask

    # -- corrections -------------------------------------------------------------------------------------------
    def is_receiver(self, direction: int, channel: int) -> bool:
        """True for RX, where DC and IQ corrections act."""
        self._device.check(direction, channel)
        return direction == RX

    def _receiver(self, direction: int, channel: int) -> tuple[RadioBoard, int]:
        if not self.is_receiver(direction, channel):
            raise SoapyRefusal("TX has no such correction")
        return self._device.receiver(channel)

    def dc_offset(self, direction: int, channel: int) -> complex:
        """What is added to every sample, of full scale 1."""
        board, local = self._receiver(direction, channel)
        return board.dc_offset[local]

    def set_dc_offset(self, direction: int, channel: int, value: complex) -> None:
        """Add a constant to every sample, of full scale 1."""
        board, local = self._receiver(direction, channel)
        board.dc_offset[local] = value

    def iq_balance(self, direction: int, channel: int) -> complex:
        """b of y = x + b conj(x)."""
        board, local = self._receiver(direction, channel)
        return board.iq_balance[local]

    def set_iq_balance(self, direction: int, channel: int, value: complex) -> None:
        """Correct the IQ image: y = x + b conj(x)."""
        board, local = self._receiver(direction, channel)
        board.iq_balance[local] = value

    def correction_ppm(self, direction: int, channel: int) -> float:
        """Trim of the reference oscillator."""
        self._device.check(direction, channel)
        return self._device.first.correction_ppm

    def set_correction(self, direction: int, channel: int, ppm: float) -> None:
        """Trim the reference oscillator of the whole device."""
        self._device.check(direction, channel)
        for board in self._device.boards:
            board.set_correction(ppm)


def _known(what: str, key: str, table: dict[str, _T]) -> _T:
    if key not in table:
        raise SoapyRefusal(f"{what} {key!r} is not one of {', '.join(table) or '(none)'}")
    return table[key]
