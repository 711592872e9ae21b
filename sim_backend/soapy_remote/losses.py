"""Faults of a device of several boards: what one board loses is missing on all."""

from __future__ import annotations

from collections.abc import Sequence

from sim_backend.fault_transport import TransportFaults


class DeviceLosses:
    """The transport faults of a device's boards as one (rx_stream.Losses)."""

    def __init__(self, boards: Sequence[TransportFaults]) -> None:
        self._boards = boards

    def lost_at(self, first: int, n: int) -> tuple[int, int] | None:
        """The earliest overflow of any board within first..first+n: (sample, samples lost), or None."""
        found = [loss for board in self._boards if (loss := board.lost_at(first, n)) is not None]
        return min(found, default=None)

    def dropped(self, first: int, n: int) -> int:
        """Blocks from that of first..first+n on that vanish without a word; 0: none."""
        return max(board.dropped(first, n) for board in self._boards)

    def report(self, kind: str, at: int, **details: int) -> None:
        """Write to the truth that a loss of this kind begins at scene sample `at`."""
        self._boards[0].report(kind, at, **details)

    def blocked(self) -> bool:
        """True while a board hangs."""
        hangs = [board.blocked() for board in self._boards]  # each one notes its own
        return any(hangs)

    def latency_s(self) -> float:
        """Seconds by which the network holds samples back."""
        return self._boards[0].latency_s()
