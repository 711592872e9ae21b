"""The simulated turntable of this process: `sim:` positioners command it, arrays simulated in the process stand on it.

It is there while somebody uses it. What the positioner's URI says of it holds before what the scene's [chamber] says.
"""

from __future__ import annotations

import threading
import weakref

from hil.core.errors import DeviceStateError
from sim_backend.turntable import TableSpec, Turntable

_lock = threading.RLock()


class Place:
    """A use of the table, until `leave` or until it is forgotten.

    by_scene, by_uri : fields of the TableSpec; None leaves what others said. commands : it is the only one that does.

    Raises ConfigError; DeviceStateError: another one commands the table.
    """

    def __init__(
        self,
        *,
        by_scene: dict[str, float] | None = None,
        by_uri: dict[str, float] | None = None,
        commands: bool = False,
    ) -> None:
        with _lock:
            others = [place for place in _places if place.table is not None]
            if commands and any(place.commands for place in others):
                raise DeviceStateError(
                    "the simulated table of this program is open already", hint="close it there first"
                )
            first = others[0] if others else None
            self.by_scene = by_scene if by_scene is not None else first.by_scene if first else {}
            self.by_uri = by_uri if by_uri is not None else first.by_uri if first else {}
            self.commands = commands
            spec = TableSpec(**(self.by_scene | self.by_uri))
            self.table: Turntable | None = first.table if first else Turntable(spec)
            assert self.table is not None
            if self.table.spec != spec:
                self.table.become(spec)
            for place in others:
                place.by_scene, place.by_uri = self.by_scene, self.by_uri
            _places.add(self)

    def leave(self) -> None:
        """Use it no more. Idempotent."""
        with _lock:
            self.table = None


_places: weakref.WeakSet[Place] = weakref.WeakSet()
