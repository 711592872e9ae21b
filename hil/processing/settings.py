"""What shall be computed of every point of a campaign."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hil import __version__
from hil.core.errors import ConfigError

What = Literal["covariances", "snapshots", "csi", "spectra", "report-data"]
WHATS: tuple[What, ...] = ("covariances", "snapshots", "csi", "spectra", "report-data")
#: Of the files that are written; another layout is another number.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Settings of one processing; the same for all points.

    Attributes
    ----------
    what : "covariances" of blocks, "snapshots" (the samples of blocks), "csi" (channel responses of a known waveform),
        "spectra" (MUSIC and the directions of blocks), "report-data" (spectra with levels and eigenvalues).
    snapshots : samples of a block. rows : blocks or channel responses of a point at most, evenly spread; None: all blocks,
        512 channel responses. n_sources : for the spectra; None: as many as the campaign has emitters, at least one.
    array : as `--array`; None: what the recordings state.
    """

    what: What
    snapshots: int = 256
    rows: int | None = None
    n_sources: int | None = None
    array: str | None = None

    def __post_init__(self) -> None:
        if self.what not in WHATS:
            raise ConfigError(f"{self.what!r} is unknown", where="--what", hint=f"one of {', '.join(WHATS)}")
        for name, value, high in (
            ("--snapshots", self.snapshots, 1 << 16), ("--rows", self.rows, 1 << 24), ("--sources", self.n_sources, 64),
        ):  # fmt: skip
            if value is not None and not 1 <= value <= high:
                raise ConfigError(f"{value}; 1 to {high} is taken", where=name)

    def key(self, **inputs: Any) -> str:
        """SHA-256 over the settings, the program's version and what else a result depends on."""
        text = json.dumps(asdict(self) | inputs | {"schema": SCHEMA, "version": __version__}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
