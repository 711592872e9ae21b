"""Faults that a scene injects, in scene seconds.

The engine carries out those that change samples (slip, garbage after a retune). Those of the transport
(overflow, disconnect, stall, short reads) are asked for by the network server: `faults.due("stall", t0, t1)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Kinds that `Faults.due` knows.
TRANSPORT_KINDS = ("overflow", "disconnect", "stall")
_MAX_DUE = 10_000


@dataclass(frozen=True, slots=True)
class Faults:
    """The [faults] table. Zero, false and empty mean: no such fault.

    Attributes
    ----------
    overflow_every_s : the device loses `overflow_samples` every so many seconds and sets its overflow bit.
    overflow_samples : samples lost by one overflow.
    disconnect_at_s : scene seconds at which the server closes its connections.
    stall_at_s : scene seconds at which the server stops answering for `stall_s`.
    slip_samples_at_s : scene seconds at which one channel slips by `slip_samples` against the others
        (channel `slip_channel` of board `slip_board`; positive: samples are missing there).
    garbage_after_retune : that many samples of full-scale noise on the whole board after an LO or rate write.
    short_reads : the server answers reads with fewer bytes than asked for.
    """

    overflow_every_s: float = 0.0
    overflow_samples: int = 4096
    disconnect_at_s: tuple[float, ...] = ()
    stall_at_s: tuple[float, ...] = ()
    stall_s: float = 5.0
    slip_samples_at_s: tuple[float, ...] = ()
    slip_samples: int = 1
    slip_board: int = 0
    slip_channel: int = 1
    garbage_after_retune: int = 0
    short_reads: bool = False

    @property
    def any(self) -> bool:
        """True if some fault is switched on."""
        return bool(
            self.overflow_every_s or self.disconnect_at_s or self.stall_at_s or self.slip_samples_at_s
            or self.garbage_after_retune or self.short_reads
        )  # fmt: skip

    def due(self, kind: str, t0_s: float, t1_s: float) -> tuple[float, ...]:
        """Scene seconds in t0_s <= t < t1_s at which a fault of this kind begins, ascending.

        Raises ValueError for a kind that is not one of TRANSPORT_KINDS.
        """
        if kind == "overflow":
            if not self.overflow_every_s > 0:
                return ()
            first = max(1, math.ceil(t0_s / self.overflow_every_s))
            times = (k * self.overflow_every_s for k in range(first, first + _MAX_DUE))
            out: list[float] = []
            for t in times:
                if t >= t1_s:
                    break
                out.append(t)
            return tuple(out)
        if kind == "disconnect":
            return tuple(t for t in sorted(self.disconnect_at_s) if t0_s <= t < t1_s)
        if kind == "stall":
            return tuple(t for t in sorted(self.stall_at_s) if t0_s <= t < t1_s)
        raise ValueError(f"fault kind {kind!r} is not one of {', '.join(TRANSPORT_KINDS)}")

    def slip(self, board: int, channel: int, t_s: float) -> int:
        """Samples by which this channel has slipped at scene second t_s."""
        if (board, channel) != (self.slip_board, self.slip_channel):
            return 0
        return self.slip_samples * sum(1 for t in self.slip_samples_at_s if t <= t_s)
