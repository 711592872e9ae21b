"""One receiver at work behind the window: session, painter, health watch, learner, recorder. No Qt, no waiting.

    window --(errands)--> open, configure, start, learn, record, stop ...   in a thread of its own
    session DSP thread --> painter, learner, health watch
    window timer --> poll(): facts() for the lamps, picture() for the plots, done() for the log

What the window can do, this class can do from Python; each action names the command that does the same.
"""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gui.errand import Done, Errands
from gui.facts import CalibrationFacts, Facts, Link, RecordingFacts
from gui.learn_desk import LearnDesk
from gui.picture import Painter, Picture
from gui.scripts import capture_script, learn_script
from hil.core.calibration import Calibration
from hil.core.device import RxConfig
from hil.core.errors import DeviceStateError, HilError
from hil.core.frame import Frame
from hil.core.geometry import ArrayGeometry, parse_array
from hil.jobs.watched import Watched, can_watch
from hil.learning.settings import LearnSettings
from hil.recorder import Recorder
from hil.session import Session, open_session
from hil.store import Store, check

_CLOSE_S = 20.0
Accepting = Literal["at once", "when asked"]


class Station:
    """A source, and what is done with it. Methods that may take time return at once and report by `done`.

    Parameters
    ----------
    accepting : whether a calibration that has converged is used at once or waits for `accept`. keep : calibrations that
        are accepted go into the store.
    """

    def __init__(self, *, accepting: Accepting = "at once", keep: bool = False) -> None:
        self.accepting: Accepting = accepting
        self.painter = Painter()
        self.errands = Errands()
        self._keep = keep
        self._session: Session | None = None
        self._uri, self._array = "", None
        self._link: Link = "none"
        self._error: HilError | None = None
        self._watched: Watched | None = None
        self.desk = LearnDesk()
        self._forced = ""
        self._recorder: Recorder | None = None
        self._recording_name, self._recording_from = "", 0
        self._picture: Picture | None = None
        self._lag_ms = math.nan

    # ---- what the window asks for ---------------------------------------------------------------------

    @property
    def session(self) -> Session | None:
        """The session, while a device is connected."""
        return self._session

    @property
    def calibration(self) -> Calibration | None:
        """In use."""
        return self.painter.calibration

    def connect(self, uri: str, array: str | None) -> None:
        """Open a device (and forget the one before). array : as --array; None for a scene that says it itself."""
        self._uri, self._array, self._link, self._error = uri, array, "connecting", None
        self.errands.send("Connect", lambda: self._open(uri, array))

    def start(self) -> None:
        """Stream."""
        self.errands.send("Start", self._start, capture_script(self._uri, self._array))

    def stop(self) -> None:
        """End streaming, learning and recording; the device stays connected."""
        self.errands.send("Stop", self._stop)

    def configure(self, want: RxConfig) -> None:
        """Other settings, between two blocks; what the hardware took is in `session.stream`."""
        self.errands.send("Set", lambda: self._configure(want))

    def learn(self, settings: LearnSettings) -> None:
        """Start learning from what streams."""
        self.desk.announce()
        self.errands.send(
            "Learn", lambda: self._learn(settings), learn_script(self._uri, self._array, settings)
        )

    def pause_learning(self, paused: bool = True) -> None:
        """Offer nothing to the learner for a while; what it knows stays."""
        self.desk.paused = paused

    def stop_learning(self) -> None:
        """End the learner; the calibration in use stays."""
        self.errands.send("Stop learning", self._end_learning)

    def accept(self) -> None:
        """Use the calibration that is offered."""
        if self.desk.offered is not None:
            self.use(self.desk.offered)

    def discard(self) -> None:
        """Forget the calibration that is offered."""
        self.desk.offered = None

    def use(self, calibration: Calibration | None, *, forced: str = "") -> None:
        """Another calibration, or none. forced : reason to use one that does not fit the stream."""
        self._forced = forced
        self.painter.use(calibration=calibration, clear=calibration is None)
        if self._watched is not None:
            self._watched.watch.calibrate(calibration)
        if calibration is not None and calibration is self.desk.offered:
            self.desk.offered = None
            if self._keep:
                self.errands.send("Keep calibration", lambda: f"{Store().add(calibration)} is in the store")

    def record(self, path: Path) -> None:
        """Record from the next block on."""
        self.errands.send("Record", lambda: self._record(path), capture_script(self._uri, self._array, path))

    def stop_recording(self) -> None:
        """End the recording; the stream goes on."""
        self.errands.send("Stop recording", self._stop_recording)

    def close(self) -> bool:
        """End everything; True if all threads have ended. Idempotent."""
        ended = self.errands.close(_CLOSE_S)  # what runs ends first, what waits is forgotten
        self._close()
        return ended

    # ---- what the window shows ------------------------------------------------------------------------

    def done(self) -> list[Done]:
        """What became of the actions, oldest first."""
        return self.errands.take()

    def health(self) -> list[str]:
        """Faults told since the last call, a line each with what to do."""
        watched = self._watched
        told = watched.take() if watched is not None else []
        return [f"{event['cause']}. {event['remedy']}." for event in told]

    def picture(self) -> Picture | None:
        """The newest picture that was not taken yet."""
        picture = self.painter.take()
        if picture is not None:
            self._picture = picture
            self._lag_ms = (time.monotonic_ns() - picture.t_mono_ns) / 1e6
        return picture

    def poll(self) -> None:
        """Look at learner and session; call it some times a second."""
        if self._watched is not None:
            self._watched.tick()
        session = self._session
        if session is not None and self.desk.poll(session.stream):
            self.errands.send("End learner", self._end_learning)
        if self.accepting == "at once":
            self.accept()
        if session is None or self._link != "streaming":
            return
        try:
            session.wait(0.0)
        except HilError as err:
            self._lost(err)

    def facts(self) -> Facts:
        """For the status strip."""
        session, picture, desk = self._session, self._picture, self.desk
        stream = session.stream if session is not None else None
        lost, exact = session.losses if session is not None else (0, True)
        watch = self._watched.watch if self._watched is not None else None
        streaming = self._link == "streaming"
        return Facts(
            link=self._link, uri=self._uri, error=self._error,
            epoch=stream.epoch.counter if stream is not None else None,
            epoch_cause=stream.epoch.cause if stream is not None else "",
            lost=lost, lost_exact=exact, gaps=session.gaps if session is not None else 0,
            skipped=session.skipped if session is not None else 0,
            clipped=tuple(picture.clipped) if picture is not None else (),
            level_dbfs=tuple(picture.level_dbfs) if picture is not None else (),
            snr_db=picture.snr_db if picture is not None else math.nan,
            n_sources=picture.n_sources if picture is not None else None,
            calibration=self._calibration_facts(), recording=self._recording_facts(),
            learning="paused" if desk.paused and desk.state not in ("off", "dead") else desk.state,
            learning_words=desk.words, learning_remedy=desk.remedy,
            lag_ms=self._lag_ms if streaming else math.nan,
            health=tuple(watch.active.values()) if watch is not None else (),
            not_watched=tuple(watch.not_watched()) if watch is not None else (),
        )  # fmt: skip

    def _calibration_facts(self) -> CalibrationFacts | None:
        calibration, session = self.calibration, self._session
        if calibration is None or session is None:
            return None
        status = check(calibration, session.stream)
        return CalibrationFacts(
            calibration.id, status, calibration.gauge.angle_sigma_deg, forced=self._forced
        )

    def _recording_facts(self) -> RecordingFacts | None:
        recorder, session = self._recorder, self._session
        if recorder is None or session is None:
            return None
        stream = session.stream
        per_s = stream.fs_hz * stream.n_channels * 2 * stream.device.wire.dtype.itemsize
        seconds = max(session.samples - self._recording_from, 0) / stream.fs_hz
        free = shutil.disk_usage(recorder.path.parent).free
        return RecordingFacts(self._recording_name, seconds, round(seconds * per_s), per_s, free)

    # ---- in the errands' thread -----------------------------------------------------------------------

    def _open(self, uri: str, array: str | None) -> str:
        self._close()
        self._link = "connecting"
        try:
            place = None if array is None else (lambda fc_hz: parse_array(array, fc_hz))
            session = open_session(uri, place)
            if session.stream.geometry is None and uri.startswith("sim:"):
                session.geometry = _scene_array(uri)
                session.configure(session.stream.config)
        except HilError as err:
            self._link, self._error = "lost", err
            raise
        self._session, self._link = session, "ready"
        stream = session.stream
        return f"{stream.device.model}: {stream.n_channels} channels, {stream.fs_hz / 1e6:g} MS/s at {stream.fc_hz / 1e6:g} MHz"

    def _start(self) -> str:
        session = self._present()
        stream = session.stream
        self._watched = Watched(stream, calibration=self.calibration) if can_watch(stream) else None
        session.start(on_frame=self._frame)
        self._link, self._error = "streaming", None
        return ""

    def _frame(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        """In the DSP thread."""
        self.desk.offer(frame)
        watched = self._watched
        if watched is not None:
            watched(frame, clipped)
        self.painter(frame, clipped)

    def _stop(self) -> str:
        self.desk.end()
        session = self._present()
        summary = session.stop()
        self._recorder = None
        if self._link == "streaming":
            self._link = "ready"
        session.raise_error()
        return f"{summary.samples:,} samples per channel, {summary.lost:,} lost"

    def _configure(self, want: RxConfig) -> str:
        stream = self._present().configure(want)
        c = stream.config
        return f"read back: {stream.fc_hz / 1e6:g} MHz, {stream.fs_hz / 1e6:g} MS/s, gain {c.gain_db} dB"

    def _learn(self, settings: LearnSettings) -> str:
        self.desk.begin(self._present().stream, settings)
        return ""

    def _end_learning(self) -> str:
        self.desk.end()
        return ""

    def _record(self, path: Path) -> str:
        session = self._present()
        if not session.running:
            raise DeviceStateError("nothing streams", hint="press Start first")
        recorder = Recorder(path, session.stream, policy="gap")
        try:
            session.record(recorder)
        except BaseException:
            recorder.close()
            raise
        self._recorder, self._recording_name, self._recording_from = recorder, path.name, session.samples
        if self._watched is not None:
            self._watched.record_in(recorder)
        return str(path)

    def _stop_recording(self) -> str:
        self._recorder = None
        if self._watched is not None:
            self._watched.record_in(None)
        summary = self._present().stop_recording()
        return "" if summary is None else f"{summary.samples:,} samples per channel, {summary.gaps} gaps"

    def _present(self) -> Session:
        if self._session is None:
            raise DeviceStateError("nothing is connected", hint="choose a source and press Connect")
        return self._session

    def _close(self) -> str:
        self.desk.end()
        session, self._session = self._session, None
        self._recorder = self._watched = None
        if self._link != "lost":
            self._link = "none"
        if session is not None:
            session.close()
        return ""

    # ---- in the window's thread -----------------------------------------------------------------------

    def _lost(self, err: HilError) -> None:
        self._link, self._error = "lost", err
        if self._watched is not None:
            self._watched.failed(err)
        self.errands.send("Clean up", self._clean_up)

    def _clean_up(self) -> str:
        """The recording is closed and readable, the device released; the picture stays."""
        self.desk.end()
        session, self._session, self._recorder = self._session, None, None
        if session is not None:
            session.close()
        return ""


def _scene_array(uri: str) -> ArrayGeometry:
    """The array that a simulated scene states."""
    from hil.jobs.demo import scene_geometry
    from sim_backend.scene import load_scene

    return scene_geometry(load_scene(uri.removeprefix("sim:").split("?")[0] or None))
