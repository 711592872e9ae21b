"""What the AD936x driver does behind its sysfs files: rates, filter, gain table, LO."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from sim_backend.iiod.errors import IioError
from sim_backend.iiod.tables import Device

if TYPE_CHECKING:
    from sim_backend.iiod.board import Board

#: Slowest ADC clock divided by the smallest decimation of the half-band filters.
MIN_RATE_WITHOUT_FIR_HZ = 25_000_000 // 12
MAX_RATE_HZ = 61_440_000
_MAX_FIR_INPUT_HZ = 122_880_000
_PRODUCT_ID = 0x0A
#: (highest LO in Hz, lowest gain, highest gain in dB) of the gain tables.
GAIN_TABLES = ((1.3e9, -1, 73), (4.0e9, -3, 71), (float("inf"), -10, 62))
_RX_LO = "out_altvoltage0_RX_LO_frequency"
_TX_LO = "out_altvoltage1_TX_LO_frequency"
_TX_LO_POWERDOWN = "out_altvoltage1_TX_LO_powerdown"
#: States of the enable state machine in which the transmitter runs.
_SENDING = ("fdd", "pinctrl", "pinctrl_fdd_indep")
_RATE_FILES = ("in_voltage_sampling_frequency", "out_voltage_sampling_frequency")
_FIR_FILES = ("in_voltage_filter_fir_en", "out_voltage_filter_fir_en", "in_out_voltage_filter_fir_en")
_FIR_LINE = re.compile(r"(RX|TX) (\d+) GAIN (-?\d+) (DEC|INT) (\d+)\Z")


class Ad936x:
    """One AD936x behind `phy`; it drives LO `chip` and channels 2 chip, 2 chip + 1 of the board."""

    def __init__(self, board: Board, phy: Device) -> None:
        self.board, self.phy, self.chip = board, phy, phy.chip
        self.store = phy.store
        self.rate_hz = round(board.source.fs_hz(board.index))
        slow = self.rate_hz < MIN_RATE_WITHOUT_FIR_HZ
        self.fir = (128, 4) if slow else (0, 0)
        self.fir_on = slow
        self.store[_RX_LO].value = str(round(board.source.fc_hz(board.index, self.chip)))
        self.store[_TX_LO].value = self.store[_RX_LO].value
        board.registers[phy.id].set_bits(0x37, _PRODUCT_ID)
        self._bind()

    def _bind(self) -> None:
        files = self.store
        files[_RX_LO].on_write = self._write_lo
        files[_TX_LO].on_write = self._write_tx_lo
        for key in (_TX_LO_POWERDOWN, "ensm_mode", *(f"out_voltage{tx}_hardwaregain" for tx in range(2))):
            files[key].on_write = lambda text, key=key: self._write_tx(key, text)
        for key in _RATE_FILES:
            files[key].on_read = lambda: str(self.rate_hz)
            files[key].on_write = self._write_rate
            files[key + "_available"].on_read = self._rates_available
        for key in _FIR_FILES:
            files[key].on_read = lambda: str(int(self.fir_on))
            files[key].on_write = self._write_fir_on
        files["filter_fir_config"].on_read = self._fir_status
        files["filter_fir_config"].on_write = self._write_fir
        files["tx_path_rates"].on_read = lambda: self._path_rates("DAC T2 T1 TF TXSAMP")
        files["rx_path_rates"].on_read = lambda: self._path_rates("ADC R2 R1 RF RXSAMP")
        for rx in range(2):
            gain = files[f"in_voltage{rx}_hardwaregain"]
            gain.value = f"{self.board.source.gain_db(self.board.index, self._channel(rx)):.6f} dB"
            gain.on_write = lambda text, rx=rx: self._write_gain(rx, text)
            available = files[f"in_voltage{rx}_hardwaregain_available"]
            available.on_read = lambda: "[{} 1 {}]".format(*self._gain_limits())

    def _channel(self, rx: int) -> int:
        return 2 * self.chip + rx

    def _lo_hz(self) -> int:
        return int(self.store[_RX_LO].value)

    def _gain_limits(self) -> tuple[int, int]:
        return next((low, high) for edge, low, high in GAIN_TABLES if self._lo_hz() <= edge)

    def _write_lo(self, text: str) -> str:
        self.board.write_lo(self.chip, float(text))
        self.store[_RX_LO].value = text
        low, high = self._gain_limits()
        for rx in range(2):  # the new table may not reach the old gain
            gain = self.store.number(f"in_voltage{rx}_hardwaregain")
            if not low <= gain <= high:
                self._set_gain(rx, min(max(gain, low), high))
        return text

    def _write_tx_lo(self, text: str) -> str:
        self.board.write_tx_lo(self.chip, float(text))
        return text

    def _write_tx(self, key: str, text: str) -> None:
        self.store[key].value = text
        self.board.write_tx(self.chip, key, text)

    def tx_levels(self) -> tuple[float, float]:
        """Amplitude that attenuation and power-down leave to TX1 and TX2."""
        off = self.store[_TX_LO_POWERDOWN].value == "1" or self.store["ensm_mode"].value not in _SENDING
        one, two = (self.store.number(f"out_voltage{tx}_hardwaregain") for tx in range(2))
        return (0.0, 0.0) if off else (10 ** (one / 20), 10 ** (two / 20))

    def _write_gain(self, rx: int, text: str) -> None:
        """In automatic modes the driver accepts the write and ignores it; the fraction is dropped."""
        if self.store[f"in_voltage{rx}_gain_control_mode"].value != "manual":
            return
        value = float(text.split()[0])
        low, high = self._gain_limits()
        if not low <= value <= high:
            raise IioError(errno.EINVAL)
        self._set_gain(rx, float(int(value)))

    def _set_gain(self, rx: int, gain_db: float) -> None:
        self.board.write_gain(self._channel(rx), gain_db)
        self.store[f"in_voltage{rx}_hardwaregain"].value = f"{gain_db:.6f} dB"

    def _rate_limits(self) -> tuple[int, int]:
        if not self.fir_on:
            return MIN_RATE_WITHOUT_FIR_HZ, MAX_RATE_HZ
        decimation = self.fir[1]
        return MIN_RATE_WITHOUT_FIR_HZ // decimation, min(MAX_RATE_HZ, _MAX_FIR_INPUT_HZ // decimation)

    def _rates_available(self) -> str:
        return "[{} 1 {}]".format(*self._rate_limits())

    def _write_rate(self, text: str) -> None:
        rate = int(text)
        low, high = self._rate_limits()
        if not low <= rate <= high:
            raise IioError(errno.EINVAL)
        self.board.write_rate(self.chip, float(rate))
        self.rate_hz = rate

    def _write_fir_on(self, text: str) -> None:
        on = text == "1"
        if on and not self.fir[0]:
            raise IioError(errno.EINVAL)
        if on and self.rate_hz * self.fir[1] > _MAX_FIR_INPUT_HZ:
            raise IioError(errno.EINVAL)
        if not on and self.rate_hz < MIN_RATE_WITHOUT_FIR_HZ:
            raise IioError(errno.EINVAL)
        self.fir_on = on

    def _fir_status(self) -> str:
        taps, factor = self.fir
        return f"FIR Rx: {taps},{factor} Tx: {taps},{factor}"

    def _write_fir(self, text: str) -> None:
        """Header lines with decimation and interpolation, then `tap,tap` lines; a multiple of 16, at most 128."""
        factors: dict[str, int] = {}
        taps = 0
        for line in (raw.strip() for raw in text.splitlines()):
            header = _FIR_LINE.match(line)
            if header:
                factors[header[1]] = int(header[5])
            elif re.match(r"-?\d+, *-?\d+\Z", line):
                taps += 1
            elif line and not line.startswith(("#", "BW", "RTX", "RRX")):
                raise IioError(errno.EINVAL)
        if factors.keys() != {"RX", "TX"} or any(f not in (1, 2, 4) for f in factors.values()):
            raise IioError(errno.EINVAL)
        if not 0 < taps <= 128 or taps % 16:
            raise IioError(errno.EINVAL)
        self.fir = (taps, factors["RX"])

    def _path_rates(self, names: str) -> str:
        sample = self.rate_hz
        filtered = sample * (self.fir[1] if self.fir_on else 1)
        converter = filtered
        stages = [filtered]
        for _ in range(3):
            converter = converter * 2 if converter <= 320_000_000 else converter
            stages.append(converter)
        pll = converter
        while pll < 715_000_000:
            pll *= 2
        rates = [*reversed(stages), sample]
        return f"BBPLL:{pll} " + " ".join(f"{n}:{r}" for n, r in zip(names.split(), rates, strict=True))
