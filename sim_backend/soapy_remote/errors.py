"""What ends a call or a connection of the SoapyRemote server."""

from __future__ import annotations

#: Return codes of SoapySDR (Errors.h).
TIMEOUT, STREAM_ERROR, CORRUPTION, OVERFLOW = -1, -2, -3, -4
NOT_SUPPORTED, TIME_ERROR, UNDERFLOW = -5, -6, -7


class SoapyRefusal(Exception):
    """A call is refused: the client gets these words as an exception and its connection stays usable."""


class LinkClosed(Exception):
    """An event, not an error of the program: the peer closed a connection, or broke its rules."""
