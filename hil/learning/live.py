"""The learner beside a running capture: a niced process fed through shared memory."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import numpy as np

from hil.core.errors import CalibrationError, ConfigError
from hil.core.frame import Frame, StreamInfo
from hil.learning.observe import CovarianceBatch, CovarianceTap
from hil.learning.process import LearnJob, LearnUpdate, learner_main
from hil.learning.settings import LearnSettings
from hil.pipeline.shared_latest import SharedLatestWriter

_START_TIMEOUT_S = 60.0
#: Most covariances of one frame: frames longer than this many strides are handed over in pieces.
_SLOT_ITEMS = 64


@contextmanager
def _one_native_thread() -> Iterator[None]:
    """Environment of a child whose BLAS must not fight the capture for two cores."""
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
        self.settings = settings
        self._tap = tap or CovarianceTap()
        m = stream.n_channels
        self.edge = SharedLatestWriter("dsp -> learner", (m, m), max_items=_SLOT_ITEMS, dtype=np.complex128)
        job = LearnJob(
            self.edge.spec, stream.geometry, stream.fc_hz, stream.fs_hz,
            self._tap.stride(stream.fs_hz), self._tap.n_snapshots, settings, target_s,
        )  # fmt: skip
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(
            target=learner_main, args=(job, child), name="hil-learner", daemon=True
        )
        self._child = child
        self._closed = False

    def start(self) -> None:
        """Start the process and wait until it is ready (importing takes about a second)."""
        with _one_native_thread():
            self._process.start()
        self._child.close()
        if not self._connection.poll(_START_TIMEOUT_S):
            raise CalibrationError("the learner process did not start", hint="see hil doctor", exit_code=3)
        try:
            self._connection.recv()
        except EOFError:
            raise CalibrationError(
                "the learner process ended at its start", hint="see hil doctor", exit_code=3
            ) from None

    def offer(self, frame: Frame) -> CovarianceBatch:
        """Hand the blocks of a frame over; returns their covariances. Never waits."""
        batch = self._tap.take(frame)
        for low in range(0, len(batch), _SLOT_ITEMS):
            part = batch.part(slice(low, low + _SLOT_ITEMS))
            self.edge.put(
                part.covariance, len(part) * part.n_snapshots, int(part.first_sample[0]), batch.epoch_counter
            )
        return batch

    def poll(self, timeout_s: float = 0.0) -> LearnUpdate | None:
        """The next finished attempt, or None."""
        if self._closed or not self._connection.poll(timeout_s):
            return None
        try:
            return self._connection.recv()
        except EOFError:
            raise CalibrationError("the learner process has died", hint="see the log", exit_code=3) from None

    def finish(self, timeout_s: float = 30.0) -> LearnUpdate:
        """One last attempt on everything that was offered. Raises CalibrationError after the timeout."""
        self._connection.send("finish")
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
                self._connection.send("stop")
            self._process.join(5.0)
            if self._process.is_alive():
                self._process.kill()
                self._process.join(5.0)
        self._connection.close()
        self.edge.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
