"""Frees a thread of SoapyRemote's client that spins for ever after its server was killed.

The client (0.5.2) does not look for the end of its TCP stream inside a read: it asks the dead socket for the rest
of the datagram again and again, at full speed, and nothing can stop its thread. A socket of our own, put in the
place of the dead one, gives it that rest: zeros, which no one sees because the connection counts as lost already.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_FOLDER = Path("/proc/self/fd")
_ZEROS = bytes(1 << 16)


def open_sockets() -> dict[int, int]:
    """Descriptor -> identity of every socket of this process; empty where the system does not tell."""
    found: dict[int, int] = {}
    try:
        entries = list(_FOLDER.iterdir())
    except OSError:
        return found
    for entry in entries:
        try:
            if os.readlink(entry).startswith("socket:"):  # noqa: PTH115 - a name, not a path
                found[int(entry.name)] = os.stat(entry).st_ino  # noqa: PTH116
        except (OSError, ValueError):
            continue
    return found


def revive(candidates: Mapping[int, int], *, silent: bool = False) -> list[socket.socket]:
    """Replace those of `candidates` (as from `open_sockets`) that are still the same and whose peer has gone.

    silent : nothing comes from the replacement (a writer waits for acknowledgements, with a timeout).
    Returns the far ends of the replacements: close them once the thread has ended.
    """
    ends = []
    for descriptor, identity in candidates.items():
        if not _is_dead(descriptor, identity):
            continue
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        if silent:
            # the thread may be past its wait already, woken by the end of the dead socket: it must not wait here
            theirs.setblocking(False)
        try:
            while not silent:  # as much as fits: more than any datagram needs
                ours.send(_ZEROS)
        except OSError:
            pass
        os.dup2(theirs.fileno(), descriptor)
        theirs.close()
        ends.append(ours)
    return ends


def _is_dead(descriptor: int, identity: int) -> bool:
    """True for a TCP socket that was closed by its peer."""
    try:
        if os.fstat(descriptor).st_ino != identity:
            return False
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            if copy.type != socket.SOCK_STREAM or copy.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            return copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False  # alive, and nothing there
    except ConnectionError:
        return True
    except OSError:
        return False


def connected_to(candidates: Mapping[int, int], port: int) -> dict[int, int]:
    """Those of `candidates` that are TCP sockets with this port at the far end."""
    found = {}
    for descriptor, identity in candidates.items():
        with suppress(OSError, ValueError), _copy(descriptor, identity) as copy:
            internet = copy.family in (socket.AF_INET, socket.AF_INET6)
            if internet and copy.type == socket.SOCK_STREAM and copy.getpeername()[1] == port:
                found[descriptor] = identity
    return found


def cut(candidates: Mapping[int, int]) -> None:
    """Shut the connections of those that are still the same down: whoever waits for an answer gets an error."""
    for descriptor, identity in candidates.items():
        with suppress(OSError, ValueError), _copy(descriptor, identity) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def _copy(descriptor: int, identity: int) -> socket.socket:
    """The same socket under a descriptor of its own. Raises ValueError if it is another one by now, OSError."""
    copy = socket.socket(fileno=os.dup(descriptor))
    if os.fstat(copy.fileno()).st_ino != identity:
        copy.close()
        raise ValueError(f"descriptor {descriptor} is another socket")
    return copy
