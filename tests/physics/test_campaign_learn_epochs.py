"""Several coherence epochs in one fit: the turns that come out are the true ones, and the sigmas are those of many arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.observations import Observations
from calib.pilot.labels import labels_of_blocks
from calib.pilot.sweep import SweepFit, calibrate_sweep
from calib.pilot.turned import turns_from_rotation
from hil.core.errors import ConfigError, NotIdentifiable
from tests.physics.array_scenes import FC_HZ, ArrayScene, circle, make_scene, uniform_line

GROUPS = ((0, 1), (2, 3))
TURNS = np.array([[0.0, 0, 0, 0], [0, 0, 1.9, 1.9], [0, 0, -2.6, -2.6]])
SECTORS_DEG = np.linspace(-55, 55, 30)


def _swept(
    seed: int,
    nominal: NDArray[np.float64],
    angles_deg: NDArray[np.float64],
    turns: NDArray[np.float64],
    blocks: int = 6,
) -> tuple[ArrayScene, Observations, NDArray[np.float64], NDArray[np.intp]]:
    """One third of the angles in each epoch, the last third first in `turns`."""
    angle = angles_deg.repeat(blocks)
    scene = make_scene(seed, nominal, 1, len(angle), angle_deg=angle[:, None])
    epoch = (2 - 3 * np.arange(len(angle)) // len(angle)).astype(np.intp)
    factor = np.exp(1j * turns[epoch])
    covariance = scene.covariance * factor[:, :, None] * factor.conj()[:, None, :]
    return scene, replace(scene.observations, covariance=covariance), angle, epoch


def _fit(seed: int) -> tuple[ArrayScene, SweepFit]:
    scene, obs, angle, epoch = _swept(seed, uniform_line(4), SECTORS_DEG, TURNS)
    labels = labels_of_blocks(angle, len(angle), sigma_deg=0.0)
    return scene, calibrate_sweep(obs, labels, scene.geometry, FC_HZ, epoch=epoch, groups=GROUPS)


def test_epochs_that_saw_different_angles_share_one_array_and_sigmas_are_true() -> None:
    """Ten arrays: turns are found, and every error is measured in its own sigma."""
    places, phases = [], []
    for seed in range(9100, 9110):
        scene, fit = _fit(seed)
        assert fit.result.converged, fit.result.reason
        assert np.max(np.abs(np.angle(np.exp(1j * (fit.turn_rad - TURNS))))) < 0.05
        sigma, learned = fit.result.sigma, fit.result.impairments
        true = (scene.positions_m - scene.geometry.positions_m)[:, 0]
        error = learned.position_error_m[:, 0] - (true - true.mean())
        places += (error / sigma.position_m[:, 0]).tolist()
        phase = np.rad2deg(np.angle(learned.gain / scene.gain * np.conj(learned.gain[0] / scene.gain[0])))
        phases += (phase / np.where(sigma.phase_deg > 0, sigma.phase_deg, 1))[1:].tolist()
    for ratio in (places, phases):
        assert 0.7 < np.sqrt(np.mean(np.square(ratio))) < 1.35


def test_one_group_has_nothing_to_turn() -> None:
    scene, obs, angle, epoch = _swept(9200, uniform_line(4), SECTORS_DEG, 0 * TURNS)
    labels = labels_of_blocks(angle, len(angle), sigma_deg=0.0)
    fit = calibrate_sweep(obs, labels, scene.geometry, FC_HZ, epoch=epoch, groups=((0, 1, 2, 3),))
    assert fit.result.converged
    assert np.all(fit.turn_rad == 0)


@pytest.mark.parametrize("shape", ["line", "circle"])
def test_turns_are_found_without_any_direction(shape: str) -> None:
    """The emitter stands at 7 degrees in the room, which nobody is told."""
    nominal = uniform_line(4) if shape == "line" else circle(4, 0.4)
    scene, obs, angle, epoch = _swept(9300, nominal, SECTORS_DEG, TURNS, blocks=4)
    found = turns_from_rotation(obs, 7.0 - angle, scene.geometry, FC_HZ, epoch=epoch, groups=GROUPS)
    assert np.max(np.abs(np.angle(np.exp(1j * (found - TURNS))))) < 0.1


def test_a_table_that_turned_past_endfire_is_refused() -> None:
    scene, obs, angle, epoch = _swept(9400, uniform_line(4), SECTORS_DEG, TURNS, blocks=2)
    with pytest.raises(NotIdentifiable, match="in front of the line"):
        turns_from_rotation(obs, 2 * angle, scene.geometry, FC_HZ, epoch=epoch, groups=GROUPS)


def test_groups_must_be_all_channels_once() -> None:
    scene, obs, angle, epoch = _swept(9500, uniform_line(4), SECTORS_DEG, TURNS, blocks=2)
    labels = labels_of_blocks(angle, len(angle), sigma_deg=0.0)
    with pytest.raises(ConfigError, match="each of 4 channels once"):
        calibrate_sweep(obs, labels, scene.geometry, FC_HZ, epoch=epoch, groups=((0, 1), (1, 2, 3)))
