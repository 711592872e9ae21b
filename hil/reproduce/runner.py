"""Runs the cases of an experiment on this machine's cores or on a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hil.core.errors import ConfigError, HilError
from hil.reproduce.cache import ResultCache
from hil.reproduce.experiment import Case
from hil.reproduce.worker import ignore_interrupt, prepare_process, run_case

#: Called with every case and "cached", "done" or "failed".
Progress = Callable[[Case, str], None]

_CONNECT_S = 10


@dataclass(slots=True)
class Outcome:
    """results by case key; seconds of all cases together; cached : taken from an earlier run;
    failed : key -> one line."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    seconds: float = 0.0
    cached: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_cases(
    cases: list[Case],
    cache: ResultCache,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress = lambda case, word: None,
) -> Outcome:
    """Run what the cache does not have; a case that fails is reported and does not stop the others.

    Parameters
    ----------
    workers : processes on this machine, default one per core. scheduler : address of a Dask scheduler.
    progress : called with every case and "cached", "done" or "failed".

    Raises
    ------
    ConfigError : two cases share a key, or the folder cannot be written. HilError : no cluster, or the
        workers of this machine were killed (memory).
    """
    keys = [case.key for case in cases]
    if len(set(keys)) != len(keys):
        raise ConfigError("an experiment names two of its cases the same")
    done, left = cache.split(cases)
    outcome = Outcome(cached=len(done))
    for case in cases:
        if case.key in done:
            outcome.results[case.key] = done[case.key]["result"]
            outcome.seconds += float(done[case.key].get("seconds", 0.0))
            progress(case, "cached")
    left.sort(key=lambda case: -case.weight)
    finished = _on_cluster(left, scheduler) if scheduler else _on_cores(left, workers or available_cores())
    with contextlib.closing(finished):
        for case, result, seconds, error in finished:
            if result is None:
                outcome.failed[case.key] = error
                progress(case, "failed")
                continue
            cache.write(case, result, seconds)
            outcome.results[case.key] = result
            outcome.seconds += seconds
            progress(case, "done")
    return outcome


_Finished = Generator[tuple[Case, dict[str, Any] | None, float, str], None, None]


def _on_cores(cases: list[Case], workers: int) -> _Finished:
    if not cases:
        return
    prepare_process()  # inherited by the workers before they load numpy
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(cases)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=ignore_interrupt,
    )
    finished = False
    try:
        running = {pool.submit(run_case, case.function, case.arguments): case for case in cases}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield _taken(running.pop(future), future)
        finished = True
    except BrokenProcessPool as err:
        raise HilError(
            "a worker process was ended from outside (out of memory?)",
            hint="run again with --workers 1: finished cases are kept",
        ) from err
    finally:
        if not finished:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(cases: list[Case], address: str) -> _Finished:
    try:
        from dask.distributed import Client, as_completed
    except ImportError as err:
        raise HilError("--scheduler needs dask.distributed", hint="pip install distributed") from err
    try:
        _reach(address)
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as err:
        raise HilError(
            f"no Dask scheduler at {address}",
            hint="start one with `dask scheduler` and `dask worker ADDRESS --nthreads 1`",
        ) from err
    with client, client.as_current():
        if not client.scheduler_info()["workers"]:
            raise HilError(
                f"the scheduler at {address} has no workers", hint="dask worker ADDRESS --nthreads 1"
            )
        running = {
            client.submit(run_case, case.function, case.arguments, pure=False, retries=1): case
            for case in cases
        }
        try:
            for future in as_completed(list(running)):
                yield _taken(running[future], future)
        finally:
            client.cancel(list(running))


def _reach(address: str) -> None:
    """Raise OSError or ValueError at once if nobody listens: the cluster's own client is slow and loud about it."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme in ("tcp", "tls"):
        if not parts.hostname or not parts.port:
            raise ValueError(address)
        socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_S).close()


def _taken(case: Case, future: Any) -> tuple[Case, dict[str, Any] | None, float, str]:
    """What a finished future holds; an error of the case itself becomes one line."""
    try:
        result, seconds = future.result()
    except BrokenProcessPool:
        raise
    except Exception as err:  # noqa: BLE001 - reported by the caller, with the case's name
        return case, None, 0.0, f"{type(err).__name__}: {err}"
    return case, result, seconds, ""
