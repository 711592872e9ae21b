"""The neural baseline: the counts that the paper prints, its map, what it can put out, and its two steps of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.gpi.delay import delay_basis
from calib.isac.neural import MAP_SHAPE, NeuralIsac
from calib.isac.train_neural import NeuralSettings, detection_loss, position_loss, train_neural
from hil.core.errors import ConfigError
from tests.unit.isac_training_scenes import Scenes

WINDOW_S = (20 / 3e8, 380 / 3e8)
NOMINAL = (np.arange(64) - 31.5) / 2


@pytest.mark.parametrize(("size", "count"), [("limited", 10_555), ("full", 7_780_409)])
def test_as_many_parameters_as_printed(size, count):
    basis = delay_basis(256, 120e3, WINDOW_S)
    network = NeuralIsac(NOMINAL, basis, 120e3, WINDOW_S, size).eval()
    assert network.n_parameters() == count
    sector_u = torch.tensor([[-0.6, -0.3]])
    angle_delay = network.angle_delay_map(torch.zeros(1, 64, basis.shape[1], dtype=torch.complex64))
    theta, delay = network.position(angle_delay, sector_u)
    assert theta.shape == delay.shape == network.presence(angle_delay, sector_u).shape == (1,)
    assert network.beam(sector_u).shape == (1, 64)


def small(seed=0, **scene):
    scenes = Scenes((np.arange(16) - 7.5) / 2, seed=seed, **scene)
    return NeuralIsac(scenes.x, scenes.basis, scenes.spacing_hz, scenes.window_s, seed=seed), scenes


def test_map_is_that_of_the_nominal_array_in_units_of_noise():
    network, scenes = small(seed=3, n_subcarriers=32)
    rng = np.random.default_rng(0)
    y = rng.normal(size=(2, 16, 32)) + 1j * rng.normal(size=(2, 16, 32))
    taps = torch.from_numpy((y @ scenes.basis.conj()).astype(np.complex64))
    seen = network.angle_delay_map(taps).numpy()
    assert seen.shape == (2, *MAP_SHAPE)
    for i, j in ((0, 0), (100, 77), (319, 127), (160, 3)):
        theta = -np.pi / 2 + np.pi * i / 319
        delay = scenes.window_s[0] + (scenes.window_s[1] - scenes.window_s[0]) * j / 127
        a = np.exp(2j * np.pi * scenes.x * np.sin(theta))
        b = np.exp(-2j * np.pi * delay * scenes.spacing_hz * np.arange(32))
        for block in range(2):
            power = abs(a.conj() @ y[block] @ b.conj()) ** 2 / (16 * 32)
            assert seen[block, i, j] == pytest.approx(np.log1p(power), rel=2e-3, abs=2e-4)


def test_outputs_stay_where_they_can_be():
    network, scenes = small(seed=1)
    batch = scenes(network.beam, 12)
    angle_delay = network.angle_delay_map(batch.taps)
    theta, delay = network.position(50 * angle_delay, batch.sector_u)
    assert (theta.abs() <= np.pi / 2).all()
    assert (delay >= 0).all()
    assert network.presence(angle_delay, batch.sector_u).shape == (12,)
    assert np.linalg.norm(scenes.beams[0], axis=1) == pytest.approx(np.ones(12), abs=1e-5)


def test_no_start_is_switched_off():
    for seed in range(8):
        network, scenes = small(seed)
        angle_delay = network.angle_delay_map(scenes(network.beam, 4).taps)
        sector_u = torch.zeros(4, 2)  # the same, so that only the maps differ
        outputs = *network.position(angle_delay, sector_u), network.presence(angle_delay, sector_u)
        for output in outputs:
            assert (output.std() > 1e-3 * output.abs().mean()).item()


def test_gradient_reaches_the_beam_through_the_channel_and_not_on_hardware():
    for simulated in (True, False):
        network, scenes = small(simulated=simulated)
        position_loss(network, scenes(network.beam, 8)).backward()
        reached = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in network.beam.parameters()]
        assert any(reached) is simulated


def test_losses_are_the_printed_ones():
    network, scenes = small(absent=0.5)
    network.eval()
    batch = scenes(network.beam, 20)
    assert batch.theta_rad is not None
    assert batch.delay_s is not None
    assert batch.present is not None
    angle_delay = network.angle_delay_map(batch.taps)
    theta, delay = (v.detach().double().numpy() for v in network.position(angle_delay, batch.sector_u))
    there = batch.present[:, 0].numpy()
    half_c = 299_792_458 / 2
    estimate = half_c * delay[:, None] * np.stack((np.cos(theta), np.sin(theta)), 1)
    angle = batch.theta_rad[:, 0].numpy()
    true = half_c * batch.delay_s[:, :1].numpy() * np.stack((np.cos(angle), np.sin(angle)), 1)
    mse = np.mean(np.sum((estimate - true)[there] ** 2, axis=1))
    assert position_loss(network, batch).item() == pytest.approx(mse, rel=1e-4)
    p = 1 / (1 + np.exp(-network.presence(angle_delay, batch.sector_u).detach().numpy()))
    cross_entropy = -np.mean(np.where(there, np.log(p), np.log(1 - p)))
    assert detection_loss(network, batch).item() == pytest.approx(cross_entropy, rel=1e-4)


def test_two_steps_and_positions_stay_frozen_in_the_second():
    network, positions = small(seed=2, sector_deg=(-40, -20), snr_db=30)
    detections = Scenes(positions.x, seed=5, sector_deg=(-40, -20), snr_db=30, absent=0.5)
    frozen = {}
    settings = NeuralSettings(n_steps=(8, 5), batch=12)

    def look(step, loss):
        if step == 7:
            frozen.update({k: v.clone() for k, v in network.state_dict().items()})
        return False

    history = train_neural(network, positions, detections, settings, on_step=look)
    assert (len(history.position), len(history.detection)) == (8, 5)
    assert history.position[-1] < history.position[0]
    changed = {k.split(".")[0] for k, v in network.state_dict().items() if not torch.equal(v, frozen[k])}
    assert changed == {"beam", "detection"}
    assert not network.training


def test_stop_and_time_limit_end_it():
    network, scenes = small()
    settings = NeuralSettings(n_steps=(50, 50), batch=4)
    stopped = train_neural(network, scenes, scenes, settings, on_step=lambda step, loss: step == 2)
    assert (len(stopped.position), len(stopped.detection)) == (3, 0)
    late = train_neural(network, scenes, scenes, NeuralSettings(batch=4, time_limit_s=(0.0, 0.0)))
    assert (len(late.position), len(late.detection)) == (1, 1)


def test_the_same_seed_gives_the_same_training():
    settings = NeuralSettings(n_steps=(2, 2), batch=4)
    runs = []
    for _ in range(2):
        network, scenes = small(seed=4, absent=0.3)
        runs.append(train_neural(network, scenes, scenes, settings))
    assert runs[0] == runs[1]


def test_scenes_without_labels_are_refused():
    network, scenes = small(labels=False)
    with pytest.raises(ConfigError, match="labels"):
        train_neural(network, scenes, scenes, NeuralSettings(n_steps=(1, 1), batch=4))
