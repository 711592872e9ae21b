"""The greedy baseline on a small array."""

from __future__ import annotations

import numpy as np

from calib.isac.echoes import strongest_echoes
from calib.isac.greedy import GreedySettings, greedy, map_objective
from calib.isac.spacings import nominal, positions
from tests.physics.isac_echo_scenes import Scenes


def test_greedy_approaches_the_truth_on_its_own_grid():
    spacings = nominal(8)
    spacings[[2, 5]] = [0.6, 0.45]
    true = positions("cum", spacings)
    data, sector_u = Scenes(-true, 3)(true, 200)
    objective = map_objective(strongest_echoes(data), sector_u, 6.0)
    found = greedy(objective, nominal(8), "cum", GreedySettings(11, 3))
    assert list(found.objective) == sorted(found.objective, reverse=True)
    assert found.evaluations <= 1 + 3 * 7 * 11
    assert objective(positions("cum", found.spacings)) <= objective(true)
    assert np.max(np.abs(found.spacings - spacings)) < 0.11
