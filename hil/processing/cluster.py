"""Tasks on a Dask cluster: one made here on the loopback, or one that is there already.

A worker that dies takes its points with it. They are tried again one at a time, so that a point which kills its worker is
told from one that was only beside it; after three failures, at least one of them alone, it is bad.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hil import __version__
from hil.core.errors import HilError
from hil.processing.allocation import keep_freed_memory
from hil.processing.task import Task, TaskOutcome, run_task

_CONNECT_S = 10
_POLL_S = 2.0
_NO_WORKERS_S = 60.0
_FAILURES = 3
_INSTALL = "pip install 'coherent-array-hil[cluster]', or do without: --workers 0"


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_worker(task: Task) -> TaskOutcome:
    keep_freed_memory()
    return run_task(task)


@contextlib.contextmanager
def local_cluster(n_workers: int, memory_bytes: int) -> Iterator[Any]:
    """Worker processes of one thread each on this machine, reachable from it alone; a worker over its memory is ended.

    Raises HilError: dask.distributed is missing, or the workers do not start.
    """
    distributed = _distributed()
    import dask.config

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # they are counted here
        "distributed.worker.memory.target": False, "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False, "distributed.worker.memory.terminate": 1.0,
        "distributed.admin.system-monitor.gil.enabled": False,
    }  # fmt: skip
    with dask.config.set(settings), tempfile.TemporaryDirectory(prefix="hil-workers-") as scratch, _quiet():
        try:
            cluster = distributed.LocalCluster(
                n_workers=n_workers, threads_per_worker=1, processes=True, memory_limit=memory_bytes, host="127.0.0.1",
                dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}, silence_logs=logging.CRITICAL,
                local_directory=scratch, preload=["hil.processing.worker"],
            )  # fmt: skip
        except (OSError, RuntimeError, TimeoutError) as err:
            raise HilError(f"the workers do not start: {err}", hint="do without them: --workers 0") from err
        with cluster, distributed.Client(cluster, timeout=_CONNECT_S, set_as_default=False) as client:
            yield client


@contextlib.contextmanager
def remote_cluster(address: str, folders: Sequence[Path], out: Path) -> Iterator[Any]:
    """A cluster that is there; its workers must have this program and see the same folders.

    Raises HilError: nobody answers, there are no workers, or one cannot do the work.
    """
    distributed = _distributed()
    try:
        _reach(address)
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as err:
        raise HilError(
            f"no Dask scheduler at {address}",
            hint="start one with `dask scheduler` and `dask worker ADDRESS --nthreads 1`",
        ) from err
    with client, _quiet():
        if not client.scheduler_info()["workers"]:
            raise HilError(
                f"the scheduler at {address} has no workers", hint="dask worker ADDRESS --nthreads 1"
            )
        paths = [str(folder) for folder in folders]
        try:
            said = client.run(what_is_wrong, __version__, paths, str(out))
        except Exception as err:
            raise HilError(
                f"the workers at {address} cannot run this program: {err}",
                hint=f"install coherent-array-hil {__version__} beside every worker",
            ) from err
        for worker, words in said.items():
            if words:
                raise HilError(
                    f"worker {worker}: {words}", hint="every worker needs this program and the same folders"
                )
        yield client


def what_is_wrong(version: str, folders: list[str], out: str) -> str:
    """On a worker: why it cannot do the work, "" if it can."""
    if version != __version__:
        return f"has coherent-array-hil {__version__}, not {version}"
    missing = [folder for folder in folders if not Path(folder).is_dir()]
    if missing:
        return f"does not see {missing[0]}"
    return "" if os.access(out, os.W_OK) else f"cannot write to {out}"


def run_on(client: Any, tasks: Sequence[Task], window: int) -> Iterator[TaskOutcome]:
    """Outcomes as they come; `window` tasks are in the cluster's hands at a time.

    Raises HilError: the scheduler or all workers are lost.
    """
    failures: dict[int, int] = {}
    again: list[Task] = []
    for task, outcome in _pass(client, deque(tasks), window):
        if outcome.word != "failed":
            yield outcome
            continue
        failures[outcome.index] = 1
        again.append(task)
    for task in again:
        while True:
            _, outcome = next(_pass(client, deque([task]), 1))
            if outcome.word != "failed":
                yield outcome
                break
            failures[outcome.index] += 1
            if failures[outcome.index] >= _FAILURES:
                yield given_up(outcome, failures[outcome.index])
                break


def given_up(outcome: TaskOutcome, times: int) -> TaskOutcome:
    """A point that failed too often."""
    return TaskOutcome(outcome.index, "bad", f"failed {times} times: {outcome.why}")


def run_here(tasks: Sequence[Task]) -> Iterator[TaskOutcome]:
    """One after the other, in this process."""
    for task in tasks:
        for times in range(1, _FAILURES + 1):
            outcome = run_task(task)
            if outcome.word != "failed":
                yield outcome
                break
            if times == _FAILURES:
                yield given_up(outcome, times)


def _pass(client: Any, tasks: deque[Task], window: int) -> Iterator[tuple[Task, TaskOutcome]]:
    """Every task once."""
    running: dict[Any, Task] = {}
    try:
        while tasks or running:
            while tasks and len(running) < window:
                task = tasks.popleft()
                running[client.submit(_in_worker, task, pure=False)] = task
            for future in _finished(client, list(running)):
                yield running[future], _outcome(running.pop(future), future)
    finally:
        with contextlib.suppress(Exception):
            client.cancel(list(running), force=True)


def _finished(client: Any, futures: list[Any]) -> list[Any]:
    """Those that are ready; waits for one. Raises HilError: it cannot come any more."""
    from dask.distributed import wait

    alone_since = None
    while True:
        with contextlib.suppress(TimeoutError), client.as_current():
            ready: Any = wait(futures, timeout=_POLL_S, return_when="FIRST_COMPLETED")
            return list(ready.done)
        if client.status != "running":
            raise HilError("the Dask scheduler is lost", hint="start it again; what is finished is kept")
        if client.scheduler_info()["workers"]:
            alone_since = None
            continue
        alone_since = alone_since or time.monotonic()
        if time.monotonic() > alone_since + _NO_WORKERS_S:
            raise HilError(
                f"the cluster has had no workers for {_NO_WORKERS_S:.0f} s",
                hint="start workers; what is finished is kept",
            )


def _outcome(task: Task, future: Any) -> TaskOutcome:
    error = future.exception() if future.status == "error" else None
    if error is None and future.status == "finished":
        return future.result()
    if type(error).__name__ == "KilledWorker":
        return TaskOutcome(task.index, "failed", "its worker was ended (memory, or a kill)")
    if error is None:
        raise HilError("the Dask scheduler is lost", hint="start it again; what is finished is kept")
    return TaskOutcome(task.index, "failed", f"{type(error).__name__}: {error}")


def _distributed() -> Any:
    try:
        import dask.distributed
    except ImportError as err:
        raise HilError("several processes need dask.distributed", hint=_INSTALL) from err
    return dask.distributed


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Its logs tell of every lost worker at length; what matters is said here."""
    names = ("distributed", "tornado", "asyncio")
    before = [(log := logging.getLogger(name), log.level) for name in names]
    for log, _ in before:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in before:
            log.setLevel(level)


def _reach(address: str) -> None:
    """Raise OSError or ValueError at once if nobody listens: the cluster's own client is slow and loud about it."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme in ("tcp", "tls"):
        if not parts.hostname or not parts.port:
            raise ValueError(address)
        socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_S).close()
