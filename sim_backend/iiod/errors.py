"""The one exception of the emulator: a Linux errno that goes back to the client."""

from __future__ import annotations

import os


class IioError(Exception):
    """A request fails with `-errno` on the wire; the connection stays up."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno


class HungUp(Exception):
    """An event, not an error of the program: the client went away while the server was waiting on its behalf."""
