"""What one board of an array delivers: its blocks, the stream that fetches them, and how far they were read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.fractional_delay import FractionalDelay

Interrupted = Callable[[], bool]


@dataclass(slots=True)
class WireBlock:
    """One hardware block of a board.

    Attributes
    ----------
    wire : (n, C, 2) int16 or float32.
    lost : a loss was noticed while it was fetched.
    doubtful : the loss may lie right before this one.
    t_mono_ns, t_utc_ns : clocks on arrival.
    lost_samples : how many are missing before it, None if `lost` and not known.
    time_ns : hardware time of its first sample, None if the device gives none.
    landed : `wire` is the memory that the reader offered.
    """

    wire: NDArray[Any]
    lost: bool
    doubtful: bool
    t_mono_ns: int
    t_utc_ns: int
    lost_samples: int | None = None
    time_ns: float | None = None
    landed: bool = False


class BlockStream(Protocol):
    """A thread that fetches the blocks of one board into a bounded queue."""

    @property
    def uri(self) -> str:
        """The board's URI."""
        ...

    @property
    def failed(self) -> bool:
        """True if the stream ended by an error."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether a block waits in the queue."""
        ...

    @property
    def queued_samples(self) -> int:
        """Samples that wait in the queue."""
        ...

    def hold_everything(self, on: bool) -> None:
        """Let the queue grow, for a reader that is busy aligning boards."""
        ...

    def head(
        self, timeout_s: float, interrupted: Interrupted, room: NDArray[Any] | None = None
    ) -> WireBlock | None:
        """The oldest block, left in the queue; None when interrupted. Raises DeviceTimeout, ConnectionLost.

        room : (n, C, 2) contiguous, where the block may be put if it is yet to come, which spares a copy; nobody writes there
            after the return. A block that is there instead of in memory of the stream's own says `landed`.
        """
        ...

    def pop(self) -> None:
        """Drop the oldest block."""
        ...

    def wake(self) -> None:
        """Make a waiting `head` look at `interrupted` again."""
        ...

    def end(self) -> None:
        """Tell the thread to end."""
        ...

    def close(self) -> None:
        """End the thread and close the stream."""
        ...


def columns_of(places: list[int]) -> list[int] | slice:
    """Places of a board's channels among those of the array; a slice where they are neighbours, as they are as a rule."""
    first = places[0]
    return slice(first, first + len(places)) if places == list(range(first, first + len(places))) else places


def put_columns(out: NDArray[Any], columns: list[int] | slice, piece: NDArray[Any]) -> None:
    """out[:, columns] = piece, (n, M, 2) and (n, C, 2) of one dtype; neighbours are copied as one value a sample."""
    if not len(piece) or not isinstance(columns, slice):
        out[:, columns] = piece
        return
    to, of = out[:, columns].reshape(len(out), -1), piece.reshape(len(piece), -1)
    record = np.dtype((np.void, to.shape[1] * to.itemsize))
    np.copyto(to.view(record), of.view(record))


@dataclass(slots=True)
class Source:
    """A board's stream, how far its oldest block has been read, and where its channels go."""

    board: int
    stream: BlockStream
    columns: list[int] | slice
    position: int = 0
    consumed: int = 0
    delay: FractionalDelay | None = None

    def remaining(self, block: WireBlock) -> int:
        return len(block.wire) - self.position

    def advance(self, n: int, block: WireBlock) -> None:
        self.position += n
        self.consumed += n
        if self.position >= len(block.wire):
            self.position = 0
            self.stream.pop()
