"""The table of positioners: `rotator:KIND...`. A new driver is one file and one line here."""

from __future__ import annotations

from drivers.positioner.positioner import Positioner
from drivers.registry import load
from hil.core.errors import ConfigError

SCHEME = "rotator"
#: kind -> "module:function", called with what follows the kind, and the whole URI.
POSITIONERS = {"sim": "drivers.positioner.simulated:open_simulated"}


def open_positioner(uri: str) -> Positioner:
    """Open a positioner by its URI, e.g. `rotator:sim` or `rotator:sim?speed=6&backlash=0.3`.

    Raises ConfigError: not the URI of a known one. DeviceNotFound: nothing answers there.
    """
    scheme, _, rest = uri.strip().partition(":")
    kind, _, options = rest.partition("?")
    if scheme.lower() != SCHEME or kind not in POSITIONERS:
        known = ", ".join(f"{SCHEME}:{k}" for k in POSITIONERS)
        raise ConfigError(f"{uri!r} is not the URI of a known positioner", hint=f"known: {known}")
    return load(POSITIONERS[kind])(options, uri.strip())
