"""Offsets between boards are exact to the sample whatever the emitters do, and no slip is seen where none is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.alignment import SEGMENT, find_offset, samples_needed, slip
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene

_HOP = "hop = { period_s = 0.01, min_deg = -60.0, max_deg = 60.0 }\n"
_SCENES = {
    "one hopping": f"[[emitter]]\n{_HOP}",
    "two hopping, bands overlap": f"[[emitter]]\n{_HOP}[[emitter]]\noffset_hz = -3e5\n{_HOP}",
    "two hopping, one weak": f"[[emitter]]\n{_HOP}[[emitter]]\npower_db = -10.0\noffset_hz = -3e5\n{_HOP}",
    "two standing": "[[emitter]]\nangle_deg = 10.0\n[[emitter]]\npower_db = -3.0\noffset_hz = -3e5\nangle_deg = -30.0\n",
    "multipath": f"[[emitter]]\n{_HOP}paths = [{{ angle_deg = 30.0, delay_s = 1e-7, power_db = -6.0 }}]\n",
}
_REACH = 75_000


def _complex(engine: ArrayEngine, board: int, first: int, n: int) -> np.ndarray:
    return np.ascontiguousarray(engine.read(board, first, n).astype(np.float32)).view(np.complex64)


@pytest.mark.parametrize("name", _SCENES)
def test_exact_to_the_sample(name: str) -> None:
    n = samples_needed(_REACH, 16)
    for seed, offset in ((1, 5514), (2, -3021), (3, 0), (5, 41_234)):
        engine = ArrayEngine(replace(parse_scene(_SCENES[name]), seed=seed), free_running=True)
        found = find_offset(
            _complex(engine, 0, 1_000_000, n), _complex(engine, 1, 1_000_000 + offset, n), _REACH, 16
        )
        assert found.clear
        assert found.offset == offset, f"seed {seed}: {found}"
        assert abs(found.fraction) < 0.05


@pytest.mark.parametrize("name", _SCENES)
def test_aligned_boards_have_not_slipped_and_slipped_ones_have(name: str) -> None:
    n = samples_needed(SEGMENT // 2, 2)
    for seed in range(6):
        engine = ArrayEngine(replace(parse_scene(_SCENES[name]), seed=seed), free_running=True)
        reference = _complex(engine, 0, 1_000_000, n)
        assert slip(reference, _complex(engine, 1, 1_000_000, n)) == 0
        assert slip(reference, _complex(engine, 1, 1_000_000 + 700, n)) in (0, 700)
