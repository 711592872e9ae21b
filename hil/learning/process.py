"""The learner's own process: niced, fed through shared memory, never in the way of the capture.

A thread takes covariances out of the shared slots as they come; the main loop learns from what has
gathered whenever that has grown enough, and again from the newest window once it has succeeded, so that
slow drift is followed. A new coherence epoch empties everything.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from calib.result import LearnResult
from hil.core.errors import CalibrationError, ConnectionLost, HilError
from hil.core.geometry import ArrayGeometry
from hil.learning.batch import learn_batch
from hil.learning.observe import CovarianceBatch
from hil.learning.settings import LearnSettings
from hil.pipeline.shared_latest import SharedLatestReader, SharedSpec

#: First attempt when so many seconds of stream are there, then whenever they have grown by a quarter.
_FIRST_S = 1.0
_GROWTH = 1.25
#: How much of the past is looked at, when that counts as full, and the share of time used from then on.
_WINDOW_S = 30.0
_FULL = 0.9
_DUTY = 0.2
#: A niced learner on a busy machine: the search ends here and is judged on what it has.
_SEARCH_LIMIT_S = 20.0
#: From this share of the target on, only the last attempt is made: it must not wait for another one.
_HOLD = 0.6
#: More blocks than this sharpen nothing that the support's edges leave open, but cost time.
_MOST_BLOCKS = 2000


@dataclass(frozen=True, slots=True)
class LearnJob:
    """What the process is started with.

    target_s : seconds of stream after which `finish` will be asked for; no attempt begins shortly before.
    """

    spec: SharedSpec
    geometry: ArrayGeometry
    fc_hz: float
    fs_hz: float
    stride: int
    n_snapshots: int
    settings: LearnSettings
    target_s: float | None = None


@dataclass(frozen=True, slots=True)
class LearnUpdate:
    """One finished attempt.

    result : None if the data cannot determine the array; then `problem` says why, `parameters` which.
    epoch_counter, n_blocks, first_sample, last_sample : of the data used. seconds : of computing.
    final : it answers `LiveLearner.finish`.
    """

    result: LearnResult | None
    problem: str
    hint: str
    parameters: tuple[str, ...]
    epoch_counter: int
    n_blocks: int
    first_sample: int
    last_sample: int
    seconds: float
    final: bool


class _Gathered:
    """Covariances of the present epoch, newest last, bounded by a window of time."""

    def __init__(self, job: LearnJob) -> None:
        self._job = job
        self._parts: deque[tuple[NDArray[np.complex128], NDArray[np.int64]]] = deque()
        self._lock = threading.Lock()
        self.epoch = 0

    def add(self, data: NDArray[np.complex128], first_sample: int, epoch: int) -> None:
        with self._lock:
            if epoch != self.epoch:
                self._parts.clear()
                self.epoch = epoch
            if not len(data):
                return
            index = first_sample + self._job.stride * np.arange(len(data), dtype=np.int64)
            if self._parts and index[0] < self._parts[-1][1][-1]:
                self._parts.clear()  # the stream was started again
            self._parts.append((data, index))
            oldest = index[-1] - round(_WINDOW_S * self._job.fs_hz)
            while self._parts and self._parts[0][1][-1] < oldest:
                self._parts.popleft()

    def span_s(self) -> float:
        with self._lock:
            if not self._parts:
                return 0.0
            return (self._parts[-1][1][-1] - self._parts[0][1][0]) / self._job.fs_hz

    def batch(self) -> CovarianceBatch | None:
        with self._lock:
            parts, epoch = list(self._parts), self.epoch
        if not parts:
            return None
        return CovarianceBatch(
            np.concatenate([p[0] for p in parts]),
            np.concatenate([p[1] for p in parts]),
            self._job.n_snapshots,
            self._job.fs_hz,
            epoch,
        )


def learner_main(job: LearnJob, connection: Connection) -> None:
    """Entry point of the process; ends when the connection closes or the parent dies."""
    from threadpoolctl import threadpool_limits

    if hasattr(os, "nice"):
        os.nice(10)
    with threadpool_limits(1), connection:
        gathered = _Gathered(job)
        try:
            reader = SharedLatestReader(job.spec)
        except ConnectionLost:
            return
        done = threading.Event()
        feeder = threading.Thread(target=_feed, args=(reader, gathered, done), daemon=True)
        feeder.start()
        try:
            connection.send("ready")
            _loop(job, gathered, connection, done)
        except (EOFError, OSError):
            return  # the parent has gone
        finally:
            done.set()
            feeder.join(5.0)
            reader.close()


def _feed(reader: SharedLatestReader, gathered: _Gathered, done: threading.Event) -> None:
    while not done.is_set():
        try:
            items = reader.take(0.1)
        except ConnectionLost:
            break
        if items is not None:
            gathered.add(items.data, items.first_sample, items.tag)
        elif reader.finished:
            break
    done.set()


def _loop(job: LearnJob, gathered: _Gathered, connection: Connection, done: threading.Event) -> None:
    next_span_s, not_before, epoch = _FIRST_S, 0.0, gathered.epoch
    while True:
        final = False
        if connection.poll(0.02):
            if connection.recv() == "stop":
                return
            final = True
        elif done.is_set():
            return
        if gathered.epoch != epoch:
            epoch, next_span_s, not_before = gathered.epoch, _FIRST_S, 0.0
        span_s = gathered.span_s()
        held = job.target_s is not None and span_s > _HOLD * job.target_s
        if not final and (held or span_s < next_span_s or time.monotonic() < not_before):
            continue
        batch = gathered.batch()
        if batch is None:
            if final:
                connection.send(_nothing(epoch))
            continue
        update = attempt(job, batch, final=final)
        connection.send(update)
        next_span_s = min(span_s * _GROWTH, _FULL * _WINDOW_S)
        if span_s >= _FULL * _WINDOW_S:
            # nothing grows any more: follow drift, but leave the cores to the capture
            not_before = time.monotonic() + update.seconds * (1 / _DUTY - 1)


def attempt(job: LearnJob, batch: CovarianceBatch, *, final: bool) -> LearnUpdate:
    """Learn once from a batch."""
    began = time.monotonic()
    batch = batch.thinned(_MOST_BLOCKS)
    result, problem, hint, parameters = None, "", "", ()
    try:
        result = learn_batch(batch, job.geometry, job.fc_hz, job.settings, time_limit_s=_SEARCH_LIMIT_S)
    except CalibrationError as err:
        problem, hint, parameters = str(err), err.hint, tuple(getattr(err, "parameters", ()))
    except HilError as err:
        problem, hint = str(err), err.hint
    return LearnUpdate(
        result, problem, hint, parameters, batch.epoch_counter, len(batch),
        int(batch.first_sample[0]), int(batch.first_sample[-1]) + batch.n_snapshots,
        time.monotonic() - began, final,
    )  # fmt: skip


def _nothing(epoch: int) -> LearnUpdate:
    return LearnUpdate(
        None,
        "no samples have reached the learner",
        "check that the device streams",
        (),
        epoch,
        0,
        0,
        0,
        0.0,
        True,
    )
