"""Reads a calibration of unknown origin from stdin, as a process of its own; writes JSON to stdout."""

from __future__ import annotations

import importlib
import json
import sys

from hil.core.errors import CalibrationError


def main() -> None:
    """Entry point; arguments: bytes of address space, seconds of CPU, "module:function" that parses."""
    data = sys.stdin.buffer.read()
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
        resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2])))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ImportError:
        pass
    try:
        module, _, function = sys.argv[3].partition(":")
        answer = getattr(importlib.import_module(module), function)(data)
    except CalibrationError as err:
        answer = {"error": str(err), "hint": err.hint}
    except MemoryError:
        answer = {"error": "needs too much memory"}
    sys.stdout.write(json.dumps(answer))
