"""One device behind SoapySDR: settings with read-back, time, identity; no samples here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from drivers.soapy.address import Address
from drivers.soapy.binding import import_soapy, native_format
from drivers.soapy.caller import DRIVER_ERRORS
from drivers.soapy.device_table import find_table
from drivers.soapy.handle import Handle
from drivers.soapy.ranges import as_dict, as_range, say, within
from hil.core.device import Range
from hil.core.errors import (
    ConfigError,
    ConnectionLost,
    DeviceNotFound,
    ProtocolError,
    UnsupportedSetting,
)

_LOG = logging.getLogger("hil.soapy")
_CALL_S = 35.0  # SoapyRemote's own deadline is 30 s


class Refused(Exception):
    """The driver answered a call with an error; it stays usable.

    arguments : True where the driver could not even read what it was given.
    """

    def __init__(self, text: str, *, arguments: bool = False) -> None:
        super().__init__(text)
        self.arguments = arguments


class Radio:
    """A device, opened.

    Parameters
    ----------
    address : what to open.

    Raises DriverUnavailable, DeviceNotFound, UnsupportedSetting (a setting in the URI).
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.uri = f"soapy:{address.text}"
        self.soapy = import_soapy()
        self._handle: Handle | None = None
        self.reopen()

    # ---- opening --------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """False once the device was dropped."""
        return self._handle is not None

    @property
    def device(self) -> Any:
        """SoapySDR's device. Raises ConnectionLost once it was dropped."""
        return self._present().device

    def _present(self) -> Handle:
        handle = self._handle
        if handle is None:
            raise ConnectionLost(
                f"{self.uri}: the connection was lost", uri=self.uri, hint="configure() connects again"
            )
        return handle

    def reopen(self) -> None:
        """Open (again). Raises DeviceNotFound, ConfigError (arguments of the URI), UnsupportedSetting."""
        self.drop()
        try:
            self._handle = Handle(self.soapy, self.address, self.uri)
        except (ValueError, IndexError, OverflowError) as err:
            given = ",".join(f"{key}={value}" for key, value in self.address.device_args.items())
            raise ConfigError(
                f"{self.uri}: its driver cannot read the arguments {given} ({err})",
                hint="numbers are written without units, remote:timeout in microseconds",
            ) from err
        except (*DRIVER_ERRORS, ConnectionLost) as err:
            raise DeviceNotFound(
                f"{self.uri}: no device answers ({str(err).removeprefix(f'{self.uri}: ')})",
                uri=self.uri,
                hint="SoapySDRUtil --probe=... must find it first; check cable, power and address",
            ) from err
        try:
            self._identify()
            self._apply_address()
        except Refused as err:
            self.drop()
            raise ProtocolError(
                f"{self.uri}: the driver refuses to describe the device: {err}", uri=self.uri
            ) from err
        except BaseException:
            self.drop()
            raise

    def _identify(self) -> None:
        rx = self.soapy.SOAPY_SDR_RX
        self.n_channels = int(self.ask("getNumChannels", rx))
        if self.n_channels < 1:
            raise DeviceNotFound(f"{self.uri}: the device has no receiver", uri=self.uri)
        info = as_dict(self.ask("getHardwareInfo"))
        self.driver_key = str(self.ask("getDriverKey"))
        self.hardware_key = str(self.ask("getHardwareKey"))
        self.model = self.hardware_key or self.driver_key
        self.serial = (
            info.get("serial") or self.address.device_args.get("serial") or f"{self.driver_key}@{self.uri}"
        )
        self.firmware = next(
            (info[k] for k in ("firmware", "fw_version", "firmwareVersion") if k in info), ""
        )
        keys = {self.driver_key, self.address.driver}
        self.table = find_table(keys, self.hardware_key)
        self.groups = self._find_groups()
        self.has_time = bool(self.ask("hasHardwareTime", ""))
        self.formats = tuple(str(f) for f in self.ask("getStreamFormats", rx, 0))
        self.native = self.call("native format", native_format, self.soapy, self.device, rx, 0)
        self.n_transmitters = int(self.ask("getNumChannels", self.soapy.SOAPY_SDR_TX))

    def _find_groups(self) -> tuple[tuple[int, ...], ...]:
        """From the URI, else from the channels' own information ("lo"), else from the table."""
        stated = self.address.groups()
        if stated is not None:
            if sorted(c for g in stated for c in g) != list(range(self.n_channels)):
                raise ConfigError(
                    f"{self.uri}: groups must name each of the {self.n_channels} channels once",
                    hint="channels that share an LO: groups=0+1/2+3",
                )
            return stated
        rx = self.soapy.SOAPY_SDR_RX
        oscillators = [
            as_dict(self.ask("getChannelInfo", rx, c)).get("lo", "") for c in range(self.n_channels)
        ]
        if not all(oscillators):
            return self.table.groups(self.n_channels)
        return tuple(
            tuple(c for c, name in enumerate(oscillators) if name == lo) for lo in dict.fromkeys(oscillators)
        )

    def _apply_address(self) -> None:
        """Settings of the URI; rate, bandwidth, carrier and gain included."""
        words, numbers, rx = self.address.words, self.address.numbers, self.soapy.SOAPY_SDR_RX
        for key, kind in (("clock_source", "ClockSource"), ("time_source", "TimeSource")):
            if key in words:
                allowed = tuple(self.ask(f"list{kind}s"))
                self._choose(key, words[key], allowed, f"set{kind}", f"get{kind}")
        names = words["antenna"].split("+") if "antenna" in words else []
        if len(names) not in (0, 1, self.n_channels):
            raise UnsupportedSetting(
                "antenna", words["antenna"], f"one name, or {self.n_channels} joined by +", uri=self.uri
            )
        for c in range(self.n_channels if names else 0):
            name = names[c % len(names)]
            self._choose(
                "antenna", name, tuple(self.ask("listAntennas", rx, c)), "setAntenna", "getAntenna", rx, c
            )
        for key, value in self.address.settings.items():
            try:
                self.ask("writeSetting", key, value)
            except Refused as err:
                raise UnsupportedSetting(
                    key, value, f"what its driver accepts ({err})", uri=self.uri
                ) from err
        if "rate" in numbers:
            self.set_fs(numbers["rate"])
        if "bandwidth" in numbers:
            self.set_bandwidth(numbers["bandwidth"])
        if "freq" in numbers:
            self.set_fc(numbers["freq"])
        if "gain" in numbers:
            for c in range(self.n_channels):
                self.set_automatic(c, False)
                self.set_gain(c, numbers["gain"])

    def _choose(
        self, field: str, name: str, allowed: tuple[str, ...], setter: str, getter: str, *where: int
    ) -> None:
        listed = ", ".join(allowed) or "none"
        if name not in allowed:
            raise UnsupportedSetting(field, name, listed, uri=self.uri)
        try:
            self.ask(setter, *where, name)
        except Refused as err:
            raise UnsupportedSetting(field, name, f"{listed}; it refused ({err})", uri=self.uri) from err
        taken = str(self.ask(getter, *where))
        if taken != name:
            raise UnsupportedSetting(field, name, f"{listed}; it took {taken!r}", uri=self.uri)

    # ---- calls ----------------------------------------------------------------------------------------

    def ask(self, method: str, *args: Any, deadline_s: float = _CALL_S) -> Any:
        """Call a method of SoapySDR's device.

        Raises Refused (an answer), ConnectionLost; after the latter the device is dropped.
        """
        handle = self._present()
        return self._run(handle, method, getattr(handle.device, method), args, deadline_s)

    def call(self, what: str, function: Callable[..., Any], *args: Any, deadline_s: float = _CALL_S) -> Any:
        """Call a function on the device's own thread; raises as `ask`."""
        return self._run(self._present(), what, function, args, deadline_s)

    def _run(
        self,
        handle: Handle,
        what: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        deadline_s: float,
    ) -> Any:
        try:
            return handle.run(what, function, *args, deadline_s=deadline_s)
        except ConnectionLost:
            self._lose(handle)
            raise
        except DRIVER_ERRORS as err:
            text = str(err) or type(err).__name__
            told = (
                "RemoteError" in text or "not supported" in text or isinstance(err, (ValueError, IndexError))
            )
            if self.address.remote and not told and ("Soapy" in text or isinstance(err, MemoryError)):
                # the answer to this call may still come: the connection is out of step
                self._lose(handle)
                raise ConnectionLost(
                    f"{self.uri}: {what}: {text}", uri=self.uri, hint="check the server, then open it again"
                ) from err
            raise Refused(
                text.removeprefix("RemoteError: "), arguments=told and "RemoteError" not in text
            ) from err
        except (TypeError, AttributeError) as err:
            raise ProtocolError(f"{self.uri}: {what}: unexpected answer ({err})", uri=self.uri) from err

    def hold(self) -> Handle:
        """The device, not freed until the caller says `let_go`. Raises ConnectionLost."""
        handle = self._present()
        handle.hold()
        return handle

    def has(self, handle: Handle) -> bool:
        """True while this is the present connection."""
        return self._handle is handle

    def _lose(self, handle: Handle) -> None:
        if self._handle is handle:
            self._handle = None
        handle.end(lost=True)

    def drop(self) -> None:
        """Give the device up. It is freed once the streams on it are closed."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.end()

    def abandon(self, handle: Handle, why: str) -> None:
        """A thread of the driver cannot be ended: never free the device."""
        _LOG.warning("%s: %s", self.uri, why)
        if self._handle is handle:
            self._handle = None
        handle.abandon()

    # ---- abilities ------------------------------------------------------------------------------------

    def ranges(self, what: str, channel: int = 0) -> list[Range]:
        """Allowed values of "Frequency", "SampleRate" or "Bandwidth", ascending."""
        found = self.ask(f"get{what}Range", self.soapy.SOAPY_SDR_RX, channel)
        return sorted((as_range(r) for r in found), key=lambda r: (r.minimum, r.maximum))

    def gain_range(self, channel: int = 0) -> Range:
        """Allowed overall gain in dB."""
        return as_range(self.ask("getGainRange", self.soapy.SOAPY_SDR_RX, channel))

    def fc_hz(self, channel: int = 0) -> float:
        """Carrier, Hz."""
        return float(self.ask("getFrequency", self.soapy.SOAPY_SDR_RX, channel))

    def fs_hz(self, channel: int = 0) -> float:
        """Samples per second."""
        return float(self.ask("getSampleRate", self.soapy.SOAPY_SDR_RX, channel))

    def bandwidth_hz(self, channel: int = 0) -> float:
        """Analogue bandwidth, Hz; 0 where the device does not say."""
        return float(self.ask("getBandwidth", self.soapy.SOAPY_SDR_RX, channel))

    def tells_bandwidth(self) -> bool:
        """True if the device has an analogue filter and says which."""
        return bool(self.ranges("Bandwidth")) and self.bandwidth_hz() > 0

    def gain_db(self, channel: int) -> float:
        """Overall gain, dB."""
        return float(self.ask("getGain", self.soapy.SOAPY_SDR_RX, channel))

    def automatic(self, channel: int) -> bool:
        """True while an AGC sets the gain."""
        rx = self.soapy.SOAPY_SDR_RX
        return bool(self.ask("hasGainMode", rx, channel)) and bool(self.ask("getGainMode", rx, channel))

    def time_ns(self) -> int:
        """Hardware time."""
        return int(self.ask("getHardwareTime", ""))

    # ---- settings -------------------------------------------------------------------------------------

    def set_fc(self, fc_hz: float) -> bool:
        """Tune all channels; True if an LO was written."""
        allowed = self.ranges("Frequency")
        return self._set_all("fc_hz", fc_hz, 1.0, 1000.0, allowed, self.fc_hz, "setFrequency")

    def set_fs(self, fs_hz: float) -> bool:
        """Set the rate of all channels; True if it was written."""
        allowed = self.ranges("SampleRate")
        return self._set_all(
            "fs_hz", fs_hz, 0.5, max(4.0, 2e-6 * fs_hz), allowed, self.fs_hz, "setSampleRate"
        )

    def set_bandwidth(self, bandwidth_hz: float) -> bool:
        """Set the analogue bandwidth of all channels; True if it was written."""
        allowed = self.ranges("Bandwidth")
        if not allowed:
            raise UnsupportedSetting(
                "bandwidth_hz", bandwidth_hz, "none: it has no such filter", uri=self.uri
            )
        return self._set_all(
            "bandwidth_hz", bandwidth_hz, 1.0, 0.01 * bandwidth_hz, allowed, self.bandwidth_hz, "setBandwidth"
        )

    def _set_all(
        self,
        field: str,
        value: float,
        close: float,
        tolerance: float,
        allowed: list[Range],
        read: Callable[[int], float],
        setter: str,
    ) -> bool:
        words = say(allowed)
        if allowed and not within(allowed, value):
            raise UnsupportedSetting(field, f"{value:.10g}", words, uri=self.uri)
        wrote = False
        for channel in range(
            self.n_channels
        ):  # a channel that shares the LO of an earlier one is not written again
            if abs(read(channel) - value) >= close:
                self.write(field, value, words, setter, channel)
                wrote = True
        for channel in range(self.n_channels):
            taken = read(channel)
            if not abs(taken - value) <= tolerance:
                raise UnsupportedSetting(
                    field, f"{value:.10g}", f"{words}; it took {taken:.10g}", uri=self.uri
                )
        return wrote

    def write(self, field: str, value: object, allowed: object, setter: str, channel: int) -> None:
        """Call a setter of the receiver. Raises UnsupportedSetting if the driver refuses."""
        try:
            self.ask(setter, self.soapy.SOAPY_SDR_RX, channel, value)
        except Refused as err:
            raise UnsupportedSetting(field, value, f"{allowed}; it refused ({err})", uri=self.uri) from err

    def set_automatic(self, channel: int, on: bool) -> bool:
        """Switch the AGC; True if it was written."""
        rx = self.soapy.SOAPY_SDR_RX
        if not self.ask("hasGainMode", rx, channel):
            if on:
                raise UnsupportedSetting("gain_mode", "slow_attack", "manual only", uri=self.uri)
            return False
        if bool(self.ask("getGainMode", rx, channel)) == on:
            return False
        name = "slow_attack" if on else "manual"
        self.write("gain_mode", on, "manual, slow_attack", "setGainMode", channel)
        if bool(self.ask("getGainMode", rx, channel)) != on:
            raise UnsupportedSetting("gain_mode", name, "the other mode only", uri=self.uri)
        return True

    def set_gain(self, channel: int, gain_db: float) -> bool:
        """Set a manual gain; True if it was written."""
        allowed = self.gain_range(channel)
        if not allowed.minimum <= gain_db <= allowed.maximum:
            raise UnsupportedSetting("gain_db", gain_db, allowed, uri=self.uri)
        if abs(self.gain_db(channel) - gain_db) < 1e-6:
            return False
        self.write("gain_db", float(gain_db), allowed, "setGain", channel)
        taken = self.gain_db(channel)
        if not abs(taken - gain_db) <= 0.5 * (allowed.step or 1.0) + 1e-6:
            raise UnsupportedSetting("gain_db", f"{gain_db:g}", f"{allowed}; it took {taken:g}", uri=self.uri)
        return True

    def set_time_at_pulse(self, time_ns: int) -> None:
        """Set the hardware time at the next pulse of the time source. Raises Refused."""
        self.ask("setHardwareTime", time_ns, "PPS")
