"""What a sweep records from: a session of its own, or one that is lent to it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from hil.core.frame import StreamInfo
from hil.session_stages import BlockSink


class Receiver(Protocol):
    """The part of hil.session.Session that a sweep needs; a context manager."""

    @property
    def stream(self) -> StreamInfo:
        """In force."""
        ...

    @property
    def finished(self) -> bool:
        """No more samples come."""
        ...

    def start(self, *, recorder: BlockSink) -> None:
        """Pass every block on from now on."""
        ...

    def stop(self) -> object:
        """Pass no more on, and close what was recorded into."""
        ...

    def raise_error(self) -> None:
        """Raise what ended the stream, if anything did."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
