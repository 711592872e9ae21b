"""What the status strip is computed from: one moment of a station, without Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from hil.core.errors import HilError
from hil.health.event import HealthEvent
from hil.store.status import CalibrationStatus

Link = Literal["none", "connecting", "ready", "streaming", "lost"]
Learning = Literal["off", "starting", "learning", "converged", "following", "refused", "paused", "dead"]


@dataclass(frozen=True, slots=True)
class CalibrationFacts:
    """id : of the calibration in use. status : against the stream. sigma_deg : what it leaves open of angles, one
    standard deviation. residual_deg : rms phase error that the latest data show against it, NaN if not known.
    forced : used in spite of its status, for this reason."""

    id: str
    status: CalibrationStatus
    sigma_deg: float
    residual_deg: float = math.nan
    forced: str = ""


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """name, seconds and bytes so far; bytes_per_s; free_bytes on its disk; losses : in words, and gaps, their number."""

    name: str
    seconds: float
    bytes: int
    bytes_per_s: float
    free_bytes: int
    losses: str = ""
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class TableFacts:
    """azimuth_deg (read back), target_deg or None, moving, sigma_deg of the read-back; problem : "" or one line.
    sweep : "12/121" while one runs."""

    azimuth_deg: float
    target_deg: float | None
    moving: bool
    sigma_deg: float
    problem: str = ""
    sweep: str = ""


@dataclass(frozen=True, slots=True)
class TransmitFacts:
    """What the device sends.

    state : "none" (no transmitter: `words` say why), "off", "on", or "unsure" (the device did not confirm that it is
    silent: `words` say what happened). uri : of the device. name : of the waveform. attenuation_db, channels, fc_hz : as read back.
    """

    state: Literal["none", "off", "on", "unsure"]
    uri: str
    name: str = ""
    attenuation_db: tuple[float, ...] = ()
    channels: tuple[int, ...] = ()
    fc_hz: float = 0.0
    words: str = ""

    @property
    def sentence(self) -> str:
        """One line for people."""
        if self.state == "none":
            return f"No transmitter. {self.words}"
        if self.state == "off":
            return "TX off"
        levels = self.attenuation_db[:1] if len(set(self.attenuation_db)) == 1 else self.attenuation_db
        channels = ", ".join(str(c) for c in self.channels)
        what = (
            f"attenuation {', '.join(f'{v:g}' for v in levels)} dB, channel{'s' * (len(self.channels) > 1)} {channels}, "
            f"{self.fc_hz / 1e9:.6g} GHz, {self.name}"
        )
        return (
            f"TX ON, {what}"
            if self.state == "on"
            else f"TX MAY STILL BE ON at {self.uri}, {what}. {self.words}"
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """One moment.

    Attributes
    ----------
    link, uri : of the source. error : what ended the stream or the connection. epoch, epoch_cause : counter and
        what began it. lost, lost_exact, gaps : samples that never reached the reader; skipped : samples that the
        display did not look at because this computer was late.
    clipped : (M,) share of samples at full scale of each channel in the last second. level_dbfs : (M,) of each channel.
    snr_db : of the strongest signal over the array, NaN if not known. n_sources : independent signals seen.
    calibration, recording, table, transmit : None if there is none. learning, learning_words, learning_remedy.
    lag_ms : age of the samples on screen, NaN before the first picture. rate_hz : pictures shown per second.
    health : faults that are still there, newest last. not_watched : what the health watch cannot see now, and why.
    """

    link: Link = "none"
    uri: str = ""
    error: HilError | None = None
    epoch: int | None = None
    epoch_cause: str = ""
    lost: int = 0
    lost_exact: bool = True
    gaps: int = 0
    skipped: int = 0
    clipped: tuple[float, ...] = ()
    level_dbfs: tuple[float, ...] = ()
    snr_db: float = math.nan
    n_sources: int | None = None
    calibration: CalibrationFacts | None = None
    recording: RecordingFacts | None = None
    table: TableFacts | None = None
    transmit: TransmitFacts | None = None
    learning: Learning = "off"
    learning_words: str = ""
    learning_remedy: str = ""
    lag_ms: float = math.nan
    rate_hz: float = math.nan
    health: tuple[HealthEvent, ...] = ()
    not_watched: tuple[str, ...] = field(default=())
