"""Covering one antenna after another is heard in the channels' powers."""

from __future__ import annotations

import numpy as np
import pytest

from calib.diagnose.wiggle import touched_ports
from hil.core.errors import ShapeError


def powers(seed: int, order: list[int], n: int = 8, depth_db: float = 6.0, scatter_db: float = 0.5):
    """(B, n): 30 blocks of rest, then each port covered for 20 blocks with 15 between."""
    rng = np.random.default_rng(seed)
    b = 30 + 35 * len(order) + 30
    level = rng.uniform(-3, 3, n) + scatter_db * rng.standard_normal((b, n))
    level += 3 * np.sin(np.arange(b) / 9)[:, None]  # the emitter itself fades
    for i, port in enumerate(order):
        level[30 + 35 * i : 50 + 35 * i, port] -= depth_db
    return 10 ** (level / 10)


def test_the_sequence_is_announced_for_20_arrays() -> None:
    right = 0
    for seed in range(20):
        order = np.random.default_rng(100 + seed).permutation(8).tolist()
        touches = touched_ports(powers(seed, order))
        right += [t.channel for t in touches] == order
        for i, touch in enumerate(touches[:8]):
            assert abs(touch.first - (30 + 35 * i)) <= 2
            assert abs(touch.last - (50 + 35 * i)) <= 2
            assert touch.confidence > 0.99
            assert touch.depth_db == pytest.approx(6.0, abs=1.0)
    assert right == 20


def test_shallow_dips_in_quiet_channels_and_four_elements() -> None:
    for seed in range(20):
        touches = touched_ports(powers(seed, [2, 0, 3, 1], n=4, depth_db=3.0, scatter_db=0.2))
        assert [t.channel for t in touches] == [2, 0, 3, 1]


def test_nothing_is_announced_when_nobody_touches() -> None:
    alarms = 0
    for seed in range(20):
        quiet = powers(seed, [0] * 10, depth_db=0.0, scatter_db=1.0)
        alarms += len(touched_ports(quiet))
        alarms += len(touched_ports(quiet.repeat(6, axis=0)))  # noise that lasts
    assert alarms == 0


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError):
        touched_ports(np.ones((5, 4)))
    with pytest.raises(ShapeError):
        touched_ports(-np.ones((50, 4)))
