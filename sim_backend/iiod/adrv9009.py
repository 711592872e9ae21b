"""What the ADRV9009 driver does behind its sysfs files: profile rates, power, link bring-up, LO."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from sim_backend.iiod.errors import IioError
from sim_backend.iiod.tables import Device

if TYPE_CHECKING:
    from sim_backend.iiod.board import Board

_LO = "out_altvoltage0_TRX_LO_frequency"
_HOP = "out_altvoltage0_TRX_LO_frequency_hopping_mode"
_RATE_FILES = (
    "in_voltage0_sampling_frequency",
    "in_voltage1_sampling_frequency",
    "in_voltage2_sampling_frequency",
    "in_voltage3_sampling_frequency",
    "out_voltage_sampling_frequency",
)
_BANDWIDTH_PER_RATE = 100 / 122.88
_TX_FILES = ("hardwaregain", "powerdown")
_RUNNING, _STOPPED = "opt_post_running_stage", "idle"


class Adrv9009:
    """One ADRV9009 behind `phy`; it drives LO `chip` and channels 2 chip, 2 chip + 1 of the board."""

    def __init__(self, board: Board, phy: Device) -> None:
        self.board, self.phy, self.chip = board, phy, phy.chip
        self.store = phy.store
        self.initialised = True
        self._bind()

    def _bind(self) -> None:
        files, source, index = self.store, self.board.source, self.board.index
        lo_hz = str(round(source.fc_hz(index, self.chip)))
        for key in (_LO, _HOP, "debug/adi,trx-pll-lo-frequency_hz"):
            files[key].value = lo_hz
        fs_hz = source.fs_hz(index)
        for key, file in files.files.items():  # the profile that the scene's rate stands for
            if key.endswith("_rf_bandwidth"):
                file.value = str(round(fs_hz * _BANDWIDTH_PER_RATE))
        files["debug/adi,rx-profile-rx-output-rate_khz"].value = str(round(fs_hz / 1000))
        for key, file in files.files.items():
            if not key.startswith(("debug/", "jesd204_")):
                file.on_read = lambda file=file: self._guarded(file.value)
                file.on_write = self._check_initialised
        files[_LO].on_write = self._write_lo
        files[_HOP].on_write = self._write_hop
        for key in _RATE_FILES:
            files[key].on_read = lambda: self._guarded(str(round(source.fs_hz(index))))
        for rx in range(4):
            gain = files[f"in_voltage{rx}_hardwaregain"]
            gain.on_read = lambda rx=rx: self._read_gain(rx)
            gain.on_write = lambda text, rx=rx: self._write_gain(rx, text)
            files[f"in_voltage{rx}_powerdown"].on_write = lambda text, rx=rx: self._write_powerdown(rx, text)
            if rx < 2:
                gain.value = f"{source.gain_db(index, 2 * self.chip + rx):.6f} dB"
                files[f"in_voltage{rx}_gain_control_mode"].on_write = self._write_gain_mode
        for key in ("ensm_mode", *(f"out_voltage{tx}_{name}" for tx in range(2) for name in _TX_FILES)):
            files[key].on_write = lambda text, key=key: self._write_tx(key, text)
        files["calibrate"].on_write = self._write_calibrate
        files["multichip_sync"].on_write = self._write_mcs
        files["profile_config"].on_write = self._write_profile
        files["jesd204_fsm_ctrl"].on_read = lambda: str(int(self.initialised))
        files["jesd204_fsm_ctrl"].on_write = self._write_fsm
        files["jesd204_fsm_state"].on_read = lambda: _RUNNING if self.initialised else _STOPPED
        files["debug/initialize"].on_write = self._write_initialize

    def _guarded(self, text: str) -> str:
        self._check_initialised("")
        return text

    def _check_initialised(self, text: str) -> str:
        if not self.initialised:
            raise IioError(errno.EBUSY)
        return text

    def _write_lo(self, text: str) -> str:
        self._check_initialised(text)
        self.board.write_lo(self.chip, float(text))
        return text

    def _write_hop(self, text: str) -> str:
        self._check_initialised(text)
        if self.store[_HOP + "_enable"].value == "1":
            self.store[_LO].value = text
            self.board.write_lo(self.chip, float(text))
        return text

    def _powered_down(self, rx: int) -> bool:
        return self.store[f"in_voltage{rx}_powerdown"].value == "1"

    def _read_gain(self, rx: int) -> str:
        if self._powered_down(rx):
            raise IioError(errno.EPROTO)
        return self._guarded(self.store[f"in_voltage{rx}_hardwaregain"].value)

    def _write_gain(self, rx: int, text: str) -> str | None:
        """The automatic gain control overrides what is written; the observation path has no AGC here."""
        self._check_initialised(text)
        if self._powered_down(rx):
            raise IioError(errno.EPROTO)
        if rx < 2:
            if self.store[f"in_voltage{rx}_gain_control_mode"].value != "manual":
                return None
            self.board.write_gain(2 * self.chip + rx, float(text.split()[0]))
        return text

    def _write_gain_mode(self, text: str) -> str:
        self._check_initialised(text)
        for rx in range(2):  # one setting of the chip behind a file per channel
            self.store[f"in_voltage{rx}_gain_control_mode"].value = text
        return text

    def _write_powerdown(self, rx: int, text: str) -> str:
        self._check_initialised(text)
        others = (2, 3) if rx < 2 else (0, 1)
        if text == "0" and not all(self._powered_down(other) for other in others):
            raise IioError(errno.EINVAL)
        return text

    def _write_tx(self, key: str, text: str) -> None:
        self._check_initialised(text)
        self.store[key].value = text
        self.board.write_tx(self.chip, key, text)

    def tx_levels(self) -> tuple[float, float]:
        """Amplitude that attenuation and power-down leave to TX1 and TX2."""
        one, two = (self._tx_level(tx) for tx in range(2))
        return one, two

    def _tx_level(self, tx: int) -> float:
        radio_on = self.initialised and self.store["ensm_mode"].value == "radio_on"
        if not radio_on or self.store[f"out_voltage{tx}_powerdown"].value == "1":
            return 0.0
        return 10 ** (self.store.number(f"out_voltage{tx}_hardwaregain") / 20)

    def _write_calibrate(self, text: str) -> str:
        self._check_initialised(text)
        if text == "1":
            self.board.note("calibrate", chip=self.chip)
        return "0"

    def _write_mcs(self, text: str) -> str:
        self._check_initialised(text)
        self.board.note("multichip_sync", chip=self.chip, step=int(text))
        return text

    def _write_profile(self, text: str) -> None:
        """A profile text is taken; the rate of the simulated profile stays that of the scene."""
        self._check_initialised(text)
        if "<profile" not in text:
            raise IioError(errno.EINVAL)
        self._relock()

    def _write_fsm(self, text: str) -> None:
        self.initialised = text == "1"
        if self.initialised:
            self._relock()
        self.board.update_tx()

    def _write_initialize(self, text: str) -> str:
        if text == "1":
            self.initialised = True
            self._relock()
        return "0"

    def _relock(self) -> None:
        """Bringing the chip up again locks its PLL anew."""
        self.board.write_lo(self.chip, float(self.store[_LO].value))
