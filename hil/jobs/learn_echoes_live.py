"""A learner of echoes beside a running stream: stretches of samples go to a niced process, results come back.

    DSP thread --offer--> stretch of samples (copied while the process is idle) --> process: responses -> method

Nothing waits: while an attempt is under way samples are not copied. A stretch holds one epoch without gaps; the next one
is twice as long until a result has converged.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from calib.result import Progress
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, CalibrationMismatch, ConfigError, HilError
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.core.waveform import Waveform
from hil.dsp.correction import converter_errors, correct_samples
from hil.jobs.learn_csi import CsiTeacher
from hil.learning.batch import learn_batch, require_learnable
from hil.learning.csi import batch_of, lessons_of
from hil.learning.csi_known import without_receivers
from hil.learning.csi_recording import CsiCapture, CsiGatherer
from hil.learning.live import quiet_child
from hil.learning.observe import CovarianceBatch
from hil.learning.process import LearnUpdate, stand_back
from hil.learning.settings import LearnSettings
from hil.store.status import check

_FIRST_S, _MOST_S = 0.5, 4.0
_MOST_VALUES = 8 << 20
_GROUPS_PER_S, _MOST_GROUPS = 2000.0, 4000
_DUTY = 0.3
_TIME_LIMIT_S = 20.0
_START_TIMEOUT_S = 60.0
_JOIN_S = 5.0
_BROKEN = FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW


@dataclass(frozen=True, slots=True, eq=False)
class EchoJob:
    """samples (M, N) complex64 of one epoch from `first_sample` on. known : receivers to divide out, or None. own : the device
    itself transmitted."""

    samples: NDArray[np.complex64]
    first_sample: int
    stream: StreamInfo
    settings: LearnSettings
    waveform: Waveform
    known: Calibration | None
    own: bool


def attempt_echoes(job: EchoJob) -> LearnUpdate:
    """Learn once from a stretch of samples."""
    began = time.monotonic()
    stream, n = job.stream, job.samples.shape[1]
    result, problem, hint, parameters = None, "", "", ()
    blocks = 0
    try:
        lessons = lessons_of(_responses(job), job.settings, direct="auto", own=job.own)
        batch = batch_of(lessons.csi, stream)
        blocks = len(batch)
        assert stream.geometry is not None
        result = learn_batch(
            batch, stream.geometry, stream.fc_hz, lessons.settings, time_limit_s=_TIME_LIMIT_S,
            method=CsiTeacher(lessons.csi, job.settings.method, lessons.notes, job.known),
        )  # fmt: skip
    except HilError as err:
        problem, hint, parameters = str(err), err.hint, tuple(getattr(err, "parameters", ()))
    return LearnUpdate(
        result, problem, hint, parameters, stream.epoch.counter, blocks, job.first_sample,
        job.first_sample + n, time.monotonic() - began, False, method=job.settings.method,
    )  # fmt: skip


def _responses(job: EchoJob) -> CsiCapture:
    stream, n = job.stream, job.samples.shape[1]
    mend = None
    if job.known is not None:
        errors = converter_errors(job.known.impairments)
        if np.any(errors.iq_image) or np.any(errors.dc_offset):
            mend = lambda samples: correct_samples(samples, errors, stream.fs_hz)  # noqa: E731
    groups = max(1, min(_MOST_GROUPS, round(n / stream.fs_hz * _GROUPS_PER_S)))
    gather = CsiGatherer(job.waveform, stream, n, groups, own=job.own, mend=mend)
    gather.push(job.samples, job.first_sample, gap=False, clipped=np.zeros(stream.n_channels, np.int64))
    capture = gather.result()
    return capture if job.known is None else without_receivers(capture, job.known)


class LiveEchoLearner:
    """As `hil.learning.live.LiveLearner`, for methods on channel responses.

    Parameters
    ----------
    stream : of the frames to come, with geometry. settings : with a method of `calib.registry.CSI_METHODS`. waveform :
        what is transmitted, None: not known. known : calibration in use, whose gains and delays are divided out.

    Raises
    ------
    ConfigError : the waveform is not known or cannot be received. CalibrationMismatch : `known` is of another epoch.
    """

    def __init__(
        self,
        stream: StreamInfo,
        settings: LearnSettings,
        waveform: Waveform | None,
        known: Calibration | None,
    ) -> None:
        if stream.geometry is None:
            raise ConfigError(
                "the array is not known", where="--array", hint="give --array ula:8:0.5 or a TOML file"
            )
        require_learnable(settings, stream.n_channels)
        if waveform is None or waveform.layout is None:
            raise ConfigError(
                f"{settings.method} learns from echoes of an OFDM waveform, and none is known",
                hint="send one: the transmit panel, or choose its file in the angle-delay panel",
            )  # fmt: skip
        if known is not None and check(known, stream).status != "valid":
            raise CalibrationMismatch(
                "the calibration in use is not of this epoch: its gains cannot be divided out", field="epoch",
                hint="put none to use, or learn the gains again",
            )  # fmt: skip
        self.settings, self.progress = settings, None
        self._waveform, self._known = waveform, known
        self._parts: list[Frame] = []
        self._length_s, self._not_before = _FIRST_S, 0.0
        self._busy, self._dead = False, False
        self._jobs: list[EchoJob] = []
        self._updates: list[LearnUpdate] = []
        self._wake = threading.Condition()
        self._closed = False
        context = multiprocessing.get_context("spawn")
        self._connection, self._child = context.Pipe()
        self._process = context.Process(
            target=echo_learner_main, args=(self._child,), name="hil-learner", daemon=True
        )
        self._courier = threading.Thread(target=self._carry, name="hil-learn-echoes", daemon=True)

    progress: Progress | None

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        try:
            with quiet_child():
                self._process.start()
            self._child.close()
            ready = self._connection.poll(_START_TIMEOUT_S)
            if ready:
                self._connection.recv()
        except (EOFError, OSError):
            ready = False
        if not ready:
            self.close()
            raise CalibrationError("the learner process did not start", hint="see hil doctor", exit_code=3)
        self._courier.start()

    def offer(self, frame: Frame) -> CovarianceBatch:
        """Take samples if the process is idle. Never waits. Echoes beside a direct path show no covariances: none."""
        stream = frame.stream
        m = stream.n_channels
        nothing = CovarianceBatch(
            np.zeros((0, m, m), complex), np.zeros(0, np.int64), 1, stream.fs_hz, stream.epoch.counter
        )
        if self._busy or time.monotonic() < self._not_before:
            return nothing
        if frame.flags & _BROKEN or (self._parts and not _goes_on(self._parts[-1], frame)):
            self._parts = []
        wanted = min(round(self._length_s * stream.fs_hz), _MOST_VALUES // m)
        have = sum(part.samples.shape[1] for part in self._parts)
        self._parts.append(replace(frame, samples=frame.samples[:, : wanted - have].copy()))
        if have + frame.samples.shape[1] >= wanted:
            self._hand_over()
        return nothing

    def _hand_over(self) -> None:
        first = self._parts[0]
        samples = np.concatenate([part.samples for part in self._parts], axis=1)
        self._parts, self._busy = [], True
        own = bool(first.flags & FrameFlag.TRANSMITTING)
        known = self._known
        if known is not None and check(known, first.stream).status != "valid":
            known = None  # its gains have gone with the epoch; the method's own test says so
        job = EchoJob(samples, first.first_sample, first.stream, self.settings, self._waveform, known, own)
        with self._wake:
            self._jobs.append(job)
            self._wake.notify()

    def _carry(self) -> None:
        """A job there, its result back."""
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job = self._jobs.pop()
            try:
                self._connection.send(job)
                update: LearnUpdate = self._connection.recv()
            except (EOFError, OSError):
                self._dead = True
                return
            good = update.result is not None and update.result.converged
            self._length_s = _FIRST_S if good else min(2 * self._length_s, _MOST_S)
            self._not_before = time.monotonic() + (update.seconds * (1 / _DUTY - 1) if good else 0.0)
            self._updates.append(update)
            self._busy = False

    def poll(self) -> LearnUpdate | None:
        """The next finished attempt, or None. Raises CalibrationError if the process has died."""
        if self._updates:
            return self._updates.pop(0)
        if self._dead and not self._closed:
            self._process.join(1.0)
            raise CalibrationError(
                f"the learner process has died (exit code {self._process.exitcode})",
                hint="start it again; if it was killed for memory, learn from a recording (hil learn)", exit_code=3,
            )  # fmt: skip
        return None

    def close(self) -> None:
        """End the process, also amid an attempt, which leaves nothing behind. Idempotent."""
        with self._wake:
            if self._closed:
                return
            self._closed = True
            self._wake.notify()
        if self._process.pid is not None:
            self._process.kill()
            self._process.join(_JOIN_S)
        if self._courier.ident is not None:
            self._courier.join(_JOIN_S)
        with suppress(OSError):
            self._connection.close()


def _goes_on(last: Frame, frame: Frame) -> bool:
    """Same epoch and settings, transmitting or not, and the next sample."""
    return (
        last.stream is frame.stream
        and (last.flags ^ frame.flags) & FrameFlag.TRANSMITTING == FrameFlag.NONE
        and last.first_sample + last.samples.shape[1] == frame.first_sample
    )


def echo_learner_main(connection: Connection) -> None:
    """Entry point of the process; ends when the connection closes."""
    from threadpoolctl import threadpool_limits

    stand_back()
    with threadpool_limits(1), connection:
        try:
            connection.send("ready")
            while True:
                connection.send(attempt_echoes(connection.recv()))
        except (EOFError, OSError):
            return  # the parent has gone
