"""What this machine could do at best: arithmetic and memory, one thread."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from hil.bench.measure import interleaved

_N = 384
_COPY_BYTES = 1 << 25


@dataclass(frozen=True, slots=True)
class MachineLimit:
    """flops_per_s : float32 operations per second of a matrix product. copy_bytes_per_s : bytes read and
    written per second by a copy that does not fit the caches."""

    flops_per_s: float
    copy_bytes_per_s: float

    def least_s(self, flops: float, n_bytes: float) -> float:
        """Shortest time for so many real operations and so many bytes to and from memory."""
        return max(flops / self.flops_per_s, n_bytes / self.copy_bytes_per_s)


@cache
def machine_limit() -> MachineLimit:
    """Measured once per process."""
    a = np.ones((_N, _N), np.float32)
    out = np.empty_like(a)
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.ones_like(source)
    found = interleaved(
        {"product": lambda: np.matmul(a, a, out=out), "copy": lambda: np.copyto(target, source)}, rounds=7
    )
    return MachineLimit(2 * _N**3 / found["product"].cpu_s, 2 * _COPY_BYTES / found["copy"].cpu_s)


def describe_machine() -> dict[str, Any]:
    """Processor, cores, versions and the measured limits, for the report."""
    limit = machine_limit()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "gflops_float32_one_thread": limit.flops_per_s / 1e9,
        "copy_gbytes_per_s": limit.copy_bytes_per_s / 1e9,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a file of the kernel
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
