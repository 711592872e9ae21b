"""What a worker process of the local cluster loads first."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ctrl-C reaches the whole process group: the parent answers it and ends its workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
