"""Positions of a line from unlabelled echoes: right to the bound, or refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from calib.isac.learn import learn_positions
from hil.core.errors import ConfigError, ShapeError
from tests.physics.isac_echo_scenes import Scenes, errors, line

N = 64
X0 = -(np.arange(N) - (N - 1) / 2) / 2


@pytest.mark.parametrize(("model", "seed"), [("mult", 3), ("cum", 3), ("cum", 4)])
def test_without_labels_the_error_is_what_sigma_says(model, seed):
    p = line(model, N, seed)
    found = learn_positions(Scenes(p, 20 + seed), X0, blocks=600, rounds=2)
    scale, rms = errors(found.x, p)
    assert found.converged, found.reason
    # the first and last elements of `mult` change places: nothing of that order is assumed
    assert rms == pytest.approx(np.sqrt(np.mean(found.sigma**2)), rel=0.35)
    assert rms < 0.006
    assert abs(scale) < 4 * found.scale_sigma < 0.01


def test_weaker_targets_in_every_block_do_no_harm():
    p = line("mult", N, 7)
    found = learn_positions(Scenes(p, 5, targets=3), X0, blocks=600, rounds=2)
    scale, rms = errors(found.x, p)
    assert found.converged, found.reason
    assert rms < 0.006
    assert abs(scale) < 4 * found.scale_sigma < 0.01


def test_labels_tell_the_scale_too():
    p = line("mult", N, 8)
    found = learn_positions(Scenes(p, 6, labels=True), X0, blocks=500, rounds=1)
    assert found.converged, found.reason
    wrong = (found.x - found.x.mean()) - (p.mean() - p)
    assert np.sqrt(np.mean(wrong**2)) < 1.5 * np.sqrt(np.mean(found.sigma**2))


def test_a_recording_ends_after_one_round():
    p = line("cum", N, 9)
    recording = Scenes(p, 7)(X0, 500)
    found = learn_positions(lambda x, count: recording, X0)
    assert found.rounds == 1
    assert found.converged, found.reason


def test_gains_that_are_not_one_are_refused():
    p = line("cum", N, 10)
    rng = np.random.default_rng(1)
    phases = np.exp(0.6j * rng.standard_normal(N))
    assert "gain" in learn_positions(Scenes(p, 8, gains=phases), X0, blocks=400, rounds=1).reason
    levels = np.ones(N)
    levels[17] = 0.5
    assert "element 17" in learn_positions(Scenes(p, 9, gains=levels), X0, blocks=400, rounds=1).reason


def test_too_few_echoes_are_refused():
    found = learn_positions(Scenes(line("cum", N, 11), 10), X0, blocks=60, rounds=1)
    assert "blocks; at least 128 are needed" in found.reason


def test_sectors_that_are_not_filled_do_not_tell_the_scale():
    found = learn_positions(Scenes(line("cum", N, 12), 11, fill=0.3), X0, blocks=600, rounds=1)
    assert "edges" in found.reason or "scale" in found.reason


def test_bad_input():
    scenes = Scenes(line("cum", 8, 1), 1)
    with pytest.raises(ShapeError):
        learn_positions(lambda x, count: scenes(X0[:8], count), X0[:9], blocks=5)
    with pytest.raises(ConfigError):
        learn_positions(scenes, X0[:2])
