"""What is kept of a stream behind the window: the recording, and the last seconds."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from gui.errand import Done, Errands
from gui.facts import RecordingFacts
from hil.core.errors import DeviceStateError, HilError
from hil.jobs.watched import Watched, annotate
from hil.recorder import Recorder, RecordingSummary
from hil.recorder.flight import FlightRecorder
from hil.session import Session
from hil.session_summary import loss_words


class RecordDesk:
    """`begin` and `end` take time: in the errands' thread. The rest returns at once and belongs to any.

    Attributes
    ----------
    flight : the last seconds. last : what became of the last recording or save, in words; failed : it is an error.
    """

    def __init__(self) -> None:
        self.flight = FlightRecorder()
        self._saves = Errands("hil-save")  # a gigabyte takes seconds, and other work must not wait for it
        self.last, self.failed = "", False
        self._recorder: Recorder | None = None
        self._broken = False

    def stream_begins(self, session: Session) -> None:
        """Keep its last seconds."""
        with contextlib.suppress(HilError):  # the stream has failed already: `Session.wait` tells
            session.branch("flight recorder", self.flight.write)

    def stream_ended(self) -> None:
        """The session has closed the recording."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._tell(
                f"{recorder.path.name}: {recorder.samples:,} samples per channel; ended with the stream"
            )

    def begin(self, session: Session, path: Path, watched: Watched | None) -> str:
        """Record from the next block on. Raises what refuses it."""
        try:
            if not session.running:
                raise DeviceStateError("nothing streams", hint="press Start first")
            recorder = Recorder(path, session.stream, policy="gap")
            try:
                session.record(recorder)
            except BaseException:
                recorder.discard_empty()
                raise
        except HilError as err:
            self._fail(err)
            raise
        self._recorder = recorder
        if watched is not None:
            watched.record_in(recorder)
        return str(path)

    def end(self, session: Session, watched: Watched | None) -> str:
        """End the recording; the stream goes on. Raises what has ended it before."""
        if watched is not None:
            watched.record_in(None)
        try:
            summary = session.stop_recording()
        except HilError as err:
            self._fail(err)
            raise
        finally:
            self._recorder = None
        return "" if summary is None else self._tell(_words(summary))

    def mark(self, at: int, words: str) -> bool:
        """Note a moment (absolute sample index) in the recording; False if there is none."""
        recorder = self._recorder
        if recorder is not None:
            recorder.annotate(at, at, words, "marked by the operator")
        return recorder is not None

    def broken(self, session: Session) -> bool:
        """True, once, when the recording has failed and must be ended."""
        known, self._broken = self._broken, session.recording_error is not None
        return self._broken and not known

    def save_last(self, path: Path, watched: Watched | None) -> None:
        """Save what is kept of the last seconds, with what the health watch has told of them; the stream goes on."""
        self._saves.send("Save the last seconds", lambda: self._save_last(path, watched))

    def done(self) -> list[Done]:
        """What became of the saves, oldest first."""
        return self._saves.take()

    def close(self, timeout_s: float) -> bool:
        """A save that runs ends with what it has; True if its thread has ended within the time. Idempotent."""
        self.flight.close()
        return self._saves.close(timeout_s)

    def _save_last(self, path: Path, watched: Watched | None) -> str:
        events = [] if watched is None else [e for e in watched.events if e.kind != "slow-computer"]

        def note(recorder: Recorder, first: int, last: int) -> None:
            for event in events:
                if event.first_sample <= last and event.last_sample >= first:
                    annotate(recorder, event)

        try:
            return self._tell(_words(self.flight.save(path, note)))
        except HilError as err:
            self._fail(err)
            raise

    def facts(self, session: Session) -> RecordingFacts | None:
        """Of the recording that runs."""
        recorder = self._recorder
        if recorder is None:
            return None
        stream = session.stream
        per_s = stream.fs_hz * stream.n_channels * 2 * stream.device.wire.dtype.itemsize
        seconds = recorder.samples / stream.fs_hz
        lost, gaps, unknown = recorder.losses
        try:
            free = shutil.disk_usage(recorder.path.parent).free
        except OSError:  # the disk was taken away
            free = 0
        return RecordingFacts(
            recorder.path.name, seconds, round(seconds * per_s), per_s, free, loss_words(lost, gaps, unknown), gaps
        )  # fmt: skip

    def _tell(self, words: str) -> str:
        self.last, self.failed = words, False
        return words

    def _fail(self, err: HilError) -> None:
        self.last, self.failed = f"{err}. {err.hint}." if err.hint else f"{err}.", True


def _words(summary: RecordingSummary) -> str:
    lost = loss_words(summary.lost, summary.gaps, summary.lost_unknown)
    return f"{summary.files[0]}: {summary.samples:,} samples per channel, {lost}"
