"""The learner's own process: niced, fed through shared memory, never in the way of the capture.

A thread takes covariances out of the shared slots as they come; the main loop learns from what has
gathered whenever that has grown enough, and again from the newest window once it has succeeded, so that
slow drift is followed. A new coherence epoch empties everything.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from calib.result import LearnResult, Progress
from hil.core.errors import CalibrationError, ConnectionLost, HilError
from hil.core.geometry import ArrayGeometry
from hil.core.priority import prefer_this_thread
from hil.learning.batch import learn_batch
from hil.learning.follow import PhaseFollower
from hil.learning.observe import CovarianceBatch
from hil.learning.race import RaceTeacher
from hil.learning.settings import LearnSettings
from hil.pipeline.shared_latest import SharedLatestReader, SharedSpec

#: First attempt when so many seconds of stream are there, then whenever they have grown by a quarter.
_FIRST_S = 1.0
#: A race is run once, and takes as long as all its methods: it waits for data that are worth it.
_FIRST_RACE_S = 5.0
_PROGRESS_S = 0.25
_GROWTH = 1.25
#: How much of the past is looked at, when that counts as full, and the share of time used from then on.
_WINDOW_S = 30.0
_FULL = 0.9
_DUTY = 0.2
_FOLLOW_PERIOD_S = 1.0
#: A niced learner on a busy machine: the search ends here and is judged on what it has.
_SEARCH_LIMIT_S = 20.0
#: From this share of the target on, only the last attempt is made: it must not wait for another one.
_HOLD = 0.6
#: More blocks than this sharpen nothing that the support's edges leave open, but cost time.
_MOST_BLOCKS = 2000


@dataclass(frozen=True, slots=True)
class Setup:
    """What the blocks of one coherence epoch were taken with; a retune brings another one.

    stride : samples from one block to the next.
    """

    epoch_counter: int
    fc_hz: float
    fs_hz: float
    stride: int


@dataclass(frozen=True, slots=True)
class LearnJob:
    """What the process is started with.

    setup : of the first blocks; others come by the connection before their blocks do.
    target_s : seconds of stream after which `finish` will be asked for; no attempt begins shortly before.
    """

    spec: SharedSpec
    geometry: ArrayGeometry
    setup: Setup
    n_snapshots: int
    settings: LearnSettings
    target_s: float | None = None


@dataclass(frozen=True, slots=True)
class LearnUpdate:
    """One finished attempt.

    result : None if the data cannot determine the array; then `problem` says why, `parameters` which.
    epoch_counter, n_blocks, first_sample, last_sample : of the data used. seconds : of computing.
    final : it answers `LiveLearner.finish`. tracked : not learned anew, only its phases were followed.
    method : whose result it is, "" if it was followed. race : a row (`calib.race.Entry.as_dict`) for each method, best
    first, if it was a race.
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
    tracked: bool = False
    method: str = ""
    race: tuple[dict[str, object], ...] = ()


class _Gathered:
    """Covariances of the present epoch with their first samples, newest last, bounded by a window of time."""

    def __init__(self, job: LearnJob) -> None:
        self._n_snapshots = job.n_snapshots
        self._setup = job.setup
        self._parts: deque[tuple[NDArray[np.complex128], int]] = deque()
        self._lock = threading.Lock()
        self.epoch = job.setup.epoch_counter

    def use(self, setup: Setup) -> None:
        """The blocks from now on were taken like this."""
        with self._lock:
            retuned = setup.epoch_counter == self._setup.epoch_counter
            self._setup = setup
            # blocks of a new epoch may be here before the main loop has read its setup
            if retuned or setup.epoch_counter != self.epoch:
                self._parts.clear()
                self.epoch = setup.epoch_counter

    def add(self, data: NDArray[np.complex128], first_sample: int, epoch: int) -> None:
        with self._lock:
            if epoch != self.epoch:
                self._parts.clear()
                self.epoch = epoch
            if not len(data):
                return
            if self._parts and first_sample <= self._parts[-1][1]:
                self._parts.clear()  # the stream was started again
            self._parts.append((data, first_sample))
            oldest = first_sample - round(_WINDOW_S * self._setup.fs_hz)
            while self._parts[0][1] < oldest:
                self._parts.popleft()

    def forget(self) -> None:
        """Start again with what comes from now on."""
        with self._lock:
            self._parts.clear()

    def span_s(self) -> float:
        with self._lock:
            return (self._parts[-1][1] - self._parts[0][1]) / self._setup.fs_hz if self._parts else 0.0

    def batch(self) -> tuple[CovarianceBatch, float] | None:
        """Everything of the present epoch, and its carrier; None while there is nothing."""
        with self._lock:
            parts, setup, epoch = list(self._parts), self._setup, self.epoch
        if not parts or epoch != setup.epoch_counter:
            return None
        index = [first + setup.stride * np.arange(len(data), dtype=np.int64) for data, first in parts]
        covariance = np.concatenate([data for data, _ in parts])
        batch = CovarianceBatch(
            covariance, np.concatenate(index), self._n_snapshots, setup.fs_hz, setup.epoch_counter
        )
        return batch, setup.fc_hz


def learner_main(job: LearnJob, connection: Connection) -> None:
    """Entry point of the process; ends when the connection closes or the parent dies."""
    from threadpoolctl import threadpool_limits

    stand_back()
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


def stand_back() -> None:
    """Run 10 nice levels below the capture: where its threads may be preferred, at the usual level."""
    if prefer_this_thread():
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    elif hasattr(os, "nice"):
        os.nice(10)


def _feed(reader: SharedLatestReader, gathered: _Gathered, done: threading.Event) -> None:
    while not done.is_set():
        try:
            items = reader.take(0.1)
        except ConnectionLost:
            # nobody is left to wait for an attempt that may take seconds
            os._exit(1)
        if items is not None:
            gathered.add(items.data, items.first_sample, items.tag)
        elif reader.finished:
            break
    done.set()


def _loop(job: LearnJob, gathered: _Gathered, connection: Connection, done: threading.Event) -> None:
    racing = job.settings.method == "race"
    first_s = _FIRST_RACE_S if racing else _FIRST_S
    tell = _teller(connection) if racing else None
    next_span_s, not_before, epoch = first_s, 0.0, gathered.epoch
    follower: PhaseFollower | None = None
    next_follow = 0.0
    while True:
        final = False
        if connection.poll(0.02):
            message = connection.recv()
            if message == "stop":
                return
            if isinstance(message, Setup):
                gathered.use(message)
                continue
            final = True
        elif done.is_set():
            return
        if gathered.epoch != epoch:
            epoch, next_span_s, not_before, follower = gathered.epoch, first_s, 0.0, None
        if follower is not None and not final and time.monotonic() >= next_follow:
            next_follow = time.monotonic() + _FOLLOW_PERIOD_S
            follower = _follow(follower, gathered, connection)
            if follower is None and racing:
                next_span_s = first_s
        span_s = gathered.span_s()
        held = job.target_s is not None and span_s > _HOLD * job.target_s
        if not final and (held or span_s < next_span_s or time.monotonic() < not_before):
            continue
        found = gathered.batch()
        if found is None:
            if final:
                connection.send(_nothing(epoch))
            continue
        batch, fc_hz = found
        update = attempt(job, batch, fc_hz, final=final, progress=tell)
        good = update.result is not None and update.result.converged
        if update.result is not None and good:
            follower = PhaseFollower(update.result, job.geometry, fc_hz, job.n_snapshots, update.last_sample)
        if final or good or follower is None:
            # a window over which the phases have drifted cannot be learned as one: then following goes on
            connection.send(update)
        next_span_s = math.inf if racing and good else min(span_s * _GROWTH, _FULL * _WINDOW_S)
        if span_s >= _FULL * _WINDOW_S:
            # nothing grows any more: look again now and then, but leave the cores to the capture
            not_before = time.monotonic() + update.seconds * (1 / _DUTY - 1)


def _follow(follower: PhaseFollower, gathered: _Gathered, connection: Connection) -> PhaseFollower | None:
    """Pass the drift of the last second on; None if the array is no longer the one that was learned."""
    found = gathered.batch()
    if found is None:
        return follower
    batch = found[0]
    began, n_before = time.monotonic(), follower.last_sample
    used = follower.follow(batch)
    if not used:
        return follower
    if not follower.healthy:
        gathered.forget()
        return None
    connection.send(
        LearnUpdate(
            follower.result(), "", "", (), batch.epoch_counter, used, n_before, follower.last_sample,
            time.monotonic() - began, False, tracked=True,
        )
    )  # fmt: skip
    return follower


def _teller(connection: Connection) -> Callable[[Progress], None]:
    """Sends how far a race is, now and then."""
    next_s = 0.0

    def tell(progress: Progress) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + _PROGRESS_S
            connection.send(progress)

    return tell


def attempt(
    job: LearnJob,
    batch: CovarianceBatch,
    fc_hz: float,
    *,
    final: bool,
    progress: Callable[[Progress], None] | None = None,
) -> LearnUpdate:
    """Learn once from a batch, or run a race on it."""
    began = time.monotonic()
    batch = batch.thinned(_MOST_BLOCKS)
    race = RaceTeacher() if job.settings.method == "race" else None
    result, problem, hint, parameters = None, "", "", ()
    try:
        result = learn_batch(
            batch, job.geometry, fc_hz, job.settings, time_limit_s=_SEARCH_LIMIT_S, progress=progress, method=race
        )  # fmt: skip
    except CalibrationError as err:
        problem, hint, parameters = str(err), err.hint, tuple(getattr(err, "parameters", ()))
    except HilError as err:
        problem, hint = str(err), err.hint
    return LearnUpdate(
        result, problem, hint, parameters, batch.epoch_counter, len(batch),
        int(batch.first_sample[0]), int(batch.first_sample[-1]) + batch.n_snapshots,
        time.monotonic() - began, final, method=job.settings.method if race is None else race.name,
        race=() if race is None or race.outcome is None else tuple(e.as_dict() for e in race.outcome.entries),
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
