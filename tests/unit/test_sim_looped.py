"""An emulator on a loop: the scene's own samples, again and again, from all boards at the same place."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import ConfigError
from sim_backend.engine import ArrayEngine
from sim_backend.looped import LoopedEngine
from sim_backend.scene import parse_scene

SCENE = '[array]\nn_elements = 8\n[receiver]\nboard = "fmcomms5"\nfs_hz = 1e6\n'
LOOP_S, N = 0.01, 10_000


@pytest.fixture(scope="module")
def looped() -> LoopedEngine:
    return LoopedEngine(parse_scene(SCENE), LOOP_S, free_running=True)


@pytest.mark.parametrize("board", [0, 1])
def test_first_samples_are_the_scenes_and_come_again(looped: LoopedEngine, board: int) -> None:
    want = ArrayEngine(parse_scene(SCENE), free_running=True).read(board, 0, N)
    np.testing.assert_array_equal(looped.read(board, 0, N), want)
    np.testing.assert_array_equal(looped.read(board, 7 * N + 100, 500), want[100:600])
    wrapped = looped.read(board, 3 * N - 5, 2 * N + 10)
    np.testing.assert_array_equal(wrapped, np.concatenate((want[-5:], want, want, want[:5])))
    assert wrapped.dtype == np.int16


def test_time_passes_as_samples_are_read(looped: LoopedEngine) -> None:
    looped.read(0, 50 * N, 100)
    assert looped.now(0) >= 50 * N + 100


@pytest.mark.parametrize("loop_s", [0.0, -1.0, 1e4])
def test_loops_of_no_use_are_refused(loop_s: float) -> None:
    with pytest.raises(ConfigError, match="loop"):
        LoopedEngine(parse_scene(SCENE), loop_s, free_running=True)
    with pytest.raises(ValueError, match="negative"):
        LoopedEngine(parse_scene(SCENE), LOOP_S, free_running=True).read(0, -1, 5)
