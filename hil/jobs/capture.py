"""Captures to a file: open, record, count, report; interruptible at any time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.core.device import RxConfig
from hil.core.errors import CaptureOverrun, ConfigError, HilError
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.core.units import format_si
from hil.recorder import Recorder, RecordingSummary
from hil.session import Session, SessionSummary, open_session

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """A finished capture."""

    summary: RecordingSummary
    session: SessionSummary
    stream: StreamInfo
    interrupted: bool

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of `hil capture` (contract.md)."""
        stream = self.stream
        lost_exact = self.session.lost_exact and self.summary.lost_exact
        status = {"status": "interrupted", "reason": "interrupted", "hint": "", "exit_code": 130}
        return (status if self.interrupted else {}) | {
            "samples": self.summary.samples,
            "lost": self.session.lost,
            "lost_exact": lost_exact,
            "gaps": self.session.gaps,
            "epochs": self.session.epochs,
            "overloads": self.summary.overloads,
            "edges": self.session.edges,
            "n_channels": stream.n_channels,
            "fc_hz": stream.fc_hz,
            "fs_hz": stream.fs_hz,
            "gain_db": list(stream.gains_db),
            "epoch": stream.epoch.id,
            "device": stream.device.model,
            "files": [str(f) for f in self.summary.files],
        }


def capture_to_file(
    uri: str,
    out: Path,
    *,
    n_samples: int | None,
    length_s: float | None,
    array: str | None,
    want: Callable[[int | None], RxConfig],
    overwrite: bool = False,
    keep_gaps: bool = False,
    progress: Progress | None = None,
) -> CaptureResult:
    """Record `n_samples` per channel or `length_s` seconds.

    Raises
    ------
    DeviceError, CaptureError : what was recorded before stays readable; the message says how much.
    """
    _check_name(out)
    session = open_session(uri, None if array is None else lambda fc_hz: parse_array(array, fc_hz), want)
    with session:
        stream = session.stream
        total = n_samples if n_samples is not None else round((length_s or 0.0) * stream.fs_hz)
        if total < 1:
            raise ConfigError("shorter than one sample", where="--seconds")
        recorder = Recorder(
            out, stream, policy="gap" if keep_gaps else "fail", overwrite=overwrite, expected_samples=total
        )
        interrupted = False
        session.start(recorder=recorder, on_frame=None, n_samples=total)
        try:
            _watch(session, total, progress)
        except KeyboardInterrupt:
            interrupted = True
        except HilError as err:
            _tell_kept(err, session.stop(), out)
            raise
        summary = session.stop()
        if not interrupted:
            try:
                session.raise_error()
            except HilError as err:
                _tell_kept(err, summary, out)
                raise
        assert summary.recording is not None
        return CaptureResult(summary.recording, summary, session.stream, interrupted)


def _tell_kept(err: HilError, summary: SessionSummary, out: Path) -> None:
    """Say in the error's hint what of the recording is there."""
    if isinstance(err, CaptureOverrun):
        err.hint = "record on with --gaps, lower the rate (--fs), or use a faster disk"
    kept = summary.recording.samples if summary.recording else 0
    err.hint = "; ".join([*filter(None, [err.hint]), f"{kept} samples per channel are kept in {out}"])


def _check_name(out: Path) -> None:
    if out.suffix not in (".sigmf-collection", ".sigmf-meta"):
        raise ConfigError(
            f"{out.name!r} ends in neither .sigmf-collection nor .sigmf-meta", where="OUT",
            hint="rec.sigmf-collection makes one file a channel, rec.sigmf-meta one interleaved file",
        )  # fmt: skip
    if not out.parent.is_dir():
        raise ConfigError(f"no folder {out.parent}", where="OUT", hint="make it first")


def _watch(session: Session, total: int, progress: Progress | None) -> None:
    began = time.monotonic()
    while not session.wait(0.1):
        if progress is not None:
            rate = session.samples / max(time.monotonic() - began, 1e-3)
            progress(session.samples, total, format_si(rate, "S/s", 3))
