"""A waveform that is transmitted while a capture runs, and its copy beside the recording."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.core.device import TxConfig
from hil.core.errors import ConfigError, RecordingError
from hil.core.waveform import Waveform, load_waveform
from hil.session import Session

if TYPE_CHECKING:
    from hil.jobs.transmit_beam import BeamRequest

#: What a copy beside a recording is called after the recording's name: settings, or settings and samples.
_ENDINGS = (".waveform.toml", ".waveform.sigmf-meta")
_DATA_ENDING = ".waveform.sigmf-data"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TransmitRequest:
    """What the user wants to be sent.

    Attributes
    ----------
    file : of the waveform. attenuation_db : one value, one per channel, or None for the greatest one.
    channels : transmit channels, or None for the first. beam : to send with different weights over them, or None.
    """

    file: Path
    attenuation_db: tuple[float, ...] | float | None = None
    channels: tuple[int, ...] | None = None
    beam: BeamRequest | None = None


@dataclass(frozen=True, slots=True)
class Transmitted:
    """What is being sent.

    Attributes
    ----------
    waveform : name of the copy beside the recording. sha256 : of the waveform's file (SigMF: of its samples).
    attenuation_db, channels, fc_hz : as read back. beam : weights of the channels and what they were made from, or None.
    """

    waveform: str
    sha256: str
    attenuation_db: tuple[float, ...]
    channels: tuple[int, ...]
    fc_hz: float
    beam: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON and the recording."""
        return {
            "waveform": self.waveform,
            "sha256": self.sha256,
            "attenuation_db": list(self.attenuation_db),
            "channels": list(self.channels),
            "fc_hz": self.fc_hz,
            **({} if self.beam is None else {"beam": self.beam}),
        }


class WaveformCopy:
    """The waveform's files, read once, and their copies beside a recording.

    Raises ConfigError for a file that is no waveform.
    """

    def __init__(self, file: Path, recording: Path) -> None:
        self.waveform: Waveform = load_waveform(file)
        base = recording.parent / recording.stem
        if file.suffix == ".toml":
            sources = {file: Path(f"{base}{_ENDINGS[0]}")}
        else:
            data = file.with_suffix(".sigmf-data")
            sources = {data: Path(f"{base}{_DATA_ENDING}"), file: Path(f"{base}{_ENDINGS[1]}")}
        try:
            self._copies = {target: source.read_bytes() for source, target in sources.items()}
        except OSError as err:
            raise ConfigError(f"cannot be read: {err.strerror}", where=str(file)) from err
        self.name = next(reversed(self._copies)).name
        self.sha256 = hashlib.sha256(next(iter(self._copies.values()))).hexdigest()
        self._recording = recording

    def write(self) -> None:
        """Write the copies in place of older ones. Raises RecordingError."""
        remove_copies(self._recording)
        for target, content in self._copies.items():
            try:
                target.write_bytes(content)
            except OSError as err:
                self.remove()
                raise RecordingError(f"{target}: cannot write: {err.strerror or err}") from err

    def remove(self) -> None:
        """Take the copies away again."""
        for target in self._copies:
            with contextlib.suppress(OSError):
                target.unlink()


def waveform_beside(recording: Path) -> Path | None:
    """The waveform that was transmitted while `recording` was made: the copy beside it, or None."""
    base = recording.parent / recording.stem
    return next((path for end in _ENDINGS if (path := Path(f"{base}{end}")).is_file()), None)


def check_copies(recording: Path) -> None:
    """Raise RecordingError if a waveform lies beside an earlier recording of this name: it would be taken for
    that of the new one."""
    for old in _copies_beside(recording):
        raise RecordingError(
            f"{old} exists: the waveform of an earlier recording of this name", exit_code=2,
            hint="choose another name, or --overwrite",
        )  # fmt: skip


def remove_copies(recording: Path) -> None:
    """Remove the waveform of an earlier recording of this name."""
    for old in _copies_beside(recording):
        old.unlink()


def _copies_beside(recording: Path) -> list[Path]:
    base = recording.parent / recording.stem
    return [path for end in (*_ENDINGS, _DATA_ENDING) if (path := Path(f"{base}{end}")).exists()]


def begin_transmitting(
    session: Session, request: TransmitRequest, copy: WaveformCopy, say: Say
) -> Transmitted:
    """Send the waveform until the session stops. Raises ConfigError (another rate), UnsupportedSetting, DeviceError."""
    want = TxConfig(attenuation_db=request.attenuation_db, channels=request.channels)
    return told(request, copy, session.transmit(copy.waveform, want), say)


def told(request: TransmitRequest, copy: WaveformCopy, taken: TxConfig, say: Say) -> Transmitted:
    """What is sent with the settings that were read back."""
    quiet = at_the_greatest(request, taken)
    if quiet:
        say(quiet)
    return Transmitted(copy.name, copy.sha256, _levels(taken), taken.channels or (), taken.fc_hz or 0.0)


def at_the_greatest(request: TransmitRequest, taken: TxConfig) -> str:
    """What to tell a user who asked for no attenuation and got the greatest one, read back in `taken`; or ""."""
    if request.attenuation_db is not None:
        return ""
    return (
        f"transmitting at the greatest attenuation, {max(_levels(taken)):g} dB: --tx-attenuation DB raises the power "
        "(cabled: mind the receiver's maximum input; on air: what you are licensed for)"
    )


def _levels(taken: TxConfig) -> tuple[float, ...]:
    levels = taken.attenuation_db
    return levels if isinstance(levels, tuple) else (levels or 0.0,)
