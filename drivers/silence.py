"""What must be finished although the user is impatient: silencing a transmitter."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Hint of every error after which nobody knows whether a transmitter still sends.
MAY_TRANSMIT = (
    "the board may still be transmitting: power it off, or connect it again and open its transmitter "
    "(any `hil capture DEVICE OUT --transmit WAVEFORM` does), which silences it first"
)

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def finish_first() -> Iterator[None]:
    """Run the block to its end; Ctrl-C, SIGTERM and a closed terminal that arrive meanwhile take effect after it.

    Python runs signal handlers in the main thread only: elsewhere nothing can interrupt the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        del frame
        came.append(number)

    for number in _ENDING:
        handler = signal.getsignal(number)
        if handler is not None:  # None: not set from Python, and could not be put back
            handlers[number] = handler
            signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
