"""The call table: id -> argument items, reply items, and what answers it.

The calls that belong to a connection (find, make, logs, streams) are answered by sim_backend.soapy_remote.session.
Codes of items: see `wire.encode`; "c" direction and "i" channel lead most calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sim_backend.soapy_remote.device import (
    DRIVER_KEY,
    FREQUENCY_ELEMENT,
    GAIN_ELEMENT,
    REFERENCE_HZ,
    SoapyDevice,
    refuse,
)
from sim_backend.soapy_remote.errors import SoapyRefusal

FIND, MAKE, UNMAKE, HANGUP = 0, 1, 2, 3
GET_SERVER_ID, START_LOG, STOP_LOG = 20, 21, 22
SETUP_STREAM, CLOSE_STREAM, ACTIVATE_STREAM, DEACTIVATE_STREAM = 300, 301, 302, 303
SETUP_STREAM_BYPASS = 307


class Call(NamedTuple):
    """`run(device, *args)` returns one value, or a tuple where `reply` has several codes; "V": nothing."""

    args: str
    reply: str
    run: Callable[..., Any]


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def _checked(value: Any) -> Callable[..., Any]:
    """Answers with a constant for channels that exist."""

    def run(device: SoapyDevice, direction: int, channel: int) -> Any:
        device.check(direction, channel)
        return value

    return run


def _part(name: str) -> Callable[..., Any]:
    """The method of the device's peripherals of this name."""
    return lambda device, *args: getattr(device.peripherals, name)(*args)


def _mapping(_: SoapyDevice, direction: int, mapping: str) -> None:
    del direction
    if mapping:
        raise SoapyRefusal(f"frontend mapping {mapping!r}: the channels of this device are fixed")


def _master_clock(_: SoapyDevice, rate_hz: float) -> None:
    if rate_hz != REFERENCE_HZ:
        raise SoapyRefusal(f"clock rate {rate_hz:g} Hz: this device has {REFERENCE_HZ:g} Hz only")


def _set_has_not(device: SoapyDevice, direction: int, channel: int, automatic: bool) -> None:
    device.check(direction, channel)
    if automatic:
        refuse()


_S = SoapyDevice
_CLOCK = [(REFERENCE_HZ, REFERENCE_HZ, 0.0)]

#: Calls of an opened device.
CALLS: dict[int, Call] = {
    100: Call("", "s", _constant(DRIVER_KEY)),
    101: Call("", "s", lambda device: device.first.spec.name),
    102: Call("", "K", _S.hardware_info),
    200: Call("cs", "V", _mapping),
    201: Call("c", "s", _constant("")),
    202: Call("c", "i", _S.n_channels),
    203: Call("ci", "b", _checked(True)),
    204: Call("ci", "K", _S.channel_info),
    304: Call("ci", "S", _checked(["CS16", "CF32", "CS12", "CS8"])),
    305: Call("ci", "sd", _S.native_format),
    306: Call("ci", "a", _S.stream_args),
    500: Call("ci", "S", _S.antennas),
    501: Call("cis", "V", _S.set_antenna),
    502: Call("ci", "s", _S.antenna),
    503: Call("ci", "b", _checked(True)),
    504: Call("cid", "V", _part("set_correction")),
    505: Call("ci", "d", _part("correction_ppm")),
    600: Call("ci", "b", _checked(False)),
    601: Call("cib", "V", _set_has_not),
    602: Call("ci", "b", _checked(False)),
    603: Call("ci", "b", _part("is_receiver")),
    604: Call("ciz", "V", _part("set_dc_offset")),
    605: Call("ci", "z", _part("dc_offset")),
    606: Call("ci", "b", _part("is_receiver")),
    607: Call("ciz", "V", _part("set_iq_balance")),
    608: Call("ci", "z", _part("iq_balance")),
    609: Call("ci", "b", _checked(False)),
    610: Call("cib", "V", _set_has_not),
    611: Call("ci", "b", _checked(False)),
    700: Call("ci", "S", _checked([GAIN_ELEMENT])),
    701: Call("cib", "V", _S.set_gain_mode),
    702: Call("ci", "b", _S.gain_mode),
    703: Call("cid", "V", _S.set_gain),
    704: Call("cisd", "V", _S.set_gain_element),
    705: Call("ci", "d", _S.gain),
    706: Call("cis", "d", _S.gain),
    707: Call("ci", "R", _S.gain_range),
    708: Call("cis", "R", _S.gain_range),
    709: Call("ci", "b", _part("is_receiver")),
    800: Call("cidK", "V", _S.set_frequency),
    801: Call("cisdK", "V", _S.set_frequency_element),
    802: Call("ci", "d", _S.frequency),
    803: Call("cis", "d", _S.frequency),
    804: Call("ci", "S", _checked([FREQUENCY_ELEMENT])),
    805: Call("ci", "r", _S.frequency_range),
    806: Call("cis", "r", _S.frequency_range),
    807: Call("ci", "a", _checked([])),
    900: Call("cid", "V", _S.set_rate),
    901: Call("ci", "d", _S.rate),
    902: Call("ci", "D", _S.rates),
    903: Call("cid", "V", _S.set_bandwidth),
    904: Call("ci", "d", _S.bandwidth),
    905: Call("ci", "D", _checked([])),
    906: Call("ci", "r", _S.bandwidth_range),
    907: Call("ci", "r", _S.rate_range),
    1000: Call("d", "V", _master_clock),
    1001: Call("", "d", _constant(REFERENCE_HZ)),
    1002: Call("", "S", _part("sources")),
    1003: Call("s", "V", _part("set_clock_source")),
    1004: Call("", "s", _part("clock_source")),
    1005: Call("", "S", _part("sources")),
    1006: Call("s", "V", _part("set_time_source")),
    1007: Call("", "s", _part("time_source")),
    1008: Call("", "r", _constant(_CLOCK)),
    1009: Call("d", "V", _master_clock),
    1010: Call("", "d", _constant(REFERENCE_HZ)),
    1011: Call("", "r", _constant(_CLOCK)),
    1100: Call("s", "b", _part("has_time")),
    1101: Call("s", "l", _part("time_ns")),
    1102: Call("ls", "V", _part("set_time")),
    1103: Call("ls", "V", _part("set_command_time")),
    1200: Call("", "S", _part("sensors")),
    1201: Call("s", "s", _part("sensor")),
    1202: Call("ci", "S", _part("channel_sensors")),
    1203: Call("cis", "s", _part("channel_sensor")),
    1204: Call("s", "A", _part("sensor_info")),
    1205: Call("cis", "A", _part("channel_sensor_info")),
    1300: Call("ii", "V", lambda device, at, value: device.peripherals.write_register("", at, value)),
    1301: Call("i", "i", lambda device, at: device.peripherals.read_register("", at)),
    1302: Call("", "S", _part("register_interfaces")),
    1303: Call("sii", "V", _part("write_register")),
    1304: Call("si", "i", _part("read_register")),
    1305: Call("siN", "V", _part("write_registers")),
    1306: Call("sii", "N", _part("read_registers")),
    1400: Call("ss", "V", _part("write_setting")),
    1401: Call("s", "s", _part("setting")),
    1402: Call("", "a", _part("settings")),
    1403: Call("ciss", "V", _part("write_channel_setting")),
    1404: Call("cis", "s", _part("channel_setting")),
    1405: Call("ci", "a", _checked([])),
    1500: Call("", "S", _part("gpio_banks")),
    1501: Call("si", "V", _part("write_gpio")),
    1502: Call("sii", "V", _part("write_gpio")),
    1503: Call("s", "i", _part("gpio")),
    1504: Call("si", "V", _part("write_gpio_dir")),
    1505: Call("sii", "V", _part("write_gpio_dir")),
    1506: Call("s", "i", _part("gpio_dir")),
    1600: Call("is", "V", refuse),
    1601: Call("ii", "s", refuse),
    1700: Call("iii", "i", refuse),
    1801: Call("", "S", _constant([])),
    1802: Call("ss", "V", refuse),
    1803: Call("si", "s", refuse),
}
