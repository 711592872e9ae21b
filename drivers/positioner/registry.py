"""The table of positioners: KIND:WHERE?OPTIONS. A new family of controllers is one row of `drivers.positioner.families`."""

from __future__ import annotations

from drivers.positioner.positioner import Positioner
from drivers.registry import load
from hil.core.errors import ConfigError

_CONTROLLER = "drivers.positioner.controller:open_controller"
#: kind -> "module:function", called with what follows the colon, and the whole URI.
POSITIONERS = {
    "sim": "drivers.positioner.simulated:open_simulated",
    "rotctld": _CONTROLLER,
    "maturo": _CONTROLLER,
    "scpi": _CONTROLLER,
    "ets": _CONTROLLER,
}
EXAMPLES = "sim:, rotctld:HOST:PORT, maturo:HOST:PORT, scpi:HOST:PORT, ets:HOST:PORT"


def open_positioner(uri: str) -> Positioner:
    """Open a positioner by its URI, e.g. `sim:?speed=6&backlash=0.3` or `rotctld:127.0.0.1:4533`.

    Raises ConfigError: not the URI of a known one. DeviceNotFound: nothing answers there. DeviceStateError: another
    program has it.
    """
    kind, colon, rest = uri.strip().partition(":")
    if not colon or kind.lower() not in POSITIONERS:
        raise ConfigError(f"{uri!r} is not the URI of a known positioner", hint=f"known: {EXAMPLES}")
    return load(POSITIONERS[kind.lower()])(rest, uri.strip())
