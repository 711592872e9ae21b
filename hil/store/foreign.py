"""Reads an HDF5 calibration of unknown origin from stdin, as a process of its own; writes JSON to stdout."""

from __future__ import annotations

import json
import sys

from hil.core.errors import CalibrationError
from hil.store.fields import to_fields
from hil.store.hdf5 import parse


def main() -> None:
    """Entry point; arguments: bytes of address space, seconds of CPU."""
    data = sys.stdin.buffer.read()
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
        resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2])))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ImportError:
        pass
    try:
        answer = to_fields(parse(data))
    except CalibrationError as err:
        answer = {"error": str(err), "hint": err.hint}
    except MemoryError:
        answer = {"error": "needs too much memory"}
    sys.stdout.write(json.dumps(answer))
