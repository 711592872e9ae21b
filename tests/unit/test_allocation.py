"""Arrays of a worker's thread do not get new pages each time, also where Dask has started it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_WORK = """
import resource, sys, threading
import numpy as np
from hil.processing.allocation import keep_freed_memory

def work():
    if sys.argv[1] == "kept":
        assert keep_freed_memory()
    np.ones(100_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        np.ones(100_000)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def _new_pages(how: str) -> int:
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", _WORK, how],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again() -> None:
    assert _new_pages("as it is") > 20_000
    assert _new_pages("kept") < 2_000
