"""Reading ahead: one block is waited for, what else is there comes with it, and nothing is joined over a loss."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from drivers.array_intake import ArrayIntake
from drivers.board_blocks import Interrupted, Source, WireBlock, columns_of
from hil.core.device import RxConfig
from hil.core.errors import DeviceTimeout
from hil.core.frame import FrameFlag

BLOCK = 100


class Queued:
    """A board's stream with so many blocks in its queue."""

    uri, failed = "queued", False

    def __init__(self, board: int, n_blocks: int, lost_at: int = -1, doubtful_from: int = 10**6) -> None:
        self.blocks: deque[WireBlock] = deque()
        for k in range(n_blocks):
            wire = np.arange(k * BLOCK, (k + 1) * BLOCK, dtype=np.int16)[:, None, None] + np.zeros(
                (1, 2, 2), np.int16
            )
            self.blocks.append(
                WireBlock(
                    wire + np.int16(10000 * board), k == lost_at, k >= doubtful_from, 1000 + k, 2000 + k
                )
            )

    @property
    def waiting(self) -> bool:
        return bool(self.blocks)

    @property
    def queued_samples(self) -> int:
        return BLOCK * len(self.blocks)

    def head(self, timeout_s: float, interrupted: Interrupted, room: np.ndarray | None = None) -> WireBlock:
        del timeout_s, interrupted, room
        if not self.blocks:
            raise DeviceTimeout("nothing", uri=self.uri)
        return self.blocks[0]

    def pop(self) -> None:
        self.blocks.popleft()

    def hold_everything(self, on: bool) -> None: ...
    def wake(self) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


def intake(*streams: Queued) -> ArrayIntake:
    m = 2 * len(streams)
    config = RxConfig(1e9, 1e6, gain_db=(0.0,) * m, channels=tuple(range(m)), block_samples=BLOCK)
    sources = [Source(b, s, columns_of([2 * b, 2 * b + 1])) for b, s in enumerate(streams)]
    made = ArrayIntake(sources, len(streams), config, "single" if len(streams) == 1 else "common start")
    made.align(0, lambda: False)
    return made


def taken(made: ArrayIntake, room: int, m: int = 4):
    out = np.zeros((room, m, 2), np.int16)
    return made.take(out, 0.1, lambda: False), out


def test_a_long_buffer_is_filled_with_what_both_boards_have() -> None:
    made = intake(Queued(0, 5), Queued(1, 3))
    first, out = taken(made, 8 * BLOCK)
    assert (first.n, first.t_mono_ns, first.t_utc_ns) == (3 * BLOCK, 1002, 2002)
    assert np.array_equal(out[: first.n, 1, 0], np.arange(3 * BLOCK))
    assert np.array_equal(out[: first.n, 2, 1], np.arange(3 * BLOCK) + 10000)
    with pytest.raises(DeviceTimeout):
        taken(made, 8 * BLOCK)


def test_a_short_buffer_gets_its_length() -> None:
    made = intake(Queued(0, 5), Queued(1, 5))
    assert taken(made, BLOCK)[0].n == BLOCK
    assert taken(made, BLOCK // 2)[0].n == BLOCK // 2
    rest, out = taken(made, 10 * BLOCK)
    assert rest.n == 3 * BLOCK + BLOCK // 2
    assert out[0, 0, 0] == BLOCK + BLOCK // 2


def test_blocks_before_and_behind_a_loss_come_apart() -> None:
    made = intake(Queued(0, 6, lost_at=2))
    before, _ = taken(made, 8 * BLOCK, 2)
    assert (before.n, before.lost, before.flags) == (2 * BLOCK, False, FrameFlag.NONE)
    behind, out = taken(made, 8 * BLOCK, 2)
    assert (behind.n, behind.lost, behind.flags) == (4 * BLOCK, True, FrameFlag.OVERFLOW)
    assert out[0, 0, 0] == 2 * BLOCK


def test_a_doubtful_block_does_not_make_those_before_it_doubtful() -> None:
    made = intake(Queued(0, 4, doubtful_from=2))
    sure, _ = taken(made, 8 * BLOCK, 2)
    assert (sure.n, sure.flags) == (2 * BLOCK, FrameFlag.NONE)
    assert taken(made, 8 * BLOCK, 2)[0].flags == FrameFlag.OVERFLOW


def test_boards_that_lost_samples_are_to_be_aligned_anew() -> None:
    made = intake(Queued(0, 4), Queued(1, 4, lost_at=1))
    assert taken(made, 8 * BLOCK)[0].n == BLOCK
    assert taken(made, 8 * BLOCK)[0].broken
