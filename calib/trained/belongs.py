"""What a network belongs to: the array, carrier and sector that it was trained for, and with which calibration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationMismatch, ConfigError, HilError
from hil.core.frame import StreamInfo
from hil.core.units import SPEED_OF_LIGHT_M_S

#: Places of elements count as the same within this part of a wavelength.
_SAME_WAVELENGTHS = 0.05
_SAME_CARRIER = 0.05
MOST_ELEMENTS = 32
#: Drivers of streams that may be those of a scene.
_SIMULATED = ("sim", "replay", "faults")


@dataclass(frozen=True, slots=True, eq=False)
class Belongs:
    """fc_hz : carrier of the training data. positions_m : (M, 3) float64, metres, elements as the data had them, corrected
    ones with a calibration. sector_deg : (low, high) that it answers within. calibrated : trained on data whose errors were
    taken out; then it needs a calibration of whatever it is used on. calibration : id of that of the training. epochs :
    coherence epochs of the training data. scores : errors on angles (or runs) held out of training, degrees. provenance :
    data, settings, time.
    """

    fc_hz: float
    positions_m: NDArray[np.float64]
    sector_deg: tuple[float, float]
    calibrated: bool
    calibration: str = ""
    epochs: tuple[str, ...] = ()
    scores: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        low, high = self.sector_deg
        shape = self.positions_m.shape
        if self.positions_m.ndim != 2 or shape[1] != 3 or not 2 <= shape[0] <= MOST_ELEMENTS:
            raise ConfigError(f"an array of {shape} numbers; 2 to {MOST_ELEMENTS} elements are possible")
        if not np.all(np.isfinite(self.positions_m)) or not (0 < self.fc_hz < 1e13):
            raise ConfigError("its array or carrier is not a number")
        if not -90 <= low < high <= 90:
            raise ConfigError(f"{low:g} to {high:g} degrees are no sector")

    @property
    def n_elements(self) -> int:
        """M."""
        return len(self.positions_m)

    @property
    def x(self) -> NDArray[np.float64]:
        """(M,) places along the line in wavelengths at the carrier of the training."""
        return self.positions_m[:, 0] * (self.fc_hz / SPEED_OF_LIGHT_M_S)

    @property
    def sigma_deg(self) -> float:
        """RMS error on held-out data, NaN if there were none."""
        value = self.scores.get("rms_deg")
        return float(value) if isinstance(value, int | float) else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "fc_hz": self.fc_hz, "positions_m": self.positions_m.tolist(), "sector_deg": list(self.sector_deg),
            "calibrated": self.calibrated, "calibration": self.calibration, "epochs": list(self.epochs),
            "scores": self.scores, "provenance": self.provenance,
        }  # fmt: skip

    def require_fit(self, stream: StreamInfo, calibration: Calibration | None) -> None:
        """Raise ConfigError, or CalibrationMismatch for a missing calibration, if it cannot be used on such a stream."""
        positions = None if stream.geometry is None else stream.geometry.positions_m
        if self.calibrated and calibration is not None:
            positions = calibration.positions_m
        if positions is None:
            raise ConfigError(
                "the array is not known", where="--array", hint="give for example --array ula:4:0.5"
            )
        self.require_array(positions, stream.fc_hz)
        self.require_calibration(calibration)
        if not self.calibrated and self.epochs and stream.epoch.id not in self.epochs:
            raise ConfigError(
                "the network was trained without a calibration: its phases ended with the coherence epoch of the training",
                hint="train with --calibration, then a new calibration is enough after every start",
            )
        if not self.calibrated and not self.epochs and stream.device.driver not in _SIMULATED:
            raise ConfigError(
                "the network was trained on a simulated array without a calibration: it knows that array's phases, not these",
                hint="train with --calibration, or on a sweep of this array",
            )

    def require_array(self, positions_m: NDArray[np.float64], fc_hz: float) -> None:
        """Raise ConfigError for another array or carrier."""
        if len(positions_m) != self.n_elements:
            raise ConfigError(
                f"the network was trained for {self.n_elements} elements, the data have {len(positions_m)}",
                hint="train one for this array",
            )
        if abs(fc_hz / self.fc_hz - 1) > _SAME_CARRIER:
            raise ConfigError(
                f"the network was trained at {self.fc_hz / 1e6:g} MHz, the data are at {fc_hz / 1e6:g} MHz",
                hint="train one at this carrier",
            )
        here, there = positions_m - positions_m.mean(axis=0), self.positions_m - self.positions_m.mean(axis=0)
        off = float(np.max(np.abs(here - there))) * self.fc_hz / SPEED_OF_LIGHT_M_S
        if not off < _SAME_WAVELENGTHS:
            raise ConfigError(
                f"the network was trained for another array: elements lie up to {off:.2g} wavelengths elsewhere",
                hint="state the array that it was trained with, or train one for this array",
            )

    def require_calibration(self, calibration: Calibration | None) -> None:
        """Raise CalibrationMismatch if one is needed and missing, or of another number of elements."""
        if self.calibrated and calibration is None:
            raise CalibrationMismatch(
                "the network was trained on calibrated data and needs a calibration", field="calibration",
                hint="give --calibration FILE (hil learn makes one)",
            )  # fmt: skip
        if calibration is not None and calibration.geometry.n_elements != self.n_elements:
            raise CalibrationMismatch(
                f"the calibration has {calibration.geometry.n_elements} elements, the network {self.n_elements}",
                field="geometry", hint="use the calibration of this array",
            )  # fmt: skip


def belongs_of(stored: dict[str, Any]) -> Belongs:
    """From `Belongs.as_dict`. Raises ConfigError."""
    try:
        low, high = (float(v) for v in stored["sector_deg"])
        positions = np.array(stored["positions_m"], np.float64)
        calibrated, scores, provenance = stored["calibrated"], stored["scores"], stored["provenance"]
        if not (isinstance(calibrated, bool) and isinstance(scores, dict) and isinstance(provenance, dict)):
            raise ConfigError("its card is damaged")
        return Belongs(
            float(stored["fc_hz"]), positions, (low, high), calibrated, str(stored["calibration"]),
            tuple(str(epoch) for epoch in stored["epochs"]), scores, provenance,
        )  # fmt: skip
    except (TypeError, KeyError, ValueError) as err:
        raise ConfigError("its card is damaged", hint="train it again") from err


@contextmanager
def problem(path: str | os.PathLike[str]) -> Iterator[None]:
    """What is wrong with a network names its file. Raises ConfigError."""
    try:
        yield
    except HilError as err:
        raise ConfigError(str(err).splitlines()[0][:300], where=str(path), hint=err.hint) from err


def wanted(card: dict[str, Any], method: str) -> None:
    """Raise ConfigError unless the card is of the method."""
    if card.get("method") != method:
        raise ConfigError(
            f"a network of {str(card.get('method'))[:40]!r}, not of {method}", hint="give another file"
        )
