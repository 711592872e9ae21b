"""Adam learners of the ISAC array: what they learn, through which paths the gradient goes, when they end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.isac.grid import SearchGrid
from calib.isac.learned_array import LearnedDictionary, LearnedSpacings
from calib.isac.train import TrainSettings, train
from hil.core.errors import ConfigError
from tests.unit.isac_training_scenes import Scenes

NOMINAL = (np.arange(16) - 7.5) / 2


def wrong_array(seed=0):
    """Positions with errors, without the shift and the scale that echoes of one array cannot show."""
    error = np.random.default_rng(seed).normal(0, 0.2, 16)
    return NOMINAL + error - np.polyval(np.polyfit(NOMINAL, error, 1), NOMINAL)


def grid_of(scenes, n_angles=240):
    return SearchGrid(scenes.window_s, n_angles=n_angles, n_delays=60)


def likeness(dictionary, x, limit_deg=45.0):
    """Mean |a^H a_hat|/(|a||a_hat|) over the angles within the limit."""
    theta = np.linspace(-np.pi / 2, np.pi / 2, dictionary.shape[1])
    near = np.abs(theta) <= np.deg2rad(limit_deg)
    a = np.exp(2j * np.pi * np.outer(x, np.sin(theta)))
    found = dictionary.detach().numpy()
    product = np.abs(np.sum(a.conj() * found, axis=0)) / np.linalg.norm(found, axis=0) / 4
    return product[near].mean()


@pytest.mark.parametrize("model", ["mult", "cum", "positions"])
def test_positions_follow_from_what_is_learned(model):
    x = -NOMINAL * 1.1
    array = LearnedSpacings(x, SearchGrid((0.0, 1e-6), 90), model)
    assert array.x().detach().numpy() == pytest.approx(x, abs=1e-12)
    error = np.random.default_rng(1).normal(0, 0.05, 16)
    (leaf,) = array.parameters()
    leaf.data = torch.from_numpy(error)
    moved = {
        "mult": [(k - 7.5) * error[k] for k in range(16)],
        "cum": [sum(error[1 : k + 1]) for k in range(16)],
        "positions": error,
    }[model]
    assert array.x().detach().numpy() == pytest.approx(x + moved, abs=1e-12)
    u = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 90))
    expected = np.exp(2j * np.pi * np.outer(x + moved, u))
    assert np.max(np.abs(array.dictionary().detach().numpy() - expected)) < 1e-9


def test_dictionary_has_as_many_numbers_as_printed():
    nominal = (np.arange(64) - 31.5) / 2
    for n_angles, count in ((156, 9_984), (720, 46_080)):
        array = LearnedDictionary(nominal, SearchGrid((0.0, 1e-6), n_angles))
        assert sum(p.numel() for p in array.parameters()) == 2 * count
        assert likeness(array.dictionary(), np.zeros(64)) < 0.3  # not a row of ones


def one_step(start, loss, *, end_to_end=True, simulated=True):
    """Loss and its gradient at one start, without moving from it."""
    scenes = Scenes(wrong_array(), seed=4, simulated=simulated)
    array = LearnedSpacings(start, grid_of(scenes), "positions")
    settings = TrainSettings(loss=loss, lr=0.0, n_steps=1, batch=24, end_to_end=end_to_end)
    history = train(array, scenes, settings).history
    (leaf,) = array.parameters()
    assert leaf.grad is not None
    return history[0], leaf.grad.numpy()


@pytest.mark.parametrize("loss", ["max-map", "log", "mse", "gospa"])
def test_gradient_is_the_slope_through_beam_channel_and_receiver(loss):
    _, gradient = one_step(NOMINAL, loss)
    way = np.random.default_rng(7).normal(size=16)
    slope = (one_step(NOMINAL + 5e-4 * way, loss)[0] - one_step(NOMINAL - 5e-4 * way, loss)[0]) / 1e-3
    assert gradient @ way == pytest.approx(slope, rel=0.02)


def test_gradient_without_the_beam_is_that_of_hardware():
    ours = one_step(NOMINAL, "log", end_to_end=False)
    hardware = one_step(NOMINAL, "log", end_to_end=True, simulated=False)
    assert ours[0] == hardware[0]
    assert np.array_equal(ours[1], hardware[1])
    assert not np.allclose(ours[1], one_step(NOMINAL, "log")[1], rtol=0.05)


@pytest.mark.parametrize("loss", ["max-map", "log", "gospa"])
def test_spacings_are_learned(loss):
    x = wrong_array()
    scenes = Scenes(x, seed=1, labels=loss != "max-map", simulated=False)
    array = LearnedSpacings(NOMINAL, grid_of(scenes), "positions")
    before = likeness(array.dictionary(), x)
    done = train(array, scenes, TrainSettings(loss=loss, lr=2e-2, n_steps=60, batch=48))
    assert done.ended == "steps"
    assert len(done.history) == 60
    assert 1 - likeness(array.dictionary(), x) < (1 - before) * (0.2 if loss == "max-map" else 0.5)


def test_several_targets_at_once():
    x = wrong_array(2)
    scenes = Scenes(x, seed=3, n_targets=2)
    array = LearnedSpacings(NOMINAL, grid_of(scenes), "positions")
    before = likeness(array.dictionary(), x)
    settings = TrainSettings(n_targets=2, lr=2e-2, n_steps=60, batch=32)
    train(array, scenes, settings)
    assert 1 - likeness(array.dictionary(), x) < 0.5 * (1 - before)


def test_beam_follows_the_array_and_has_unit_norm():
    scenes = Scenes(wrong_array(), seed=1, sector_deg=(-40, -20))
    train(LearnedSpacings(NOMINAL, grid_of(scenes), "positions"), scenes, TrainSettings(n_steps=5, batch=8))
    assert np.linalg.norm(np.concatenate(scenes.beams), axis=1) == pytest.approx(np.ones(40), abs=1e-5)
    assert np.max(np.abs(scenes.beams[-1] - scenes.beams[0])) > 1e-3


def test_free_columns_outside_the_sector_learn_through_the_beam_only():
    x = wrong_array()
    for end_to_end in (True, False):
        scenes = Scenes(x, seed=1, sector_deg=(-40, -20))
        array = LearnedDictionary(NOMINAL, grid_of(scenes))
        start = array.dictionary().detach().clone()
        train(array, scenes, TrainSettings(lr=5e-3, n_steps=10, batch=32, end_to_end=end_to_end))
        moved = (array.dictionary().detach() - start).abs().amax(0).numpy()
        theta = np.rad2deg(array.grid.theta_rad)
        inside = (theta >= -40) & (theta <= -20)
        assert moved[inside].max() > 1e-3
        assert (moved[~inside].max() > 1e-3) is np.bool_(end_to_end)


def test_dictionary_learns_the_seen_directions():
    x = wrong_array()
    scenes = Scenes(x, seed=1, sector_deg=(-40, -20), snr_db=28)
    array = LearnedDictionary(NOMINAL, grid_of(scenes, 90))
    seen = (np.rad2deg(array.grid.theta_rad) > -40) & (np.rad2deg(array.grid.theta_rad) < -20)
    true = np.exp(2j * np.pi * np.outer(x, array.grid.u))

    def agreement():
        found = array.dictionary().detach().numpy()
        product = np.abs((true.conj() * found).sum(0)) / np.linalg.norm(found, axis=0) / 4
        return product[seen].mean()

    before = agreement()
    train(array, scenes, TrainSettings(lr=3e-2, n_steps=60, batch=64))
    assert 1 - agreement() < 0.6 * (1 - before)


def test_stop_time_limit_and_seed():
    def run(on_step=None, **settings):
        scenes = Scenes(wrong_array(), seed=1)
        array = LearnedSpacings(NOMINAL, grid_of(scenes), "positions")
        return train(array, scenes, TrainSettings(batch=8, **settings), on_step=on_step), array.x()

    steps = []
    stopped, _ = run(on_step=lambda step, loss: steps.append(loss) or step == 3)
    assert stopped.ended == "stopped"
    assert steps == stopped.history
    assert len(steps) == 4
    late, _ = run(time_limit_s=0.0)
    assert late.ended == "time"
    assert len(late.history) == 1
    (one, x1), (two, x2) = run(n_steps=5), run(n_steps=5)
    assert one.history == two.history
    assert torch.equal(x1, x2)


def test_unknown_loss_and_missing_labels_are_refused():
    with pytest.raises(ConfigError, match="huber"):
        TrainSettings(loss="huber")  # type: ignore[arg-type]
    scenes = Scenes(wrong_array(), labels=False)
    array = LearnedSpacings(NOMINAL, grid_of(scenes), "positions")
    with pytest.raises(ConfigError, match="no labels") as caught:
        train(array, scenes, TrainSettings(loss="mse", n_steps=1, batch=4))
    assert "max-map" in caught.value.hint
