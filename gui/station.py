"""One receiver at work behind the window: session, painter, health watch, learner, recorder. No Qt, no waiting.

    window --(errands)--> open, configure, start, learn, record, stop ...   in a thread of its own
    session --> DSP thread: learner, health watch;  painter's thread: the newest samples, now and then
    window timer --> poll(): facts() for the lamps, picture() for the plots, done() for the log

What the window can do, this class can do from Python; each action names the command that does the same.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drivers.replay_clock import Playback
from gui.calibration_desk import CalibrationDesk
from gui.echoes import Echoes
from gui.errand import Done, Errands
from gui.facts import Facts, Link
from gui.learn_desk import LearnDesk
from gui.networks import Networks
from gui.picture import PICTURES_HZ, SNAPSHOTS, Painter, Picture
from gui.playing import not_asked_for, playback_of, prepare_to_listen
from gui.positions import TableDesk
from gui.record_desk import RecordDesk
from gui.scene_array import scene_array
from gui.scripts import capture_script, learn_script
from gui.sweep_desk import SweepDesk
from gui.transmit_desk import TransmitDesk
from hil.core.calibration import Calibration
from hil.core.device import RxConfig, TxConfig
from hil.core.errors import DeviceStateError, HilError
from hil.core.frame import Frame, StreamInfo
from hil.core.geometry import parse_array
from hil.core.waveform import Waveform, load_waveform
from hil.jobs.watched import Watched, can_watch
from hil.learning.settings import LearnSettings
from hil.session import Session, open_session

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
        self.errands = Errands()
        self._session: Session | None = None
        self._uri, self._array, self.found = "", None, list[str]()
        self._link: Link = "none"
        self._error: HilError | None = None
        self._watched: Watched | None = None
        self.desk, self.transmit_desk, self.networks = LearnDesk(), TransmitDesk(), Networks()
        self.echoes = Echoes(lambda: self.painter.calibration)
        self.painter = Painter(self.echoes, self.networks)
        self.calibrations = CalibrationDesk(self.painter, self.desk, keep=keep)
        self.records, self.table = RecordDesk(), TableDesk()
        self.sweeps = SweepDesk(lambda: self._session, self.table)
        self._picture: Picture | None = None
        self._lag_ms = math.nan

    # ---- what the window asks for ---------------------------------------------------------------------

    @property
    def session(self) -> Session | None:
        """The session, while a device is connected."""
        return self._session

    @property
    def source(self) -> tuple[str, str | None]:
        """URI and array that were asked for."""
        return self._uri, self._array

    @property
    def calibration(self) -> Calibration | None:
        """In use; `applied` tells whether it may be applied to what streams."""
        return self.calibrations.uses.present.calibration

    @property
    def applied(self) -> Calibration | None:
        """The calibration in use, None while it does not fit what streams and was not forced."""
        return self.painter.calibration

    @property
    def playback(self) -> Playback | None:
        """Of a recording that is played; None for a receiver."""
        session = self._session
        return None if session is None else playback_of(session.device)

    def connect(self, uri: str, array: str | None) -> None:
        """Open a device (and forget the one before). array : as --array; None for a scene that says it itself."""
        self._uri, self._array, self._link, self._error = uri, array, "connecting", None
        self.desk.offered = None  # of the device before
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
        self.errands.send("Learn", lambda: self._learn(settings), self.learn_command(settings))

    def learn_command(self, settings: LearnSettings) -> str:
        """That does the same as `learn`."""
        return learn_script(self._uri, self._array, settings)

    def pause_learning(self, paused: bool = True) -> None:
        """Offer nothing to the learner for a while; what it knows stays."""
        self.desk.paused = paused

    def stop_learning(self) -> None:
        """End the learner; the calibration in use stays."""
        self.errands.send("Stop learning", self._end_learning)

    def accept(self) -> None:
        """Use the calibration that is offered."""
        if self.desk.offered is not None:
            self.desk.must_ask, self.desk.accepted = False, True  # what follows belongs to it
            self.use(self.desk.offered)

    def discard(self) -> None:
        """Forget the calibration that is offered."""
        self.desk.discard()

    def use(self, calibration: Calibration | None, *, forced: str = "") -> None:
        """Another calibration, or none. forced : reason to apply one that does not fit the stream."""
        self._put_to_use(self.calibrations.use(calibration, forced, self._stream()))

    def step_use(self, by: int) -> None:
        """Undo (-1) or redo (+1): what was in use before, also none; it is applied only where it may be."""
        if self.calibrations.step(by, self._stream()):
            self._put_to_use(True)

    def _put_to_use(self, chosen: bool) -> None:
        if self._watched is not None:
            self._watched.watch.calibrate(self.calibration)
        if chosen and self.desk.state not in ("off", "dead"):
            self.accepting = "when asked"  # the user's choice stays

    def _stream(self) -> StreamInfo | None:
        session = self._session
        return None if session is None else session.stream

    def find_devices(self, discover: bool = False) -> None:
        """Look for devices; what is found is in `found`. discover : ask the network, too."""
        script = "hil devices --discover" if discover else "hil devices"
        self.errands.send("Find", lambda: self._find(discover), script)

    def mark(self, words: str = "mark") -> None:
        """Note this moment in the log and, if there is one, in the recording."""
        self.errands.send("Mark", lambda: self._mark(words))

    def record(self, path: Path) -> None:
        """Record from the next block on."""
        script = capture_script(self._uri, self._array, path)
        self.errands.send("Record", lambda: self.records.begin(self._present(), path, self._watched), script)

    def stop_recording(self) -> None:
        """End the recording; the stream goes on."""
        self.errands.send("Stop recording", lambda: self.records.end(self._present(), self._watched))

    def save_last(self, path: Path) -> None:
        """Save what the flight recorder holds; the stream goes on."""
        self.records.save_last(path, self._watched)

    def transmit(self, waveform: Waveform | Path, name: str, want: TxConfig, script: str = "") -> None:
        """Send a waveform, or that of a file, until `stop_transmitting`, `stop` or any error. name : as shown."""
        self.errands.send("Transmit", lambda: self._transmit(waveform, name, want), script)

    def stop_transmitting(self) -> None:
        """Silence."""
        self.errands.send("Stop transmitting", lambda: self.transmit_desk.end(self._present()))

    def close(self) -> bool:
        """End everything; True if all threads have ended. Idempotent."""
        tables = self.sweeps.close() and self.table.close()
        self.records.flight.close()  # a save that runs ends with what it has
        ended = self.errands.close(_CLOSE_S) and tables  # what runs ends first, what waits is forgotten
        self._close()
        ended = self.records.close(_CLOSE_S) and self.echoes.close() and ended
        return self.calibrations.shelf.close(_CLOSE_S) and self.painter.close() and ended

    # ---- what the window shows ------------------------------------------------------------------------

    def done(self) -> list[Done]:
        """What became of the actions, oldest first."""
        return [*self.errands.take(), *self.records.done(), *self.calibrations.shelf.done()]

    def health(self) -> list[str]:
        """Faults told since the last call, a line each with what to do."""
        watched = self._watched
        told = watched.take() if watched is not None else []
        return [f"{event['cause']}. {event['remedy']}." for event in told]

    def picture(self) -> Picture | None:
        """The newest picture that was not taken yet."""
        if (picture := self.painter.take()) is not None:
            self._picture = picture
            offset_ns = 0 if self.playback is None else self.playback.offset_ns
            self._lag_ms = (time.monotonic_ns() - picture.t_mono_ns - offset_ns) / 1e6
        return picture

    def poll(self) -> None:
        """Look at learner and session; call it some times a second."""
        if self._watched is not None and self.playback is None:
            self._watched.tick()  # a recording that pauses is no fault
        session = self._session
        if session is not None and self.desk.poll(session.stream):
            self.errands.send("End learner", self._end_learning)
        used = self.desk.accepted and self.calibrations.uses.present.learned
        followed = used and self.desk.state == "following"
        if not self.desk.must_ask and (self.accepting == "at once" or followed):
            self.accept()
        if self.desk.comparison_due():
            self.errands.send("Compare", self.desk.compare)
        if session is None or self._link != "streaming":
            return
        try:
            session.wait(0.0)
        except HilError as err:
            self._lost(err)
            return
        if self.records.broken(session):
            self.stop_recording()

    def facts(self) -> Facts:
        """For the status strip."""
        session, picture, desk = self._session, self._picture, self.desk
        stream = session.stream if session is not None else None
        lost, exact, gaps = (0, True, 0) if session is None else not_asked_for(session)
        watch = self._watched.watch if self._watched is not None else None
        playing = self._link == "streaming" and not (self.playback is not None and self.playback.resting)
        return Facts(
            link=self._link, uri=self._uri, error=self._error,
            epoch=stream.epoch.counter if stream is not None else None,
            epoch_cause=stream.epoch.cause if stream is not None else "",
            lost=lost, lost_exact=exact, gaps=gaps,
            skipped=session.skipped if session is not None else 0,
            clipped=tuple(picture.clipped) if picture is not None else (),
            level_dbfs=tuple(picture.level_dbfs) if picture is not None else (),
            snr_db=picture.snr_db if picture is not None else math.nan,
            n_sources=picture.n_sources if picture is not None else None,
            calibration=self.calibrations.facts(stream), table=self.sweeps.table_facts(),
            recording=None if session is None else self.records.facts(session),
            learning="paused" if desk.paused and desk.state not in ("off", "dead") else desk.state,
            learning_words=desk.words, learning_remedy=desk.remedy,
            transmit=self.transmit_desk.facts, lag_ms=self._lag_ms if playing else math.nan,
            health=tuple(watch.active.values()) if watch is not None else (),
            not_watched=tuple(watch.not_watched()) if watch is not None else (),
        )  # fmt: skip

    # ---- in the errands' thread -----------------------------------------------------------------------

    def _open(self, uri: str, array: str | None) -> str:
        self._close()
        self._link = "connecting"
        try:
            place = None if array is None else (lambda fc_hz: parse_array(array, fc_hz))
            session = open_session(uri, place)
            prepare_to_listen(session.device)
            if session.stream.geometry is None and uri.startswith("sim:"):
                session.geometry = scene_array(uri)
                session.configure(session.stream.config)
        except HilError as err:
            self._link, self._error = "lost", err
            raise
        self._session, self._link = session, "ready"
        self.transmit_desk.opened(session)
        self.echoes.opened(uri)
        stream = session.stream
        return f"{stream.device.model}: {stream.n_channels} channels, {stream.fs_hz / 1e6:g} MS/s at {stream.fc_hz / 1e6:g} MHz"

    def _start(self) -> str:
        session = self._present()
        stream = session.stream
        self._watched = Watched(stream, calibration=self.calibration) if can_watch(stream) else None
        session.start(on_frame=self._frame)
        self._link, self._error = "streaming", None
        with suppress(HilError):  # the stream has failed already: `Session.wait` tells
            session.newest("painter", self._newest, n_samples=SNAPSHOTS, hz=PICTURES_HZ)
        self.records.stream_begins(session)
        return ""

    def _frame(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        """In the DSP thread."""
        self.calibrations.look(frame.stream)
        self.desk.offer(frame)
        self.echoes.offer(frame, clipped)
        if self._watched is not None:
            self._watched(frame, clipped)
        self.painter.count(clipped, frame.samples.shape[1])

    def _newest(self, frame: Frame) -> None:
        """In the painter's thread."""
        self.painter.paint(frame, set[int]() if self._watched is None else self._watched.silent())

    def _stop(self) -> str:
        self.desk.end()
        session = self._present()
        summary = session.stop()
        self.records.stream_ended()
        if self._link == "streaming":
            self._link = "ready"
        self.transmit_desk.end(session)  # silent already; told if that is not sure
        session.raise_error()
        return f"{summary.samples:,} samples per channel, {summary.lost:,} lost"

    def _configure(self, want: RxConfig) -> str:
        stream = self._present().configure(want)
        gains = ", ".join(f"{g:g}" for g in sorted(set(stream.gains_db)))
        return f"read back: {stream.fc_hz / 1e6:g} MHz, {stream.fs_hz / 1e6:g} MS/s, gain {gains} dB"

    def _learn(self, settings: LearnSettings) -> str:
        self.desk.begin(self._present().stream, settings, self.echoes.waveform, self.applied)
        return ""

    def _end_learning(self) -> str:
        self.desk.end()
        return ""

    def _find(self, discover: bool) -> str:
        from drivers.registry import list_devices

        found = list_devices(discover)
        self.found = [str(device["uri"]) for device in found]
        return f"{len(found)} devices: " + ", ".join(self.found) if found else "no device"

    def _mark(self, words: str) -> str:
        session = self._present()
        if not session.running:
            raise DeviceStateError("nothing streams", hint="press Start first")
        at = session.samples + session.losses[0]
        return f"{words} at sample {at:,}" + (" (in the recording)" if self.records.mark(at, words) else "")

    def _transmit(self, given: Waveform | Path, name: str, want: TxConfig) -> str:
        waveform = load_waveform(given) if isinstance(given, Path) else given
        words = self.transmit_desk.begin(self._present(), waveform, name, want)
        self.echoes.use(waveform, name)
        return words

    def _present(self) -> Session:
        if self._session is None:
            raise DeviceStateError("nothing is connected", hint="choose a source and press Connect")
        return self._session

    def _close(self) -> str:
        self.desk.end()
        session, self._session = self._session, None
        self._watched = None
        if self._link != "lost":
            self._link = "none"
        if session is not None:
            self.transmit_desk.release(session)
        self.records.stream_ended()
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
        session, self._session = self._session, None
        if session is not None:
            self.transmit_desk.release(session)
        self.records.stream_ended()
        return ""
