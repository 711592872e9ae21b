"""Channel responses of OFDM blocks: what gain-phase learning and angle-delay maps start from.

    CSI[b, m, s] = received symbol / known symbol,  ascending frequency, s = 0 the lowest subcarrier

One path of delay tau is exp(-j 2 pi s spacing tau) over s. The zero of tau is the receiver's own; delay skew
between the elements must have been removed (one flat complex gain per element is what is left).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.observations import Observations
from hil.core.checks import array
from hil.core.errors import CalibrationError, ConfigError, ShapeError

MAX_FILE_BYTES = 4 << 30
_MAX_HEADER_BYTES = 4096
_FORMAT = "hil-channel-responses-1"
_FIELDS = ("csi", "subcarrier_spacing_hz", "delay_s", "time_s", "sector_deg")


@dataclass(frozen=True, slots=True)
class ChannelResponses:
    """Channel responses of B blocks, M elements, S subcarriers.

    Attributes
    ----------
    csi : (B, M, S) complex128, any common scale.
    subcarrier_spacing_hz : spacing between neighbours of the last axis.
    time_s : (B,) float64, time of each block in seconds, ascending, or None.
    sector_deg : (B, 2) or (2,) float64, (low, high) broadside angles in degrees between which the source of
        each block is known to be, or None. Stored as (B, 2).
    delay_s : (low, high) delays between which the source is searched; None: all that the subcarriers tell
        apart, (0, (S - 1)/(S spacing)).

    Raises
    ------
    ShapeError : wrong shapes, values that are not finite, times not in order.
    ConfigError : empty sector or window, or a window longer than 1/spacing, in which delays repeat.
    """

    csi: NDArray[np.complex128]
    subcarrier_spacing_hz: float
    time_s: NDArray[np.float64] | None = None
    sector_deg: NDArray[np.float64] | tuple[float, float] | None = None
    delay_s: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        csi = array("csi", self.csi, np.complex128, (None, None, None))
        blocks, elements, carriers = csi.shape
        if blocks < 1 or elements < 3 or carriers < 2:
            raise ShapeError(f"csi: {csi.shape}, needs a block, 3 elements and 2 subcarriers at least")
        object.__setattr__(self, "csi", csi)
        try:
            spacing = float(self.subcarrier_spacing_hz)
        except (TypeError, ValueError) as err:
            raise ConfigError(
                f"subcarrier_spacing_hz: {self.subcarrier_spacing_hz!r} is not a number"
            ) from err
        if not (np.isfinite(spacing) and spacing > 0):
            raise ConfigError(f"subcarrier_spacing_hz: {spacing:g} is not a positive frequency")
        object.__setattr__(self, "subcarrier_spacing_hz", spacing)
        if self.time_s is not None:
            time_s = array("time_s", self.time_s, np.float64, (blocks,))
            if np.any(np.diff(time_s) < 0):
                raise ShapeError("time_s: blocks must be in the order of time")
            object.__setattr__(self, "time_s", time_s)
        if self.sector_deg is not None:
            object.__setattr__(self, "sector_deg", checked_sectors(self.sector_deg, blocks))
        object.__setattr__(self, "delay_s", checked_window(self.delay_s, spacing, carriers))

    @property
    def n_blocks(self) -> int:
        """B."""
        return self.csi.shape[0]

    @property
    def n_elements(self) -> int:
        """M."""
        return self.csi.shape[1]

    @property
    def n_subcarriers(self) -> int:
        """S."""
        return self.csi.shape[2]

    def covariances(self) -> Observations:
        """Sample covariances over subcarriers, R = CSI CSI^H / S, for methods that work on covariances.

        Each subcarrier counts as one snapshot. A source at one delay is there the same line of constant
        modulus: fine. Sources at several delays are coherent in each subcarrier and separate only over the
        band: over S subcarriers their correlation is the mean of exp(-j 2 pi s spacing (tau1 - tau2)), which
        vanishes for delays more than about 1/bandwidth apart; closer ones count as one source.

        Raises
        ------
        ShapeError : fewer than M + 1 subcarriers.
        """
        covariance = self.csi @ self.csi.conj().transpose(0, 2, 1) / self.n_subcarriers
        return Observations(covariance, self.n_subcarriers, self.time_s)

    def save(self, path: Path | str) -> None:
        """Write as .npz (no pickle). Raises ConfigError if the file cannot be written."""
        values: dict[str, NDArray[np.generic]] = {
            "format": np.frombuffer(_FORMAT.encode(), np.uint8),
            "csi": self.csi,
            "subcarrier_spacing_hz": np.array(self.subcarrier_spacing_hz),
            "delay_s": np.array(self.delay_s),
        }
        if self.time_s is not None:
            values["time_s"] = self.time_s
        if self.sector_deg is not None:
            values["sector_deg"] = np.asarray(self.sector_deg)
        try:
            with Path(path).open("wb") as stream:
                np.savez(stream, allow_pickle=False, **values)
        except OSError as err:
            raise ConfigError(f"cannot write: {err.strerror or err}", where=str(path)) from err


def load(path: Path | str) -> ChannelResponses:
    """Read what `ChannelResponses.save` wrote.

    Raises
    ------
    ConfigError : no such file, or it cannot be read.
    CalibrationError : not channel responses, damaged, too large, or with values that make no sense.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError as err:
        raise ConfigError(f"cannot read: {err.strerror or err}", where=str(path)) from err
    if size > MAX_FILE_BYTES:
        raise CalibrationError(f"{path}: {size >> 20} MB is more than channel responses may have")
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "format.npy" not in names or _entry(archive, "format", 1).tobytes() != _FORMAT.encode():
                raise ValueError("no format mark")
            found = {name: _entry(archive, name, 3) for name in _FIELDS if f"{name}.npy" in names}
        return ChannelResponses(
            csi=found["csi"],
            subcarrier_spacing_hz=float(found["subcarrier_spacing_hz"]),
            time_s=found.get("time_s"),
            sector_deg=found.get("sector_deg"),
            delay_s=(float(found["delay_s"][0]), float(found["delay_s"][1])),
        )
    except (ShapeError, ConfigError) as err:
        raise CalibrationError(f"{path}: {err}") from err
    except (
        zipfile.BadZipFile, KeyError, IndexError, TypeError, ValueError, OSError, EOFError,
        NotImplementedError, RuntimeError, MemoryError,
    ) as err:  # fmt: skip
        text = " ".join(str(err).split())[:80]
        raise CalibrationError(f"{path}: not channel responses as .npz: {text}") from err


def _entry(archive: zipfile.ZipFile, name: str, max_dims: int) -> NDArray[Any]:
    """One array; its size is checked against the header before anything is unpacked."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > MAX_FILE_BYTES:
        raise ValueError(f"{name} unpacks to {info.file_size >> 20} MB")
    with archive.open(info) as stream:
        data = stream.read(info.file_size)
    value: NDArray[Any] = np.lib.format.read_array(
        io.BytesIO(data), allow_pickle=False, max_header_size=_MAX_HEADER_BYTES
    )
    if value.ndim > max_dims or value.dtype.kind not in "ufic":
        raise ValueError(f"{name} is not an array of numbers")
    return value


def checked_sectors(
    sector_deg: NDArray[np.float64] | tuple[float, float], n_blocks: int
) -> NDArray[np.float64]:
    """Sectors as read-only (B, 2) degrees. Raises ShapeError, ConfigError (see `ChannelResponses`)."""
    try:
        sector = np.asarray(sector_deg, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"sector_deg: {sector_deg!r} is not (low, high) in degrees") from err
    if sector.shape == (2,):
        sector = np.tile(sector, (n_blocks, 1))
    sector = array("sector_deg", sector, np.float64, (n_blocks, 2))
    if np.any(sector[:, 0] >= sector[:, 1]):
        b = int(np.argmax(sector[:, 0] >= sector[:, 1]))
        raise ConfigError(f"sector_deg: {sector[b, 0]:g}:{sector[b, 1]:g} of block {b} is empty")
    if np.any(np.abs(sector) > 90):
        raise ConfigError("sector_deg: broadside angles of a line lie in -90..90 degrees")
    return sector


def checked_window(
    delay_s: tuple[float, float] | None, spacing_hz: float, n_subcarriers: int
) -> tuple[float, float]:
    """Delay window as (low, high). Raises ConfigError (see `ChannelResponses`)."""
    if delay_s is None:
        return 0.0, (n_subcarriers - 1) / (n_subcarriers * spacing_hz)
    try:
        low, high = (float(v) for v in delay_s)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"delay_s: {delay_s!r} is not (low, high) in seconds") from err
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ConfigError(f"delay_s: {low:g}:{high:g} is empty")
    if (high - low) * spacing_hz > 1:
        raise ConfigError(
            f"delay_s: a window of {high - low:g} s is longer than 1/spacing = {1 / spacing_hz:g} s",
            hint="delays one period apart look the same: narrow the window",
        )
    return low, high
