"""The receive buffers of the boards with selected channels: armed together where they can be, then opened."""

from __future__ import annotations

from drivers.array_intake import ArrayIntake
from drivers.array_starts import Alignment
from drivers.board_blocks import Source, columns_of
from drivers.iio.board import Board
from drivers.iio.stream import BoardStream
from drivers.sounding import Repeater
from hil.core.device import RxConfig
from hil.core.errors import HilError

__all__ = ["Alignment", "Intake"]


class Intake(ArrayIntake):
    """Buffers of all boards that have selected channels.

    Raises what opening a buffer raises; then nothing stays open.
    """

    def __init__(
        self,
        boards: list[Board],
        ports: list[tuple[int, int]],
        config: RxConfig,
        link_timeout_s: float,
        transmitter: Repeater | None = None,
    ) -> None:
        channels = config.channels or ()
        used = sorted({ports[c][0] for c in channels})
        common_start = len(used) > 1 and all(boards[b].has_common_start for b in used)
        method = "single" if len(used) == 1 else "common start" if common_start else "correlation"
        super().__init__([], len(boards), config, method, transmitter)
        if common_start:
            for b in used:
                boards[b].sync_start("arm")
        try:
            for b in used:
                own = sorted(ports[c][1] for c in channels if ports[c][0] == b)
                columns = [channels.index(ports.index((b, c))) for c in own]
                stream = BoardStream(
                    boards[b], tuple(own), config.fs_hz or 1.0, config.block_samples or 1, link_timeout_s
                )
                self._sources.append(Source(b, stream, columns_of(columns)))
            if common_start:
                boards[used[0]].sync_start("trigger_manual")
        except HilError:
            self.close()
            raise
