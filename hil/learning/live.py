"""The learner beside a running capture: a niced process fed through shared memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import numpy as np

from calib.result import Progress
from hil.core.errors import CalibrationError, ConfigError
from hil.core.frame import Frame, StreamInfo
from hil.learning.batch import require_learnable
from hil.learning.observe import CovarianceBatch, CovarianceTap
from hil.learning.process import LearnJob, LearnUpdate, Setup, learner_main
from hil.learning.settings import LearnSettings
from hil.pipeline.shared_latest import SharedLatestWriter

_START_TIMEOUT_S = 60.0
_STOP_S = 1.0
#: Most covariances of one frame: frames longer than this many strides are handed over in pieces.
_SLOT_ITEMS = 64


@contextmanager
def quiet_child() -> Iterator[None]:
    """Environment of a child whose BLAS must not fight the capture for two cores, and which leaves Ctrl-C to us."""
    main_thread = threading.current_thread() is threading.main_thread()
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN) if main_thread else None
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {n: os.environ.get(n) for n in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if on_interrupt is not None:
            signal.signal(signal.SIGINT, on_interrupt)


class LiveLearner:
    """A learner in its own niced process that is offered every frame and never makes the capture wait.

    Usage: `start`, `offer(frame)` from one thread (the DSP stage), `poll` from another, `close`.

    Parameters
    ----------
    stream : of the frames to come, with geometry. settings : LearnSettings. tap : how blocks are picked.
    target_s : seconds of stream that will be offered before `finish`; None: no end is planned.
    """

    def __init__(
        self,
        stream: StreamInfo,
        settings: LearnSettings,
        tap: CovarianceTap | None = None,
        target_s: float | None = None,
    ) -> None:
        if stream.geometry is None:
            raise ConfigError(
                "the array is not known", where="--array", hint="give --array ula:8:0.5 or a TOML file"
            )
        require_learnable(settings, stream.n_channels)
        self.settings = settings
        self._tap = tap or CovarianceTap()
        m = stream.n_channels
        self._setup = self._setup_of(stream)
        self.edge = SharedLatestWriter("dsp -> learner", (m, m), max_items=_SLOT_ITEMS, dtype=np.complex128)
        job = LearnJob(
            self.edge.spec, stream.geometry, self._setup, self._tap.n_snapshots, settings, target_s,
        )  # fmt: skip
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(
            target=learner_main, args=(job, child), name="hil-learner", daemon=True
        )
        self._child = child
        self.progress: Progress | None = None
        self._sending = threading.Lock()  # `offer` and `finish` belong to different threads
        self._closed = False

    def start(self) -> None:
        """Start the process and wait until it is ready (importing takes about a second)."""
        try:
            with quiet_child():
                self._process.start()
            self._child.close()
            if not self._connection.poll(_START_TIMEOUT_S):
                raise CalibrationError(
                    "the learner process did not start", hint="see hil doctor", exit_code=3
                )
            try:
                self._connection.recv()
            except (EOFError, OSError):
                raise CalibrationError(
                    "the learner process ended at its start", hint="see hil doctor", exit_code=3
                ) from None
        except BaseException:
            self.close()
            raise

    def offer(self, frame: Frame) -> CovarianceBatch:
        """Hand the blocks of a frame over; returns their covariances. Never waits."""
        batch = self._tap.take(frame)
        setup = self._setup_of(frame.stream)
        if setup != self._setup:
            # before the first block of it: the learner needs the new carrier to understand them
            self._setup = setup
            with suppress(OSError):  # a dead learner is reported by `poll`
                self._send(setup)
        for low in range(0, len(batch), _SLOT_ITEMS):
            part = batch.part(slice(low, low + _SLOT_ITEMS))
            self.edge.put(
                part.covariance, len(part) * part.n_snapshots, int(part.first_sample[0]), batch.epoch_counter
            )
        return batch

    def poll(self, timeout_s: float = 0.0) -> LearnUpdate | None:
        """The next finished attempt, or None; how far a race is goes to `progress`."""
        if self._closed:
            return None
        try:
            message = self._connection.recv() if self._connection.poll(timeout_s) else None
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(message, Progress):
            self.progress = message
            return None
        return message

    def finish(self, timeout_s: float = 30.0) -> LearnUpdate:
        """One last attempt on everything that was offered. Raises CalibrationError after the timeout."""
        try:
            self._send("finish")
        except OSError:
            raise self._died() from None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            update = self.poll(0.1)
            if update is not None and update.final:
                return update
        raise CalibrationError(
            f"the learner did not answer within {timeout_s:g} s", hint="try fewer sources", exit_code=3
        )

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._process.pid is not None:
            with suppress(OSError):
                self._send("stop")
            self._process.join(_STOP_S)
            if self._process.is_alive():  # amid an attempt, which leaves nothing behind
                self._process.kill()
                self._process.join(5.0)
        self._connection.close()
        self.edge.close()

    def _setup_of(self, stream: StreamInfo) -> Setup:
        return Setup(stream.epoch.counter, stream.fc_hz, stream.fs_hz, self._tap.stride(stream.fs_hz))

    def _send(self, message: object) -> None:
        with self._sending:
            self._connection.send(message)

    def _died(self) -> CalibrationError:
        self._process.join(1.0)
        return CalibrationError(
            f"the learner process has died (exit code {self._process.exitcode})",
            hint="start it again; if it was killed for memory, learn from a recording (hil learn)", exit_code=3,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
