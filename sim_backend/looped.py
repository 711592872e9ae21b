"""The first seconds of a scene again and again: samples that cost nothing once they are made.

For what measures the other end of the wire: an emulator on a loop leaves the processor to its client. Every border of the
loop breaks the phases of a carrier, and settings that are written later change nothing in the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from sim_backend.engine import ArrayEngine
from sim_backend.scene import Scene
from sim_backend.truth import TruthWriter
from sim_backend.turntable import Turntable

_MOST_BYTES = 1 << 30


class LoopedEngine(ArrayEngine):
    """An `ArrayEngine` that makes `loop_s` seconds when it is made, and repeats them.

    Raises ConfigError: not a positive time, or more than 1 GiB of samples; SceneError as `ArrayEngine`.
    """

    def __init__(
        self,
        scene: Scene,
        loop_s: float,
        *,
        free_running: bool = False,
        truth: TruthWriter | None = None,
        table: Turntable | None = None,
    ) -> None:
        super().__init__(scene, free_running=free_running, truth=truth, table=table)
        n = round(loop_s * self.fs_hz(0))
        n_bytes = 4 * n * sum(self.n_channels(b) for b in range(self.n_boards))
        if n < 1 or n_bytes > _MOST_BYTES:
            raise ConfigError(
                f"a loop of {loop_s:g} s is {max(n_bytes, 0) / 1e6:.0f} MB", where="--loop",
                hint=f"more than nothing and at most {_MOST_BYTES >> 20} MB",
            )  # fmt: skip
        self._loops = [super(LoopedEngine, self).read(board, 0, n) for board in range(self.n_boards)]

    def read(self, board: int, first: int, n: int) -> NDArray[np.int16]:
        """(n, 2 C) int16 as `ArrayEngine.read`, from the loop: may be a view of it."""
        self._log.check(board)
        if first < 0 or n < 0:
            raise ValueError(f"read of {n} samples from {first}: neither may be negative")
        self.clock.handed_out((first + n) / self.fs_hz(board))
        loop = self._loops[board]
        at = first % len(loop)
        if at + n <= len(loop):
            return loop[at : at + n]
        return np.take(loop, np.arange(first, first + n) % len(loop), axis=0)
