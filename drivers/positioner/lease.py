"""One commander for one controller: an advisory lock, across programs of the user, that dies with its holder."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from typing import IO

from drivers.user_folder import user_folder
from hil.core.errors import DeviceError, DeviceStateError


class Lease:
    """Held from construction to `release`.

    Raises DeviceStateError: somebody else has it. DeviceError: the user's data folder cannot be written.
    """

    def __init__(self, kind: str, host: str, port: int, uri: str) -> None:
        with contextlib.suppress(OSError):
            host = socket.gethostbyname(host)  # localhost and 127.0.0.1 are one
        path = (
            user_folder() / "locks" / re.sub(r"[^A-Za-z0-9.-]", "_", f"positioner-{kind}-{host}-{port}.lock")
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] | None = path.open("a+", encoding="utf-8")
        except OSError as err:
            raise DeviceError(
                f"cannot lock the table: {path}: {err.strerror}", uri=uri,
                hint="set HIL_HOME to a folder that can be written",
            ) from err  # fmt: skip
        try:
            _lock(self._file)
        except OSError:
            self._file.seek(0)
            holder = self._file.read(20).strip()
            self._file.close()
            raise DeviceStateError(
                f"{uri}: another commander has this table" + (f" (process {holder})" if holder else ""),
                uri=uri, hint="close the table there, or end that program",
            ) from None  # fmt: skip
        if os.name != "nt":  # a locked file cannot be read there
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()

    def release(self) -> None:
        """Somebody else may have it. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _lock(file: IO[str]) -> None:
    """Raises OSError if it is locked."""
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
