"""Runs one case, in whatever process it is sent to."""

from __future__ import annotations

import importlib
import os
import signal
import time
from typing import Any

_ALLOWED = "hil.reproduce."


def prepare_process() -> None:
    """One native thread: cases run side by side, and their seconds are those of one thread."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def ignore_interrupt() -> None:
    """Ctrl-C reaches the whole process group: the parent answers it and ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_case(function: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """(result, seconds) of "hil.reproduce.module:name" called with `arguments`.

    Raises ValueError for a function that is not part of an experiment.
    """
    from threadpoolctl import threadpool_limits

    prepare_process()
    module, _, name = function.partition(":")
    if not module.startswith(_ALLOWED):
        raise ValueError(f"{function!r} is not a function of an experiment")
    target = getattr(importlib.import_module(module), name)
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    begin = time.perf_counter()
    with threadpool_limits(1):
        result = target(**arguments)
    return result, time.perf_counter() - begin
