"""Every way to learn the array of the ISAC experiment, by name, with its cost."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.isac.echoes import strongest_echoes
from calib.isac.greedy import AS_PUBLISHED, greedy, map_objective
from calib.isac.grid import SearchGrid
from calib.isac.learn import learn_positions
from calib.isac.learned_array import LearnedArray, LearnedDictionary, LearnedSpacings
from calib.isac.spacings import nominal, positions
from calib.isac.train import LR_DICTIONARY, LossName, TrainSettings, train
from hil.reproduce.e2e_isac_data import N_ELEMENTS, NOMINAL, WINDOW_S, TrueArray
from hil.reproduce.e2e_isac_method import N_ANGLES, Method, from_positions
from hil.reproduce.e2e_isac_neural import NeuralMethod, train_limited
from hil.reproduce.e2e_isac_source import X_NOMINAL, TrainingScenes

LIMITED_ANGLES = 156
_DICTIONARY_STEPS = 600
_GREEDY_BLOCKS = 128
#: far more than any step count here needs: results do not depend on the machine's speed
_NO_LIMIT_S = 1e6


@dataclass(frozen=True, slots=True)
class Learned:
    """method : what was learned. parameters : real numbers learned. blocks : scenes used. seconds : of one thread."""

    method: Method | NeuralMethod
    parameters: int = 0
    blocks: int = 0
    seconds: float = 0.0


def learn(
    learner: str, model: str, array: TrueArray, basis: NDArray[np.complex128], seed: list[int]
) -> Learned:
    """`learner` on an array; only "known" looks at it, the others see scenes drawn from `seed`.

    Raises ValueError for a learner that does not exist.
    """
    if learner == "known":
        grid = SearchGrid(WINDOW_S).theta_rad
        x = None if np.any(array.ripple) else -array.positions
        return Learned(Method(grid, array.steering(grid).T, x))
    if learner == "nominal":
        return Learned(from_positions(-NOMINAL))
    scenes = TrainingScenes(array, basis, seed)
    blocks = 0
    begin = time.process_time()
    if learner in ("closed", "closed-labels"):
        capture = scenes.capture if learner == "closed" else scenes.labelled
        found = learn_positions(capture, X_NOMINAL)
        method, parameters = from_positions(found.x), N_ELEMENTS
    elif learner == "greedy":
        data, sector_u = scenes.capture(X_NOMINAL, _GREEDY_BLOCKS)
        objective = map_objective(strongest_echoes(data), sector_u, 1.5 * float(np.ptp(X_NOMINAL)))
        spacings = greedy(objective, nominal(N_ELEMENTS), "cum", AS_PUBLISHED).spacings
        method, parameters = from_positions(positions("cum", spacings)), N_ELEMENTS
    elif learner == "neural-limited":
        maybe = TrainingScenes(array, basis, [*seed, 1], always=False)
        method = train_limited(scenes, maybe, seed[0])
        blocks, parameters = maybe.blocks, method.n_parameters
    else:
        method, parameters = _by_gradient(learner, model, scenes)
    return Learned(method, parameters, blocks + scenes.blocks, time.process_time() - begin)


def _by_gradient(learner: str, model: str, scenes: TrainingScenes) -> tuple[Method, int]:
    """The paper's learners, from the nominal array."""
    grid = SearchGrid(WINDOW_S, n_angles=LIMITED_ANGLES if learner == "dictionary-limited" else N_ANGLES)
    array: LearnedArray
    if learner in ("dictionary", "dictionary-limited"):
        array = LearnedDictionary(X_NOMINAL, grid)
        settings = TrainSettings(
            "log", n_steps=_DICTIONARY_STEPS, lr=LR_DICTIONARY, cosine=False, time_limit_s=_NO_LIMIT_S
        )
    else:
        losses: dict[str, LossName] = {"max-map": "max-map", "labels": "log", "mse": "mse"}
        if learner not in losses:
            raise ValueError(f"no learner {learner!r}")
        array = LearnedSpacings(X_NOMINAL, grid, "cum" if model == "cum" else "positions")
        settings = TrainSettings(losses[learner], time_limit_s=_NO_LIMIT_S)
    train(array, scenes, settings)
    x = array.x()
    dictionary = array.dictionary().detach().numpy()
    method = Method(grid.theta_rad, dictionary, None if x is None else x.detach().numpy())
    return method, sum(p.numel() for p in array.parameters())
