"""Gains, carriers and rates of the transmitters of one SoapySDR device or of an array of them."""

from __future__ import annotations

from collections.abc import Callable

from drivers.soapy.radio import Radio, Refused
from drivers.soapy.ranges import as_range, say
from hil.core.device import Range
from hil.core.errors import UnsupportedSetting


class TxPorts:
    """Transmit channel k of the array counts over the devices in order; every setting is read back.

    SoapySDR knows gains, not attenuations: `attenuation_db = greatest gain - gain`.

    Parameters
    ----------
    moved : tells the receiver that its LO was written.
    """

    def __init__(self, radios: list[Radio], uri: str, moved: Callable[[], None]) -> None:
        self._radios = radios
        self._uri = uri
        self._moved = moved
        self.where = [(r, c) for r, radio in enumerate(radios) for c in range(radio.n_transmitters)]
        self._gains: list[Range] = []

    def read_limits(self) -> None:
        """Read the ranges of the gains. Raises Refused, ConnectionLost, as all below."""
        self._gains = [as_range(self._ask(r, "getGainRange", c)) for r, c in self.where]

    def _ask(self, radio: int, method: str, *args: object) -> object:
        """A call on the transmit side of a device."""
        return self._radios[radio].ask(method, self._radios[radio].soapy.SOAPY_SDR_TX, *args)

    def _number(self, port: int, method: str) -> float:
        radio, channel = self.where[port]
        return float(self._ask(radio, method, channel))  # pyright: ignore[reportArgumentType]

    def _write(self, port: int, field: str, value: float, allowed: str, method: str) -> None:
        radio, channel = self.where[port]
        try:
            self._ask(radio, method, channel, value)
        except Refused as err:
            raise UnsupportedSetting(
                field, f"{value:.10g}", f"{allowed}; it refused ({err})", uri=self._uri
            ) from err

    def carriers(self, port: int) -> list[Range]:
        """Allowed carriers, Hz."""
        radio, channel = self.where[port]
        found = self._ask(radio, "getFrequencyRange", channel)
        return [as_range(r) for r in found] or [Range(0.0, float("inf"))]  # pyright: ignore[reportGeneralTypeIssues]

    def fc_hz(self, port: int) -> float:
        """Carrier, Hz."""
        return self._number(port, "getFrequency")

    @property
    def attenuation_range(self) -> Range:
        """That which all channels allow, dB."""
        return Range(0.0, min(g.maximum - g.minimum for g in self._gains), self._gains[0].step)

    def greatest_db(self, port: int) -> float:
        """Greatest attenuation of a channel."""
        return self._gains[port].maximum - self._gains[port].minimum

    def attenuation_db(self, port: int) -> float:
        """Attenuation, dB."""
        # the last digits of a difference of floats would make a value off its step
        return round(self._gains[port].maximum - self._number(port, "getGain"), 6)

    def attenuate(self, port: int, attenuation_db: float | None) -> None:
        """Set it; None: the least gain. Raises UnsupportedSetting."""
        limits = self._gains[port]
        gain = limits.minimum if attenuation_db is None else round(limits.maximum - attenuation_db, 6)
        if abs(self._number(port, "getGain") - gain) > 1e-6:
            self._write(port, "attenuation_db", gain, f"{limits} of gain", "setGain")
        taken = self._number(port, "getGain")
        if abs(taken - gain) > 0.5 * (limits.step or 1.0) + 1e-6:
            raise UnsupportedSetting(
                "attenuation_db", attenuation_db, f"{limits} of gain; it took {taken:g}", uri=self._uri
            )

    def tune(self, port: int, fc_hz: float) -> None:
        """Set the carrier. Raises UnsupportedSetting, also if the LO is that of the receiver, which goes back."""
        radio = self._radios[self.where[port][0]]
        before = radio.fc_hz()
        if abs(self.fc_hz(port) - fc_hz) >= 1.0:
            self._write(port, "fc_hz", fc_hz, say(self.carriers(port)), "setFrequency")
        taken = self.fc_hz(port)
        if not abs(taken - fc_hz) <= 1000.0:
            allowed = f"{say(self.carriers(port))}; it took {taken:.10g}"
            raise UnsupportedSetting("fc_hz", f"{fc_hz:.10g}", allowed, uri=self._uri)
        if abs(radio.fc_hz() - before) >= 1.0:
            # only now is it known that they share an LO: the receiver goes back to where it was
            radio.set_fc(before)
            self._moved()
            raise UnsupportedSetting(
                "fc_hz", f"{fc_hz:.10g}", f"{before:.10g} (its LO is that of the receiver)", uri=self._uri,
                hint="tune the receiver (--fc) and leave the transmitter's carrier out",
            )  # fmt: skip

    def match_rate(self, port: int) -> None:
        """Give the transmitter the receiver's rate. Raises UnsupportedSetting."""
        radio = self._radios[self.where[port][0]]
        fs_hz = radio.fs_hz()
        if abs(self._number(port, "getSampleRate") - fs_hz) >= 0.5:
            self._write(port, "fs_hz", fs_hz, "other rates", "setSampleRate")
        taken = self._number(port, "getSampleRate")
        if not abs(taken - fs_hz) <= max(4.0, 2e-6 * fs_hz) or abs(radio.fs_hz() - fs_hz) >= 0.5:
            raise UnsupportedSetting(
                "fs_hz", f"{fs_hz:.10g}", f"{taken:.10g} for the transmitter", uri=self._uri
            )
